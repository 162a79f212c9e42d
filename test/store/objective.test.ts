/** Law 7: what a phase is expected to take, and whether its way back fits. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Plan } from '../../procedures/plan.ts';
import { rebuild } from '../../store/rebuild.ts';
import { type StepSpec, makePlan } from '../support/plans.ts';
import { makeStoreDatabase, type StoreDatabase } from '../support/store.ts';
import { intentRow, newRun, perform } from './support.ts';

let store: StoreDatabase;
beforeAll(async () => {
  store = await makeStoreDatabase();
});
afterAll(() => store[Symbol.asyncDispose]());

const effect = 'reversible' as const;
const MOVE: StepSpec[] = [
  { id: 'look', phases: [{ name: 'look' }] },
  {
    id: 'move',
    phases: [
      { name: 'hold', effect },
      { name: 'copy', effect },
    ],
  },
  { id: 'open', phases: [{ name: 'open', effect }] },
  { id: 'keep', phases: [{ name: 'keep', wait: 'point-of-no-return' }] },
  { id: 'after', phases: [{ name: 'after', effect }] },
];

/** A plan under a runbook of its own, so that its past is its own; each phase declares 2 s, and 10 s for its undo. */
function planOf(name: string, over: Partial<Plan> = {}): Plan {
  const plan = makePlan(MOVE);
  for (const phase of plan.phases) phase.expected = { runMs: 2_000, undoMs: 10_000 };
  return { ...plan, runbook: { ...plan.runbook, name }, leases: {}, ...over };
}

async function expectedOf(run: number, phase: string): Promise<(number | null)[]> {
  const { rows } = await store.owner.query<{ run_ms: string; undo_ms: string | null }>(
    'select run_ms, undo_ms from countdown.phases where run = $1 and phase = $2',
    [run, phase],
  );
  const [row] = rows;
  return [Number(row?.run_ms), row?.undo_ms === null ? null : Number(row?.undo_ms)];
}

/** Past times of a phase, oldest first, as if they were of this run. */
async function past(
  run: number,
  phase: string,
  direction: 'run' | 'undo',
  times: readonly number[],
): Promise<void> {
  await store.owner.query(
    `insert into countdown.durations (environment, runbook, phase, direction, run, seq, ms)
    select r.environment, r.runbook, $2, $3, r.run, 1000 + t.n, t.ms
    from countdown.runs r, unnest($4::bigint[]) with ordinality t(ms, n) where r.run = $1`,
    [run, phase, direction, times],
  );
}

const start = (run: number, phase: string, until?: Date) =>
  store.worker.intent(intentRow(run, { phase, ...(until === undefined ? {} : { until }) }));

const person = async (run: number, kind: 'retry' | 'skip', subject: string) => {
  const id = randomUUID();
  await store.api.insertDecision({
    id,
    run,
    kind,
    subject,
    person: 'dana',
    groups: [],
    door: 'cli',
    plan: 'p',
    evidence: null,
    reason: null,
    resolution: null,
  });
  await store.worker.countDecision(run, id);
};

