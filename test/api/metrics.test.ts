import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { type Metrics, makeMetrics, metricsServer } from '../../api/metrics.ts';
import { tidyOnce } from '../../api/janitor.ts';
import { type Engine, makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { type TestApi, makeTestApi } from './support.ts';

let engine: Engine;
let api: TestApi;
let metrics: Metrics;
beforeAll(async () => {
  engine = await makeEngine();
  api = await makeTestApi({ engine });
  metrics = makeMetrics(() => api.store.metrics());
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

/** `name{labels}` → value of one scrape. */
async function scrape(): Promise<Map<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [
      line.slice(0, line.lastIndexOf(' ')),
      Number(line.slice(line.lastIndexOf(' ') + 1)),
    ]),
  );
}
async function until(isSo: (found: Map<string, number>) => boolean): Promise<Map<string, number>> {
  for (const deadline = Date.now() + 20_000; ;) {
    const found = await scrape();
    if (isSo(found)) return found;
    if (Date.now() > deadline) throw new Error([...found].filter(([name]) => name.includes('{')).join('\n'));
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

let plans = 0;
async function start(over: object = {}, fails = false): Promise<number> {
  const phases = [
    { name: 'a', effect: 'reversible' as const },
    { name: 'b', effect: 'reversible' as const, ...(fails ? {} : { approval: approval({ sre: 1 }) }) },
  ];
  const made = makePlan([{ id: 'one', phases }], { params: { n: (plans += 1) } });
  const body = { plan: await api.savePlan(withDigests(made)), ...over };
  return (await api.ok<{ run: number }>('dana', '/v1/runs', { body })).run;
}
const at = 'environment="test"';

test('what waits for people and for targets is told with its age, and no more once it is over', async () => {
  const run = await start();
  const asked = await until((found) => found.get(`countdown_runs{${at},state="waiting"}`) === 1);
  expect(asked.get(`countdown_approvals_waiting{${at}}`)).toBe(1);
  expect(asked.get(`countdown_approval_oldest_seconds{${at}}`)).toBeGreaterThanOrEqual(0);
  const next = await start({ waitMs: 60_000 });
  expect((await scrape()).get(`countdown_lease_waits{${at}}`)).toBe(1);
  for (const one of [next, run]) await api.ok('dana', `/v1/runs/${one}/abort`, { body: { reason: 'seen' } });
  const over = await until((found) => found.get(`countdown_runs{${at},state="rolled-back"}`) === 1);
  expect(over.has(`countdown_approvals_waiting{${at}}`)).toBe(false);
  expect(over.has(`countdown_lease_waits{${at}}`)).toBe(false);
  expect(over.get(`countdown_phases_total{${at},runbook="test",direction="undo"}`)).toBe(1);
  expect(over.get(`countdown_phase_seconds_total{${at},runbook="test",direction="undo"}`)).toBeGreaterThan(0);
});

test('a run that is stuck, its undo that failed and a rollback that takes too long are told', async () => {
  engine.world.scripts.set('one/a/undo', () => {
    throw new Error('it would not');
  });
  await start({ failAt: 'one/b' }, true);
  const stuck = await until((found) => found.get(`countdown_desk_runs{${at}}`) === 1);
  expect(stuck.get(`countdown_undo_failed_phases{${at}}`)).toBe(1);
  expect(stuck.get(`countdown_desk_oldest_seconds{${at}}`)).toBeGreaterThanOrEqual(0);
});

test('a decision that no worker takes is the lag of the journal', async () => {
  await engine.stopWorker();
  const { items } = await api.ok<{ items: { run: number; state: string }[] }>('dana', '/v1/runs');
  const stuck = items.find(({ state }) => state === 'stuck')?.run ?? 0;
  await api.request('zoe', `/v1/runs/${stuck}/resolve`, {
    body: { phase: 'one/a', done: true, reason: 'by hand', evidence: 'seen by hand' },
  });
  const found = await scrape();
  expect(found.get('countdown_decisions_undelivered')).toBe(1);
  expect(found.get('countdown_journal_lag_seconds')).toBeGreaterThan(0);
  // Journalled is not yet heard.
  const [decision] = await api.store.unanswered(0, 1, { of: stuck });
  await api.worker.countDecision(stuck, decision?.id ?? '');
  expect((await scrape()).get('countdown_decisions_undelivered')).toBe(1);
  await api.store.answerDecision({ run: stuck, id: decision?.id ?? '' });
  const settled = await scrape();
  expect(settled.get('countdown_decisions_undelivered')).toBe(0);
  expect(settled.get('countdown_journal_lag_seconds')).toBe(0);
  await engine.startWorker();
  await tidyOnce(api);
});

test('requests are told by route, never by what somebody wrote into the path', async () => {
  metrics.answered({ method: 'GET', route: '/v1/runs/:id', status: 200, ms: 30 });
  const found = await scrape();
  const labels = 'method="GET",route="/v1/runs/:id",status="200"';
  expect(found.get(`countdown_http_request_duration_seconds_count{${labels}}`)).toBe(1);
  expect(found.get(`countdown_http_request_duration_seconds_bucket{le="0.025",${labels}}`)).toBe(0);
  expect(found.get(`countdown_http_request_duration_seconds_bucket{le="0.05",${labels}}`)).toBe(1);
});

test('the address answers /metrics and nothing else, also while the database is away', async () => {
  const server = metricsServer(makeMetrics(() => Promise.reject(new Error('away')))).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
  expect([answer.status, answer.headers.get('content-type')]).toEqual([
    200,
    expect.stringContaining('text/plain'),
  ]);
  expect(await answer.text()).toContain('countdown_store_up 0');
  expect((await fetch(`http://127.0.0.1:${port}/v1/runs`)).status).toBe(404);
  expect((await fetch(`http://127.0.0.1:${port}/metrics`, { method: 'POST' })).status).toBe(404);
  server.close();
});

test('every name in the alert rules and in the documentation is one that is told', async () => {
  const told = new Set((await metrics.text()).match(/^# TYPE \S+/gm)?.map((line) => line.slice(7)));
  const rules = read('deploy/alerts.yaml');
  const named = [...(rules + read('docs/operating.md')).matchAll(/\bcountdown_[a-z_]+[a-z]\b/g)].map(
    ([name]) => name.replace(/_(bucket|count|sum)$/, ''),
  );
  expect(named.length).toBeGreaterThan(15);
  const roles = ['countdown_api', 'countdown_worker', 'countdown_owner'];
  expect(named.filter((name) => !told.has(name) && !roles.some((role) => name.startsWith(role)))).toEqual([]);
  const { groups } = parse(rules) as {
    groups: { rules: { alert: string; annotations: { do: string } }[] }[];
  };
  for (const { annotations } of groups.flatMap((group) => group.rules)) expect(annotations.do).toMatch(/\.$/);
});
