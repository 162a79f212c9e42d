import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { checkLedger } from '../../examples/piano-keys/ledger.ts';
import { isGroupAlive } from '../../scripts/lib/process-group.ts';
import { makeStack } from '../support/processes.ts';

const DEMO = fileURLToPath(new URL('../../scripts/demo.ts', import.meta.url));

function runDemo(
  ...args: string[]
): Promise<{ code: number | string | null | undefined; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [DEMO, ...args], (error, out, err) =>
      resolve({ code: error === null ? 0 : error.code, out, err }),
    );
    child.stdin?.end();
  });
}

test('without a terminal and without --yes the demo ends with 2 before anything starts', async () => {
  expect(await runDemo()).toEqual({
    code: 2,
    out: '',
    err: 'There is no terminal to ask for the approvals, and --yes was not given. Nothing was started. Write: npm run demo -- --yes\n',
  });
});

test('an option that the demo does not have is refused with 2', async () => {
  const { code, out, err } = await runDemo('--yes', '--fail-on', 'x');
  expect([code, out]).toEqual([2, '']);
  expect(err).toContain("Unknown option '--fail-on'");
});

test('a phase that cannot fail is refused with 2 before anything starts, and the others are named', async () => {
  const names =
    'ready, database/inspect, database/backup, database/hold-writes, database/copy, database/verify, database/switch, database/release-writes, smoke, watch';
  const nothing = 'Nothing was started.\n';
  expect(await runDemo('--yes', '--fail-at', 'database/swich')).toEqual({
    code: 2,
    out: '',
    err: `error FaultRefused  The plan has no phase 'database/swich': use one of ${names}. ${nothing}`,
  });
  expect(await runDemo('--yes', '--fail-at', 'keep')).toEqual({
    code: 2,
    out: '',
    err: `error FaultRefused  keep stands at or below the point of no return, where nothing can be undone: use one of ${names}. ${nothing}`,
  });
  expect(await runDemo('--yes', '--fail-at=')).toEqual({
    code: 2,
    out: '',
    err: `error Usage  --fail-at names no phase: write it as --fail-at database/switch. ${nothing}`,
  });
});

test('the help of the demo explains each option', async () => {
  const { code, out, err } = await runDemo('--help');
  expect([code, err]).toEqual([0, '']);
  for (const option of [
    '-y, --yes',
    '--fail-at STEP[/PHASE]',
    '--keep',
    '--slack',
    '--ascii',
    '-h, --help',
  ]) {
    expect(out).toMatch(new RegExp(`^ {2}${option.replaceAll(/[[\]/]/g, String.raw`\$&`)} +\\S`, 'm'));
  }
});

test('the stack comes up with a token for each person, takes writes, survives its worker, and leaves no process', async () => {
  const pids: number[] = [];
  {
    await using stack = await makeStack();
    const { api, app, writer, worker } = stack.processes;
    pids.push(...[api, app, writer, worker()].map(({ pid }) => pid));
    for (const [person, token] of Object.entries(stack.tokens)) {
      const response = await fetch(`${stack.url}/v1/me`, { headers: { Authorization: `Bearer ${token}` } });
      expect([response.status, await response.json()]).toEqual([200, expect.objectContaining({ person })]);
    }
    expect(Object.keys(stack.tokens)).toContain('dana');
    worker().signal('SIGKILL');
    expect(await worker().exited).toEqual({ code: null, signal: 'SIGKILL' });
    const next = await stack.startWorker();
    pids.push(next.pid);
    expect(stack.processes.worker()).toBe(next);
    await stack.stopWriter();
    const check = await checkLedger({ ledger: stack.app.ledger, url: stack.app.url });
    expect(check.acknowledged).toBeGreaterThan(0);
    expect([check.present, check.missing]).toEqual([check.acknowledged, []]);
  }
  expect(pids.filter(isGroupAlive)).toEqual([]);
}, 90_000);

test('with --slack the approvals are clicks in a Slack on this machine, and its messages are shown', async () => {
  const { code, out } = await runDemo('--yes', '--slack', '--fail-at', 'database/switch');
  expect(code).toBe(3);
  for (const line of [
    '| run 1 · first-launch → demo · planned',
    '| Approve database? · run 1 · demo',
    '| [Approve] [Reject…] [View]',
    'slack  olu clicks Approve',
    'slack  only olu sees: Counted. database still needs sre 1 (ana).',
    '| database: @olu approved (slack, ',
    '| Approved: database · run 1 · demo',
    '| ↶ run 1 unwinding. ',
    '| ↺ run 1 rolled-back (verified)',
  ])
    expect(out).toContain(line);
}, 120_000);
