/**
 * A worker killed at any instant changes nothing but the time taken: each phase of first-launch, and each undo, with
 * SIGKILL before, during and after its effect. A supervisor starts the worker again.
 */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import type { RunDetailWire } from '../../cli/wire.ts';
import { makeFolder } from '../../scripts/lib/processes.ts';
import { makeChaos } from '../support/chaos-worker-orders.ts';
import type { Chaos, Order } from '../support/chaos-worker-orders.ts';
import { hasEnded, makeLaunchWorld } from '../support/launch-world.ts';
import type { LaunchWorld } from '../support/launch-world.ts';
import {
  checkWrites,
  intactEvidence,
  rowCounts,
  servedDigest,
  sourceDigest,
  stateOf,
} from '../support/launch-world-looks.ts';
import { superviseWorker } from '../support/supervisor.ts';

const TEST_MS = 150_000;
/** Cases of one `npm test`; the seed says which. */
const SLICE = 4;
/** Has no common factor with the number of cases, so that a slice is spread over all of them. */
const STRIDE = 11;

type Case = Pick<Order, 'phase' | 'direction' | 'moment'>;

/** What `during` means for each phase. */
const RUNS: Record<string, Order['moment']> = {
  ready: 'soon',
  'database/inspect': 'progress',
  'database/backup': 'soon',
  'database/hold-writes': 'change',
  'database/copy': 'progress',
  'database/verify': 'progress',
  'database/switch': 'change',
  'database/release-writes': 'change',
  smoke: 'soon',
  watch: 'progress',
  'keep/end-capture': 'soon',
};
const UNDOS: Record<string, Order['moment']> = {
  'database/release-writes': 'progress',
  'database/switch': 'change',
  'database/copy': 'soon',
  'database/hold-writes': 'change',
};

const CASES: Case[] = [...casesOf('run', RUNS), ...casesOf('undo', UNDOS)];

function casesOf(direction: Case['direction'], moments: Record<string, Order['moment']>): Case[] {
  return Object.entries(moments).flatMap(([phase, during]) =>
    (['before', during, 'after'] as const).map((moment) => ({ phase, direction, moment })),
  );
}

const seed = Number(process.env['COUNTDOWN_TEST_SEED'] ?? 1);
const chosen = process.env['COUNTDOWN_TEST_DEEP'] === '1' ? CASES : sliceOf(seed);
process.stdout.write(`kill: ${chosen.length} of ${CASES.length} cases, seed ${seed}\n`);

function sliceOf(start: number): Case[] {
  return Array.from(
    { length: SLICE },
    (_none, index) => CASES[(start + index * STRIDE) % CASES.length],
  ).flatMap((found) => found ?? []);
}

type Chaotic = AsyncDisposable & { world: LaunchWorld; chaos: Chaos; restarts: () => number };

async function makeChaotic(): Promise<Chaotic> {
  const defer = new AsyncDisposableStack();
  const folder = await makeFolder('countdown-chaos-');
  defer.defer(() => folder.discard());
  const chaos = makeChaos(folder.path);
  const world = defer.use(await makeLaunchWorld({ worker: chaos.worker }));
  const supervisor = defer.use(superviseWorker(world.stack));
  return { world, chaos, restarts: supervisor.restarts, [Symbol.asyncDispose]: () => defer.disposeAsync() };
}

let chaotic: Chaotic | undefined;
let isClean = false;
/** A case that failed may leave a run behind, so the next one gets a world of its own. */
beforeEach(async () => {
  if (chaotic !== undefined && isClean) return;
  await chaotic?.[Symbol.asyncDispose]();
  chaotic = await makeChaotic();
}, TEST_MS);
afterAll(async () => chaotic?.[Symbol.asyncDispose]());

describe('a worker that is killed', () => {
  for (const { phase, direction, moment } of chosen) {
    const when = moment === 'before' || moment === 'after' ? `${moment} its effect` : 'during its effect';
    test(
      `at ${phase}, ${direction}, ${when} changes nothing but the time`,
      async () => {
        if (chaotic === undefined) throw new Error('There is no world.');
        isClean = false;
        await killAt(chaotic, { phase, direction, moment });
        isClean = true;
      },
      TEST_MS,
    );
  }
});

async function killAt({ world, chaos, restarts }: Chaotic, at: Case): Promise<void> {
  const before = {
    state: await stateOf(world.stack),
    source: sourceDigest(world.stack),
    served: await servedDigest(world.stack),
  };
  const restartsBefore = restarts();
  await chaos.order({ ...at, how: 'kill' });
  const run = await world.start(at.direction === 'undo' ? { failAt: 'smoke' } : {});
  const ended = await world.until(run, hasEnded);
  expect(await chaos.struck()).toBeGreaterThan(0);
  expect(restarts()).toBe(restartsBefore + 1);

  await world.written();
  await expectOutcomes(world, run);
  expect(sourceDigest(world.stack)).toBe(before.source);
  expect(await servedDigest(world.stack)).toBe(before.served);
  await world.quietly(async () => {
    const check = await checkWrites(world);
    expect(check.missing).toEqual([]);
    expect(check.present).toBe(check.acknowledged);
  });
  if (at.direction === 'undo') {
    expect(ended).toMatchObject({ state: 'rolled-back', verified: true, notVerified: [] });
    expect(await stateOf(world.stack)).toEqual(before.state);
    return;
  }
  expectSuccess(ended);
  expect((await stateOf(world.stack)).mode).toBe('postgres');
  const { users, songs } = await rowCounts(world.stack);
  expect(users.target).toBeGreaterThanOrEqual(users.source);
  expect(songs.target).toBeGreaterThanOrEqual(songs.source);
  await world.reset();
}

function expectSuccess(run: RunDetailWire): void {
  expect(run).toMatchObject({ state: 'succeeded', verdict: 'pass', because: null });
  const undone = run.phases.filter(({ state, verdict }) => state !== 'done' || verdict !== 'pass');
  expect(undone).toEqual([]);
}

/** The chain holds, and no phase was done twice: at most one outcome that counts for each phase and direction. */
async function expectOutcomes(world: LaunchWorld, run: number): Promise<void> {
  const { rows } = await intactEvidence(world.client(), run);
  const counted = rows
    .filter(
      ({ kind, direction, body }) => kind === 'outcome' && direction !== 'probe' && body['result'] === 'ok',
    )
    .map(({ phase, direction }) => `${phase}/${direction}`);
  expect(counted.toSorted()).toEqual([...new Set(counted)].toSorted());
}
