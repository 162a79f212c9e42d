import { afterAll, beforeAll, expect, test } from 'vitest';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../procedures/limits.ts';
import type { Plan } from '../../procedures/plan.ts';
import { makePlan } from '../support/plans.ts';
import { intentRow, perform } from '../store/support.ts';
import { type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await makeTestApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const effect = 'reversible' as const;

function planOf(name: string, over: Partial<Plan> = {}): Plan {
  const plan = makePlan([
    {
      id: 'move',
      phases: [
        { name: 'hold', effect },
        { name: 'copy', effect },
      ],
    },
    { id: 'keep', phases: [{ name: 'keep', wait: 'point-of-no-return' }] },
  ]);
  for (const phase of plan.phases) phase.expected = { runMs: 1_000, undoMs: 4_000 };
  return { ...plan, runbook: { ...plan.runbook, name }, environment: 'lab', leases: {}, ...over };
}

type Shown = {
  rollback: { withinMs: number; undoMs: number; phases: number; lastSafeAt: string | null };
  recovery: Record<string, number> | null;
  abort: object;
};
const start = async (plan: Plan) => {
  const body = { plan: await api.savePlan(plan) };
  return (await api.ok<{ run: number }>('dana', '/v1/runs', { body })).run;
};
const show = (run: number) => api.ok<Shown>('dana', `/v1/runs/${run}`);

test('a run says what an abort now would undo, how long that takes, and where the time of a rollback went', async () => {
  const run = await start(planOf('numbers'));
  expect((await show(run)).rollback).toEqual({ withinMs: 60_000, undoMs: 0, phases: 0, lastSafeAt: null });
  await perform(api, intentRow(run, { phase: 'move/hold' }));
  await perform(api, intentRow(run, { phase: 'move/copy' }));
  expect(await show(run)).toMatchObject({
    rollback: { undoMs: 8_000, phases: 2, lastSafeAt: null },
    abort: { allowed: true, undoes: 2, undoMs: 8_000 },
    recovery: null,
  });
  await api.worker.record(run, [
    { key: 'left', kind: 'run', state: 'unwinding', body: { because: 'a test says so' } },
  ]);
  for (const phase of ['move/copy', 'move/hold']) {
    await perform(api, intentRow(run, { phase, direction: 'undo', try: 2 }));
  }
  expect((await show(run)).recovery).toBeNull();
  await api.worker.record(run, [
    { key: 'end', kind: 'run', state: 'rolled-back', body: { verified: true, notVerified: [] } },
  ]);
  const over = await show(run);
  expect(over.rollback).toEqual({ withinMs: 60_000, undoMs: 0, phases: 0, lastSafeAt: null });
  expect(over.recovery).toMatchObject({ detectMs: 0, decideMs: 0 });
  expect(over.recovery?.['executeMs']).toBeGreaterThan(0);
});

test('the last safe abort is the end of the window in which a step began, less what the rollback takes', async () => {
  // A window of two hours around this minute, every day.
  const minute = Math.floor((Date.now() % DAY_MS) / MINUTE_MS);
  const day = 24 * 60;
  const night = {
    days: ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'],
    fromMinute: (minute - 60 + day) % day,
    toMinute: (minute + 60) % day,
    timezone: 'UTC',
  };
  const plan = planOf('window', { windows: { night } } as Partial<Plan>);
  plan.steps = plan.steps.map((step) =>
    step.id === 'move' ? { ...step, window: { name: 'night', midRun: 'finish' as const } } : step,
  );
  const run = await start(plan);
  expect((await show(run)).rollback.lastSafeAt).toBeNull();
  await perform(api, intentRow(run, { phase: 'move/hold' }));
  const end = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS + HOUR_MS;
  const { lastSafeAt } = (await show(run)).rollback;
  // The minute may have turned between the two looks at the clock.
  expect([end - 4_000, end - MINUTE_MS - 4_000]).toContain(Date.parse(lastSafeAt ?? ''));
  await perform(api, intentRow(run, { phase: 'move/copy' }));
  await api.worker.record(run, [
    { key: 'keep', kind: 'phase', phase: 'keep', state: 'done', body: { summary: 'passed' } },
  ]);
  expect((await show(run)).rollback.lastSafeAt).toBeNull();
});

test('a plan says of how many past times its rollback is the longest, or the p95', async () => {
  type Body = {
    now: { undoMs: number; takesMs: number; undoBasis: object | null };
    steps: { undoMs: number }[];
  };
  const plan = await api.savePlan(planOf('basis'));
  const read = async () => {
    const { now, steps } = await api.ok<Body>('dana', `/v1/plans/${plan}`);
    return [now.undoMs, now.takesMs, now.undoBasis, steps[0]?.undoMs];
  };
  expect(await read()).toEqual([8_000, 3_000, null, 8_000]);
  const run = await start(planOf('basis', { params: { other: true } }));
  const undo = async (phase: string, from: number, to: number) => {
    for (let tried = from; tried <= to; tried += 1) {
      await perform(api, intentRow(run, { phase, direction: 'undo', try: tried }));
    }
  };
  await undo('move/hold', 1, 20);
  expect((await read())[2]).toBeNull();
  await undo('move/copy', 1, 2);
  expect((await read())[2]).toEqual({ samples: 2, isP95: false });
  await undo('move/copy', 3, 20);
  expect((await read())[2]).toEqual({ samples: 20, isP95: true });
});
