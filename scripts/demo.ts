/**
 * `npm run demo`: starts everything on this machine, moves Piano Keys from SQLite to PostgreSQL while it is written to,
 * and says what became of every write.
 *
 *   --yes                   give the approvals as two people of the demo, instead of asking
 *   --fail-at STEP[/PHASE]  make that phase fail after its effect, to watch a rollback
 *   --keep                  leave everything running afterwards, until Ctrl-C
 *   --ascii                 words instead of symbols
 *
 * It ends with the exit code of the run: 0 succeeded, 3 rolled back and verified, 5, 6 stopped, 7 stuck, 8 not verified;
 * 1 where an acknowledged write is missing, 2 usage, 130 Ctrl-C.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { ParseArgsOptionsConfig } from 'node:util';
import { exitCodeOfError, renderError } from '../cli/errors.ts';
import { EXIT } from '../cli/exit-codes.ts';
import { runDemo } from './lib/demo.ts';
import { onInterrupt, stopAll } from './lib/processes.ts';

const USAGE = `usage: npm run demo -- [--yes] [--fail-at STEP[/PHASE]] [--keep] [--ascii]`;

const LEAVE_MS = 3_000;

const OPTIONS = {
  yes: { type: 'boolean', short: 'y', default: false },
  keep: { type: 'boolean', default: false },
  'fail-at': { type: 'string' },
  ascii: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const satisfies ParseArgsOptionsConfig;

process.exitCode = await main();

async function main(): Promise<number> {
  let values;
  try {
    ({ values } = parseArgs({ options: OPTIONS }));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${USAGE}\n`);
    return EXIT.usage;
  }
  if (values.help) {
    process.stdout.write(`${USAGE}\n`);
    return EXIT.succeeded;
  }
  const isTerminal = process.stdin.isTTY && process.stdout.isTTY;
  if (!values.yes && !isTerminal) {
    process.stderr.write(
      'There is no terminal to ask for the approvals, and --yes was not given. Nothing was started. Write: npm run demo -- --yes\n',
    );
    return EXIT.usage;
  }
  const leaving = new AbortController();
  const ended = Promise.withResolvers<void>();
  const release = onInterrupt(async () => {
    process.stderr.write('\nStopping everything.\n');
    leaving.abort();
    await stopAll();
    // What is left is to remove data; a build under way is ended by the watchdog.
    await Promise.race([ended.promise, sleep(LEAVE_MS)]);
  });
  try {
    return await runDemo({
      yes: values.yes,
      keep: values.keep,
      ascii: values.ascii,
      failAt: values['fail-at'],
      signal: leaving.signal,
    });
  } catch (error) {
    if (leaving.signal.aborted) return EXIT.left;
    process.stderr.write(`${renderError(error)}\n`);
    return exitCodeOfError(error);
  } finally {
    ended.resolve();
    if (!leaving.signal.aborted) release();
  }
}
