/** Filling new columns: in pages that can be broken off, giving way to those who use the database, until nothing is left. */
import { performance } from 'node:perf_hooks';
import { expect, test } from 'vitest';
import type { Backfill } from '../../activities/lib/migrate/params.ts';
import { SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import type { MigrateWorld } from '../support/migrate-world.ts';
import { failureOf } from '../support/phase-context.ts';

const FILES = {
  '1_a.up.sql': `ALTER TABLE songs ADD COLUMN minutes int;`,
  '1_a.down.sql': 'ALTER TABLE songs DROP COLUMN minutes;',
};

const BACKFILL: Backfill = {
  table: 'songs',
  set: { minutes: 'coalesce(seconds, 0) / 60' },
  where: 'minutes IS NULL',
  pageRows: 50,
  pageTimeMs: 1,
  maxLagMs: 5_000,
  maxBlocked: 5,
};

/** A world whose column is there and empty. */
async function makeWorld(
  backfill: Partial<Backfill> = {},
  sql = SONGS,
  files: Record<string, string> = FILES,
) {
  const params = { lossyDown: true, lockTimeoutMs: 50, lockTries: 3, backfill: { ...BACKFILL, ...backfill } };
  const world = await makeMigrateWorld({ sql, files, params });
  await world.run('inspect');
  await world.run('apply');
  return world;
}

const wrong = (world: MigrateWorld) =>
  world.ask('SELECT count(*)::int AS rows FROM songs WHERE minutes IS DISTINCT FROM seconds / 60');

test('every row is filled once, in pages along the key', async () => {
  await using world = await makeWorld();
  expect((await world.probe('backfill')).answer).toBe('no');
  const { output } = await world.run('backfill');
  expect(output).toMatchObject({ rowsFilled: 500, heldMs: 0 });
  expect(Number(output?.['pages'])).toBeGreaterThan(3);
  expect(await wrong(world)).toEqual([{ rows: 0 }]);
  expect(await world.probe('backfill')).toEqual({ answer: 'yes', summary: '500 rows filled' });
  expect(await world.undo('backfill')).toMatchObject({ summary: '500 values go with their columns' });
  expect((await world.probe('backfill')).answer).toBe('no');
});

test('pages grow while they are quick, and shrink while they are slow', async () => {
  await using quick = await makeWorld({ pageRows: 10, pageTimeMs: 10_000 });
  // 10, 20, 40, 80, 160 and the rest.
  expect(await quick.run('backfill')).toMatchObject({ output: { rowsFilled: 500, pages: 6 } });
  await using slow = await makeWorld(
    { pageRows: 40, pageTimeMs: 10, set: { minutes: `CASE WHEN pg_sleep(0.01) IS NULL THEN 0 ELSE 1 END` } },
    SONGS.replace('500', '80'),
  );
  // 40, 20, 10, 5, 3, 2; two pages of forty else.
  const { output } = await slow.run('backfill');
  expect(output).toMatchObject({ rowsFilled: 80 });
  expect(Number(output?.['pages'])).toBeGreaterThan(4);
});

test('what was broken off goes on behind its last page', async () => {
  await using world = await makeWorld({ pageRows: 10, pageTimeMs: 10 });
  let pages = 0;
  const context = world.context({
    onProgress: (_, own) => {
      pages += 1;
      if (pages === 5) own.abort();
    },
  });
  await expect(world.run('backfill', context)).rejects.toThrow('The test cancelled the phase.');
  const found = await world.probe('backfill');
  expect(found.answer).toBe('partly');
  const before = await world.ask('SELECT count(minutes)::int AS rows FROM songs');
  expect(found.summary).toBe(`${Number(before[0]?.['rows'])} rows filled`);
  expect(Number(before[0]?.['rows'])).toBeLessThan(500);
  const xids = `SELECT id, xmin::text AS xmin FROM songs WHERE minutes IS NOT NULL ORDER BY id`;
  const first = await world.ask(xids);
  expect(await world.run('backfill')).toMatchObject({ output: { rowsFilled: 500 } });
  // Rows of finished pages were not written again.
  expect((await world.ask(xids)).slice(0, first.length)).toEqual(first);
  expect(await wrong(world)).toEqual([{ rows: 0 }]);
});

test('a key of several columns and a table with a schema work too', async () => {
  const sql = `${SONGS} CREATE SCHEMA shelf; CREATE TABLE shelf.plays (song text, at timestamptz, PRIMARY KEY (song, at));
    INSERT INTO shelf.plays SELECT 'Song "' || i % 7 || '", ''', '2020-01-01'::timestamptz + i * interval '1 hour' FROM generate_series(1, 300) i;`;
  const files = {
    '1_a.up.sql': 'ALTER TABLE shelf.plays ADD COLUMN day date;',
    '1_a.down.sql': 'ALTER TABLE shelf.plays DROP COLUMN day;',
  };
  await using world = await makeWorld(
    { table: 'shelf.plays', set: { day: 'at::date' }, where: 'day IS NULL' },
    sql,
    files,
  );
  expect(await world.run('backfill')).toMatchObject({ output: { rowsFilled: 300 } });
  expect(await world.ask('SELECT count(*)::int AS rows FROM shelf.plays WHERE day = at::date')).toEqual([
    { rows: 300 },
  ]);
});

test('rows that somebody holds are tried again, and named a lock when they are never free', async () => {
  await using world = await makeWorld();
  await using other = await world.session('other');
  await other.query('BEGIN; UPDATE songs SET title = title WHERE id = 7');
  const failure = await failureOf(world.run('backfill'));
  expect(failure.message).toBe(
    'A page of songs did not get its rows in 3 tries of 50 ms, expected them to be free; look who holds them, then retry (LockTimeout).',
  );
  await other.query('COMMIT');
  expect(await world.run('backfill')).toMatchObject({ output: { rowsFilled: 500 } });
});

test('it holds while an operator says so, and goes on afterwards', async () => {
  await using world = await makeWorld(
    { holdWhile: 'SELECT paused FROM switches' },
    `${SONGS} CREATE TABLE switches (paused boolean); INSERT INTO switches VALUES (true);`,
  );
  const context = world.context();
  const filling = world.run('backfill', context);
  await expect
    .poll(() => context.told.map(({ detail }) => detail), { timeout: 10_000 })
    .toContain('held: holdWhile says so');
  expect(await world.ask('SELECT count(minutes)::int AS rows FROM songs')).toEqual([{ rows: 0 }]);
  await world.ask('UPDATE switches SET paused = false');
  const { output } = await filling;
  expect(output).toMatchObject({ rowsFilled: 500 });
  expect(Number(output?.['heldMs'])).toBeGreaterThan(0);
});

test('it waits while the run is paused, counts how long, and goes on when it is resumed', async () => {
  await using world = await makeWorld({ pageRows: 10, pageTimeMs: 10 });
  let isPaused = false;
  const startedAt = performance.now();
  const context = world.context({
    isPaused: () => isPaused,
    // In the middle of it, and for a few looks.
    onProgress: ({ detail }, own) => {
      if (own.told.length === 3) isPaused = true;
      if (own.told.filter((one) => one.detail === 'held: the run is paused').length === 4) isPaused = false;
      expect(detail).toMatch(/^(?:songs|held: the run is paused)$/);
    },
  });
  const { output } = await world.run('backfill', context);
  const tookMs = performance.now() - startedAt;
  expect(output).toMatchObject({ rowsFilled: 500 });
  const held = context.told.filter((one) => one.detail === 'held: the run is paused');
  expect(held).toHaveLength(4);
  // Nothing was written meanwhile.
  expect(new Set(held.map(({ done }) => done)).size).toBe(1);
  expect(Number(output?.['heldMs'])).toBeGreaterThan(1_500);
  expect(Number(output?.['heldMs'])).toBeLessThan(tookMs);
  expect(await wrong(world)).toEqual([{ rows: 0 }]);
});

/** What one session holds, what another one waits for, and what lets it go on. */
type Waits = { tables?: string; holds: string; waits: string; frees: string };

test.each<[string, Waits]>([
  [
    'for a row',
    {
      tables: 'CREATE TABLE other (id int); INSERT INTO other VALUES (1);',
      holds: 'BEGIN; UPDATE other SET id = 2',
      waits: 'UPDATE other SET id = 3',
      frees: 'ROLLBACK',
    },
  ],
  [
    'for a lock',
    {
      holds: 'BEGIN; CREATE TABLE other (id int); SELECT pg_advisory_lock(1)',
      waits: 'SELECT pg_advisory_lock(1)',
      frees: 'ROLLBACK; SELECT pg_advisory_unlock_all()',
    },
  ],
])('it gives way while a session waits %s', async (_, { tables = '', holds, waits, frees }) => {
  await using world = await makeWorld({ maxBlocked: 0 }, `${SONGS} ${tables}`);
  await using holder = await world.session('holder');
  await holder.query(holds);
  await using waiter = await world.session('waiter');
  const waiting = waiter.query(waits);
  const blocked = `SELECT 1 FROM pg_stat_activity WHERE application_name = 'waiter' AND wait_event_type = 'Lock'`;
  await expect.poll(() => world.ask(blocked), { timeout: 10_000 }).toHaveLength(1);
  const context = world.context();
  const filling = world.run('backfill', context);
  await expect
    .poll(() => context.told.map(({ detail }) => detail), { timeout: 10_000 })
    .toContain('held: 1 sessions wait for a lock');
  await holder.query(frees);
  await waiting;
  expect(await filling).toMatchObject({ output: { rowsFilled: 500 } });
});

test('rows that cannot be filled are told, and so is a trigger that is not on', async () => {
  await using world = await makeWorld({ set: { minutes: 'NULLIF(seconds, 5)' } });
  expect((await failureOf(world.run('backfill'))).message).toBe(
    '2 rows of songs are still to be filled after 5 rounds, expected none; new rows come without a value: name a trigger that fills them, then retry (BackfillResidual).',
  );
  await using other = await makeWorld({ trigger: 'fill_minutes' });
  expect((await failureOf(other.run('backfill'))).message).toBe(
    'Trigger fill_minutes of songs is to fill new rows, and there is no such trigger, expected it on before the first page; make it in a migration above (NoDualWrite).',
  );
  await other.ask(`CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.minutes := NEW.seconds / 60; RETURN NEW; END $$;
    CREATE TRIGGER fill_minutes BEFORE INSERT OR UPDATE ON songs FOR EACH ROW EXECUTE FUNCTION fill(); ALTER TABLE songs DISABLE TRIGGER fill_minutes`);
  expect((await failureOf(other.run('backfill'))).message).toContain('and it is disabled, expected it on');
  await other.ask('ALTER TABLE songs ENABLE TRIGGER fill_minutes');
  expect(await other.run('backfill')).toMatchObject({ output: { rowsFilled: 500 } });
});

test('a table without a key has no pages', async () => {
  const files = {
    '1_a.up.sql': 'ALTER TABLE log ADD COLUMN minutes int;',
    '1_a.down.sql': 'ALTER TABLE log DROP COLUMN minutes;',
  };
  await using world = await makeWorld({ table: 'log' }, 'CREATE TABLE log (seconds int);', files);
  expect((await failureOf(world.run('backfill'))).message).toBe(
    "Table log of 'db' has no primary key or is not there, expected one, along which its pages go; add one first (BackfillKey).",
  );
});

test.each<[Partial<Backfill>, string]>([
  [
    { set: { minutes: '1), title = (2' } },
    "backfill.set.minutes is '1), title = (2', expected one expression; write no more than that (SqlSyntax).",
  ],
  [
    { set: { minutes: '1); DELETE FROM songs; SELECT (1' } },
    "backfill.set.minutes is '1); DELETE FROM songs; SELECT (1', expected one expression; write no more than that (SqlSyntax).",
  ],
  [
    { where: 'true) OR EXISTS (SELECT 1) LIMIT (5' },
    "backfill.where is 'true) OR EXISTS (SELECT 1) LIMIT (5', expected one expression; write no more than that (SqlSyntax).",
  ],
  [
    { holdWhile: 'SELECT false; DELETE FROM songs' },
    'backfill.holdWhile has 2 statements, expected one select; take the others away (SqlSyntax).',
  ],
])('%j is more than it says', async (more, message) => {
  const params = { backfill: { ...BACKFILL, ...more } };
  await using world = await makeMigrateWorld({ sql: SONGS, files: FILES, params });
  expect((await failureOf(world.run('inspect'))).message).toBe(message);
});

test('a question that would write is answered by an error, and changes nothing', async () => {
  const eager = 'WITH gone AS (DELETE FROM songs RETURNING 1) SELECT count(*) > 0 FROM gone';
  await using world = await makeWorld({ holdWhile: eager });
  expect((await failureOf(world.run('backfill'))).message).toContain('read-only transaction');
  expect(await world.ask('SELECT count(*)::int AS rows FROM songs')).toEqual([{ rows: 500 }]);
});
