/**
 * A worker that is killed at any instant of a migration changes nothing but the time taken: song-genres on a library in
 * use, with SIGKILL at seeded instants of each phase and of each undo, then taken back and held against what was before.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { makeFolder } from '../../scripts/lib/processes.ts';
import { makeChaos } from '../support/chaos-worker-orders.ts';
import type { Chaos, Order } from '../support/chaos-worker-orders.ts';
import { hasEnded, makeLaunchWorld } from '../support/launch-world.ts';
import type { LaunchWorld } from '../support/launch-world.ts';
import { askTarget, checkWrites, intactEvidence } from '../support/launch-world-looks.ts';
import { superviseWorker } from '../support/supervisor.ts';

const TEST_MS = 240_000;
/** Instants of one `npm test`, and of `npm run test:deep`. */
const SLICE = 2;
const DEEP = 20;

const seed = Number(process.env['COUNTDOWN_TEST_SEED'] ?? 1);
const count = process.env['COUNTDOWN_TEST_DEEP'] === '1' ? DEEP : SLICE;
process.stdout.write(`kill a migration: ${count} instants, seed ${seed}\n`);

/** How long each takes at most, so that most instants fall inside. */
const PHASES: [Order['phase'], Order['direction'], number][] = [
  ['schema/apply', 'run', 400],
  ['schema/inspect', 'run', 1_500],
  ['schema/backfill', 'run', 400],
  ['schema/apply', 'undo', 400],
  ['schema/verify', 'run', 100],
  ['schema/backfill', 'undo', 50],
];

/** The same for the same seed. */
function instantOf(index: number): Order {
  const mixed = Math.imul((seed + index) ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
  const [phase, direction, lengthMs] = PHASES[(seed + index) % PHASES.length] ?? ['schema/apply', 'run', 400];
  return { phase, direction, moment: 'soon', how: 'kill', delayMs: mixed % lengthMs };
}

type Chaotic = AsyncDisposable & { world: LaunchWorld; chaos: Chaos; restarts: () => number };

async function makeChaotic(): Promise<Chaotic> {
  const defer = new AsyncDisposableStack();
  const folder = await makeFolder('countdown-chaos-');
  defer.defer(() => folder.discard());
  const chaos = makeChaos(folder.path);
  const world = defer.use(await makeLaunchWorld({ worker: chaos.worker }));
  const supervisor = defer.use(superviseWorker(world.stack));
  expect(await world.launch()).toMatchObject({ state: 'succeeded' });
  return { world, chaos, restarts: supervisor.restarts, [Symbol.asyncDispose]: () => defer.disposeAsync() };
}

let chaotic: Chaotic | undefined;
let isClean = false;
beforeEach(async () => {
  if (chaotic !== undefined && isClean) return;
  await chaotic?.[Symbol.asyncDispose]();
  chaotic = await makeChaotic();
}, TEST_MS);
afterAll(async () => chaotic?.[Symbol.asyncDispose]());

/** Everything of the schema that the migrations touch, and whatever they left behind. */
const look = (world: LaunchWorld) =>
  askTarget(
    world.stack,
    `SELECT (SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute WHERE attrelid = 'songs'::regclass AND attnum > 0 AND NOT attisdropped) AS columns,
       (SELECT array_agg(indexrelid::regclass::text || indisvalid ORDER BY 1) FROM pg_index WHERE indrelid = 'songs'::regclass) AS indexes,
       (SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locks`,
  );

describe('a worker that is killed', () => {
  for (let index = 0; index < count; index += 1) {
    const at = instantOf(index);
    test(
      `${at.delayMs} ms into ${at.phase}, ${at.direction}, number ${index + 1}, changes nothing but the time`,
      async () => {
        if (chaotic === undefined) throw new Error('There is no world.');
        isClean = false;
        await killAt(chaotic, at);
        isClean = true;
      },
      TEST_MS,
    );
  }
});

async function killAt({ world, chaos, restarts }: Chaotic, at: Order): Promise<void> {
  const before = await look(world);
  const restartsBefore = restarts();
  const { plan } = await world.client().makePlan({ runbook: 'song-genres', environment: 'demo', params: {} });
  await chaos.order(at);
  const { run } = await world.client().start({ plan, failAt: 'smoke' }, randomUUID());
  const ended = await world.until(run, hasEnded);
  expect(await chaos.struck()).toBeGreaterThan(0);
  expect(restarts()).toBe(restartsBefore + 1);
  expect(ended).toMatchObject({ state: 'rolled-back', verified: true, notVerified: [] });
  expect(await look(world)).toEqual(before);
  expect(await askTarget(world.stack, `SELECT version FROM countdown.migration WHERE run = ${run}`)).toEqual(
    [],
  );
  const { rows } = await intactEvidence(world.client(), run);
  const counted = rows
    .filter(
      ({ kind, direction, body }) => kind === 'outcome' && direction !== 'probe' && body['result'] === 'ok',
    )
    .map(({ phase, direction }) => `${phase}/${direction}`);
  expect(counted.toSorted()).toEqual([...new Set(counted)].toSorted());
  await world.written();
  await world.quietly(async () => {
    const check = await checkWrites(world);
    expect(check.missing).toEqual([]);
    expect(check.present).toBe(check.acknowledged);
  });
}
