/**
 * A worker that is frozen past its heartbeat: another takes over and the run goes on; when the first wakes up in the
 * middle of what it did, it can write nothing any more. What a garbage collection, a paused virtual machine or a laptop
 * lid does, SIGSTOP does here.
 */
import { describe, expect, test } from 'vitest';
import { makeFolder } from '../../scripts/lib/processes.ts';
import { makeChaos } from '../support/chaos-worker-orders.ts';
import type { Chaos, Order } from '../support/chaos-worker-orders.ts';
import { eventually, hasEnded, makeLaunchWorld } from '../support/launch-world.ts';
import type { Launch, LaunchWorld } from '../support/launch-world.ts';
import {
  checkWrites,
  intactEvidence,
  rowCounts,
  servedDigest,
  stateOf,
} from '../support/launch-world-looks.ts';

const TEST_MS = 150_000;

type Frozen = AsyncDisposable & { world: LaunchWorld; chaos: Chaos };

/** Two workers on one task queue; each may be the one that is frozen. */
async function makeTwoWorkers(): Promise<Frozen> {
  const defer = new AsyncDisposableStack();
  const folder = await makeFolder('countdown-freeze-');
  defer.defer(() => folder.discard());
  const chaos = makeChaos(folder.path);
  const world = defer.use(await makeLaunchWorld({ worker: chaos.worker }));
  return { world, chaos, [Symbol.asyncDispose]: () => defer.disposeAsync() };
}

type Thawed = { run: number; end: { ok: boolean; message?: string } };

type Freeze = Pick<Order, 'phase' | 'moment'> & {
  launch?: Launch;
  /** When the frozen worker is woken up; by default when the run has ended. */
  until?: (run: number) => Promise<void>;
};

/** Freezes the worker in the phase, lets the other go on, and wakes the first up; the run goes to its end. */
async function freezeAt({ world, chaos }: Frozen, { phase, moment, launch, until }: Freeze): Promise<Thawed> {
  const workers = [world.stack.processes.worker(), await world.stack.startWorker()];
  await chaos.order({ phase, moment, direction: 'run', how: 'freeze' });
  const run = await world.start(launch);
  const ended = world.until(run, hasEnded);
  const pid = await Promise.race([chaos.struck(), ended.then(() => 0)]);
  const frozen = workers.find((worker) => worker.pid === pid);
  if (frozen === undefined) throw new Error(`No worker froze at ${phase}.`);
  try {
    await (until === undefined ? ended : until(run));
  } finally {
    frozen.signal('SIGCONT');
  }
  const { ok, message } = await chaos.ended();
  await ended;
  return { run, end: { ok, ...(message === undefined ? {} : { message }) } };
}

/**
 * What the late attempt had to say, if anything, did not count: every outcome answers a later intent than its own. The one
 * that took over may have written that the late one ended without an outcome (`again`).
 */
async function expectNoLateOutcome(world: LaunchWorld, run: number, phase: string): Promise<void> {
  const { rows } = await intactEvidence(world.client(), run);
  const ofPhase = rows.filter((row) => row.phase === phase);
  const intents = ofPhase.filter(({ kind, direction }) => kind === 'intent' && direction === 'run');
  expect(intents.length).toBeGreaterThan(1);
  const late = intents[0];
  const answers = ofPhase.filter(
    ({ kind, try: tried, attempt, direction, body }) =>
      kind === 'outcome' &&
      direction === 'run' &&
      tried === late?.try &&
      attempt === late?.attempt &&
      body['again'] !== true,
  );
  expect(answers).toEqual([]);
}

async function expectEverythingThere(world: LaunchWorld, served: string): Promise<void> {
  await world.written();
  expect((await stateOf(world.stack)).mode).toBe('postgres');
  expect(await servedDigest(world.stack)).toBe(served);
  await world.quietly(async () => {
    const check = await checkWrites(world);
    expect(check.missing).toEqual([]);
    expect(check.present).toBe(check.acknowledged);
    expect(check.acknowledged).toBeGreaterThan(0);
  });
}

