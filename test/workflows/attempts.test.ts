/** How attempts end: what the journal says of each, which of them Temporal starts again, and how long the worker waits for its own database. */
import type { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Limits } from '../../procedures/plan.ts';
import { verifyChain } from '../../store/chain.ts';
import type { JournalRow } from '../../store/types.ts';
import { type Engine, type EngineRun, makeEngine, untilCancelled } from '../support/engine.ts';
import { cutDatabase } from '../support/launch-world-journal.ts';
import { eventually } from '../support/launch-world.ts';
import { makePlan } from '../support/plans.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await makeEngine();
});
afterAll(() => engine[Symbol.asyncDispose]());

/** Gives each test a world of its own. */
function fresh(): Engine['world'] {
  engine.world.done.length = 0;
  engine.world.stands.clear();
  engine.world.scripts.clear();
  return engine.world;
}

const moves = (over: Partial<Limits>) =>
  makePlan([
    { id: 'move', phases: [{ name: 'b', effect: 'reversible', limits: over }] },
    { id: 'check', phases: [{ name: 'd' }] },
  ]);

/** An error as Node gives it for a port on which nothing listens. */
function refused(): never {
  throw Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:9'), { code: 'ECONNREFUSED' });
}

async function journalOf({ run }: EngineRun): Promise<JournalRow[]> {
  const rows = await engine.store.api.journal(run, { after: 0, limit: 1_000 });
  expect(verifyChain(rows)).toMatchObject({ intact: true });
  return rows;
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Rows of a phase, one line each. */
async function story(run: EngineRun, phase: string): Promise<string[]> {
  const rows = (await journalOf(run)).filter((row) => row.phase === phase);
  return rows.map(({ kind, direction, try: tried, attempt, body }) => {
    const act = `${direction}/${tried}.${attempt}`;
    if (kind === 'phase') return textOf(body['state']);
    if (kind === 'intent') return `${act} intent`;
    const { type = '' } = (body['error'] ?? {}) as { type?: string };
    return `${act} ${textOf(body['result'])}${type === '' ? '' : ` ${type}`}${body['again'] === true ? ' again' : ''}`;
  });
}

describe('an attempt whose connection failed', () => {
  it('leaves an outcome and is tried again by Temporal within the same try', async () => {
    const world = fresh();
    world.scripts.set('move/run', async () =>
      world.told.filter((one) => one === 'move/run').length < 3 ? refused() : undefined,
    );
    const run = await engine.start(moves({ attempts: 3 }));
    expect(await run.ended()).toMatchObject({ state: 'succeeded', verdict: 'pass', because: null });
    expect(await story(run, 'move')).toEqual([
      'run/1.1 intent',
      'run/1.1 failed Unreachable again',
      'run/1.2 intent',
      'run/1.2 failed Unreachable again',
      'run/1.3 intent',
      'run/1.3 ok',
    ]);
    const rows = await journalOf(run);
    const first = rows.find(({ kind, phase }) => kind === 'outcome' && phase === 'move');
    expect(first?.body).toMatchObject({ verdict: 'error', again: true });
    expect(first?.body).not.toHaveProperty('state');
    expect(first?.body['summary']).toMatch(
      /^Attempt 1 of 3 failed and is tried again: .*ECONNREFUSED 127\.0\.0\.1:9/,
    );
    expect((await run.detail()).phases[0]).toMatchObject({ state: 'done', verdict: 'pass', error: null });
  });

  it('ends its try with the last attempt, and the run goes back for it', async () => {
    const world = fresh();
    world.scripts.set('move/run', async () => refused());
    const run = await engine.start(moves({ attempts: 2 }));
    const detail = await run.ended();
    expect(detail).toMatchObject({ state: 'rolled-back', verified: true });
    expect(detail.because).toMatch(/^move: .*ECONNREFUSED/);
    expect((await story(run, 'move')).slice(0, 5)).toEqual([
      'run/1.1 intent',
      'run/1.1 failed Unreachable again',
      'run/1.2 intent',
      'run/1.2 failed Unreachable',
      'maybe',
    ]);
  });

  it('shows what failed while an undo waits for its next attempt', async () => {
    const world = fresh();
    world.scripts.set('check/run', async () => ({ verdict: 'fail', summary: 'it is red' }));
    let broken = true;
    world.scripts.set('move/undo', async () => (broken ? refused() : undefined));
    const run = await engine.start(moves({ undoAttempts: 20 }));
    const between = await run.until(
      ({ phases }) => phases[0]?.state === 'undoing' && phases[0].error !== null,
    );
    broken = false;
    expect(between.phases[0]).toMatchObject({ error: { type: 'Unreachable' } });
    expect(between.phases[0]?.summary).toMatch(
      /^Attempt \d+ of 20 failed and is tried again: .*ECONNREFUSED/,
    );
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
    expect((await run.detail()).phases[0]).toMatchObject({ state: 'undone', verdict: 'pass', error: null });
    // The time in which it was tried again belongs to the undo, and the end of the undo is its good outcome.
    const rows = await journalOf(run);
    const [unwinding] = rows.filter(({ kind, body }) => kind === 'run' && body['state'] === 'unwinding');
    const undone = rows.find(
      ({ kind, direction, body }) => kind === 'outcome' && direction === 'undo' && body['result'] === 'ok',
    );
    const executeMs = Date.parse(undone?.at ?? '') - Date.parse(unwinding?.at ?? '');
    expect(Math.abs(((await engine.store.api.recovery(run.run))?.executeMs ?? 0) - executeMs)).toBeLessThan(
      3,
    );
  });
});

describe('an attempt with an error that no code foresaw', () => {
  it('is final after its first attempt and has its outcome', async () => {
    const world = fresh();
    world.scripts.set('move/run', async () => {
      throw new Error('a bug of ours');
    });
    const run = await engine.start(moves({ attempts: 3 }));
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', because: 'move: a bug of ours' });
    expect(world.told.filter((one) => one === 'move/run')).toHaveLength(1);
    expect((await story(run, 'move')).slice(0, 3)).toEqual([
      'run/1.1 intent',
      'run/1.1 failed PhaseFailed',
      'maybe',
    ]);
  });
});

describe('an attempt whose worker is stopped', () => {
  it('is looked for by its probe and begun again, and the launch goes on', async () => {
    const world = fresh();
    world.scripts.set('move/run', async (_, context) =>
      context.try === 1 ? untilCancelled(context) : undefined,
    );
    const run = await engine.start(moves({ attempts: 1 }));
    await run.until(({ phases }) => phases[0]?.state === 'running');
    await engine.stopWorker();
    await engine.startWorker();
    expect(await run.ended()).toMatchObject({ state: 'succeeded', verdict: 'pass' });
    expect(await story(run, 'move')).toEqual([
      'run/1.1 intent',
      'maybe',
      'probe/2.1 intent',
      'probe/2.1 ok',
      'run/3.1 intent',
      'run/3.1 ok',
    ]);
  });
});

/** Cuts Countdown's own database from inside a phase, and calls `act` meanwhile. */
async function whileCut<T>(act: () => Promise<T>, over: (isEnded: () => boolean) => boolean): Promise<T> {
  const cut = await cutDatabase(engine.store.ownerUrl);
  let isEnded = false;
  const acting = act().finally(() => {
    isEnded = true;
  });
  acting.catch(() => undefined);
  try {
    await eventually(() => over(() => isEnded), 'Countdown’s database was away for long enough');
  } finally {
    await cut.mend();
  }
  return acting;
}

describe("Countdown's own database", () => {
  it('may be away for two seconds in the middle of a phase, and the launch succeeds', async () => {
    const world = fresh();
    let waited: 'waited' | 'gave up' | undefined;
    const { promise: mended, resolve } = Promise.withResolvers<void>();
    world.scripts.set('move/run', async (_, context) => {
      const since = Date.now();
      await whileCut(
        () => context.assertCurrent(),
        (isEnded) => {
          waited = isEnded() ? 'gave up' : 'waited';
          return isEnded() || Date.now() - since > 2_000;
        },
      ).finally(resolve);
      return undefined;
    });
    const run = await engine.start(moves({ attempts: 1 }));
    await mended;
    expect(waited).toBe('waited');
    expect(await run.ended()).toMatchObject({ state: 'succeeded', verdict: 'pass' });
    expect(await story(run, 'move')).toEqual(['run/1.1 intent', 'run/1.1 ok']);
  });

  it('is named when it is away for too long, and the probe says what the effect came to', async () => {
    const world = fresh();
    const { promise: mended, resolve } = Promise.withResolvers<void>();
    let message = '';
    world.scripts.set('move/run', async (_, context) => {
      if (context.try > 1) return undefined;
      const failure = await whileCut(
        () => context.assertCurrent().catch((error: ApplicationFailure) => error),
        (isEnded) => isEnded(),
      ).finally(resolve);
      message = `${failure?.type}: ${failure?.message}`;
      throw failure;
    });
    const run = await engine.start(moves({ attempts: 1 }));
    await mended;
    expect(await run.ended()).toMatchObject({ state: 'succeeded', verdict: 'pass' });
    expect(message).toMatch(/^OutcomeLost: Countdown's own database could not be used for 5 s \(.*\), so /);
    expect(await story(run, 'move')).toEqual([
      'run/1.1 intent',
      'run/1.1 failed OutcomeLost',
      'maybe',
      'probe/2.1 intent',
      'probe/2.1 ok',
      'run/3.1 intent',
      'run/3.1 ok',
    ]);
    const lost = (await journalOf(run)).find(({ kind, phase }) => kind === 'phase' && phase === 'move');
    expect(lost?.body['summary']).toMatch(/^Countdown's own database /);
  });

  it('may be away for too long while an undo is at work, which is then begun again', async () => {
    const world = fresh();
    world.scripts.set('check/run', async () => ({ verdict: 'fail', summary: 'it is red' }));
    const { promise: mended, resolve } = Promise.withResolvers<void>();
    let turns = 0;
    world.scripts.set('move/undo', async (_, context) => {
      turns += 1;
      if (turns > 1) return undefined;
      await whileCut(
        () => context.assertCurrent(),
        (isEnded) => isEnded(),
      ).finally(resolve);
      return undefined;
    });
    const run = await engine.start(moves({ attempts: 1 }));
    await mended;
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
    expect((await story(run, 'move')).slice(2)).toEqual([
      'undo/2.1 intent',
      'undo/2.1 failed Unreachable again',
      'undo/2.2 intent',
      'undo/2.2 ok',
    ]);
  });

  it('ends the wait when the phase is cancelled', async () => {
    const world = fresh();
    const { promise: cut, resolve } = Promise.withResolvers<void>();
    let tookMs = NaN;
    world.scripts.set('move/run', async (_, context) => {
      const database = await cutDatabase(engine.store.ownerUrl);
      const since = Date.now();
      const waiting = context.assertCurrent();
      waiting.catch(() => undefined);
      // Temporal alone is asked: a decision of a person needs the database too.
      await run.handle.cancel();
      resolve();
      try {
        await waiting;
      } finally {
        tookMs = Date.now() - since;
        await database.mend();
      }
      return undefined;
    });
    const run = await engine.start(moves({ attempts: 1 }));
    await cut;
    await eventually(() => !Number.isNaN(tookMs), 'the wait has ended');
    expect(tookMs).toBeLessThan(4_000);
    await eventually(
      () =>
        run.detail().then(
          ({ state }) => state === 'rolled-back',
          () => false,
        ),
      'the run has gone back',
    );
  });
});
