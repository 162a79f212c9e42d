/** What a runbook can say, on the real engine: parallel steps, conditions, work by hand, windows, leave to skip, broken glass. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunDetail } from '../../store/types.ts';
import { type Engine, makeEngine, refuse, untilCancelled } from '../support/engine.ts';
import { type PhaseSpec, type StepSpec, approval, makePlan } from '../support/plans.ts';

let engine: Engine;
beforeAll(async () => (engine = await makeEngine()));
afterAll(async () => engine[Symbol.asyncDispose]());

const fresh = () => {
  const { world } = engine;
  world.scripts.clear();
  world.done.length = 0;
  world.stands.clear();
  return world;
};
const stateOf = (detail: RunDetail, id: string) => detail.phases.find(({ phase }) => phase === id)?.state;
const effect = (name: string, over: Partial<PhaseSpec> = {}): PhaseSpec => ({
  name,
  effect: 'reversible',
  ...over,
});
const both = (left: PhaseSpec[], right: PhaseSpec[]): StepSpec[] => [
  { id: 'left', block: 'both', phases: left },
  { id: 'right', block: 'both', phases: right },
];

/** Two days from now on, in UTC. */
const shut = (now: Date) => {
  const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'] as const;
  const day = days[(now.getUTCDay() + 2) % 7] ?? 'Sun';
  return { night: { days: [day], fromMinute: 0, toMinute: 60, timezone: 'UTC', midRun: 'finish' as const } };
};

const askingOwner = (over = {}) =>
  makePlan([{ id: 'move', phases: [effect('a', { approval: approval({ owner: 1 }, over) })] }]);

describe('parallel steps', () => {
  it('are at work at the same time, and what follows waits for all of them', async () => {
    const world = fresh();
    // Each lets the other one go on: where they do not meet, the run does not end.
    const [left, right] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
    world.scripts.set('left/run', () => (right.resolve(undefined), left.promise));
    world.scripts.set('right/run', () => (left.resolve(undefined), right.promise));
    const run = await engine.start(
      makePlan([...both([effect('a')], [effect('b')]), { id: 'last', phases: [{ name: 'c' }] }]),
    );
    expect((await run.ended()).state).toBe('succeeded');
    expect(world.told.at(-1)).toBe('last/run');
  });

  it('are asked about once, when both have come to their first effect', async () => {
    const world = fresh();
    const asked = approval({ sre: 1 });
    world.looks.add('left/d');
    const run = await engine.start(
      makePlan(both([{ name: 'd' }, effect('a', { approval: asked })], [effect('b', { approval: asked })])),
    );
    const waiting = await run.until(
      (detail) =>
        stateOf(detail, 'left/a') === 'waiting' &&
        stateOf(detail, 'right') === 'waiting' &&
        detail.approvals.length > 0,
    );
    expect(waiting.approvals.map(({ step, state }) => [step, state])).toEqual([['both', 'open']]);
    expect(world.told).toEqual(['left/d/run']);
    await run.decide('approve', 'both', 'ana');
    const { state, approvals } = await run.ended();
    expect([state, approvals.map((one) => one.state)]).toEqual(['succeeded', ['granted']]);
  });

  it('are taken back in reverse order of their start after an abort, one by one', async () => {
    const world = fresh();
    world.scripts.set('right/b/run', (phase, context) => {
      world.stands.add(phase);
      return untilCancelled(context);
    });
    const run = await engine.start(
      makePlan([
        { id: 'first', phases: [effect('e')] },
        ...both([effect('a'), effect('c')], [effect('d'), effect('b')]),
      ]),
    );
    await run.until(
      (detail) => stateOf(detail, 'left/c') === 'done' && stateOf(detail, 'right/b') === 'running',
    );
    await run.decide('abort', null, 'dana');
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
    const undone = world.told
      .filter((one) => one.endsWith('/undo'))
      .map((one) => one.slice(0, -'/undo'.length));
    const of = (step: string) => undone.filter((one) => one.startsWith(step));
    expect([of('left'), of('right'), undone.at(-1), undone.length]).toEqual([
      ['left/c', 'left/a'],
      ['right/b', 'right/d'],
      'first',
      5,
    ]);
    expect([...world.stands]).toEqual([]);
  });
});

