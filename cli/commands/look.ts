/** `countdown runs`, `show`, `evidence`: what there is, without changing anything. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runNumber } from '../context.ts';
import { UsageError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { runLines } from '../view/run.ts';
import { runsLines } from '../view/runs.ts';
import { plural } from '../view/style.ts';
import { type Command, stringOf } from './command.ts';

export const runs: Command = {
  usage: 'runs [--limit 20]',
  about: 'List runs, newest first.',
  options: { limit: { type: 'string' } },
  takes: { least: 0, most: 0 },
  async run(context, _args, values) {
    const limit = Number(stringOf(values, 'limit') ?? 20);
    if (!Number.isInteger(limit) || limit < 1 || limit > 100)
      throw new UsageError('--limit takes a number from 1 to 100.');
    const page = await context.client().runs({ limit });
    context.answer(() => runsLines(page.items, context.style), page);
    return EXIT.succeeded;
  },
};

export const show: Command = {
  usage: 'show RUN',
  about: 'Show a run as it stands.',
  takes: { least: 1, most: 1 },
  async run(context, [run]) {
    const found = await context.client().run(runNumber(run));
    context.answer(
      () => runLines(found, context.style, { now: new Date(found.at), isWatching: false }),
      found,
    );
    return EXIT.succeeded;
  },
};

export const evidence: Command = {
  usage: 'evidence RUN [-o FOLDER]',
  about: 'Save plan, journal, undo sheet and head of a run into a folder; without one, print them as JSON.',
  options: { output: { type: 'string', short: 'o' } },
  takes: { least: 1, most: 1 },
  async run(context, [run], values) {
    const found = await context.client().evidence(runNumber(run));
    const folder = stringOf(values, 'output');
    if (folder === undefined || folder === 'json') {
      context.terminal.out.write(`${JSON.stringify(found, null, 2)}\n`);
      return EXIT.succeeded;
    }
    await mkdir(folder, { recursive: true });
    const files: Record<string, string> = {
      'run.json': `${JSON.stringify({ run: found.run, head: found.head }, null, 2)}\n`,
      'plan.json': `${JSON.stringify(found.plan, null, 2)}\n`,
      'journal.jsonl': found.rows.map((row) => `${JSON.stringify(row)}\n`).join(''),
      ...(found.undoSheet === null ? {} : { 'undo-sheet.txt': found.undoSheet }),
    };
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
    context.terminal.out.write(
      `${folder}: ${plural(found.rows.length, 'row')}, head ${found.head.hash.slice(0, 12)}\n`,
    );
    return EXIT.succeeded;
  },
};
