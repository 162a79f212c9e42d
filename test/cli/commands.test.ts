import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { main } from '../../cli/main.ts';
import { makeTestApi, type TestApi } from '../api/support.ts';
import { type Engine, makeEngine, untilCancelled, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';

let engine: Engine;
let api: TestApi;
let server: Server;
let url: string;
beforeAll(async () => {
  engine = await makeEngine();
  api = await makeTestApi({ engine });
  const listener = getRequestListener(api.app.fetch);
  server = createServer((request, response) => void listener(request, response));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await api[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

type Said = { code: number; out: string; err: string };

function start(person: string, args: string[], more: { answer?: string; signal?: AbortSignal } = {}) {
  const said = { out: '', err: '' };
  const asked: string[] = [];
  const done = main(args, {
    out: { write: (text) => (said.out += text) },
    err: { write: (text) => (said.err += text) },
    ask:
      more.answer === undefined
        ? undefined
        : async (question) => {
            asked.push(question);
            return more.answer ?? '';
          },
    variables: { COUNTDOWN_URL: url, COUNTDOWN_TOKEN: api.tokens.get(person) ?? person },
    signal: more.signal ?? new AbortController().signal,
  });
  return { said, asked, done };
}

async function say(person: string, ...args: string[]): Promise<Said> {
  const { said, done } = start(person, args);
  const code = await done;
  return { code, ...said };
}

async function until(what: () => boolean | Promise<boolean>, why: () => string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await what())) {
    if (Date.now() > deadline) throw new Error(why());
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const asks = { name: 'b', effect: 'reversible' as const, approval: approval({ sre: 1, owner: 1 }) };
const asking = () => api.savePlan(withDigests(makePlan([{ id: 'one', phases: [{ name: 'a' }, asks] }])));
const state = async (run: number) => (await api.ok<{ state: string }>('dana', `/v1/runs/${run}`)).state;
const newest = async () =>
  (await api.ok<{ items: { run: number }[] }>('dana', '/v1/runs?limit=1')).items[0]?.run ?? 0;

async function waitingRun(): Promise<number> {
  const plan = await asking();
  const { code, out } = await say('dana', 'run', plan.slice(0, 12), '-o', 'json');
  expect(code).toBe(0);
  const { run } = JSON.parse(out) as { run: number };
  await until(
    async () => (await state(run)) === 'waiting',
    () => `run ${run} does not ask`,
  );
  return run;
}

describe('a run from the command line', () => {
  test('is started by its plan, approved by two people, watched to its end, and leaves with 0', async () => {
    const plan = await asking();
    const watching = start('dana', ['run', plan.slice(0, 12), '--watch']);
    await until(
      () => watching.said.out.includes('approval of one is open'),
      () => watching.said.out,
    );
    const run = await newest();
    const first = await say('ana', 'approve', String(run));
    expect(first).toEqual({ code: 0, out: 'Counted. one still needs owner 1 (olu).\n', err: '' });
    // The connection breaks in the middle: the watcher comes back by itself.
    server.closeAllConnections();
    await until(
      () => watching.said.err.includes('The connection is lost'),
      () => watching.said.err,
    );
    expect((await say('olu', 'approve', String(run), 'one')).code).toBe(0);
    expect(await watching.done).toBe(0);
    const lines = watching.said.out.split('\n');
    expect(lines.filter((line) => /✓ one\/a +done/.test(line))).toHaveLength(1);
    expect(watching.said.out).toMatch(/run {2}✓ succeeded {2}pass/);
    expect(watching.said.out).toMatch(new RegExp(`run ${run} {2}test → test {2}✓ succeeded {2}pass`));
    expect((await say('dana', 'watch', String(run))).code).toBe(0);

    const folder = await mkdtemp(join(tmpdir(), 'countdown-evidence-'));
    const saved = await say('dana', 'evidence', String(run), '-o', join(folder, 'run'));
    expect(saved.out).toMatch(/^.*run: \d+ rows, head [0-9a-f]{12}\n$/);
    const rows = (await readFile(join(folder, 'run/journal.jsonl'), 'utf8')).trim().split('\n');
    expect(JSON.parse(rows[0] ?? '')).toMatchObject({ seq: 1, kind: 'asked', actor: 'dana' });
    await rm(folder, { recursive: true });
  });

  test('that is rejected leaves with 6, that is aborted with 5 or 3', async () => {
    const run = await waitingRun();
    expect(await say('olu', 'reject', String(run), 'one', 'no')).toMatchObject({ code: 2 });
    expect((await say('olu', 'reject', String(run), 'one', 'Holiday traffic is high.')).code).toBe(0);
    const rejected = await say('dana', 'watch', String(run));
    expect([rejected.code, rejected.out.includes('Holiday traffic is high.')]).toEqual([6, true]);

    const stopped = await waitingRun();
    expect(await say('dana', 'abort', String(stopped))).toMatchObject({
      code: 2,
      err: `error Usage  Without a terminal abort needs --confirm ${stopped}.\n`,
    });
    expect((await say('dana', 'abort', String(stopped), 'enough', '--confirm', String(stopped))).code).toBe(
      0,
    );
    expect((await say('dana', 'watch', String(stopped))).code).toBe(5);

    engine.world.scripts.set('two/run', (_phase, context) => untilCancelled(context));
    const steps = [
      { id: 'one', phases: [{ name: 'a', effect: 'reversible' as const }] },
      { id: 'two', phases: [{ name: 'b' }] },
    ];
    const plan = await api.savePlan(withDigests(makePlan(steps)));
    const watching = start('dana', ['run', plan, '-w']);
    await until(
      () => /▸ two +running/.test(watching.said.out),
      () => watching.said.out,
    );
    const aborting = start('dana', ['abort', String(await newest())], { answer: String(await newest()) });
    expect(await aborting.done).toBe(0);
    expect(aborting.asked[0]).toMatch(/^Type \d+ to abort \(undoes 1 phase, about 0s\): $/);
    expect(await watching.done).toBe(3);
    engine.world.scripts.delete('two/run');
    expect((await say('dana', 'show', String(await newest()))).out).toContain('↺ rolled-back (verified)');
  });

  test('can be left, or watched for a time; it goes on', async () => {
    const run = await waitingRun();
    const leaving = new AbortController();
    const watching = start('dana', ['watch', String(run)], { signal: leaving.signal });
    await until(
      () => watching.said.out !== '',
      () => 'nothing is shown',
    );
    leaving.abort();
    expect(await watching.done).toBe(130);
    expect(watching.said.err).toContain(`run ${run} goes on. Come back:  countdown watch ${run}`);
    expect((await say('dana', 'watch', String(run), '--timeout', '1s')).code).toBe(124);
    expect(await state(run)).toBe('waiting');
    await say('dana', 'abort', String(run), '--confirm', String(run));
    expect((await say('dana', 'watch', String(run))).code).toBe(5);
  });
});

describe('a watcher without a terminal', () => {
  test('is told the number first, and at each wait who may answer and what to type', async () => {
    const plan = await asking();
    const watching = start('dana', ['run', plan.slice(0, 12), '--watch']);
    await until(
      () => watching.said.out.includes('Approve  '),
      () => watching.said.out,
    );
    const run = await newest();
    expect(watching.said.err).toMatch(new RegExp(`^run ${run} is (planned|running)\\.\n`));
    const waits = (needed: string) =>
      new RegExp(
        `^ {10}one waits for an approval · still needed: ${needed} · expires \\d\\d:\\d\\d UTC\n {10}Approve {2}countdown approve ${run} one {5}Reject {2}countdown reject ${run} one 'reason'\n`,
        'm',
      );
    expect(watching.said.out).toMatch(waits('owner 1 \\(olu\\), sre 1 \\(ana, ben\\)'));
    await say('ana', 'approve', String(run));
    await until(
      () => waits('owner 1 \\(olu\\)').test(watching.said.out),
      () => watching.said.out,
    );
    await say('olu', 'approve', String(run));
    expect(await watching.done).toBe(0);
    expect(watching.said.out.match(/one waits for an approval/g)).toHaveLength(2);
  });

  test('is told who paused the run, why, and how it goes on; so is who looks at it', async () => {
    const run = await waitingRun();
    const watching = start('dana', ['watch', String(run)]);
    await say('dana', 'pause', String(run), 'checking disk');
    await until(
      () => watching.said.out.includes('is paused by'),
      () => watching.said.out,
    );
    expect(watching.said.err).toBe(`run ${run} is waiting.\n`);
    expect(watching.said.out).toContain(
      `run ${run} is paused by dana: checking disk\n          Resume  countdown resume ${run}\n`,
    );
    const shown = (await say('dana', 'show', String(run))).out;
    expect(shown).toContain('\nPaused   by dana: checking disk\n');
    expect(shown).toContain(`Resume  countdown resume ${run}     Abort  countdown abort ${run}`);
    await say('dana', 'resume', String(run));
    await say('dana', 'abort', String(run), '--confirm', String(run));
    expect(await watching.done).toBe(5);
    const decisions = JSON.parse((await say('dana', 'show', String(run), '-o', 'json')).out) as {
      decisions: { kind: string; result: string; counted: boolean }[];
      verdict: string | null;
    };
    expect(decisions.decisions.map(({ kind, result, counted }) => [kind, result, counted])).toEqual([
      ['pause', 'Accepted', true],
      ['resume', 'Accepted', true],
      ['abort', 'Accepted', true],
    ]);
    expect(decisions.verdict).toBeNull();
  });
});

describe('decisions', () => {
  test('that had no effect say so, and are not in the list of who decided', async () => {
    const run = await waitingRun();
    await say('ana', 'approve', String(run));
    expect((await say('ana', 'approve', String(run))).out).toMatch(
      /^Your approval of .* is counted already\./,
    );
    expect((await say('dana', 'retry', String(run), 'one/a')).code).toBe(1);
    await say('olu', 'approve', String(run));
    expect((await say('dana', 'watch', String(run))).code).toBe(0);
    const { out } = await say('dana', 'show', String(run), '-o', 'json');
    const { decisions } = JSON.parse(out) as {
      decisions: { person: string; kind: string; counted: boolean; result: string }[];
    };
    expect(decisions.map(({ person, kind, counted, result }) => [person, kind, counted, result])).toEqual([
      ['ana', 'approve', true, 'Counted'],
      ['ana', 'approve', false, 'AlreadyCounted'],
      ['dana', 'retry', false, 'NotHeld'],
      ['olu', 'approve', true, 'Counted'],
    ]);
    expect((await say('dana', 'show', String(run))).out).toContain('Decisions   2 approvals: ana 1, olu 1\n');
  });
});

describe('what is refused', () => {
  test('says what is wrong with it, and what to write', async () => {
    const run = await waitingRun();
    const { plan } = JSON.parse((await say('dana', 'show', String(run), '-o', 'json')).out) as {
      plan: string;
    };
    await say('dana', 'abort', String(run), '--confirm', String(run));
    expect((await say('dana', 'watch', String(run))).code).toBe(5);
    const ended = `error AlreadyEnded  run ${run} has ended: it is stopped.`;
    const look = `\ndo    look at it: countdown show ${run}\n`;
    const name = plan.slice(0, 12);
    for (const [args, code, err] of [
      [['approve', run], 1, `${ended} It asks for no approval any more.${look}`],
      [['approve', run, 'one'], 1, `${ended} It asks for no approval any more.${look}`],
      [['abort', run], 1, `${ended} There is nothing to abort.${look}`],
      [['pause', run], 1, `${ended} Nothing was changed.\n`],
      [
        ['run', name, '--env', 'lab'],
        2,
        `error Usage  Plan ${name} is for test, not lab: leave --env out, or plan for lab.\n`,
      ],
      [
        ['run', name, '--param', 'a=1'],
        2,
        `error Usage  Plan ${name} has its params already: leave --param out, or make another plan.\n`,
      ],
      [
        ['run', 'hold', '--env', 'lab'],
        2,
        "error Usage  Without a terminal run takes only the name of a plan, its first 12 digits, not 'hold': make it with countdown plan hold --env lab\n",
      ],
      [['show'], 2, 'error Usage  RUN is missing: show needs it. Write: countdown show RUN\n'],
      [
        ['reject', '3'],
        2,
        "error Usage  STEP and 'reason' are missing: reject needs them. Write: countdown reject RUN STEP 'reason'\n",
      ],
      [
        ['leases', 'x'],
        2,
        "error Usage  'x' is one argument too many. Write: countdown leases [--env ENVIRONMENT]\n",
      ],
      [
        ['plan', 'README.md', '--env', 'lab'],
        2,
        'error Usage  README.md is no YAML file: give the path of a .yaml file, or a name without an ending.\n',
      ],
      [
        ['lint', 'package.json'],
        2,
        'error Usage  package.json is no YAML file: give the path of a .yaml file, or a name without an ending.\n',
      ],
      [
        ['evidence', run, '-o', '/etc/passwd'],
        2,
        'error Usage  /etc/passwd is a file, expected a folder for files: name a new one.\n',
      ],
      [
        ['evidence', run, '-o', '/etc/passwd/x'],
        2,
        'error Usage  /etc/passwd/x lies below a file, expected a folder for files: name a new one.\n',
      ],
    ] as const) {
      expect(await say('dana', ...args.map(String)), args.join(' ')).toEqual({ code, out: '', err });
    }
    expect((await say('dana', 'run', name, '--env', 'test')).code).toBe(0);
    const next = String(await newest());
    await say('dana', 'abort', next, '--confirm', next);
    expect((await say('dana', 'watch', next)).code).toBe(5);
  });

  test('is said in the words with which the command was called', async () => {
    const said = { err: '' };
    const code = await main(['approve'], {
      out: { write: () => true },
      err: { write: (text) => (said.err += text) },
      ask: undefined,
      variables: { npm_command: 'exec' },
      signal: new AbortController().signal,
    });
    expect([code, said.err]).toEqual([
      2,
      "error Usage  RUN is missing: approve needs it. Write: npx countdown approve RUN [STEP] [--reason 'text'] [--break-glass]\n",
    ]);
  });

  test('leaves with 4 without the right, 1 where nothing is found, 2 where it was typed wrongly', async () => {
    const run = await waitingRun();
    expect(await say('dana', 'approve', String(run))).toMatchObject({
      code: 4,
      err: expect.stringMatching(/^error RequesterCannotApprove {2}You asked for run/) as string,
    });
    expect(await say('not-a-token-of-anybody', 'show', String(run))).toMatchObject({ code: 4 });
    expect((await say('dana', 'show', '99999')).code).toBe(1);
    expect((await say('dana', 'approve', '99999', 'one')).code).toBe(1);
    expect((await say('dana', 'retry', String(run), 'one/a')).code).toBe(1);
    for (const args of [
      [],
      ['shw'],
      ['show'],
      ['show', 'x'],
      ['show', '1', '2'],
      ['show', '1', '--wat'],
      ['runs', '-o', 'xml'],
      ['resolve', '1', 'a'],
      ['resolve', '1'],
      ['resolve', '1', '--done', '--evidence', 'all of it was undone'],
      ['resolve', '1', '--params', 'file.json'],
      ['run', 'hold', '--env', 'lab'],
    ]) {
      expect((await say('dana', ...args)).code, args.join(' ')).toBe(2);
    }
    await say('dana', 'abort', String(run), '--confirm', String(run));
    expect((await say('dana', 'watch', String(run))).code).toBe(5);
  });

  test('a runbook that cannot be used shows its line with a caret', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'countdown-runbook-'));
    const file = join(folder, 'broken.yaml');
    const { writeFile } = await import('node:fs/promises');
    await writeFile(file, 'name: runbook\nsteps:\n  - { id: look, uses: weit, with: { for: 1s } }\n');
    const said = await say('dana', 'plan', file, '--env', 'lab');
    expect(said.code).toBe(2);
    // The API knows it as your text; whoever sent it knows where it is.
    const [head, line] = said.err.split('\n');
    expect(head).toBe(`error RunbookInvalid  ${file}:3:23`);
    expect(line).toBe('    3 |   - { id: look, uses: weit, with: { for: 1s } }');
    expect(said.err).toContain('\ndo    write wait\n');
    await rm(folder, { recursive: true });
  });

  test.each([['runs'], ['watch', '1']])(
    'an API that is away is said in one sentence to %s',
    async (...args) => {
      const said = { err: '' };
      const code = await main(args, {
        out: { write: () => true },
        err: { write: (text) => (said.err += text) },
        ask: undefined,
        variables: { COUNTDOWN_URL: 'http://127.0.0.1:1', COUNTDOWN_TOKEN: 'x'.repeat(20) },
        signal: new AbortController().signal,
      });
      expect([code, said.err]).toEqual([
        1,
        'error Unreachable  The API at http://127.0.0.1:1 did not answer.\ndo    set COUNTDOWN_URL to the address of the API, and look whether it runs\n',
      ]);
    },
  );
});

describe('a plan from the command line', () => {
  test('is shown as a table, and asked about before it starts on a terminal', async () => {
    const { code, out } = await say('dana', 'plan', 'hold', '--env', 'lab');
    expect(code).toBe(0);
    expect(out).toMatch(/^plan [0-9a-f]{12} {2}hold → lab {2,}3 steps, 5 phases\n {2}STEP/);
    expect(out).toContain('Can approve owner chi, olu · sre ana, ben (not dana, who asks)');
    const asking2 = start('dana', ['run', 'hold', '--env', 'lab'], { answer: 'no' });
    expect(await asking2.done).toBe(1);
    expect(asking2.asked).toEqual(['Type lab to start: ']);
    expect(asking2.said.err).toContain('Nothing was started.');
  });
});