describe('a condition on an output', () => {
  const plan = makePlan([
    { id: 'maybe', phases: [{ name: 'f', decides: true }, effect('a')] },
    { id: 'last', phases: [{ name: 'c' }] },
  ]);

  it('leaves its step out, which caps no verdict', async () => {
    const world = fresh();
    world.scripts.set('maybe/f/run', async () => ({
      verdict: 'pass',
      summary: 'rows is 3, expected above 10',
      leaveOut: true,
    }));
    const run = await engine.start(plan);
    const detail = await run.ended();
    expect(detail).toMatchObject({ state: 'succeeded', verdict: 'pass' });
    expect(detail.phases.find(({ phase }) => phase === 'maybe/a')).toMatchObject({
      state: 'skipped',
      summary: 'left out: rows is 3, expected above 10',
    });
    expect(world.told).not.toContain('maybe/a/run');
  });
});

describe('work by hand', () => {
  const plan = makePlan([
    { id: 'hand', phases: [effect('a', { wait: 'person' })] },
    { id: 'next', phases: [effect('b')] },
  ]);

  it('waits until a person says with evidence that it is done', async () => {
    fresh();
    const run = await engine.start(plan);
    const waiting = await run.until(({ state }) => state === 'waiting');
    expect(waiting).toMatchObject({ because: 'do hand' });
    const bare = { resolution: { done: true as const, evidence: ' ' } };
    await expect(run.decide('done', 'hand', 'eve', bare)).rejects.toMatchObject({
      cause: { type: 'EvidenceNeeded' },
    });
    await expect(run.decide('retry', 'hand', 'eve')).rejects.toMatchObject({ cause: { type: 'NotHeld' } });
    await run.decide('done', 'hand', 'eve', { resolution: { done: true, evidence: 'ticket 7' } });
    const detail = await run.ended();
    expect(detail.state).toBe('succeeded');
    expect(detail.phases[0]?.summary).toBe('done by eve: ticket 7');
  });

  it('is taken back by hand: the others are undone, and the run is stuck until a person says so', async () => {
    const world = fresh();
    world.scripts.set('next/run', () => refuse('PhaseFailed', 'no'));
    const run = await engine.start(plan);
    await run.until(({ state }) => state === 'waiting');
    await run.decide('done', 'hand', 'eve', { resolution: { done: true, evidence: 'ticket 7' } });
    const stuck = await run.until(({ state }) => state === 'stuck');
    expect([stateOf(stuck, 'hand'), stateOf(stuck, 'next')]).toEqual(['undoing', 'undone']);
    await expect(run.decide('resolve', 'hand', 'eve', { resolution: { retry: true } })).rejects.toMatchObject(
      {
        cause: { type: 'EvidenceNeeded' },
      },
    );
    await run.decide('resolve', 'hand', 'eve', {
      resolution: { done: true, evidence: 'put back, ticket 8' },
    });
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
  });
});

