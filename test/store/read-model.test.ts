import { afterAll, beforeAll, expect, test } from 'vitest';
import { rebuild } from '../../store/rebuild.ts';
import type { RecordRow } from '../../workflows/messages.ts';
import { makeStoreDatabase, type StoreDatabase } from '../support/store.ts';
import { intentRow, newRun, outcomeRow, perform, planOver, seqOf, outputsOf } from './support.ts';

let store: StoreDatabase;
beforeAll(async () => {
  store = await makeStoreDatabase();
});
afterAll(() => store[Symbol.asyncDispose]());

let rows = 0;
const tell = (run: number, ...told: Omit<RecordRow, 'key'>[]) =>
  store.worker.record(
    run,
    told.map((row) => ({ ...row, key: `row/${(rows += 1)}` })),
  );
const phaseOf = async (run: number, phase: string) =>
  (await store.api.run(run))?.phases.find((one) => one.phase === phase);
const decide = async (run: number, id: string, over: object) => {
  await store.api.insertDecision({
    id,
    run,
    kind: 'approve',
    subject: 'move',
    person: 'ana',
    groups: ['sre'],
    door: 'cli',
    plan: 'p',
    evidence: 'e2',
    reason: null,
    resolution: null,
    ...over,
  });
  await store.worker.countDecision(run, id);
};

/** A run that fails after an approval, gets stuck, and is rolled back by hand: every kind of row. */
async function rolledBack(target: string): Promise<number> {
  const run = await newRun(store, planOver(target));
  const hold = intentRow(run, { phase: 'move/hold' });
  await tell(run, { kind: 'run', state: 'running', body: {} });
  await perform(store, intentRow(run), { output: { rows: 1 }, binds: { schema: 'x' } });
  const asked = {
    step: 'move',
    evidence: 'e1',
    round: 1,
    opened: 1,
    from: { sre: 1 },
    dueAt: 2_000,
    openedAt: 1_000,
  };
  await tell(
    run,
    { kind: 'phase', phase: 'move/hold', state: 'waiting', body: { waitingFor: 'approval', dueAt: 2_000 } },
    { kind: 'approval', state: 'open', body: asked },
    { kind: 'approval', state: 'open', body: { step: 'move', evidence: 'e2', round: 2, voided: true } },
    { kind: 'run', state: 'waiting', body: { step: 'move' } },
  );
  await decide(run, `${target} vote`, {});
  await tell(
    run,
    { kind: 'approval', state: 'granted', body: { step: 'move', evidence: 'e2', round: 2, votes: [] } },
    { kind: 'run', state: 'running', body: {} },
  );
  const before = { phase: '@thing', direction: 'before', try: 1 } as const;
  await perform(store, intentRow(run, before), { print: { state: 's', data: 'd' } });
  seqOf(await store.worker.intent(hold));
  await tell(run, { kind: 'phase', phase: 'move/hold', state: 'maybe', body: { summary: 'no answer came' } });
  await perform(store, { ...hold, direction: 'probe', try: 2 }, { answer: 'yes', output: { heldAt: 'now' } });
  await tell(run, {
    kind: 'phase',
    phase: 'move/hold',
    state: 'done',
    verdict: 'pass',
    body: { summary: 'found' },
  });
  const copy = intentRow(run, { phase: 'move/copy' });
  const error = { type: 'PhaseFailed', message: 'no room' };
  const failed = { result: 'failed', verdict: 'error', summary: 'no room', error, state: null } as const;
  await perform(store, copy, failed);
  await tell(
    run,
    {
      kind: 'phase',
      phase: 'move/copy',
      state: 'maybe',
      verdict: 'error',
      body: { summary: 'no room', type: 'PhaseFailed' },
    },
    { kind: 'run', state: 'unwinding', body: { because: 'move/copy: no room', verdict: 'error' } },
  );
  await perform(store, { ...copy, direction: 'undo', try: 2 }, failed);
  await tell(
    run,
    {
      kind: 'phase',
      phase: 'move/copy',
      state: 'undo-failed',
      body: { summary: 'no room', waitingFor: 'a person: resolve' },
    },
    { kind: 'run', state: 'stuck', body: { because: 'move/copy: no room', desk: [] } },
  );
  await decide(run, `${target} resolve`, { kind: 'resolve', subject: 'move/copy', person: 'ben' });
  await tell(
    run,
    { kind: 'phase', phase: 'move/copy', state: 'undone', body: { summary: 'done by hand: ticket 7' } },
    { kind: 'run', state: 'unwinding', body: { because: 'move/copy: no room' } },
  );
  await perform(store, { ...hold, direction: 'undo', try: 3 }, { summary: 'released' });
  await perform(store, intentRow(run, { ...before, direction: 'after', try: 2 }), {
    print: { state: 's', data: 'd' },
  });
  await tell(run, {
    kind: 'run',
    state: 'rolled-back',
    body: { because: 'move/copy: no room', verified: false, notVerified: ['edge'] },
  });
  return run;
}