describe('what a phase is expected to take', () => {
  test('is what the plan declares while nothing is known, and no undo where it has none', async () => {
    const run = await newRun(store, planOf('unknown'));
    expect(await expectedOf(run, 'move/copy')).toEqual([2_000, 10_000]);
    expect(await expectedOf(run, 'look')).toEqual([2_000, null]);
    expect(await expectedOf(run, 'after')).toEqual([2_000, null]);
  });

  test('is the longest so far under 20 times, and their p95 from 20 times on', async () => {
    const first = await newRun(store, planOf('learned'));
    await past(first, 'move/copy', 'run', [700, 900, 800]);
    await past(first, 'move/copy', 'undo', [50]);
    const second = await newRun(store, planOf('learned'));
    expect(await expectedOf(second, 'move/copy')).toEqual([900, 50]);
    expect(await expectedOf(second, 'move/hold')).toEqual([2_000, 10_000]);
    // 17 more: 20 times, of which the second longest is the p95.
    await past(second, 'move/copy', 'run', Array<number>(17).fill(100));
    expect(await expectedOf(await newRun(store, planOf('learned')), 'move/copy')).toEqual([800, 50]);
    // What was fixed when a run was made stays.
    expect(await expectedOf(second, 'move/copy')).toEqual([900, 50]);
  });

  test('is read from the last 100 times alone, of this runbook in this environment', async () => {
    const run = await newRun(store, planOf('last hundred'));
    await past(run, 'move/hold', 'run', [60_000, ...Array<number>(100).fill(300)]);
    expect(await expectedOf(await newRun(store, planOf('last hundred')), 'move/hold')).toEqual([300, 10_000]);
    const elsewhere = planOf('last hundred', { environment: 'elsewhere' });
    expect(await expectedOf(await newRun(store, elsewhere), 'move/hold')).toEqual([2_000, 10_000]);
    expect(await expectedOf(await newRun(store, planOf('another')), 'move/hold')).toEqual([2_000, 10_000]);
  });

  test('comes from good outcomes of runs and undos, and is rebuilt from the journal', async () => {
    const run = await newRun(store, planOf('measured'));
    const failed = {
      result: 'failed',
      verdict: 'error',
      summary: 'no',
      error: { type: 'PhaseFailed', message: 'no' },
      state: null,
    } as const;
    await perform(store, intentRow(run, { phase: 'look' }));
    await perform(store, intentRow(run, { phase: 'move/hold' }));
    await perform(store, intentRow(run, { phase: 'move/copy' }), failed);
    await perform(store, intentRow(run, { phase: 'move/copy', direction: 'probe', try: 2 }), {
      answer: 'no',
    });
    await perform(store, intentRow(run, { phase: 'move/hold', direction: 'undo', try: 2 }));
    const known = async () =>
      (
        await store.owner.query<{ phase: string; direction: string; seq: number; ms: string }>(
          'select phase, direction, seq, ms from countdown.durations where run = $1 order by seq',
          [run],
        )
      ).rows;
    const measured = await known();
    expect(measured.map(({ phase, direction }) => [phase, direction])).toEqual([
      ['look', 'run'],
      ['move/hold', 'run'],
      ['move/hold', 'undo'],
    ]);
    const { rows: journal } = await store.owner.query<{ ms: number }>(
      `select ceil(extract(epoch from o.at - i.at) * 1000)::float8 as ms from countdown.journal o
      join countdown.journal i on i.run = o.run and i.seq = (o.body ->> 'intent')::integer
      where o.run = $1 and o.kind = 'outcome' and o.direction <> 'probe' and o.body ->> 'result' = 'ok' order by o.seq`,
      [run],
    );
    expect(measured.map(({ ms }) => Number(ms))).toEqual(journal.map(({ ms }) => ms));
    await store.owner.query('update countdown.durations set ms = 7 where run = $1', [run]);
    await rebuild(store.owner, run);
    expect(await known()).toEqual(measured);
  });
});

