/**
 * song-genres on a library in use: after first-launch the schema is changed under write traffic, taken back, and changed
 * again, with a pause while its values are filled in.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RunDetailWire } from '../../cli/wire.ts';
import { type LaunchWorld, hasEnded, makeLaunchWorld } from '../support/launch-world.ts';
import { askTarget, checkWrites, intactEvidence } from '../support/launch-world-looks.ts';

const TEST_MS = 240_000;

let world: LaunchWorld;
beforeAll(async () => {
  world = await makeLaunchWorld();
  expect(await world.launch()).toMatchObject({ state: 'succeeded' });
}, TEST_MS);
afterAll(async () => world?.[Symbol.asyncDispose]());

async function start(failAt?: string): Promise<number> {
  const { plan } = await world.client().makePlan({ runbook: 'song-genres', environment: 'demo', params: {} });
  const asked = { plan, ...(failAt === undefined ? {} : { failAt }) };
  return (await world.client().start(asked, randomUUID())).run;
}

/** So many that filling their genre in takes seconds. */
const MORE_SONGS = 200_000;

const moreSongs = () =>
  askTarget(
    world.stack,
    `INSERT INTO songs (title, tempo, difficulty, price, is_public, created_at)
     SELECT 'Étude ' || i, 90, 1, 0, false, now() FROM generate_series(1, ${MORE_SONGS}) i`,
  );

const backfillOf = (run: RunDetailWire) => run.phases.find(({ phase }) => phase === 'schema/backfill');

const songsWithout = async (): Promise<number> => {
  const rows = await askTarget(world.stack, 'SELECT count(*)::int AS songs FROM songs WHERE genre IS NULL');
  return Number(rows[0]?.['songs']);
};

const genres = () =>
  askTarget(
    world.stack,
    `SELECT (SELECT count(*)::int FROM pg_attribute WHERE attrelid = 'songs'::regclass AND attname = 'genre' AND NOT attisdropped) AS columns,
       (SELECT count(*)::int FROM pg_index WHERE indexrelid = to_regclass('songs_genre') AND indisvalid) AS indexes`,
  );

/** Every acknowledged write is there: nothing was refused or lost because the schema changed. */
async function expectWrites(): Promise<void> {
  await world.written();
  await world.quietly(async () => {
    const check = await checkWrites(world);
    expect(check.missing).toEqual([]);
    expect(check.present).toBe(check.acknowledged);
  });
}

test(
  'a failure behind it takes column, values and index back, and the structure is verified',
  async () => {
    const ended = await world.until(await start('smoke'), hasEnded);
    expect(ended).toMatchObject({ state: 'rolled-back', verified: true, notVerified: [] });
    expect(await genres()).toEqual([{ columns: 0, indexes: 0 }]);
    await expectWrites();
  },
  TEST_MS,
);

test(
  'it succeeds while people play, with a pause between two pages, and says how long a query waited',
  async () => {
    await moreSongs();
    const run = await start();
    await world.until(run, (one) => Number(backfillOf(one)?.progress?.['done']) > 0);
    await world.client().steer(run, 'pause', { reason: 'the replica is late' });
    const held = await world.until(
      run,
      (one) => backfillOf(one)?.progress?.['detail'] === 'held: the run is paused',
    );
    expect(held.state).toBe('paused');
    const left = await songsWithout();
    expect(left).toBeGreaterThan(0);
    await world.written();
    expect(await songsWithout()).toBe(left);
    await world.client().steer(run, 'resume', { reason: 'it is back' });
    const ended = await world.until(run, hasEnded);
    expect(ended).toMatchObject({ state: 'succeeded', verdict: 'pass' });
    expect(await genres()).toEqual([{ columns: 1, indexes: 1 }]);
    expect(await songsWithout()).toBe(0);
    const { rows } = await intactEvidence(world.client(), run);
    const applied = rows.find(
      ({ kind, phase, direction }) => kind === 'outcome' && phase === 'schema/apply' && direction === 'run',
    );
    expect(JSON.stringify(applied?.body)).toMatch(/no query waited longer than \d+ ms/);
    await expectWrites();
  },
  TEST_MS,
);
