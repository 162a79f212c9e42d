/** Rows that a workflow started past the API would like to have written: each is refused, and the true ones are not. */
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { assertQuorum } from '../../activities/approved.ts';
import { assertLawful } from '../../activities/lawful.ts';
import type { RunRow } from '../../store/types.ts';
import type { Decision, RecordRow } from '../../workflows/messages.ts';
import { approval, makePlan } from '../support/plans.ts';
import { type StoreDatabase, makeStoreDatabase } from '../support/store.ts';
import { intentRow, newRun, perform, seqOf } from '../store/support.ts';

const PLAN = makePlan(
  [
    { id: 'pause', phases: [{ name: 'pause', wait: 'timer' }] },
    { id: 'hand', phases: [{ name: 'hand', wait: 'person' }] },
    {
      id: 'move',
      phases: [
        { name: 'when', decides: true },
        { name: 'look' },
        { name: 'b', effect: 'reversible', approval: approval({ sre: 1 }) },
        { name: 'verify', skip: approval({ sre: 1 }) },
      ],
    },
    {
      id: 'keep',
      phases: [{ name: 'keep', wait: 'point-of-no-return', approval: approval({ sre: 1, owner: 1 }) }],
    },
  ],
  { leases: {} },
);

let store: StoreDatabase;
beforeAll(async () => (store = await makeStoreDatabase()));
afterAll(() => store[Symbol.asyncDispose]());

async function openRun(): Promise<RunRow> {
  const run = await newRun(store, PLAN);
  const row = await store.worker.loadRun(run);
  if (row === undefined) throw new Error('The run was not stored.');
  await store.worker.record(run, [{ key: 'start', kind: 'run', state: 'running', body: {} }]);
  return row;
}

/** The code and the sentence; undefined where the rows may be written. */
async function refusal(
  run: RunRow,
  ...rows: Omit<RecordRow, 'key'>[]
): Promise<[string, string] | undefined> {
  try {
    await assertLawful(
      store.worker,
      run,
      rows.map((row, index) => ({ ...row, key: `k${index}` })),
    );
    return undefined;
  } catch (error) {
    if (error instanceof ApplicationFailure) return [error.type ?? '', error.message];
    throw error;
  }
}

test.each([
  ['through another door', { door: 'slack' as const }],
  ['without the comment that is asked for', { reason: ' ' }],
  ['to break a glass that is not there', { breakGlass: true as const }],
])('a vote %s is none, whatever the workflow says', async (_, over) => {
  const run = await openRun();
  const asked = approval({ sre: 1 }, { via: 'api', comment: 'required' });
  const strict = { ...run, plan: { ...run.plan, approvals: { ...run.plan.approvals, 'move/b': asked } } };
  await open(run, 'move/b');
  await decide(run, 'approve', 'move/b', 'ana', over);
  await expect(assertQuorum(store.worker, strict, 'move/b')).rejects.toMatchObject({
    type: 'ApprovalMissing',
  });
  await decide(run, 'approve', 'move/b', 'ben');
  await assertQuorum(store.worker, strict, 'move/b');
});

const phaseRow = (phase: string, state: string, over: Partial<RecordRow> = {}): Omit<RecordRow, 'key'> => ({
  kind: 'phase',
  phase,
  state,
  body: {},
  ...over,
});

async function decide(
  run: RunRow,
  kind: Decision['kind'],
  subject: string,
  person = 'ana',
  over: Partial<Decision> = {},
): Promise<void> {
  const decision: Decision = {
    id: `${run.run} ${kind} ${subject} ${person}`,
    run: run.run,
    kind,
    subject,
    person,
    groups: ['sre'],
    door: 'api',
    plan: run.planHash,
    evidence: 'e',
    reason: 'because',
    resolution: null,
    ...over,
  };
  await store.api.insertDecision(decision);
  await store.worker.countDecision(run.run, decision.id);
}

const open = (run: RunRow, step: string) =>
  store.worker.record(run.run, [
    {
      key: `open ${step}`,
      kind: 'approval',
      state: 'open',
      body: { step, evidence: 'e', round: 1, from: { sre: 1 }, openedAt: 1, dueAt: 2 },
    },
  ]);

