/** The way back when targets are away for a moment, and when a person must help: on a real Temporal with a real journal. */
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { JournalRow, RunDetail } from '../../store/types.ts';
import { type Engine, type EngineRun, makeEngine, refuse } from '../support/engine.ts';
import { makePlan } from '../support/plans.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await makeEngine();
});
afterAll(() => engine[Symbol.asyncDispose]());
beforeEach(() => {
  engine.world.done.length = 0;
  engine.world.stands.clear();
  engine.world.scripts.clear();
});

/** Two steps at one target and one at another, then a check that is red. */
const plan = makePlan([
  { id: 'one', phases: [{ name: 'a', effect: 'reversible' }] },
  { id: 'apart', phases: [{ name: 'b', effect: 'reversible', target: 'other' }] },
  { id: 'two', phases: [{ name: 'c', effect: 'reversible' }] },
  { id: 'check', phases: [{ name: 'd' }] },
]);

const red = async () => ({ verdict: 'fail' as const, summary: 'it is red' });
const away = (what: string): never => {
  throw ApplicationFailure.create({ type: 'Unreachable', message: `${what} is away`, nonRetryable: false });
};
const rowsOf = (run: EngineRun): Promise<JournalRow[]> =>
  engine.store.api.journal(run.run, { after: 0, limit: 1_000 });
const bodyOf = ({ body }: JournalRow) => body as Record<string, unknown>;
const phaseOf = (detail: RunDetail, id: string) => detail.phases.find(({ phase }) => phase === id);
const undone = (): string[] => engine.world.told.filter((one) => one.endsWith('/undo'));

/** Throws until `times` calls have been made. */
function awayFor(times: number, what: string) {
  let calls = 0;
  return async () => {
    calls += 1;
    return calls <= times ? away(what) : undefined;
  };
}

describe('an undo that fails for a moment', () => {
  it('is tried again without a person, the tree says so, and the rollback is verified', async () => {
    const { world } = engine;
    world.scripts.set('check/run', red);
    // Three attempts are one try: the second try succeeds.
    world.scripts.set('two/undo', awayFor(4, 'thing'));
    const run = await engine.start(plan);
    const waiting = await run.until((now) => (phaseOf(now, 'two')?.summary ?? '').includes('trying again'));
    expect(phaseOf(waiting, 'two')).toMatchObject({
      state: 'undoing',
      summary: expect.stringMatching(/^thing is away; trying again in 2s, until \d\d:\d\d UTC$/),
    });
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
    const tries = (await rowsOf(run)).filter(
      ({ kind, phase, direction }) => kind === 'intent' && phase === 'two' && direction === 'undo',
    );
    expect(new Set(tries.map((row) => row.try)).size).toBe(2);
  });

  it('lets undos at other targets go on, and those at its own wait', async () => {
    const { world } = engine;
    world.scripts.set('check/run', red);
    world.scripts.set('two/undo', awayFor(4, 'thing'));
    const run = await engine.start(plan);
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
    const order = undone();
    expect(order.indexOf('apart/undo')).toBeGreaterThan(order.indexOf('two/undo'));
    expect(order.indexOf('apart/undo')).toBeLessThan(order.lastIndexOf('two/undo'));
    expect(order.indexOf('one/undo')).toBeGreaterThan(order.lastIndexOf('two/undo'));
  });

  it('calls a person once half of the rollback objective is used', async () => {
    const { world } = engine;
    world.scripts.set('check/run', red);
    let isAway = true;
    world.scripts.set('two/undo', async () => (isAway ? away('thing') : undefined));
    const run = await engine.start({ ...plan, rollback: { withinMs: 9_000 } });
    const stuck = await run.until((now) => now.state === 'stuck');
    expect(phaseOf(stuck, 'two')).toMatchObject({ state: 'undo-failed', summary: 'thing is away' });
    const rows = await rowsOf(run);
    const since = rows.find(({ kind, body }) => kind === 'run' && body['state'] === 'unwinding')?.at;
    const until = rows.findLast(({ phase, body }) => phase === 'two' && body['state'] === 'undo-failed')?.at;
    expect(Date.parse(until ?? '') - Date.parse(since ?? '')).toBeLessThan(9_000);
    isAway = false;
    await run.decide('resolve', 'two', 'olu', { resolution: { retry: true } });
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
  });

  it('is not tried again where its code itself said no', async () => {
    const { world } = engine;
    world.scripts.set('check/run', red);
    world.scripts.set('two/undo', async () => refuse('UndoFailed', 'the door is shut'));
    const run = await engine.start(plan);
    await run.until((now) => now.state === 'stuck');
    expect(undone().filter((one) => one === 'two/undo')).toHaveLength(1);
    world.stands.delete('two');
    await run.decide('resolve', 'two', 'olu', { resolution: { done: true, evidence: 'shut by hand' } });
    await run.ended();
  });
});

