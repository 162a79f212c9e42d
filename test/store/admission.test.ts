/** Runs that wait for their time or for a target. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Plan } from '../../procedures/plan.ts';
import { verifyChain } from '../../store/chain.ts';
import { digest } from '../../store/digest.ts';
import { rebuild } from '../../store/rebuild.ts';
import type { CreatedRun, NewRun } from '../../store/types.ts';
import { makeStoreDatabase, type StoreDatabase } from '../support/store.ts';
import { SAMPLE, intentRow, newRun, planOver } from './support.ts';

let store: StoreDatabase;
beforeAll(async () => {
  store = await makeStoreDatabase();
});
afterAll(() => store[Symbol.asyncDispose]());

const HOUR_MS = 3_600_000;
const START = Date.now();
/** Minutes after the start of the test. */
const at = (minutes: number) => new Date(START + minutes * 60_000);

let asked = 0;
async function ask(plan: Plan, over: Partial<NewRun>): Promise<CreatedRun> {
  // Each plan is one of its own: a run of the same one is another matter.
  const named = { ...plan, params: { asked: (asked += 1) } };
  const hash = digest(named);
  await store.api.savePlan({ hash, plan: named, person: 'dana' });
  return store.api.createRun({
    plan: hash,
    requester: 'dana',
    groups: {},
    failAt: null,
    idempotency: null,
    now: at(0),
    ...over,
  });
}

/** A run that waits. */
async function waiting(plan: Plan, over: Partial<NewRun>): Promise<number> {
  const made = await ask(plan, over);
  expect(made).toMatchObject({ created: true, isAdmitted: false });
  return 'run' in made ? made.run : 0;
}

const over = (targets: Record<string, 'exclusive' | 'shared'>): Plan => ({ ...SAMPLE, leases: targets });
const stop = (run: number) =>
  store.worker.record(run, [{ key: 'stop', kind: 'run', state: 'stopped', body: { because: 'enough' } }]);
const held = async (run: number) =>
  (await store.api.leases()).filter((lease) => lease.run === run).map(({ target }) => target);

describe('a run with a time of its own', () => {
  test('holds nothing before it, is given everything at it, and its journal says both', async () => {
    const run = await waiting(over({ 'time a': 'exclusive', 'time b': 'shared' }), { dueAt: at(60) });
    expect(await held(run)).toEqual([]);
    // Until then others take the target, as if it were not there.
    const other = await newRun(store, planOver('time a'));
    await stop(other);
    expect(await store.api.admit(run, at(59))).toEqual({ answer: 'early' });
    expect(await store.api.run(run)).toMatchObject({
      state: 'planned',
      isAdmitted: false,
      dueAt: at(60).toISOString(),
    });
    expect(await store.api.admit(run, at(60))).toEqual({ answer: 'admitted' });
    expect(await held(run)).toEqual(['time a', 'time b']);
    expect(await store.api.admit(run, at(61))).toEqual({ answer: 'over' });
    const rows = await store.api.journal(run, { after: 0, limit: 10 });
    expect(rows.map(({ kind, actor, body }) => [kind, actor, body['dueAt'], body['admitted']])).toEqual([
      ['asked', 'dana', at(60).toISOString(), undefined],
      ['run', 'api', undefined, true],
    ]);
    expect(verifyChain(rows)).toMatchObject({ intact: true });
    const before = await store.api.run(run);
    await rebuild(store.owner, run);
    expect(await store.api.run(run)).toEqual(before);
  });

  test('takes no row of a worker before it has its leases, so a forged start begins nothing', async () => {
    const run = await waiting(over({}), { dueAt: at(60) });
    expect(await store.worker.loadRun(run)).toBeUndefined();
    expect(await store.worker.intent(intentRow(run))).toEqual({
      refused: 'LeaseLost',
      detail: `Run ${run} waits for its time or for a target and holds no lease yet.`,
    });
    await expect(
      store.worker.record(run, [{ key: 'go', kind: 'run', state: 'running', body: {} }]),
    ).rejects.toThrow('holds no lease yet');
    await store.api.admit(run, at(60));
    expect(await store.worker.intent(intentRow(run))).toHaveProperty('seq');
    expect((await store.worker.loadRun(run))?.epoch).toBeGreaterThan(0);
  });
});