describe('a window', () => {
  it('that is closed is waited for, also by a person who would rather abort', async () => {
    const world = fresh();
    const steps: StepSpec[] = [{ id: 'move', midRun: 'finish', phases: [effect('a', { window: 'night' })] }];
    const run = await engine.start(makePlan(steps, { windows: shut(new Date()) }));
    const waiting = await run.until(({ state }) => state === 'waiting');
    expect(waiting.phases[0]).toMatchObject({ state: 'waiting', waitingFor: 'window night' });
    await run.decide('abort', null, 'dana');
    expect((await run.ended()).state).toBe('stopped');
    expect(world.told).toEqual([]);
  });

  it('that is open lets the step begin', async () => {
    fresh();
    const always = { days: ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'] as const };
    const night = {
      ...always,
      days: [...always.days],
      fromMinute: 0,
      toMinute: 1440,
      timezone: 'UTC',
      midRun: 'finish' as const,
    };
    const steps: StepSpec[] = [{ id: 'move', midRun: 'finish', phases: [effect('a', { window: 'night' })] }];
    const run = await engine.start(makePlan(steps, { windows: { night } }));
    expect((await run.ended()).state).toBe('succeeded');
  });
});

describe('skipping a verification', () => {
  const plan = makePlan([
    { id: 'move', onFail: 'ask', phases: [effect('a'), { name: 'b', skip: approval({ sre: 1 }) }] },
    { id: 'last', phases: [{ name: 'c' }] },
  ]);
  const held = async () => {
    const world = fresh();
    world.scripts.set('move/b/run', async () => ({ verdict: 'fail', summary: '1 cell differs' }));
    const run = await engine.start(plan);
    await run.until(({ state }) => state === 'waiting');
    return run;
  };

  it('needs the leave of those who approve, and caps the verdict; its output stands for what was not found', async () => {
    const run = await held();
    const answer = await run.decide('skip', 'move/b', 'eve', { output: { phase: 'by hand' } });
    expect(answer.detail).toBe('Accepted. To skip move/b, sre 1 (ana, ben) must approve; they are asked.');
    await expect(run.decide('skip', 'move/b', 'eve')).rejects.toMatchObject({
      cause: { type: 'AlreadyAsked' },
    });
    await run.until(({ approvals }) => approvals[0]?.state === 'open');
    await expect(run.decide('approve', 'move/b', 'eve')).rejects.toThrow();
    await run.decide('approve', 'move/b', 'ana');
    const detail = await run.ended();
    expect(detail).toMatchObject({ state: 'succeeded', verdict: 'warn' });
    expect(detail.phases.find(({ phase }) => phase === 'move/b')?.state).toBe('skipped');
  });

  it('that is rejected leaves it waiting', async () => {
    const run = await held();
    await run.decide('skip', 'move/b', 'eve');
    await run.until(({ approvals }) => approvals[0]?.state === 'open');
    await run.decide('reject', 'move/b', 'ana');
    expect((await run.detail()).state).toBe('waiting');
    await run.decide('abort', null, 'dana');
    expect((await run.ended()).state).toBe('rolled-back');
  });
});

describe('broken glass', () => {
  it('takes two people and a reason, never the requester, and stays marked', async () => {
    fresh();
    const run = await engine.start(askingOwner({ breakGlass: true }));
    await run.until(({ approvals }) => approvals[0]?.state === 'open');
    const glass = { breakGlass: true as const };
    await expect(run.decide('approve', 'move', 'dana', glass)).rejects.toMatchObject({
      cause: { type: 'RequesterCannotApprove' },
    });
    await expect(run.decide('approve', 'move', 'ana', { ...glass, reason: null })).rejects.toMatchObject({
      cause: { type: 'CommentRequired' },
    });
    await run.decide('approve', 'move', 'ana', glass);
    expect(await run.decide('approve', 'move', 'ana', glass)).toMatchObject({ result: 'AlreadyCounted' });
    expect((await run.detail()).state).toBe('waiting');
    expect(await run.decide('approve', 'move', 'ben', glass)).toMatchObject({
      detail: 'Counted. The glass of move is broken.',
    });
    expect(await run.ended()).toMatchObject({ state: 'succeeded', verdict: 'warn' });
  });

  it('is refused where the environment does not allow it', async () => {
    fresh();
    const run = await engine.start(askingOwner());
    await run.until(({ approvals }) => approvals[0]?.state === 'open');
    await expect(run.decide('approve', 'move', 'ana', { breakGlass: true })).rejects.toMatchObject({
      cause: { type: 'BreakGlassNotAllowed' },
    });
    await run.decide('abort', null, 'dana');
    await run.ended();
  });
});

describe('an undo', () => {
  it('is told how its phase failed, and on the desk takes other params', async () => {
    const world = fresh();
    const told: unknown[] = [];
    world.scripts.set('move/run', () => refuse('PhaseFailed', 'half-way'));
    world.scripts.set('move/probe', async () => ({ answer: 'partly', summary: 'looked' }));
    world.scripts.set('move/undo', async (phase, context) => {
      told.push(context.error);
      if (told.length === 1) refuse('UndoFailed', 'not so');
      world.stands.delete(phase);
      return undefined;
    });
    const run = await engine.start(makePlan([{ id: 'move', phases: [effect('a')] }]));
    await run.until(({ state }) => state === 'stuck');
    await run.decide('resolve', 'move', 'eve', { resolution: { retry: true, params: { phase: 'other' } } });
    expect((await run.ended()).state).toBe('rolled-back');
    expect(told).toEqual([
      { type: 'PhaseFailed', message: 'half-way' },
      { type: 'PhaseFailed', message: 'half-way' },
    ]);
  });
});

it('and all of their histories replay', async () => {
  const { replayed, broken } = await engine.replay();
  expect(replayed).toBeGreaterThan(10);
  expect(broken).toEqual([]);
});
