/**
 * `npm test`: types, lint, format, then every test with its servers. It ends with the runner's own summary and a line
 * `N passed, N failed` (and `, N skipped` where there are any), in which a failed check counts as one.
 *
 *   --deep        all slices of the long tests, not only the one that the seed picks (COUNTDOWN_TEST_DEEP=1)
 *   COUNTDOWN_TEST_SEED   a whole number that picks what varies; derived from the commit where it is not set
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT, runChecks, runProgram } from './lib/checks.ts';
import { endWhenInterrupted, makeFolder } from './lib/processes.ts';

type Counts = { passed: number; failed: number; skipped: number };

/** What is used of the report; it is the format of Jest. */
type Report = {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  success: boolean;
  testResults: { status: string; assertionResults: unknown[] }[];
};

const { values, positionals } = parseArgs({ options: { deep: { type: 'boolean' } }, allowPositionals: true });
endWhenInterrupted();
const seed = process.env['COUNTDOWN_TEST_SEED'] ?? seedOfCommit();
process.stdout.write(`test: seed ${seed}${values.deep === true ? ', deep' : ''}\n`);

const checks = await runChecks();
const tests = await runTests();
const failed = checks.filter(({ passed }) => !passed).length + tests.failed;
const passed = checks.length - checks.filter((check) => !check.passed).length + tests.passed;
if (failed > 0)
  process.stdout.write(`test: to run it again as it was: COUNTDOWN_TEST_SEED=${seed} npm test\n`);
process.stdout.write(
  `${passed} passed, ${failed} failed${tests.skipped > 0 ? `, ${tests.skipped} skipped` : ''}\n`,
);
process.exitCode = failed === 0 ? 0 : 1;

async function runTests(): Promise<Counts> {
  const folder = await makeFolder('countdown-report-');
  const file = join(folder.path, 'report.json');
  try {
    const code = await runProgram({
      command: join(ROOT, 'node_modules/.bin/vitest'),
      args: ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, ...positionals],
      env: {
        ...process.env,
        COUNTDOWN_TEST_SEED: seed,
        ...(values.deep === true ? { COUNTDOWN_TEST_DEEP: '1' } : {}),
      },
    });
    return counted(code, file);
  } finally {
    await folder.discard();
  }
}

/** A file that could not be loaded, or a runner that ended badly though no test failed, is a failure too. */
function counted(code: number, file: string): Counts {
  let report: Report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    process.stdout.write(`test: vitest ended with exit code ${code} and wrote no report.\n`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const unloaded = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
  ).length;
  const failures = report.numFailedTests + unloaded;
  return {
    passed: report.numPassedTests,
    failed: failures === 0 && code !== 0 ? 1 : failures,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** Another slice with each commit, the same slice for whoever looks at that commit. */
function seedOfCommit(): string {
  let commit = 'no commit';
  try {
    commit = execFileSync('git', ['rev-parse', 'HEAD'], {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    // An unpacked archive has no history: one seed for all.
  }
  return String(createHash('sha256').update(commit).digest().readUInt32BE(0));
}