describe('a run that waits for a target', () => {
  test('is made where without waiting it would be refused, and begins when the target is free', async () => {
    const holder = await newRun(store, planOver('wait'));
    expect(await ask(planOver('wait'), {})).toEqual({
      refused: 'TargetLeased',
      blocker: { target: 'wait', run: holder, waits: false },
    });
    const run = await waiting(planOver('wait'), { waitMs: HOUR_MS });
    expect((await store.api.run(run))?.waitUntil).toBe(at(60).toISOString());
    expect(await store.api.admit(run, at(1))).toEqual({
      answer: 'leased',
      blocker: { target: 'wait', run: holder, waits: false },
    });
    expect(await store.api.blocker(run, at(1))).toEqual({ target: 'wait', run: holder, waits: false });
    await stop(holder);
    expect(await store.api.blocker(run, at(1))).toBeUndefined();
    expect(await store.api.admit(run, at(1))).toEqual({ answer: 'admitted' });
  });

  test('takes all of its targets at once or none of them', async () => {
    const holder = await newRun(store, planOver('all b'));
    const run = await waiting(over({ 'all a': 'exclusive', 'all b': 'exclusive' }), { waitMs: HOUR_MS });
    expect(await store.api.admit(run, at(1))).toMatchObject({ answer: 'leased' });
    expect(await held(run)).toEqual([]);
    await stop(holder);
    await store.api.admit(run, at(1));
    expect(await held(run)).toEqual(['all a', 'all b']);
  });

  test('is not overtaken by a later one, whether that waits or not, and overtakes none itself', async () => {
    const holder = await newRun(store, planOver('line'));
    const first = await waiting(planOver('line'), { waitMs: HOUR_MS });
    const second = await waiting(planOver('line'), { waitMs: HOUR_MS });
    await stop(holder);
    expect(await store.api.admit(second, at(1))).toEqual({
      answer: 'leased',
      blocker: { target: 'line', run: first, waits: true },
    });
    expect(await ask(planOver('line'), { now: at(1) })).toEqual({
      refused: 'TargetLeased',
      blocker: { target: 'line', run: first, waits: true },
    });
    // For another target nobody waits.
    expect(await ask(planOver('another line'), { now: at(1) })).toMatchObject({ isAdmitted: true });
    expect(await store.api.admit(first, at(1))).toEqual({ answer: 'admitted' });
    expect(await store.api.admit(second, at(1))).toMatchObject({ blocker: { run: first, waits: false } });
    await stop(first);
    expect(await store.api.admit(second, at(1))).toEqual({ answer: 'admitted' });
  });

  test('shares a target with those that read it too, and stands behind one that needs it alone', async () => {
    const holder = await newRun(store, planOver('share'));
    const alone = await waiting(planOver('share'), { waitMs: HOUR_MS });
    const one = await waiting(planOver('share', 'shared'), { waitMs: HOUR_MS });
    const two = await waiting(planOver('share', 'shared'), { waitMs: HOUR_MS });
    await stop(holder);
    expect(await store.api.admit(two, at(1))).toMatchObject({ blocker: { run: alone, waits: true } });
    await store.api.admit(alone, at(1));
    await stop(alone);
    expect(await store.api.admit(two, at(1))).toEqual({ answer: 'admitted' });
    expect(await store.api.admit(one, at(1))).toEqual({ answer: 'admitted' });
  });

  test('is one of many that ask at once: each target goes to one, in order of their numbers', async () => {
    const holder = await newRun(store, planOver('crowd'));
    const runs = await Promise.all(
      Array.from({ length: 8 }, () => waiting(planOver('crowd'), { waitMs: HOUR_MS })),
    );
    await stop(holder);
    const order: number[] = [];
    while (order.length < runs.length) {
      const answers = await Promise.all(runs.map((run) => store.api.admit(run, at(1))));
      const admitted = runs.filter((_run, index) => answers[index]?.answer === 'admitted');
      expect(admitted).toHaveLength(1);
      order.push(...admitted);
      await stop(admitted[0] ?? 0);
    }
    expect(order).toEqual([...runs].sort((a, b) => a - b));
  });

  test('is told in its journal where it did not have to wait', async () => {
    const made = await ask(planOver('free'), { waitMs: HOUR_MS });
    expect(made).toMatchObject({ isAdmitted: true });
    const rows = await store.api.journal('run' in made ? made.run : 0, { after: 0, limit: 10 });
    expect(rows.map(({ kind, body }) => [kind, body['waitMs'], body['admitted']])).toEqual([
      ['asked', HOUR_MS, undefined],
      ['run', undefined, true],
    ]);
  });
});

