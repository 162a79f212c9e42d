/** Finds the command, reads its options, and turns what goes wrong into an exit code. */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { check } from './commands/check.ts';
import type { Command } from './commands/command.ts';
import { abort, approve, done, pause, reject, resolve, resume, retry, skip } from './commands/decide.ts';
import { leases } from './commands/leases.ts';
import { lint } from './commands/lint.ts';
import { evidence, runs, show } from './commands/look.ts';
import { plan } from './commands/plan.ts';
import { ready, run } from './commands/run.ts';
import { token } from './commands/token.ts';
import { undoSheet } from './commands/undo-sheet.ts';
import { watch } from './commands/watch.ts';
import { type Format, type Terminal, commandOf, makeContext } from './context.ts';
import { UsageError, exitCodeOfError, renderError } from './errors.ts';
import { EXIT } from './exit-codes.ts';
import { retyped, safe } from './view/style.ts';

export const COMMANDS: Record<string, Command> = {
  plan,
  lint,
  check,
  run,
  ready,
  runs,
  leases,
  show,
  watch,
  approve,
  reject,
  abort,
  pause,
  resume,
  retry,
  skip,
  done,
  resolve,
  evidence,
  token,
  'undo-sheet': undoSheet,
};

/** Resolves with the exit code; never throws. */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    const [name, ...rest] = args;
    if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
      terminal.out.write(`${helpLines(commandOf(terminal.variables) ?? 'countdown').join('\n')}\n`);
      return name === undefined ? EXIT.usage : EXIT.succeeded;
    }
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (command === undefined) throw new UsageError(unknownCommand(name));
    return await runCommand(command, rest, terminal);
  } catch (error) {
    const command = commandOf(terminal.variables);
    const text = renderError(error);
    terminal.err.write(`${command === undefined ? text : retyped({ command }, text)}\n`);
    return exitCodeOfError(error);
  }
}

async function runCommand(command: Command, args: string[], terminal: Terminal): Promise<number> {
  const own = command.options ?? {};
  // `evidence -o` names a folder; elsewhere `-o` is the form of the answer.
  const hasFolder = own['output'] !== undefined;
  const options: ParseArgsOptionsConfig = {
    help: { type: 'boolean', short: 'h' },
    ascii: { type: 'boolean' },
    ...(hasFolder ? {} : { output: { type: 'string', short: 'o' } }),
    ...own,
  };
  const { values, positionals } = parse(args, options, command);
  if (values['help'] === true) {
    const name = commandOf(terminal.variables) ?? 'countdown';
    terminal.out.write(`${name} ${command.usage}\n${command.about}\n`);
    return EXIT.succeeded;
  }
  if (positionals.length < command.takes.least || positionals.length > command.takes.most) {
    throw new UsageError(`${countText(command, positionals)} Write: countdown ${command.usage}`);
  }
  const format = hasFolder ? 'text' : formatOf(values['output']);
  const context = makeContext(terminal, { format, ascii: values['ascii'] === true });
  return command.run(context, positionals, values);
}

/** Which argument is missing, or is one too many. */
function countText({ usage, takes }: Command, given: readonly string[]): string {
  const extra = given[takes.most];
  if (extra !== undefined) return `'${safe(extra).slice(0, 40)}' is one argument too many.`;
  // `reject RUN STEP 'reason'`: what stands behind the verb, up to what may be left out.
  const [verb = '', ...names] = (usage.split(/ (?=\[|--|\|)/)[0] ?? '').split(' ');
  const missing = names.slice(given.length, takes.least).join(' and ');
  return missing.includes(' and ')
    ? `${missing} are missing: ${verb} needs them.`
    : `${missing === '' ? 'An argument' : missing} is missing: ${verb} needs it.`;
}

function parse(args: string[], options: ParseArgsOptionsConfig, command: Command) {
  try {
    return parseArgs({ args, options, allowPositionals: true, strict: true });
  } catch (error) {
    const found = error instanceof Error ? (error.message.split('. ')[0] ?? '') : '';
    throw new UsageError(`${found}. Write: countdown ${command.usage}`, { cause: error });
  }
}

function formatOf(value: unknown): Format {
  if (value === undefined || value === 'text') return 'text';
  if (value === 'json' || value === 'jsonl') return value;
  throw new UsageError(
    `-o ${typeof value === 'string' ? value : ''} is no form of an answer: use text, json or jsonl.`,
  );
}

function unknownCommand(name: string): string {
  const near = Object.keys(COMMANDS).find((known) => distance(known, name) <= 2);
  const what = near === undefined ? 'look at countdown help' : `did you mean ${near}?`;
  return `There is no command '${name.slice(0, 40)}': ${what}`;
}

/** Edits between two words; small words, so the plain table will do. */
function distance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 1; i <= one.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= other.length; j += 1) {
      const swap = (row[j - 1] ?? 0) + (one[i - 1] === other[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}

function helpLines(name: string): string[] {
  return [
    `${name} plan first-launch --env demo        what would happen, and who would be asked`,
    `${name} run 7f3a91c204de --watch            start that plan and follow it`,
    `${name} approve 41 database                 let a step have its effects`,
    '',
    ...Object.values(COMMANDS).flatMap(({ usage, about }) => [`${name} ${usage}`, `    ${about}`]),
    '',
    'Everywhere: -o text|json|jsonl, --ascii (words alone), --help. NO_COLOR switches colours off.',
    'COUNTDOWN_URL is the address of the API, COUNTDOWN_TOKEN your token.',
    'Exit codes: 0 succeeded, 1 client error, 2 usage or invalid runbook, 3 rolled back (verified), 4 not allowed,',
    '5 stopped by a red check or an abort, 6 stopped by a rejection or an expiry, 7 stuck, 8 rolled back (not',
    'verified), 124 --timeout passed and the run goes on, 130 left and the run goes on.',
  ];
}
