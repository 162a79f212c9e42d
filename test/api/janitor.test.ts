/** What the janitor does first, and what does not wait for what. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runJanitor, tidyOnce } from '../../api/janitor.ts';
import type { Answered, Launcher } from '../../api/launcher.ts';
import { RESEND_AT_ONCE } from '../../api/resend.ts';
import type { Decision } from '../../workflows/messages.ts';
import { type Engine, type EngineRun, makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { type TestApi, makeTestApi } from './support.ts';

let engine: Engine;
let api: TestApi;
let now: Date;
let stopping: AbortController;
beforeAll(async () => {
  engine = await makeEngine();
  api = await makeTestApi({ engine, now: () => now });
});
beforeEach(() => {
  now = new Date();
  stopping = new AbortController();
});
afterEach(() => stopping.abort());
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

const PASS_EVERY_MS = 20;
const asking = makePlan([
  { id: 'one', phases: [{ name: 'a' }, { name: 'b', approval: approval({ sre: 1 }) }] },
]);
let plans = 0;

/** Stores a run as the API does, without its workflow. */
async function ask(over: { dueAt?: Date } = {}): Promise<number> {
  const plan = withDigests({ ...asking, params: { n: (plans += 1) } });
  const made = await api.store.createRun({
    plan: await api.savePlan(plan),
    requester: 'dana',
    groups: {},
    failAt: null,
    idempotency: null,
    now,
    ...over,
  });
  if ('refused' in made) throw new Error(made.refused);
  return made.run;
}

const later = (minutes: number): Date => new Date(now.getTime() + minutes * 60_000);

/** Stores a decision that its run has not answered for `ageSeconds`. */
async function store(run: number, kind: Decision['kind'], ageSeconds: number): Promise<Decision> {
  const plan = (await api.store.run(run))?.plan ?? '';
  const id = `${kind} ${run} ${ageSeconds}`;
  const decision: Decision = {
    id,
    run,
    kind,
    subject: null,
    person: 'zoe',
    groups: [],
    door: 'api',
    plan,
    evidence: null,
    reason: 'a test says so',
    resolution: null,
  };
  await api.store.insertDecision(decision);
  await api.owner.query(
    `update countdown.decisions set at = clock_timestamp() - $2 * interval '1 second' where id = $1`,
    [id, ageSeconds],
  );
  return decision;
}

async function until(what: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`It did not happen within 20 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const stateOf = async (run: number) => (await api.store.run(run))?.state;

/** A launcher whose decisions are answered when the test says so. */
function makeHeld(): { launcher: Launcher; sent: string[]; inFlight(): number; release(): void } {
  const sent: string[] = [];
  const waiting = new Set<() => void>();
  let isReleased = false;
  const decide = async (decision: Decision): Promise<Answered> => {
    sent.push(decision.id);
    if (!isReleased) {
      await new Promise<void>((resolve) => {
        const answer = () => {
          waiting.delete(answer);
          resolve();
        };
        waiting.add(answer);
      });
    }
    return { unanswered: new Error('The test did not answer.') };
  };
  return {
    launcher: { ...api.launcher, decide },
    sent,
    inFlight: () => waiting.size,
    release() {
      isReleased = true;
      for (const answer of waiting) answer();
    },
  };
}

async function waitingRun(): Promise<EngineRun> {
  const run = await engine.start(asking);
  await run.until(({ state }) => state === 'waiting');
  return run;
}

describe('while no run answers its decisions', () => {
  test('aborts are sent first, a bounded number at once, and all other duties go on', async () => {
    const open = await waitingRun();
    const due = await ask({ dueAt: later(10) });
    const runs: number[] = [];
    for (let n = 0; n < 49; n += 1) {
      const run = await ask({ dueAt: later(60) });
      runs.push(run);
      await store(run, 'pause', 1_000 - n);
    }
    const urgent = await ask({ dueAt: later(60) });
    await store(urgent, 'abort', 60);

    const held = makeHeld();
    const janitor = runJanitor({ ...api, launcher: held.launcher }, stopping.signal, PASS_EVERY_MS);
    await until('the first are sent', () => held.inFlight() === RESEND_AT_ONCE);
    expect(held.sent).toEqual([
      `abort ${urgent} 60`,
      ...runs.slice(0, RESEND_AT_ONCE - 1).map((run, n) => `pause ${run} ${1_000 - n}`),
    ]);

    now = later(10);
    await until('the due run begins', async () => (await stateOf(due)) === 'waiting');
    await open.handle.terminate('a test says so');
    await until('the closed run ends', async () => (await stateOf(open.run)) === 'stopped');
    expect(held.sent.length).toBe(RESEND_AT_ONCE);

    held.release();
    await until('every decision is sent', () => new Set(held.sent).size === 50);
    stopping.abort();
    await janitor;
  });

  test('a run that does not answer the first is not asked more in the pass, and the others are', async () => {
    const silent = await ask({ dueAt: later(60) });
    await store(silent, 'pause', 400);
    await store(silent, 'resume', 300);
    const other = await ask({ dueAt: later(60) });
    await store(other, 'pause', 200);
    await store(other, 'abort', 100);
    const sent: string[] = [];
    const launcher: Launcher = {
      ...api.launcher,
      decide: async (decision) => {
        sent.push(decision.id);
        return decision.run === silent
          ? { unanswered: new Error('no answer') }
          : { answer: { result: 'Accepted', detail: 'heard' } };
      },
    };
    await tidyOnce({ ...api, launcher });
    const mine = (run: number) => sent.filter((id) => id.split(' ')[1] === String(run));
    expect(mine(silent)).toEqual([`pause ${silent} 400`]);
    // What was stored later is sent later, but for an abort.
    expect(mine(other)).toEqual([`abort ${other} 100`, `pause ${other} 200`]);
    const left = (await api.store.unanswered(0, 100)).filter(({ run }) => [silent, other].includes(run));
    expect(left.map(({ id }) => id)).toEqual([`pause ${silent} 400`, `resume ${silent} 300`]);
  });
});

describe('a pass over runs', () => {
  test('recovers closed workflows before it starts anything, whatever their numbers', async () => {
    const planned = await ask();
    const closed = await waitingRun();
    await closed.handle.terminate('a test says so');
    const looked: number[] = [];
    const launcher: Launcher = {
      ...api.launcher,
      look: async (run) => {
        looked.push(run);
        return api.launcher.look(run);
      },
    };
    await tidyOnce({ ...api, launcher });
    expect(planned).toBeLessThan(closed.run);
    const mine = looked.filter((run) => run === planned || run === closed.run);
    expect(mine).toEqual([closed.run, planned]);
    expect((await closed.ended()).state).toBe('stopped');
    await until('the planned run begins', async () => (await stateOf(planned)) === 'waiting');
  });

  test('does not wait for the slow workflow of one run before it looks after the others', async () => {
    const [slow, closed] = [await waitingRun(), await waitingRun()];
    await closed.handle.terminate('a test says so');
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const launcher: Launcher = {
      ...api.launcher,
      look: async (run) => {
        if (run === slow.run) await held;
        return api.launcher.look(run);
      },
    };
    const pass = tidyOnce({ ...api, launcher });
    try {
      expect((await closed.ended()).state).toBe('stopped');
      expect((await slow.detail()).state).toBe('waiting');
    } finally {
      release();
      await pass;
    }
  });
});
