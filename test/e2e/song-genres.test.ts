/** song-genres on a library in use: after first-launch the schema is changed under write traffic, taken back, and changed again. */
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

async function run(failAt?: string): Promise<RunDetailWire> {
  const { plan } = await world.client().makePlan({ runbook: 'song-genres', environment: 'demo', params: {} });
  const asked = { plan, ...(failAt === undefined ? {} : { failAt }) };
  return await world.until((await world.client().start(asked, randomUUID())).run, hasEnded);
}

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
    const ended = await run('smoke');
    expect(ended).toMatchObject({ state: 'rolled-back', verified: true, notVerified: [] });
    expect(await genres()).toEqual([{ columns: 0, indexes: 0 }]);
    await expectWrites();
  },
  TEST_MS,
);

test(
  'it succeeds while people play, and says how long a query waited',
  async () => {
    const ended = await run();
    expect(ended).toMatchObject({ state: 'succeeded', verdict: 'pass' });
    expect(await genres()).toEqual([{ columns: 1, indexes: 1 }]);
    const { rows } = await intactEvidence(world.client(), ended.run);
    const applied = rows.find(
      ({ kind, phase, direction }) => kind === 'outcome' && phase === 'schema/apply' && direction === 'run',
    );
    expect(JSON.stringify(applied?.body)).toMatch(/no query waited longer than \d+ ms/);
    await expectWrites();
  },
  TEST_MS,
);
