/**
 * `npm run demo`: starts everything on this machine, moves Piano Keys from SQLite to PostgreSQL while it is written to,
 * and says what became of every write.
 *
 *   --yes                   give the approvals as two people of the demo, instead of asking
 *   --fail-at STEP[/PHASE]  make that phase fail after its effect, to watch a rollback
 *   --keep                  leave everything running afterwards, until Ctrl-C
 *   --slack                 ask in a Slack on this machine, whose messages are shown here and whose people click here
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
import { ApiProblem } from '../api/problems.ts';
import { checkFailAt, runDemo } from './lib/demo.ts';
import { onInterrupt, stopAll } from './lib/processes.ts';

const USAGE = `usage: npm run demo -- [--yes] [--fail-at STEP[/PHASE]] [--keep] [--slack] [--ascii]`;

const HELP = `${USAGE}

Starts everything on this machine, moves the example application from SQLite to PostgreSQL while it is written to,
asks you for the two approvals as people of the demo, and says what became of every write.

  -y, --yes               give the approvals as two people of the demo instead of asking; needed without a terminal
  --fail-at STEP[/PHASE]  make that phase fail after its effect and watch the rollback, as --fail-at database/switch;
                          a step alone means its last phase, an unknown name lists those there are
  --keep                  leave everything running afterwards, with addresses and tokens, until Ctrl-C
  --slack                 ask in a Slack on this machine: its messages are shown here, and its people click here
  --ascii                 words instead of symbols
  -h, --help              this text

Exit codes: 0 succeeded, 1 an acknowledged write is missing or something did not start, 2 usage, 3 rolled back (verified),
5 stopped, 6 stopped by a rejection or an expiry, 7 stuck, 8 rolled back (not verified), 130 Ctrl-C.
`;

const LEAVE_MS = 3_000;

const OPTIONS = {
  yes: { type: 'boolean', short: 'y', default: false },
  keep: { type: 'boolean', default: false },
  'fail-at': { type: 'string' },
  slack: { type: 'boolean', default: false },
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
    process.stdout.write(HELP);
    return EXIT.succeeded;
  }
  const failAt = values['fail-at'];
  const refusal = failAt === undefined ? undefined : await refusalOf(failAt);
  if (refusal !== undefined) {
    process.stderr.write(`${refusal} Nothing was started.\n`);
    return EXIT.usage;
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
      slack: values.slack,
      failAt,
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

/** Why this phase cannot fail; undefined where it can. Said before anything is started. */
async function refusalOf(failAt: string): Promise<string | undefined> {
  if (failAt.trim() === '')
    return 'error Usage  --fail-at names no phase: write it as --fail-at database/switch.';
  try {
    await checkFailAt(failAt);
    return undefined;
  } catch (error) {
    if (!(error instanceof ApiProblem)) throw error;
    return `error ${error.code}  ${error.message}`;
  }
}
