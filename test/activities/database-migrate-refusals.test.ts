/** What is refused before anything is changed, each with its sentence. */
import { describe, expect, test } from 'vitest';
import { checkSession } from '../../activities/lib/migrate/preconditions.ts';
import { EXAMPLE, SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import type { Files, MigrateWorld, MigrateWorldOptions } from '../support/migrate-world.ts';
import { failureOf } from '../support/phase-context.ts';

const lossy = { lossyDown: true };

/** The sentence with which inspect refuses, and nothing of the target is changed. */
async function refused(
  options: MigrateWorldOptions,
  prepare: (world: MigrateWorld) => Promise<unknown> = async () => {},
) {
  await using world = await makeMigrateWorld({
    sql: SONGS,
    ...options,
    params: { ...lossy, ...options.params },
  });
  await prepare(world);
  const before = await world.print();
  const { type, message } = await failureOf(world.run('inspect'));
  expect(type).toBe('PreconditionFailed');
  expect(await world.print()).toEqual(before);
  return message;
}

/** One migration of these scripts, with nothing to be said about its way back. */
const one = (up: string, down = 'SELECT 1;'): Files => ({ '1_a.up.sql': up, '1_a.down.sql': down });

describe('a file is refused', () => {
  test.each<[string, Files, string]>([
    [
      'SqlSyntax',
      one('ALTER TABLE songs\n  ADD COLUM genre text extra;'),
      '1_a.up.sql:2:19 cannot be read as SQL: syntax error at or near "text"; correct it and plan again (SqlSyntax).',
    ],
    [
      'TransactionControl',
      one('BEGIN; ALTER TABLE songs ADD COLUMN genre text; COMMIT;'),
      "1_a.up.sql:1 says 'BEGIN', expected no statement that begins, ends or sets a transaction; take it away, since the step makes its own (TransactionControl).",
    ],
    [
      'TransactionNested',
      one('BEGIN;\nBEGIN;\nCOMMIT;'),
      '1_a.up.sql:2 begins a transaction inside the one of line 1, expected neither; take both away, since the step makes its own (TransactionNested).',
    ],
    [
      'TransactionUncommitted',
      one('SELECT 1;\nSTART TRANSACTION;\nSELECT 2;'),
      '1_a.up.sql:2 begins a transaction and never commits it, expected neither; take it away, since the step makes its own (TransactionUncommitted).',
    ],
    [
      'NonTransactionalMulti',
      one('SELECT 1;\nCREATE INDEX CONCURRENTLY i ON songs (title);'),
      "1_a.up.sql:2 says 'CREATE INDEX CONCURRENTLY i ON songs (title)', which cannot stand in a transaction, beside others, expected it alone; put it into a migration of its own (NonTransactionalMulti).",
    ],
    [
      'StatementRefused',
      one('CREATE DATABASE other;'),
      "1_a.up.sql:1 says 'CREATE DATABASE other', which cannot stand in a migration: it changes the whole server and not this database alone, and a clone does not keep it apart; take it out (StatementRefused).",
    ],
    [
      'UnknownFile',
      { ...one('SELECT 1;'), 'add-genre.sql': 'SELECT 1;' },
      "'files' has add-genre.sql, expected names as 0007_add_genre.up.sql and 0007_add_genre.down.sql, or V7__add_genre.sql and U7__add_genre.sql; rename or remove them (UnknownFile).",
    ],
    [
      'DoubleVersion',
      { ...one('SELECT 1;'), '01_b.up.sql': 'SELECT 1;' },
      "'files' has version 1 twice, as 01_b.up.sql and 1_a.down.sql, expected once; give one of them a number of its own (DoubleVersion).",
    ],
    [
      'MissingFile',
      { '1_a.down.sql': 'SELECT 1;' },
      "'files' has 1_a.down.sql without the up of version 1, expected both; add it, or remove the down (MissingFile).",
    ],
  ])('%s', async (_, files, message) => {
    expect(await refused({ files })).toBe(message);
  });

  test('where it is not what was applied any more', async () => {
    const message = await refused({ files: EXAMPLE }, async (world) => {
      await world.run('inspect');
      await world.run('apply');
      await world.write({ '0001_add_genre.up.sql': 'ALTER TABLE songs ADD COLUMN genre varchar;' });
    });
    expect(message).toMatch(
      /^Migration 0001 was applied with sha256 [0-9a-f]{12}, and its file now has [0-9a-f]{12}, expected the file to stay as it was; put it back, and write the change as a new migration \(ChecksumDrift\)\.$/,
    );
  });

  test('where it was applied and is gone', async () => {
    const message = await refused({ files: EXAMPLE }, async (world) => {
      await world.run('inspect');
      await world.run('apply');
      await world.remove('0002_index_title.up.sql');
      await world.remove('0002_index_title.down.sql');
    });
    expect(message).toBe(
      "Migration 0002 was applied, and 'files' has no file of it any more, expected every applied migration to stay; put the file back (MissingFile).",
    );
  });

  test('where it comes below one that was applied', async () => {
    const message = await refused({ files: EXAMPLE }, async (world) => {
      await world.run('inspect');
      await world.run('apply');
      await world.write({ '0000_late.up.sql': 'SELECT 1;', '0000_late.down.sql': 'SELECT 1;' });
    });
    expect(message).toBe(
      'Migration 0000 was never applied, and 0003 was, expected them in order; give 0000 a number above 0003, or name a baseline (OutOfOrder).',
    );
  });

  test('where it was changed since it was tried', async () => {
    await using world = await makeMigrateWorld({ sql: SONGS, files: EXAMPLE, params: lossy });
    await world.run('inspect');
    await world.write({ '0003_add_lists.down.sql': 'DROP TABLE songs;' });
    const before = await world.print();
    expect((await failureOf(world.run('apply'))).message).toMatch(
      /^0003_add_lists\.down\.sql has sha256 [0-9a-f]{12}, expected [0-9a-f]{12}, with which it was tried and approved; put it back, or plan again \(ScriptsDrift\)\.$/,
    );
    expect(await world.print()).toEqual(before);
  });
});

describe('a step is refused', () => {
  test.each<[string, MigrateWorldOptions, string]>([
    [
      'UnknownRevision',
      { files: EXAMPLE, params: { to: '0009' } },
      "'files' has no migration 0009, which to names, expected one of 0001 to 0003; correct the step (UnknownRevision).",
    ],
    [
      'TooMany',
      {
        files: Object.fromEntries(Array.from({ length: 201 }, (_, i) => [`${i + 1}_a.up.sql`, 'SELECT 1;'])),
      },
      "'files' has 201 migrations to apply, expected at most 200 in one step; write several steps, each with its own to (TooMany).",
    ],
    [
      'NoDown',
      { files: { '1_a.up.sql': 'CREATE TABLE lists (id bigint PRIMARY KEY);' } },
      '1_a.up.sql has no down beside it, expected one that takes it back; write it, or put the step below a point-of-no-return (NoDown).',
    ],
    [
      'ForGood',
      { files: one(`DELETE FROM songs WHERE id = 1;`) },
      '1_a.up.sql:1 destroys rows of table songs, which no down can bring back; put the step below a point-of-no-return (ForGood).',
    ],
    [
      'LossyDown',
      {
        files: one('CREATE TABLE lists (id bigint PRIMARY KEY);', 'DROP TABLE lists;'),
        params: { lossyDown: false },
      },
      '1_a.down.sql:1 loses table lists, with all that was written there since, which nobody has said may be; write lossyDown: true in the step, which makes it costly, or put it below a point-of-no-return (LossyDown).',
    ],
    [
      'UpFails',
      { files: one('SELECT 1;\nALTER TABLE nothing ADD COLUMN a int;') },
      `1_a.up.sql:2 fails on the scratch clone: relation "nothing" does not exist (42P01), in 'ALTER TABLE nothing ADD COLUMN a int'; correct it and plan again (UpFails).`,
    ],
    [
      'DownFails',
      { files: one('CREATE TABLE lists (id bigint PRIMARY KEY);', 'DROP TABLE list;') },
      `1_a.down.sql:1 fails on the scratch clone: table "list" does not exist (42P01), in 'DROP TABLE list'; correct it and plan again (DownFails).`,
    ],
    [
      'BackfillColumns',
      {
        files: EXAMPLE,
        params: {
          backfill: {
            table: 'songs',
            set: { title: "''" },
            where: 'false',
            pageRows: 9,
            pageTimeMs: 9,
            maxLagMs: 9,
            maxBlocked: 9,
          },
        },
      },
      "The backfill fills songs.title, which no pending migration of 'files' adds, expected new columns, since they are what the undo takes away; add them in the same step, or put the step below a point-of-no-return (BackfillColumns).",
    ],
    [
      'StatementRefused',
      {
        files: one('CREATE INDEX CONCURRENTLY ON songs (title);', 'DROP INDEX CONCURRENTLY songs_title_idx;'),
      },
      '1_a.up.sql:1 makes an index without a name, expected one, so that a broken attempt can be found again; give it a name (StatementRefused).',
    ],
    [
      'WrongDatabase',
      { files: EXAMPLE, params: { expectDatabase: 'piano' } },
      "'db' is database 'test_', expected 'piano'; correct the environment file or expectDatabase (WrongDatabase).",
    ],
  ])('%s', async (_, options, message) => {
    expect((await refused(options)).replace(/test_[0-9a-f]{16}/, 'test_')).toBe(message);
  });

  test('where the down does not bring back what was there', async () => {
    const message = await refused({ files: one('CREATE TABLE lists (id bigint PRIMARY KEY);') });
    expect(message).toMatch(
      /^1_a\.down\.sql does not bring back what was there before 1_a\.up\.sql: \+ columns public lists 1 id bigint t.*, expected no difference; correct it and plan again \(DownDiffers\)\.$/,
    );
  });

  test('where the second up does something else', async () => {
    const random = `DO $$ BEGIN EXECUTE 'CREATE TABLE lists' || pg_current_xact_id() || ' ()'; END $$;`;
    const drop = `DO $$ BEGIN EXECUTE (SELECT 'DROP TABLE ' || relname FROM pg_class WHERE relname ~ '^lists'); END $$;`;
    expect(await refused({ files: one(random, drop) })).toMatch(
      /^1_a\.up\.sql does something else when it is run again after 1_a\.down\.sql: - relations public lists\d+ .*\(UpDiffers\)\.$/,
    );
  });

  test('where the target takes no writes', async () => {
    const message = await refused({ files: EXAMPLE }, (world) =>
      world.ask(
        `DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$`,
      ),
    );
    expect(message).toBe(
      "'db' takes no writes (default_transaction_read_only is on), expected the primary; correct its address in the environment file (ReadOnly).",
    );
  });

  test('where a pooler gives it another session each time', async () => {
    let pid = 0;
    const pooled = { name: 'db', query: async () => [[String((pid += 1))]] };
    expect((await failureOf(checkSession(pooled))).message).toBe(
      "'db' answered from 3 sessions in 3 round trips, expected one: a pooler gives each transaction another; use the address of the server itself, or a pool by session (PooledConnection).",
    );
  });

  test('where an index was left invalid by somebody else', async () => {
    const message = await refused({ files: EXAMPLE }, async (world) => {
      await world.ask(`INSERT INTO songs (title) VALUES ('Song 1')`);
      await world.ask('CREATE UNIQUE INDEX CONCURRENTLY once ON songs (title)').catch(() => undefined);
    });
    expect(message).toBe(
      "'db' has indexes that a broken CREATE INDEX CONCURRENTLY left invalid (public.once of songs), expected none; DROP INDEX CONCURRENTLY them, or REINDEX them (InvalidIndex).",
    );
  });

  test('where the structure was changed after it was tried', async () => {
    await using world = await makeMigrateWorld({ sql: SONGS, files: EXAMPLE, params: lossy });
    await world.run('inspect');
    await world.ask('CREATE TABLE other ()');
    expect((await failureOf(world.run('apply'))).message).toMatch(
      /^The structure of 'db' is [0-9a-f]{12}, expected [0-9a-f]{12}, on which the migrations were tried; somebody changed it since; plan again \(StructureDrift\)\.$/,
    );
    await world.ask('DROP TABLE other');
    await world.run('apply');
    await world.ask('DROP INDEX songs_title');
    expect((await failureOf(world.run('verify'))).message).toBe(
      `The structure of 'db' is not what was tried on the clone (missing: columns public songs_title 1 title text f "default"; missing: indexes public CREATE INDEX songs_title ON public.songs USING btree (title) t f f; missing: relations public songs_title i p f f n), expected no difference; find out who changed it (StructureDrift).`,
    );
  });
});

test('what only the rows can break ends the migration whole, and names the statement', async () => {
  const unique = one(
    'CREATE UNIQUE INDEX CONCURRENTLY once ON songs (seconds);',
    'DROP INDEX CONCURRENTLY once;',
  );
  await using world = await makeMigrateWorld({ sql: SONGS, files: unique });
  const before = await world.print();
  await world.run('inspect');
  const failure = await failureOf(world.run('apply'));
  expect(failure.type).toBe('PhaseFailed');
  expect(failure.message).toMatch(
    /^1_a\.up\.sql:1 fails: could not create unique index "once"[^;]*\(23505\), in '.*; correct it and plan again \(StatementFails\)\.$/,
  );
  expect((await world.probe('apply')).answer).toBe('partly');
  await world.undo('apply');
  expect(await world.print()).toEqual(before);
});

test('a baseline stands already, and goes on standing after an undo', async () => {
  const sql = `${SONGS} ALTER TABLE songs ADD COLUMN genre text;`;
  await using world = await makeMigrateWorld({
    sql,
    files: EXAMPLE,
    params: { ...lossy, baseline: '0001', to: '0002' },
  });
  expect(await world.run('inspect')).toMatchObject({ output: { pending: ['0002'], revisionBefore: '0001' } });
  await world.run('apply');
  expect(await world.ask('SELECT version, name FROM countdown.migration ORDER BY 1')).toEqual([
    { version: '0001', name: 'baseline' },
    { version: '0002', name: 'index_title' },
  ]);
  await world.undo('apply');
  expect(await world.ask('SELECT version FROM countdown.migration')).toEqual([{ version: '0001' }]);
});
