/** However an attempt ends, the journal says so: of every phase and fingerprint, in every direction. */
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PhaseContext } from '../../activities/phase.ts';
import type { JournalRow, RunDetail } from '../../store/types.ts';
import { type Engine, makeEngine, untilCancelled } from '../support/engine.ts';
import { eventually } from '../support/launch-world.ts';
import { makePlan } from '../support/plans.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await makeEngine();
});
afterAll(() => engine[Symbol.asyncDispose]());

const limits = { attempts: 3, undoAttempts: 3, tries: 2, timeoutMs: 700, heartbeatMs: 700 };
const moves = makePlan([
  { id: 'move', phases: [{ name: 'b', effect: 'reversible', limits }] },
  { id: 'check', phases: [{ name: 'd' }] },
]);

/** How an attempt can end other than well. `silence`: no answer within its time. */
const ENDS: Record<string, (context: PhaseContext) => Promise<never>> = {
  'a refused connection': async () => {
    throw Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:9'), { code: 'ECONNREFUSED' });
  },
  'a closed PostgreSQL session': async () => {
    throw new Error('Connection terminated unexpectedly');
  },
  'an unforeseen error': async () => {
    throw new TypeError('x is not a function');
  },
  ...Object.fromEntries(
    (['Unreachable', 'PreconditionFailed', 'PhaseFailed', 'FenceLost', 'OutcomeLost'] as const).map(
      (type) => [
        type,
        async () => {
          throw ApplicationFailure.create({ type, message: `it ended with ${type}`, nonRetryable: false });
        },
      ],
    ),
  ),
  'an error of an unknown type': async () => {
    throw ApplicationFailure.create({ type: 'Whatever', message: 'of another code', nonRetryable: false });
  },
  silence: (context) => untilCancelled(context),
};
const PLACES = ['run', 'probe', 'undo', 'before', 'after'] as const;
const HOW_OFTEN = ['once', 'always'] as const;
/** Each test run takes one slice of the cases, over all ends and places; `test:deep` takes all. */
const SLICES = 9;
const LANES = 12;

const rests = ({ state }: RunDetail): boolean =>
  ['succeeded', 'stopped', 'rolled-back', 'stuck', 'waiting'].includes(state);

describe('the journal of a run in which attempts end badly', () => {
  const cases = Object.keys(ENDS).flatMap((end) =>
    PLACES.flatMap((place) => HOW_OFTEN.map((howOften) => ({ end, place, howOften }))),
  );

  /** Each case is one run; the script finds out which. */
  const faults = new Map<number, { act: (context: PhaseContext) => Promise<unknown> }>();

  function script(): void {
    for (const key of ['move/run', 'move/probe', 'move/undo', '@thing/before', '@thing/after', 'check/run'])
      engine.world.scripts.set(key, async (_, context) => {
        await eventually(() => faults.has(context.run), 'the run is known');
        return (await faults.get(context.run)?.act(context)) as never;
      });
  }

  function faultOf({ end, place, howOften }: (typeof cases)[number]) {
    let left = howOften === 'once' ? 1 : Infinity;
    let lost = place === 'probe';
    return {
      act: async (context: PhaseContext): Promise<unknown> => {
        const { direction, phase } = context;
        if (phase === 'check') return { verdict: 'fail', summary: 'it is red' };
        // A probe is asked only after an effect was lost.
        if (lost && direction === 'run') {
          lost = false;
          throw ApplicationFailure.create({ type: 'OutcomeLost', message: 'lost', nonRetryable: true });
        }
        if (direction !== place || left === 0) {
          if (direction === 'before' || direction === 'after')
            return { state: 'same', data: null, summary: 'printed' };
          return undefined;
        }
        left -= 1;
        return ENDS[end]?.(context);
      },
    };
  }

  it('has an outcome or a row of the phase after each intent, before the next intent and at the end', async () => {
    script();
    const found: string[] = [];
    const one = async (fault: (typeof cases)[number]): Promise<void> => {
      const run = await engine.start(moves);
      faults.set(run.run, faultOf(fault));
      await run.until(rests, 60_000);
      for (const bad of openIntents(await engine.store.api.journal(run.run, { after: 0, limit: 1_000 })))
        found.push(`${fault.place} ends with ${fault.end} ${fault.howOften}: ${bad}`);
    };
    const seed = Number(process.env['COUNTDOWN_TEST_SEED'] ?? 1);
    const isDeep = process.env['COUNTDOWN_TEST_DEEP'] === '1';
    const chosen = cases.filter((_, index) => isDeep || (index + seed) % SLICES === 0);
    expect(chosen.length).toBeGreaterThan(10);
    const queue = [...chosen];
    const lane = async (): Promise<void> => {
      for (let fault = queue.shift(); fault !== undefined; fault = queue.shift()) await one(fault);
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    expect(found).toEqual([]);
  }, 240_000);
});

/**
 * Intents of which neither an outcome nor a row of their phase says how they ended, before the next intent or at the end. A
 * fingerprint has no row of a phase: the next row of its run says that it could not be taken.
 */
function openIntents(rows: readonly JournalRow[]): string[] {
  return rows
    .filter(({ kind }) => kind === 'intent')
    .filter((intent) => {
      const later = rows.filter(({ seq, phase }) => seq > intent.seq && phase === intent.phase);
      const until = later.find(({ kind }) => kind === 'intent')?.seq ?? Infinity;
      const isTold = later.some(
        ({ seq, kind, body }) =>
          seq < until && (kind === 'phase' || (kind === 'outcome' && body['intent'] === intent.seq)),
      );
      return !isTold && !(until === Infinity && isPrintTold(rows, intent));
    })
    .map(
      ({ seq, phase, direction, try: tried, attempt }) =>
        `row ${seq}, ${phase}/${direction}/${tried}.${attempt}`,
    );
}

function isPrintTold(rows: readonly JournalRow[], { seq, phase }: JournalRow): boolean {
  const target = /^@(.*)$/.exec(phase ?? '')?.[1];
  if (target === undefined) return false;
  const row = rows.find((one) => one.seq > seq && one.kind === 'run');
  const { because, notVerified } = row?.body ?? {};
  return (
    (typeof because === 'string' && because.startsWith(`${target} could not be fingerprinted: `)) ||
    (Array.isArray(notVerified) && notVerified.includes(target))
  );
}
