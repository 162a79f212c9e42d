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
    const files: Record<string, string> = {
      'run.json': `${JSON.stringify({ run: found.run, head: found.head }, null, 2)}\n`,
      'plan.json': `${JSON.stringify(found.plan, null, 2)}\n`,
      'journal.jsonl': found.rows.map((row) => `${JSON.stringify(row)}\n`).join(''),
      ...(found.undoSheet === null ? {} : { 'undo-sheet.txt': found.undoSheet }),
    };
    await writeInto(folder, files);
    context.terminal.out.write(
      `${folder}: ${plural(found.rows.length, 'row')}, head ${found.head.hash.slice(0, 12)}\n`,
    );
    return EXIT.succeeded;
  },
};

/** Throws UsageError where the folder cannot be made or written to. */
async function writeInto(folder: string, files: Record<string, string>): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    const found = FOUND[code] ?? `cannot be written to (${code})`;
    throw new UsageError(`${folder} ${found}, expected a folder for files: name a new one.`, {
      cause: error,
    });
  }
}

const FOUND: Record<string, string> = {
  EEXIST: 'is a file',
  ENOTDIR: 'lies below a file',
  EISDIR: 'holds folders of those names',
  EACCES: 'may not be written to by you',
  EPERM: 'may not be written to by you',
  EROFS: 'is on a file system that is read-only',
  ENOSPC: 'has no room left',
};
