/** Rows that the workflow asks for, as the journal gets them. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeRecorder } from '../../activities/recorder.ts';
import { intentRow, newRun, perform } from '../store/support.ts';
import { makePlan } from '../support/plans.ts';
import { type StoreDatabase, makeStoreDatabase } from '../support/store.ts';

const PLAN = makePlan([{ id: 'move', phases: [{ name: 'a', effect: 'reversible' }] }], { leases: {} });

let store: StoreDatabase;
beforeAll(async () => (store = await makeStoreDatabase()));
afterAll(() => store[Symbol.asyncDispose]());

const undone = {
  key: 'execution/row/9',
  kind: 'phase' as const,
  phase: 'move',
  state: 'undone',
  verdict: 'pass' as const,
  body: { summary: 'nothing was left to undo', happened: false },
};

test.each([
  [false, { state: 'pending', verdict: null, summary: 'it never began' }],
  [true, { state: 'undone', verdict: 'pass', summary: 'nothing was left to undo' }],
])('a phase whose run has begun: %s, is shown so when its probe found nothing', async (hasBegun, shown) => {
  const run = await newRun(store, PLAN);
  const say = (rows: Parameters<typeof recorder.record>[0]['rows']) =>
    recorder.record({ run, rows, after: 0 });
  const recorder = makeRecorder({ store: store.worker });
  await say([{ key: 'execution/row/1', kind: 'run', state: 'running', body: {} }]);
  if (hasBegun) await store.worker.intent(intentRow(run, { phase: 'move' }));
  await say([{ key: 'execution/row/2', kind: 'phase', phase: 'move', state: 'maybe', body: {} }]);
  await say([{ key: 'execution/row/3', kind: 'run', state: 'unwinding', body: { because: 'a test' } }]);
  await perform(store, intentRow(run, { phase: 'move', direction: 'probe', try: 2 }), {
    answer: 'no',
    state: null,
  });
  await say([undone]);
  expect((await store.api.run(run))?.phases).toMatchObject([{ phase: 'move', ...shown }]);
  await say([
    { key: 'execution/row/10', kind: 'run', state: 'rolled-back', body: { verified: true, notVerified: [] } },
  ]);
  expect((await store.api.run(run))?.state).toBe('rolled-back');
});
