/** What hardly ever happens, and must be told all the same. */
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { withMigrationLock } from '../../activities/lib/migrate/lock.ts';
import { checkTarget } from '../../activities/lib/migrate/preconditions.ts';
import { withPostgres } from '../../activities/lib/postgres.ts';
import { SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import { makeWire } from '../support/migrate-wire.ts';
import { failureOf, makeTestFolder } from '../support/phase-context.ts';

const COLUMN = {
  '1_a.up.sql': 'ALTER TABLE songs ADD COLUMN genre text;',
  '1_a.down.sql': 'ALTER TABLE songs DROP COLUMN genre;',
};
const params = { lossyDown: true };

test('a lock that another migration never gives back is not waited for without end', async () => {
  await using world = await makeMigrateWorld({ sql: SONGS });
  await using other = await world.session('other tool');
  await other.query('SELECT pg_advisory_lock(4927312)');
  const failure = await failureOf(withMigrationLock('db', world.context(), async () => 'never', 2));
  expect(failure.message).toMatch(
    /^Another migration of 'db' has held its lock for 2 s \(session \d+ of postgres, other tool\), expected it to be free; wait for it, or end its session \(LockHeld\)\.$/,
  );
});

test('a lock that is gone while its session lives is noticed', async () => {
  await using world = await makeMigrateWorld({ sql: SONGS });
  const losing = withMigrationLock('db', world.context(), async (guard) => {
    await guard.assertHeld();
    await guard.connection.client.query('DISCARD ALL');
    await guard.assertHeld();
  });
  expect(await failureOf(losing)).toEqual({
    type: 'PhaseFailed',
    message:
      "The session that kept other migrations of 'db' away has lost its lock, expected it to stand; try again (AdvisoryLockLost).",
  });
});

test('a transaction that stands without its history row is for a person', async () => {
  await using world = await makeMigrateWorld({ sql: SONGS, files: COLUMN, params });
  await world.run('inspect');
  await world.run('apply');
  await world.undo('apply');
  // Somebody's trigger takes the row away as soon as it is there.
  await world.ask(`CREATE FUNCTION countdown.eat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM countdown.migration; RETURN NULL; END $$;
    CREATE TRIGGER eat AFTER INSERT ON countdown.migration FOR EACH ROW EXECUTE FUNCTION countdown.eat()`);
  await using wire = await makeWire(world.url, { delivers: true });
  const { db } = world.targets;
  if (db?.kind !== 'postgres') throw new Error('The world has no database.');
  const wired = world.context({ targets: { ...world.targets, db: { ...db, port: wire.port } } });
  expect((await failureOf(world.run('apply', wired))).message).toMatch(
    /^The session was lost \(.+\), transaction \d+ is committed, and the history lacks its row, expected both to agree; look into countdown\.migration of 'db', then retry \(CommitUnknown\)\.$/,
  );
});

test('a clone that is not what it was made of is refused', async () => {
  await using world = await makeMigrateWorld({
    sql: `${SONGS} CREATE AGGREGATE product(int) (sfunc = int4mul, stype = int, initcond = '1');`,
    files: COLUMN,
    params,
  });
  await using folder = await makeTestFolder();
  // A pg_dump that forgets the function.
  await writeFile(join(folder.path, 'pg_dump'), '#!/bin/sh\necho "CREATE TABLE public.songs (id bigint);"\n');
  await chmod(join(folder.path, 'pg_dump'), 0o755);
  const context = world.context({ secrets: { ...world.secrets, PG_BIN_DIR: folder.path } });
  expect((await failureOf(world.run('inspect', context))).message).toMatch(
    /^The scratch clone of 'db' is not what it was made of: - columns public songs 1 id bigint t a -; .*; and \d+ more; take what cannot be cloned out of the way, or ask for support of it \(CloneDiffers\)\.$/,
  );
});

test('prepared transactions keep their locks for ever, so they are told before', async () => {
  await using world = await makeMigrateWorld({ sql: SONGS });
  // The suite's server takes none (max_prepared_transactions is 0), so their view is stood in for.
  const failure = await failureOf(
    withPostgres('db', world.context(), (connection) =>
      checkTarget(
        {
          ...connection,
          query: (sql, values) =>
            sql.includes('pg_prepared_xacts')
              ? Promise.resolve([['two-phase', 'piano', '4711']])
              : connection.query(sql, values),
        },
        {},
      ),
    ),
  );
  expect(failure.message).toBe(
    "'db' has prepared transactions, which keep their locks for ever ('two-phase' of piano, 4711 s old), expected none; COMMIT PREPARED or ROLLBACK PREPARED them (PreparedTransactions).",
  );
});

test('a transaction that is old is told, and is no obstacle', async () => {
  await using world = await makeMigrateWorld({ sql: SONGS });
  const notes = await withPostgres('db', world.context(), (connection) =>
    checkTarget(
      {
        ...connection,
        query: (sql, values) =>
          connection.query(sql.replace("interval '30 seconds'", "interval '0 seconds'"), values),
      },
      {},
    ),
  );
  expect(notes).toEqual([]);
  await using reports = await world.session('reports');
  await reports.query('BEGIN; SELECT 1');
  const told = await withPostgres('db', world.context(), (connection) =>
    checkTarget(
      {
        ...connection,
        query: (sql, values) =>
          connection.query(sql.replace("interval '30 seconds'", "interval '0 seconds'"), values),
      },
      {},
    ),
  );
  expect(told).toEqual([
    expect.stringMatching(
      /^session \d+ of postgres \(reports\) is in a transaction for \d+ s, idle in transaction$/,
    ),
  ]);
});

/** Migrations outside of transactions, whose downs fail where nothing had happened yet. */
const ALONE: [string, string, string, string][] = [
  [
    'an index that was to go',
    `${SONGS} CREATE INDEX songs_title ON songs (title);`,
    'DROP INDEX CONCURRENTLY songs_title;',
    'CREATE INDEX songs_title ON songs (title);',
  ],
  [
    'a partition that was to be detached',
    `CREATE TABLE days (day date) PARTITION BY RANGE (day); CREATE TABLE old PARTITION OF days FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');`,
    'ALTER TABLE days DETACH PARTITION old CONCURRENTLY;',
    `ALTER TABLE old DROP CONSTRAINT old_day_check; ALTER TABLE days ATTACH PARTITION old FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');`,
  ],
];

test.each(ALONE)('%s and is still there has nothing to be taken back', async (_, sql, up, down) => {
  const files = { '1_a.up.sql': up, '1_a.down.sql': down };
  await using world = await makeMigrateWorld({ sql, files, params });
  const before = await world.print();
  expect(['pass', 'warn']).toContain((await world.run('inspect')).verdict);
  await world.run('apply');
  await world.undo('apply');
  expect(await world.print()).toEqual(before);
  // Its row says that it was begun, and its worker died before the statement.
  await world.ask(`INSERT INTO countdown.migration (source, version, name, sha256, up, down, run, step, epoch, seq, state)
    VALUES ('files', '1', 'a', '', '${up.replaceAll("'", "''")}', '${down.replaceAll("'", "''")}', 1, 'schema', 1, 1, 'started')`);
  expect(await world.undo('apply')).toMatchObject({ verdict: 'pass' });
  expect(await world.print()).toEqual(before);
  expect(await world.ask('SELECT 1 FROM countdown.migration')).toEqual([]);
});

test('an index whose session the server ends is dropped and made again in the same attempt', async () => {
  const files = {
    '1_i.up.sql': 'CREATE INDEX CONCURRENTLY songs_title ON songs (title);',
    '1_i.down.sql': 'DROP INDEX CONCURRENTLY songs_title;',
  };
  await using world = await makeMigrateWorld({ sql: SONGS, files });
  await world.run('inspect');
  await using writer = await world.session('writer');
  await writer.query('BEGIN; UPDATE songs SET title = title WHERE id = 1');
  const applying = world.run('apply');
  const waiting = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONC%' AND wait_event_type = 'Lock'`;
  await expect.poll(() => world.ask(waiting), { timeout: 20_000, interval: 10 }).toHaveLength(1);
  const [first] = await world.ask(waiting);
  await world.ask(`SELECT pg_terminate_backend(${Number(first?.['pid'])}, 5000)`);
  // The next try finds what the first one left, and waits for the same writer to drop it.
  await expect
    .poll(
      () =>
        world.ask(
          `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'DROP INDEX CONC%' AND wait_event_type = 'Lock'`,
        ),
      { timeout: 20_000, interval: 10 },
    )
    .toHaveLength(1);
  await writer.query('COMMIT');
  expect(await applying).toMatchObject({ verdict: 'pass', output: { applied: 1 } });
  expect(
    await world.ask(`SELECT indisvalid FROM pg_index WHERE indexrelid = 'songs_title'::regclass`),
  ).toEqual([{ indisvalid: true }]);
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
});