test.each([
  [
    'a point of no return that nobody approved',
    phaseRow('keep', 'done', { verdict: 'pass' }),
    'ApprovalMissing',
  ],
  [
    'an approval that nobody gave',
    { kind: 'approval' as const, state: 'granted', body: { step: 'keep' } },
    'ApprovalMissing',
  ],
  ['a phase that never ran', phaseRow('move/look', 'done', { verdict: 'pass' }), 'PlanUnknown'],
  ['work of a person that nobody did', phaseRow('hand', 'done', { verdict: 'pass' }), 'PlanUnknown'],
  ['time that has not passed', phaseRow('pause', 'done', { verdict: 'pass' }), 'PlanUnknown'],
  ['a phase that nobody skipped', phaseRow('move/b', 'skipped'), 'ApprovalMissing'],
  ['an undo that nobody saw', phaseRow('move/b', 'undone'), 'PlanUnknown'],
  ['a success', { kind: 'run' as const, state: 'succeeded', body: {} }, 'PlanUnknown'],
  ['a phase that the plan has not', phaseRow('nothing', 'done'), 'PlanUnknown'],
])('%s is not believed', async (_, row, code) => {
  const run = await openRun();
  expect((await refusal(run, row))?.[0]).toBe(code);
});

test('a run that has begun is not stopped, and not rolled back before its undo has happened', async () => {
  const run = await openRun();
  const intent = intentRow(run.run, { phase: 'pause' });
  for (const id of ['pause', 'hand', 'move/when', 'move/look'])
    await store.worker.record(run.run, [{ key: id, kind: 'phase', phase: id, state: 'skipped', body: {} }]);
  await perform(store, { ...intent, phase: 'move/b' });
  expect(await refusal(run, { kind: 'run', state: 'stopped', body: {} })).toEqual([
    'PlanUnknown',
    'The run cannot be stopped: move/b has begun.',
  ]);
  expect(await refusal(run, { kind: 'run', state: 'rolled-back', body: { verified: true } })).toEqual([
    'PlanUnknown',
    'The run cannot be rolled-back: move/b is done.',
  ]);
  await perform(store, { ...intent, phase: 'move/b', direction: 'undo', try: 2 });
  expect(await refusal(run, { kind: 'run', state: 'rolled-back', body: { verified: true } })).toBeUndefined();
});

test('a target that differs makes no verified rollback, and none at all that nobody accepted', async () => {
  const run = await openRun();
  const print = intentRow(run.run, { phase: '@thing', direction: 'before' });
  await perform(store, print, { print: { state: 'a', data: null } });
  await perform(store, { ...print, direction: 'after', try: 2 }, { print: { state: 'b', data: null } });
  const end = (verified: boolean) => refusal(run, { kind: 'run', state: 'rolled-back', body: { verified } });
  expect((await end(false))?.[1]).toBe(
    'The run cannot be rolled-back: thing is not as before, and nobody has accepted it.',
  );
  await decide(run, 'resolve', 'thing');
  expect(await end(false)).toBeUndefined();
  expect((await end(true))?.[1]).toBe('The run cannot be rolled-back: thing is not as before.');
});

test('what people and activities have written may be told', async () => {
  const run = await openRun();
  await decide(run, 'done', 'hand');
  expect(await refusal(run, phaseRow('hand', 'done', { verdict: 'pass' }))).toBeUndefined();
  expect(
    await refusal(
      run,
      phaseRow('pause', 'running', { body: { dueAt: Date.now() } }),
      phaseRow('pause', 'done'),
    ),
  ).toBeUndefined();
  await open(run, 'keep');
  await decide(run, 'approve', 'keep');
  expect((await refusal(run, phaseRow('keep', 'done')))?.[0], 'an owner is missing').toBe('ApprovalMissing');
  // An inspection that broke has said so itself.
  expect(await refusal(run, phaseRow('move/look', 'done', { verdict: 'error' }))).toBeUndefined();
});

test('a verification is skipped with leave, and a condition leaves its step out', async () => {
  const run = await openRun();
  const skip = phaseRow('move/verify', 'skipped');
  await decide(run, 'skip', 'move/verify', 'ben');
  expect((await refusal(run, skip))?.[0]).toBe('ApprovalMissing');
  await open(run, 'move/verify');
  await decide(run, 'approve', 'move/verify', 'ana');
  const granted = { kind: 'approval' as const, state: 'granted', body: { step: 'move/verify' } };
  expect(await refusal(run, granted, skip)).toBeUndefined();
  for (const id of ['pause', 'hand'])
    await store.worker.record(run.run, [{ key: id, kind: 'phase', phase: id, state: 'skipped', body: {} }]);
  seqOf(await store.worker.intent(intentRow(run.run, { phase: 'move/when' })));
  expect((await refusal(run, phaseRow('move/b', 'skipped')))?.[0]).toBe('ApprovalMissing');
  await perform(store, intentRow(run.run, { phase: 'move/when', attempt: 2 }), { leaveOut: true });
  expect(await refusal(run, phaseRow('move/b', 'skipped'))).toBeUndefined();
});