describe('a worker that is frozen past its heartbeat', () => {
  test(
    'in the middle of the copy writes no row when it wakes up beside the one that took over',
    async () => {
      await using two = await makeTwoWorkers();
      const { world } = two;
      const served = await servedDigest(world.stack);
      const { run, end } = await freezeAt(two, {
        phase: 'database/copy',
        moment: 'progress',
        launch: { pace: { chunkRows: 1 } },
        until: (number) =>
          eventually(async () => (await copyIntents(world, number)) > 1, 'another worker has taken over'),
      });
      expect(end.ok).toBe(false);
      // Its session was ended by the one that took over, for a frozen one keeps its locks.
      expect(end.message).toMatch(/ended the work|cannot be reached/);
      expect(await world.client().run(run)).toMatchObject({ state: 'succeeded', verdict: 'pass' });
      await expectNoLateOutcome(world, run, 'database/copy');
      await expectEverythingThere(world, served);
      const { users } = await rowCounts(world.stack);
      expect(users.target).toBeGreaterThanOrEqual(users.source);
    },
    TEST_MS,
  );

  test(
    'before the copy begins nothing when it wakes up beside the one that took over',
    async () => {
      await using two = await makeTwoWorkers();
      const { world } = two;
      const { run, end } = await freezeAt(two, {
        phase: 'database/copy',
        moment: 'before',
        launch: { pace: { chunkRows: 1 }, failAt: 'database/verify' },
        until: (number) =>
          eventually(async () => (await copyIntents(world, number)) > 1, 'another worker has taken over'),
      });
      // Whichever comes first: the fence, or the end of its session, which who took over has ended.
      expect(end).toMatchObject({
        ok: false,
        message: expect.stringMatching(/A later attempt has taken over|57P01|Connection terminated/),
      });
      expect(await world.client().run(run)).toMatchObject({ state: 'rolled-back', verified: true });
      await expectNoLateOutcome(world, run, 'database/copy');
      await world.written();
    },
    TEST_MS,
  );

  test(
    'in the middle of the copy makes no table and no row when it wakes up after the rollback',
    async () => {
      await using two = await makeTwoWorkers();
      const { world } = two;
      const before = await stateOf(world.stack);
      const launch = { failAt: 'database/verify' };
      const { run, end } = await freezeAt(two, { phase: 'database/copy', moment: 'progress', launch });
      expect(end.ok).toBe(false);
      expect(await world.client().run(run)).toMatchObject({ state: 'rolled-back', verified: true });
      await expectNoLateOutcome(world, run, 'database/copy');
      expect(await stateOf(world.stack)).toEqual(before);
    },
    TEST_MS,
  );
});

/** Each takes as long again, and holds the same law where a switch is the fence: with COUNTDOWN_TEST_DEEP=1. */
if (process.env['COUNTDOWN_TEST_DEEP'] === '1') {
  describe('a worker that is frozen just before it sets the switch', () => {
    test(
      'does not set it when it wakes up after the launch',
      async () => {
        await using two = await makeTwoWorkers();
        const { world } = two;
        const served = await servedDigest(world.stack);
        const { run, end } = await freezeAt(two, { phase: 'database/switch', moment: 'change' });
        expect(end.ok).toBe(false);
        expect(await world.client().run(run)).toMatchObject({ state: 'succeeded', verdict: 'pass' });
        await expectNoLateOutcome(world, run, 'database/switch');
        await expectEverythingThere(world, served);
      },
      TEST_MS,
    );

    test(
      'holds no writes when it wakes up after the rollback',
      async () => {
        await using two = await makeTwoWorkers();
        const { world } = two;
        const before = await stateOf(world.stack);
        const launch = { failAt: 'database/copy' };
        const { run, end } = await freezeAt(two, { phase: 'database/hold-writes', moment: 'change', launch });
        expect(end.ok).toBe(false);
        expect(await world.client().run(run)).toMatchObject({ state: 'rolled-back', verified: true });
        expect(await stateOf(world.stack)).toEqual(before);
        await world.written();
      },
      TEST_MS,
    );
  });
}

async function copyIntents(world: LaunchWorld, run: number): Promise<number> {
  const { rows } = await intactEvidence(world.client(), run);
  return rows.filter(
    ({ kind, phase, direction }) => kind === 'intent' && phase === 'database/copy' && direction === 'run',
  ).length;
}