const abort = async (run: number, kind: 'abort' | 'retry' = 'abort') => {
  const id = randomUUID();
  await store.api.insertDecision({
    id,
    run,
    kind,
    subject: null,
    person: 'ana',
    groups: [],
    door: 'cli',
    plan: 'p',
    evidence: null,
    reason: 'not tonight',
    resolution: null,
  });
  return id;
};

describe('a run that waits and is ended', () => {
  test('by a person has the decision and the end in its journal, and lets the next one through', async () => {
    const holder = await newRun(store, planOver('ended'));
    const first = await waiting(planOver('ended'), { waitMs: HOUR_MS });
    const second = await waiting(planOver('ended'), { waitMs: HOUR_MS });
    const decision = await abort(first);
    expect(await store.api.stopPlanned({ run: first, because: 'not tonight', decision })).toBe(true);
    expect(await store.api.run(first)).toMatchObject({
      state: 'stopped',
      because: 'not tonight',
      decisions: [{ id: decision, counted: true }],
    });
    const rows = await store.api.journal(first, { after: 0, limit: 10 });
    expect(rows.map(({ kind, actor }) => [kind, actor])).toEqual([
      ['asked', 'dana'],
      ['decision', 'ana'],
      ['run', 'api'],
    ]);
    expect(verifyChain(rows)).toMatchObject({ intact: true });
    expect(await store.api.stopPlanned({ run: first, because: 'again', decision: null })).toBe(false);
    expect(await store.api.admit(first, at(1))).toEqual({ answer: 'over' });
    await stop(holder);
    expect(await store.api.admit(second, at(1))).toEqual({ answer: 'admitted' });
  });

  test('must not have begun: from then on only its workflow ends it', async () => {
    const run = await waiting(planOver('begun'), { dueAt: at(60) });
    await store.api.admit(run, at(60));
    const decision = await abort(run);
    expect(await store.api.stopPlanned({ run, because: 'late', decision })).toBe(false);
    expect((await store.api.run(run))?.decisions[0]?.counted).toBe(false);
  });

  test('needs an abort of that run, and can be made nothing but stopped', async () => {
    const run = await waiting(planOver('forged'), { dueAt: at(60) });
    const other = await waiting(planOver('forged 2'), { dueAt: at(60) });
    for (const decision of [await abort(other), await abort(run, 'retry'), 'nobody']) {
      await expect(store.api.stopPlanned({ run, because: 'forged', decision })).rejects.toThrow(
        'No door wrote decision',
      );
    }
    await expect(
      store.owner.query('select countdown.stop_planned($1, null, $2)', [run, '{"state":"succeeded"}']),
    ).rejects.toThrow('A run that waits can only be stopped, not made succeeded.');
    expect((await store.api.run(run))?.state).toBe('planned');
  });
});

describe('a phase of a run with a last time', () => {
  test('is refused where it and its way back do not fit until then', async () => {
    const plan = { ...planOver('last time') };
    plan.phases = plan.phases.map((phase) => ({ ...phase, expected: { runMs: 60_000, undoMs: 30_000 } }));
    const made = await ask(plan, { notAfter: new Date(Date.now() + 60_000) });
    const run = 'run' in made ? made.run : 0;
    const pass = { kind: 'phase', phase: 'move/inspect', state: 'done', body: {} } as const;
    await store.worker.record(run, [{ key: 'done', ...pass }]);
    const refused = await store.worker.intent(intentRow(run, { phase: 'move/hold' }));
    expect('detail' in refused ? refused.detail : '').toMatch(
      /^move\/hold was not started: it takes about 1m 00s and its rollback 30s, but only (1m 00s|59s|58s) are left until/,
    );
  });
});
