/** Runs that begin later or wait for a target, from the command line. */
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { main } from '../../cli/main.ts';
import { ENVIRONMENT, makeTestApi, type TestApi } from '../api/support.ts';
import { makePlan } from '../support/plans.ts';

let api: TestApi;
let server: Server;
let url: string;
beforeAll(async () => {
  api = await makeTestApi();
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
});

async function say(person: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const code = await main(args, {
    out: { write: (text) => (said.out += text) },
    err: { write: (text) => (said.err += text) },
    ask: undefined,
    variables: { COUNTDOWN_URL: url, COUNTDOWN_TOKEN: api.tokens.get(person) ?? person },
    signal: new AbortController().signal,
  });
  return { code, ...said };
}

/** The first 12 digits of a plan of one phase on this target, expected to take 20 minutes. */
async function planOn(target: string, person: string): Promise<string> {
  const plan = makePlan([{ id: 'one', phases: [{ name: 'a', effect: 'reversible', target }] }], {
    environment: 'lab',
    params: { person },
  });
  for (const phase of plan.phases) phase.expected = { runMs: 1_190_000, undoMs: 10 };
  return (await api.savePlan(plan)).slice(0, 12);
}

test('a held target is named with its holder and what to do; a run can wait for it and is seen to', async () => {
  const holder = JSON.parse((await say('ben', 'run', await planOn('db', 'ben'), '-o', 'json')).out) as {
    run: number;
  };
  const plan = await planOn('db', 'dana');
  const refused = await say('dana', 'run', plan);
  expect(refused).toEqual({
    code: 1,
    out: '',
    err: `error TargetLeased  db is held by run ${holder.run} (test, requester ben), about 20m left.
do    wait for it: countdown run ${plan} --wait 1h      look at it: countdown show ${holder.run}
`,
  });
  expect((await say('dana', 'leases', '--env', 'lab')).out).toBe(
    `TARGET  IN   HELD BY  FOR        HOW        LEFT
db      lab  run ${holder.run}    test, ben  exclusive  about 20m
`,
  );
  expect((await say('dana', 'plan', 'hold', '--env', 'lab')).code).toBe(0);
  const waits = await say('dana', 'run', plan, '--wait', '1h');
  const run = holder.run + 1;
  expect(waits).toEqual({
    code: 0,
    out: `run ${run} waits: db held by run ${holder.run} (ben), about 20m left. Look at it:  countdown watch ${run}\n`,
    err: '',
  });
  const shown = (await say('dana', 'show', String(run))).out.split('\n');
  expect(shown[2]).toMatch(
    new RegExp(
      `^Waits for {2}db held by run ${holder.run} \\(ben\\), about 20m left · until .*\\d\\d:\\d\\d UTC$`,
    ),
  );
  expect((await say('dana', 'abort', String(run), 'not tonight', '--confirm', String(run))).out).toBe(
    `run ${run} is stopped; nothing had been changed.\n`,
  );
  expect((await say('dana', 'watch', String(run))).code).toBe(5);
});

test('a run with a time says when it begins, and one that cannot be says why', async () => {
  const plan = await planOn('later', 'dana');
  const day = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10);
  const made = await say('dana', 'run', plan, '--at', `${day}T01:00Z`, '--not-after', `${day}T04:00Z`);
  expect(made.out).toMatch(/^run (\d+) begins \d+ \w+ 01:00:00 UTC\. Look at it: {2}countdown watch \1\n$/);
  expect(made.code).toBe(0);
  const run = /\d+/.exec(made.out)?.[0] ?? '';
  expect((await say('dana', 'runs')).out).toMatch(/· planned +begins \d+ \w+ 01:00:00 UTC +dana/);
  expect((await say('dana', 'show', run)).out.split('\n')[1]).toMatch(
    / · begins .*01:00 UTC · not after .*04:00 UTC$/,
  );
  expect((await say('dana', 'pause', run)).err).toBe(
    `error NotBegun  run ${run} has not begun: abort it, or wait. Nothing was counted.\n`,
  );
  const past = await say('dana', 'run', plan, '--at', '2026-01-01T00:00Z');
  expect(past).toMatchObject({
    code: 2,
    err: 'error BodyInvalid  at is 1 Jan 2026 00:00 UTC, expected a time to come: leave it out to start now.\n',
  });
  expect((await say('dana', 'run', plan, '--wait', 'long')).err).toBe(
    "error Usage  'long' is no duration: write it as 30s, 5m or 1h30m.\n",
  );
});

test('a plan for an emergency is made and started inside a change freeze, and says so', async () => {
  const freeze =
    "{ name: no-end, from: '2020-01-01T00:00Z', to: '2100-01-01T00:00Z', emergency: { from: { owner: 1 } } }";
  const file = join(api.environmentFolder, 'lab.yaml');
  await writeFile(file, `${ENVIRONMENT}changeFreezes: [${freeze}]\n`);
  const ordinary = await say('dana', 'plan', 'hold', '--env', 'lab', '-o', 'json');
  const { plan } = JSON.parse(ordinary.out) as { plan: string };
  expect(await say('dana', 'run', plan.slice(0, 12))).toEqual({
    code: 1,
    out: '',
    err: `error ChangeFreeze  No run starts in lab until 1 Jan 2100 00:00 UTC (no-end). Rollbacks go on.
do    start it after that; in an emergency plan it anew: countdown plan RUNBOOK --emergency 'why it cannot wait'
`,
  });
  const emergency = ['plan', 'hold', '--env', 'lab', '--emergency', 'The certificate ends tonight.'];
  const made = await say('dana', ...emergency, '--ascii');
  expect(made.out).toContain('Emergency   may start inside no-end: The certificate ends tonight.\n');
  const name = /^plan ([0-9a-f]{12})/.exec(made.out)?.[1] ?? '';
  expect((await say('dana', 'run', name)).code).toBe(0);
  expect((await say('dana', ...emergency, '--freeze', 'no-and')).err).toContain(
    "Environment lab has no change freeze 'no-and', expected no-end.",
  );
  expect(await say('dana', 'plan', 'hold', '--env', 'lab', '--freeze', 'no-end')).toEqual({
    code: 2,
    out: '',
    err: "error Usage  --emergency is missing: say why it cannot wait, as --emergency 'the reason'.\n",
  });
  await writeFile(file, ENVIRONMENT);
});
