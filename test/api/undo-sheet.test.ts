import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { JournalRow } from '../../store/types.ts';
import { verifyChain } from '../../store/chain.ts';
import { makeTestApi, type TestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await makeTestApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const plan = async () =>
  (await api.ok<{ plan: string }>('dana', '/v1/plans', { body: { runbook: 'hold', environment: 'lab' } }))
    .plan;

test('the sheet of a plan is plain text, for everybody whom the environment names', async () => {
  const name = await plan();
  const response = await api.request('pia', `/v1/plans/${name.slice(0, 12)}/undo-sheet`);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/plain; charset=UTF-8']);
  const text = await response.text();
  expect(text).toMatch(/^UNDO SHEET\n\nRunbook {6}hold\nEnvironment {2}lab\n/);
  expect(text).toContain(name);
  expect([...text.matchAll(/^\[ \] \d\. +(\S+)/gm)].map(([, phase]) => phase)).toEqual([
    'release/set',
    'hold/set',
  ]);
  expect(await api.refusal('mallory', `/v1/plans/${name}/undo-sheet`)).toEqual([403, 'NotAllowed']);
  expect(await api.refusal('dana', '/v1/plans/0123456789ab/undo-sheet')).toEqual([404, 'PlanUnknown']);
});

test('the evidence holds the sheet as it was when the run was asked for, and row 1 proves it', async () => {
  const name = await plan();
  const { run } = await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan: name } });
  const found = await api.ok<{ undoSheet: string; rows: JournalRow[] }>('dana', `/v1/runs/${run}/evidence`);
  const [asked] = found.rows;
  expect(asked).toMatchObject({
    kind: 'asked',
    body: {
      undoSheet: {
        sha256: createHash('sha256').update(found.undoSheet).digest('hex'),
        text: found.undoSheet,
      },
    },
  });
  expect(verifyChain(found.rows)).toMatchObject({ intact: true });
  const response = await api.request('dana', `/v1/plans/${name}/undo-sheet`);
  expect(await response.text()).toBe(found.undoSheet);
});
