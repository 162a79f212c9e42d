/** A replica that falls behind, a real one: the backfill gives way until it has come near again. */
import { expect, test } from 'vitest';
import { checkTarget } from '../../activities/lib/migrate/preconditions.ts';
import { withPostgres } from '../../activities/lib/postgres.ts';
import { SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import { postgresTarget } from '../support/phase-context.ts';
import { makePair } from '../support/replica.ts';

test('a backfill waits for a replica that is behind, and goes on when it has caught up', async () => {
  await using pair = await makePair();
  await pair.ask(`${SONGS} CREATE TABLE beats (at timestamptz DEFAULT now());`);
  const backfill = {
    table: 'songs',
    set: { minutes: 'seconds / 60' },
    where: 'minutes IS NULL',
    pageRows: 5,
    pageTimeMs: 1,
    maxLagMs: 300,
    maxBlocked: 99,
  };
  const files = {
    '1_a.up.sql': 'ALTER TABLE songs ADD COLUMN minutes int;',
    '1_a.down.sql': 'ALTER TABLE songs DROP COLUMN minutes;',
  };
  await using world = await makeMigrateWorld({ files, params: { lossyDown: true, backfill } });
  const { target, secrets } = postgresTarget(pair.url);
  const context = () => world.context({ targets: { ...world.targets, db: target }, secrets });
  await world.run('inspect', context());
  await world.run('apply', context());

  await pair.replay('paused');
  // Its lag is measured by what it is sent.
  const lag = `SELECT coalesce(extract(epoch FROM replay_lag) * 1000, 0)::int > 400 AS behind FROM pg_stat_replication`;
  await expect
    .poll(
      async () => {
        await pair.ask(`INSERT INTO beats DEFAULT VALUES`);
        return await pair.ask(lag);
      },
      { timeout: 30_000, interval: 200 },
    )
    .toEqual([{ behind: true }]);

  const filling = context();
  const done = world.run('backfill', filling);
  await expect
    .poll(() => filling.told.map(({ detail }) => detail), { timeout: 20_000 })
    .toContainEqual(expect.stringMatching(/^held: a replica is \d+ ms behind$/));
  expect(await pair.ask('SELECT count(minutes)::int AS rows FROM songs')).toEqual([{ rows: 0 }]);
  await pair.replay('on');
  const { output } = await done;
  expect(output).toMatchObject({ rowsFilled: 500 });
  expect(Number(output?.['heldMs'])).toBeGreaterThan(0);
}, 180_000);

test('who may not see how far replicas are is told so', async () => {
  await using pair = await makePair();
  await pair.ask(`CREATE ROLE poor LOGIN PASSWORD 'poor'`);
  const url = new URL(pair.url);
  url.username = 'poor';
  url.password = 'poor';
  await using world = await makeMigrateWorld();
  const { target, secrets } = postgresTarget(url.href);
  const notes = await withPostgres('db', world.context({ targets: { db: target }, secrets }), (connection) =>
    checkTarget(connection, {}),
  );
  expect(notes).toEqual(['its user may not see how far 1 replicas are: grant it pg_monitor']);
}, 180_000);
