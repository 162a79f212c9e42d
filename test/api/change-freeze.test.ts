import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tidyOnce } from '../../api/janitor.ts';
import type { Launcher } from '../../api/launcher.ts';
import { makePlan } from '../support/plans.ts';
import { ENVIRONMENT, type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
let now = new Date('2026-12-17T23:59:59.999Z');
beforeAll(async () => {
  api = await makeTestApi({ now: () => now });
  const freeze = "changeFreezes: [{ name: year-end, from: '2026-12-18T00:00Z', to: '2027-01-04T00:00Z' }]\n";
  await writeFile(join(api.environmentFolder, 'lab.yaml'), `${ENVIRONMENT}${freeze}`);
});
afterAll(() => api[Symbol.asyncDispose]());

const planOn = (target: string) =>
  api.savePlan(
    makePlan([{ id: 'one', phases: [{ name: 'go', effect: 'reversible', target }] }], { environment: 'lab' }),
  );

test('inside a change freeze no run starts, and a run that is on can still be aborted', async () => {
  now = new Date('2026-12-17T23:59:59.999Z');
  const { run } = await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan: await planOn('a') } });
  now = new Date('2026-12-18T00:00:00Z');
  const response = await api.request('dana', '/v1/runs', { body: { plan: await planOn('b') } });
  expect([response.status, await response.json()]).toEqual([
    409,
    expect.objectContaining({
      code: 'ChangeFreeze',
      detail: 'No run starts in lab until 4 Jan 2027 00:00 UTC (year-end). Rollbacks go on.',
    }),
  ]);
  // The decision is taken and stored; nobody answers, since no worker runs here.
  expect(
    await api.refusal('dana', `/v1/runs/${run}/abort`, { body: { reason: 'it must not go on' } }),
  ).toEqual([503, 'NoWorker']);
  const { decisions } = await api.ok<{ decisions: { kind: string }[] }>('dana', `/v1/runs/${run}`);
  expect(decisions.map(({ kind }) => kind)).toEqual(['abort']);
  now = new Date('2027-01-04T00:00:00Z');
  expect((await api.request('dana', '/v1/runs', { body: { plan: await planOn('b') } })).status).toBe(202);
});

test('a run whose start was missed is not begun inside a change freeze that has begun since', async () => {
  now = new Date('2026-12-17T23:59:59.999Z');
  const { run } = await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan: await planOn('late') } });
  const begun: number[] = [];
  const launcher: Launcher = {
    ...api.launcher,
    look: async () => ({ state: 'closed', how: 'gone' }),
    start: async (asked) => {
      begun.push(asked.run);
    },
  };
  now = new Date('2026-12-18T00:00:00Z');
  await tidyOnce({ ...api, launcher });
  expect(begun).toEqual([]);
  now = new Date('2027-01-04T00:00:00Z');
  await tidyOnce({ ...api, launcher });
  expect(begun).toContain(run);
});

test('a plan can be made inside a change freeze, and says until when no run starts', async () => {
  type Body = { now: { changeFreeze: object | null; nextChangeFreeze: object | null } };
  const body = { runbook: 'hold', environment: 'lab' };
  now = new Date('2026-12-01T00:00:00Z');
  expect((await api.ok<Body>('dana', '/v1/plans', { body })).now).toMatchObject({
    changeFreeze: null,
    nextChangeFreeze: { name: 'year-end', from: '2026-12-18T00:00:00.000Z', to: '2027-01-04T00:00:00.000Z' },
  });
  now = new Date('2026-12-24T00:00:00Z');
  expect((await api.ok<Body>('dana', '/v1/plans', { body })).now).toMatchObject({
    changeFreeze: { names: ['year-end'], until: '2027-01-04T00:00:00.000Z' },
    nextChangeFreeze: null,
  });
});

test('an environment without change freezes starts runs on any date', async () => {
  now = new Date('2026-12-24T00:00:00Z');
  const plan = await api.savePlan(
    makePlan([{ id: 'one', phases: [{ name: 'go', effect: 'reversible', target: 'c' }] }], {
      environment: 'vault',
    }),
  );
  expect((await api.request('dana', '/v1/runs', { body: { plan } })).status).toBe(202);
});