describe('a target that is away for a moment when it is compared', () => {
  it('is compared once it is back, and the rollback is verified', async () => {
    const { world } = engine;
    world.scripts.set('check/run', red);
    world.scripts.set('@other/after', awayFor(4, 'other'));
    const run = await engine.start(plan);
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true, notVerified: [] });
  });
});

describe('a difference that a person accepts', () => {
  it('makes the rollback not verified, and names the target', async () => {
    const { world } = engine;
    world.scripts.set('check/run', red);
    world.scripts.set('two/undo', async (phase) => {
      world.stands.delete(phase);
      return { verdict: 'fail', summary: 'somebody else wrote' };
    });
    const run = await engine.start(plan);
    await run.until((now) => now.state === 'stuck');
    await run.decide('resolve', 'two', 'olu', {
      resolution: { done: true, evidence: 'the rows are known and harmless' },
    });
    expect(await run.ended()).toMatchObject({
      state: 'rolled-back',
      verified: false,
      notVerified: ['thing'],
    });
  });
});

/** A run that is stuck with two undos, as long as they are shut. */
async function stuckTwice(isShut: () => boolean): Promise<EngineRun> {
  const { world } = engine;
  world.scripts.set('check/run', red);
  for (const phase of ['one', 'two'])
    world.scripts.set(`${phase}/undo`, async () =>
      isShut() ? refuse('UndoFailed', 'the door is shut') : undefined,
    );
  const run = await engine.start(plan);
  await run.until((now) => now.state === 'stuck');
  return run;
}

describe('a desk with several undos', () => {
  it('names them in the order of undoing', async () => {
    let isShut = true;
    const run = await stuckTwice(() => isShut);
    const row = (await rowsOf(run)).findLast(({ kind }) => kind === 'run');
    expect(row === undefined ? null : bodyOf(row)['desk']).toEqual([
      { subject: 'two', why: 'the door is shut' },
      { subject: 'one', why: 'the door is shut' },
    ]);
    isShut = false;
    await run.decide('resolve', null, 'olu', { resolution: { retry: true } });
    await run.ended();
  });

  it('is retried whole, in that order, with one resolution', async () => {
    let isShut = true;
    const run = await stuckTwice(() => isShut);
    engine.world.done.length = 0;
    isShut = false;
    expect(await run.decide('resolve', null, 'olu', { resolution: { retry: true } })).toMatchObject({
      result: 'Accepted',
    });
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
    expect(engine.world.told.filter((one) => !one.startsWith('@'))).toEqual([
      'two/probe',
      'two/undo',
      'one/probe',
      'one/undo',
    ]);
  });

  it('takes the second resolution while the first is carried out', async () => {
    let isShut = true;
    const run = await stuckTwice(() => isShut);
    isShut = false;
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    engine.world.scripts.set('two/undo', async () => {
      await held;
      return undefined;
    });
    await run.decide('resolve', 'two', 'olu', { resolution: { retry: true } });
    await run.until((now) => phaseOf(now, 'two')?.state === 'undoing');
    expect(await run.decide('resolve', 'one', 'olu', { resolution: { retry: true } })).toMatchObject({
      result: 'Accepted',
    });
    release();
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
    expect((await rowsOf(run)).filter(({ body }) => body['state'] === 'stuck')).toHaveLength(1);
  });

  it('is not declared done as a whole: each undo needs its own evidence', async () => {
    let isShut = true;
    const run = await stuckTwice(() => isShut);
    await expect(
      run.decide('resolve', null, 'olu', { resolution: { done: true, evidence: 'all done' } }),
    ).rejects.toMatchObject({ cause: { type: 'NothingToResolve' } });
    isShut = false;
    await run.decide('resolve', null, 'olu', { resolution: { retry: true } });
    await run.ended();
  });
});

describe('a phase that had not happened', () => {
  it('is undone with a good verdict: nothing was left to undo', async () => {
    const { world } = engine;
    world.scripts.set('two/run', async () => refuse('PhaseFailed', 'it broke before it did anything'));
    const run = await engine.start(plan);
    const ended = await run.ended();
    expect(ended).toMatchObject({ state: 'rolled-back', verified: true });
    expect(phaseOf(ended, 'two')).toMatchObject({
      state: 'undone',
      verdict: 'pass',
      summary: 'nothing was left to undo',
    });
  });
});

describe('the histories of all these runs', () => {
  it('replay from their first event to their last', async () => {
    const { replayed, broken } = await engine.replay();
    expect(replayed).toBeGreaterThan(0);
    expect(broken).toEqual([]);
  });
});