describe('a phase with an effect', () => {
  test('is refused where taking back everything so far and itself would not fit the objective', async () => {
    const run = await newRun(store, planOf('too long', { rollback: { withinMs: 25_000 } }));
    for (const phase of ['look', 'move/hold', 'move/copy']) await perform(store, intentRow(run, { phase }));
    expect(await start(run, 'open')).toEqual({
      refused: 'ObjectiveExceeded',
      detail:
        'open was not started: with it a rollback takes back 3 phases in about 30s, expected within 25s.',
    });
    expect((await store.api.run(run))?.phases.find(({ phase }) => phase === 'open')?.state).toBe('pending');
  });

  test('fits where it is exactly as long as it may be; a skipped one that had begun still counts', async () => {
    const run = await newRun(store, planOf('exact', { rollback: { withinMs: 20_000 } }));
    await perform(store, intentRow(run, { phase: 'look' }));
    await perform(store, intentRow(run, { phase: 'move/hold' }));
    await perform(store, intentRow(run, { phase: 'move/copy' }));
    await store.worker.record(run, [
      { key: 'skip', kind: 'phase', phase: 'move/copy', state: 'skipped', body: { summary: 'by dana' } },
    ]);
    expect(await start(run, 'open')).toMatchObject({ refused: 'ObjectiveExceeded' });
    await store.worker.record(run, [
      { key: 'undone', kind: 'phase', phase: 'move/copy', state: 'undone', body: { summary: 'by hand' } },
      { key: 'again', kind: 'phase', phase: 'move/copy', state: 'done', body: { summary: 'by hand' } },
    ]);
    expect(await start(run, 'open')).toMatchObject({ refused: 'ObjectiveExceeded' });
    await store.owner.query('update countdown.runs set rollback_ms = 30000 where run = $1', [run]);
    expect(await start(run, 'open')).toHaveProperty('seq');
  });

  test('is tried again without counting itself twice', async () => {
    const run = await newRun(store, planOf('again', { rollback: { withinMs: 10_000 } }));
    await perform(store, intentRow(run, { phase: 'look' }));
    expect(await start(run, 'move/hold')).toHaveProperty('seq');
    const again = intentRow(run, { phase: 'move/hold', try: 2 });
    expect(await store.worker.intent(again)).toHaveProperty('seq');
  });

  test('is held to the objective of its step besides', async () => {
    const plan = planOf('of its step');
    plan.steps = plan.steps.map((step) =>
      step.id === 'move' ? { ...step, rollback: { withinMs: 15_000 } } : step,
    );
    const run = await newRun(store, plan);
    await perform(store, intentRow(run, { phase: 'look' }));
    await perform(store, intentRow(run, { phase: 'move/hold' }));
    expect(await start(run, 'move/copy')).toEqual({
      refused: 'ObjectiveExceeded',
      detail:
        'move/copy was not started: with it taking back step move takes about 20s, expected within 15s.',
    });
  });

  test('is refused where it and the way back do not fit until its window ends', async () => {
    const run = await newRun(store, planOf('window'));
    await perform(store, intentRow(run, { phase: 'look' }));
    const answer = await start(run, 'move/hold', new Date(Date.now() + 11_000));
    expect(answer).toMatchObject({ refused: 'ObjectiveExceeded' });
    expect('detail' in answer ? answer.detail : '').toMatch(
      /^move\/hold was not started: it takes about 2s and its rollback 10s, but only 11s are left until \d+ \w+ \d\d:\d\d UTC\.$/,
    );
    expect(await start(run, 'move/hold', new Date(Date.now() + 60_000))).toHaveProperty('seq');
  });

  test('passes once a person has said retry to that refusal, and not by a retry of before', async () => {
    const run = await newRun(store, planOf('decided', { rollback: { withinMs: 5_000 } }));
    await perform(store, intentRow(run, { phase: 'look' }));
    await person(run, 'retry', 'move/hold');
    expect(await start(run, 'move/hold')).toMatchObject({ refused: 'ObjectiveExceeded' });
    await person(run, 'skip', 'move/hold');
    await person(run, 'retry', 'move/copy');
    expect(await start(run, 'move/hold')).toMatchObject({ refused: 'ObjectiveExceeded' });
    await person(run, 'retry', 'move/hold');
    expect(await start(run, 'move/hold')).toHaveProperty('seq');
    // The next phase is another decision.
    await store.worker.record(run, [
      { key: 'done', kind: 'phase', phase: 'move/hold', state: 'done', body: { summary: 'held' } },
    ]);
    expect(await start(run, 'move/copy')).toMatchObject({ refused: 'ObjectiveExceeded' });
  });

  test('below the point of no return has no way back, so nothing is asked of it', async () => {
    const run = await newRun(store, planOf('below', { rollback: { withinMs: 30_000 } }));
    for (const phase of ['look', 'move/hold', 'move/copy', 'open']) {
      await perform(store, intentRow(run, { phase }));
    }
    await store.worker.record(run, [
      { key: 'keep', kind: 'phase', phase: 'keep', state: 'done', body: { summary: 'passed' } },
    ]);
    expect(await start(run, 'after', new Date(Date.now() - 1_000))).toHaveProperty('seq');
  });

  test('is never held back on its way back', async () => {
    const run = await newRun(store, planOf('back', { rollback: { withinMs: 10_000 } }));
    await perform(store, intentRow(run, { phase: 'look' }));
    await perform(store, intentRow(run, { phase: 'move/hold' }));
    await store.owner.query('update countdown.runs set rollback_ms = 1 where run = $1', [run]);
    const undo = intentRow(run, { phase: 'move/hold', direction: 'undo', try: 2 });
    expect(await store.worker.intent(undo)).toHaveProperty('seq');
  });
});
