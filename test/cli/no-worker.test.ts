/** What people see of a run where no worker is: the API, the store and the command line, and nothing else. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { main } from '../../cli/main.ts';
import { makeTestApi, type TestApi } from '../api/support.ts';
import { intentRow } from '../store/support.ts';
import { makePlan } from '../support/plans.ts';

let api: TestApi;
let server: Server;
let url: string;
/** How far the API's clock is ahead, so that nobody has to wait. */
let aheadMs = 0;
beforeAll(async () => {
  api = await makeTestApi({ now: () => new Date(Date.now() + aheadMs) });
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

test('a run that no worker begins, an abort that none takes and a phase that none reports are named', async () => {
  const plan = makePlan([{ id: 'one', phases: [{ name: 'a', effect: 'reversible', target: 'db' }] }], {
    environment: 'lab',
  });
  const hash = await api.savePlan(plan);
  const { out } = await say('dana', 'run', hash.slice(0, 12), '-o', 'json');
  const { run } = JSON.parse(out) as { run: number };
  const number = String(run);
  expect((await say('dana', 'show', number)).out).not.toContain('no worker answers');

  aheadMs = 60_000;
  expect((await say('dana', 'show', number)).out).toMatch(
    /^run \d+ should have begun 1m 0\ds ago: no worker answers$/m,
  );
  const aborted = await say('dana', 'abort', number, 'only trying', '--confirm', number);
  expect([aborted.code, aborted.out]).toEqual([1, '']);
  expect(aborted.err).toMatch(
    /^error NoWorker {2}run \d+ did not answer in time\. Decision .* until run \d+ answers or ends\.\ndo {4}start a worker, or look why none answers; /,
  );
  const undelivered = /^abort asked by dana \d\d:\d\d, not delivered yet: it is sent again$/m;
  expect((await say('dana', 'show', number)).out).toMatch(undelivered);
  const watched = await say('dana', 'watch', number, '--timeout', '2s');
  expect([watched.code, watched.err.split('\n')[0]]).toEqual([124, `run ${number} is planned.`]);
  expect(watched.out).toMatch(/^ {10}abort asked by dana /m);

  await api.worker.record(run, [{ key: 'go', kind: 'run', state: 'running', body: {} }]);
  await api.worker.intent(intentRow(run, { phase: 'one' }));
  await api.worker.saveProgress({ run, phase: 'one', progress: { done: 3, total: 9, unit: 'rows' } });
  const shown = (await say('dana', 'show', number)).out;
  expect(shown).toMatch(/^no news of one for (59s|1m 00s)$/m);
  expect(shown).toMatch(undelivered);
});