test('a rolled-back run says how far it came, what was found and why', async () => {
  const run = await rolledBack('view');
  const detail = await store.api.run(run);
  expect(detail).toMatchObject({
    state: 'rolled-back',
    verdict: 'error',
    because: 'move/copy: no room',
    verified: false,
    notVerified: ['edge'],
    step: 'move',
    approvals: [
      {
        step: 'move',
        state: 'granted',
        evidence: 'e2',
        round: 2,
        from: { sre: 1 },
        openedAt: '1970-01-01T00:00:01.000Z',
        dueAt: '1970-01-01T00:00:02.000Z',
      },
    ],
    decisions: [
      { id: 'view vote', kind: 'approve', person: 'ana', counted: true },
      { id: 'view resolve', kind: 'resolve', person: 'ben', counted: true },
    ],
    targets: [{ target: 'thing', equal: true }],
  });
  expect(
    detail?.phases.map(({ phase, state, verdict, summary, error }) => [
      phase,
      state,
      verdict,
      summary,
      error,
    ]),
  ).toEqual([
    ['move/inspect', 'done', 'pass', 'well', null],
    ['move/hold', 'undone', 'pass', 'released', null],
    ['move/copy', 'undone', 'error', 'done by hand: ticket 7', null],
    ['keep', 'pending', null, null, null],
  ]);
  for (const at of [detail?.startedAt, detail?.unwindingAt, detail?.unwoundAt, detail?.endedAt]) {
    expect(at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  }
  expect(detail?.targets[0]?.before).toBe(detail?.targets[0]?.after);
  const journal = await store.api.journal(run, { after: 0, limit: 100 });
  expect(journal.find(({ kind }) => kind === 'decision')).toMatchObject({
    actor: 'ana',
    body: { id: 'view vote' },
  });
});

test('the read model is rebuilt from the journal as it was moved', async () => {
  const run = await rolledBack('rebuild');
  const moved = await everything(run);
  await store.owner.query(
    `update countdown.phases set state = 'pending', summary = 'lies' where run = ${run};
    update countdown.runs set state = 'planned', because = 'lies', seq = 3 where run = ${run};
    update countdown.approvals set state = 'open' where run = ${run}`,
  );
  expect(await everything(run)).not.toEqual(moved);
  await rebuild(store.owner, run);
  expect(await everything(run)).toEqual(moved);
});

test('an approval that was never opened leaves none behind when it is closed', async () => {
  const run = await newRun(store, planOver('never opened'));
  await tell(run, {
    kind: 'approval',
    state: 'voided',
    body: { step: 'move', evidence: '', round: 1, votes: [] },
  });
  expect((await store.api.run(run))?.approvals).toEqual([]);
});

test('a phase is running, waiting, held, done and withdrawn as its rows say', async () => {
  const run = await newRun(store, planOver('phase'));
  const inspect = intentRow(run);
  const seq = seqOf(await store.worker.intent(inspect));
  expect(await phaseOf(run, 'move/inspect')).toMatchObject({
    state: 'running',
    try: 1,
    verdict: null,
    endedAt: null,
  });
  expect((await phaseOf(run, 'move/inspect'))?.startedAt).not.toBeNull();
  await store.worker.outcome(outcomeRow(inspect, seq, { verdict: 'fail', summary: 'two rows are bad' }));
  const done = await phaseOf(run, 'move/inspect');
  expect(done).toMatchObject({ state: 'done', verdict: 'fail' });
  expect(done?.endedAt).not.toBeNull();
  const held = { waitingFor: 'a person: retry, skip or abort', summary: 'two rows are bad', until: 5 };
  await tell(run, { kind: 'phase', phase: 'move/inspect', state: 'done', verdict: 'fail', body: held });
  expect(await phaseOf(run, 'move/inspect')).toMatchObject({
    state: 'done',
    verdict: 'fail',
    waitingFor: held.waitingFor,
    startedAt: done?.startedAt,
    endedAt: done?.endedAt,
  });
  await tell(run, {
    kind: 'phase',
    phase: 'move/inspect',
    state: 'skipped',
    body: { summary: 'skipped by ana' },
  });
  expect(await phaseOf(run, 'move/inspect')).toMatchObject({ state: 'skipped', waitingFor: null });
  await tell(
    run,
    { kind: 'phase', phase: 'move/hold', state: 'waiting', body: { waitingFor: 'approval' } },
    { kind: 'phase', phase: 'move/hold', state: 'pending', body: { summary: null } },
  );
  expect(await phaseOf(run, 'move/hold')).toMatchObject({
    state: 'pending',
    waitingFor: null,
    startedAt: null,
  });
});

test('a hold reason is gone once the run goes on', async () => {
  const run = await newRun(store, planOver('because'));
  await tell(
    run,
    { kind: 'run', state: 'running', body: {} },
    { kind: 'run', state: 'waiting', body: { because: 'it failed' } },
  );
  expect((await store.api.run(run))?.because).toBe('it failed');
  await tell(run, { kind: 'run', state: 'running', body: {} });
  expect((await store.api.run(run))?.because).toBeNull();
});

test('outputs are those of the last good outcome, or of the probe that found it done; an undone phase has none', async () => {
  const run = await newRun(store, planOver('outputs'));
  const { worker } = store;
  await perform(store, intentRow(run), { output: { rows: 1 }, binds: { schema: 'old' } });
  await perform(store, intentRow(run, { try: 2 }), { output: { rows: 2 }, binds: { schema: 'new' } });
  const hold = intentRow(run, { phase: 'move/hold' });
  await perform(store, hold, { output: { heldAt: 'a' } });
  expect(await outputsOf(store, run)).toEqual({ 'move/inspect': { rows: 2 }, 'move/hold': { heldAt: 'a' } });
  expect(await worker.binds(run, ['move/inspect', 'move/hold', 'nothing'])).toEqual({
    'move/inspect': { schema: 'new' },
  });
  await perform(
    store,
    { ...hold, direction: 'probe', try: 2 },
    { answer: 'no', output: { heldAt: 'wrong' } },
  );
  expect((await outputsOf(store, run))['move/hold']).toEqual({ heldAt: 'a' });
  await perform(store, { ...hold, direction: 'probe', try: 3 }, { answer: 'yes', output: { heldAt: 'b' } });
  expect((await outputsOf(store, run))['move/hold']).toEqual({ heldAt: 'b' });
  await perform(store, { ...hold, direction: 'undo', try: 4 });
  expect(await outputsOf(store, run)).toEqual({ 'move/inspect': { rows: 2 } });
});

test('an undone phase hands out what its undo gave, as long as nothing was said of it since', async () => {
  const run = await newRun(store, planOver('undo outputs'));
  await perform(store, intentRow(run), { output: { rows: 1 } });
  const hold = intentRow(run, { phase: 'move/hold' });
  await perform(store, hold, { output: { heldAt: 'a' } });
  const failed = { result: 'failed', verdict: 'error', state: null } as const;
  await perform(store, { ...hold, direction: 'undo', try: 2 }, { ...failed, output: { digest: 'wrong' } });
  expect((await outputsOf(store, run))['move/hold']).toEqual({ heldAt: 'a' });
  await perform(store, { ...hold, direction: 'undo', try: 3 }, { output: { digest: 'NUL \u0000' } });
  const handed = { 'move/inspect': { rows: 1 }, 'move/hold': { digest: 'NUL \u0000' } };
  expect(await outputsOf(store, run)).toEqual(handed);
  await store.owner.query('select countdown.rebuild($1)', [run]);
  expect(await store.worker.intent(intentRow(run, { phase: 'move/copy', direction: 'undo' }))).toMatchObject({
    outputs: handed,
  });
  // Another round forwards, and a row that takes the phase back by hand.
  await perform(store, { ...hold, try: 4 }, { output: { heldAt: 'b' } });
  expect((await outputsOf(store, run))['move/hold']).toEqual({ heldAt: 'b' });
  await tell(run, { kind: 'phase', phase: 'move/hold', state: 'undone', body: { summary: 'by hand' } });
  expect(await outputsOf(store, run)).toEqual({ 'move/inspect': { rows: 1 } });
});

test('progress is the latest, of the attempt in hand, and in no journal', async () => {
  const run = await newRun(store, planOver('progress'));
  const at = { run, phase: 'move/inspect' };
  seqOf(await store.worker.intent(intentRow(run)));
  await store.worker.saveProgress({ ...at, progress: { done: 1, unit: 'rows' } });
  await store.worker.saveProgress({ ...at, progress: { done: 2, unit: 'rows', detail: 'NUL \u0000' } });
  expect((await phaseOf(run, 'move/inspect'))?.progress).toEqual({
    done: 2,
    unit: 'rows',
    detail: 'NUL \u0000',
  });
  seqOf(await store.worker.intent(intentRow(run, { try: 2 })));
  expect((await phaseOf(run, 'move/inspect'))?.progress).toBeNull();
  // Row 1, two intents, and between them the end of the first.
  expect((await store.api.run(run))?.head.seq).toBe(4);
});

/** All of the read model, as the tables hold it. */
async function everything(run: number): Promise<unknown> {
  const tables = ['runs', 'phases', 'prints', 'approvals', 'decisions'];
  const found: Record<string, unknown> = {};
  for (const table of tables) {
    const { rows: read } = await store.owner.query(
      `select t::text from countdown.${table} t where run = $1 order by 1`,
      [run],
    );
    found[table] = read;
  }
  return found;
}
