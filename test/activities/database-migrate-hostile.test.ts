/** Files that nobody should write, and that somebody will: each is refused with a sentence, or done right, and never half. */
import { execFileSync } from 'node:child_process';
import { mkdir, rename, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import type { Files, MigrateWorld, MigrateWorldOptions } from '../support/migrate-world.ts';
import { failureOf } from '../support/phase-context.ts';

const one = (up: string, down = 'SELECT 1;'): Files => ({ '1_a.up.sql': up, '1_a.down.sql': down });

async function makeWorld(files: Files, options: MigrateWorldOptions = {}): Promise<MigrateWorld> {
  return await makeMigrateWorld({ sql: SONGS, files, params: { lossyDown: true }, ...options });
}

/** Up, verified and down again; afterwards everything is as before. */
async function thereAndBack(world: MigrateWorld): Promise<void> {
  const before = await world.print();
  expect(['pass', 'warn']).toContain((await world.run('inspect')).verdict);
  expect(await world.print()).toEqual(before);
  await world.run('apply');
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
  await world.undo('apply');
  expect(await world.print()).toEqual(before);
}

const SERVER =
  'it changes the whole server and not this database alone, and a clone does not keep it apart; take it out (StatementRefused).';

test.each<[string, string, string, string?]>([
  [
    'a command of psql',
    'SELECT 1;\n\\i other.sql',
    '1_a.up.sql:2:1 cannot be read as SQL: syntax error at or near "\\"; this is a command of psql: write what it does as SQL, or take it out (SqlSyntax).',
  ],
  [
    'COPY with its rows',
    'COPY songs (title) FROM stdin;\na\n\\.\n',
    '1_a.up.sql:2:1 cannot be read as SQL: syntax error at or near "a"; COPY with its rows cannot stand in a migration: write INSERT, or load data by other means (SqlSyntax).',
  ],
  [
    'COPY to a program',
    `COPY songs TO PROGRAM 'cat > /tmp/x'`,
    `1_a.up.sql:1 says 'COPY songs TO PROGRAM 'cat > /tmp/x'', which cannot stand in a migration: it reads or writes what is outside of the database; take it out (StatementRefused).`,
  ],
  [
    'a merge that was left',
    'SELECT 1;\n<<<<<<< HEAD\nSELECT 2;',
    '1_a.up.sql:2:1 cannot be read as SQL: syntax error at or near "<<<<<<<"; a merge was left half-done: finish it (SqlSyntax).',
  ],
  [
    'letters of several bytes before the error',
    `SELECT 'é';\nSELECT 'éé', é é é;`,
    '1_a.up.sql:2:18 cannot be read as SQL: syntax error at or near "é"; correct it and plan again (SqlSyntax).',
  ],
  ['NUL', 'SELECT 1;\0', '1_a.up.sql holds a NUL, expected text (SqlSyntax).'],
  [
    'COMMIT inside of a block',
    'DO $$ BEGIN COMMIT; END $$;',
    "1_a.up.sql:1 fails on the scratch clone: invalid transaction termination (2D000), in 'DO $$ BEGIN COMMIT; END $$'; correct it and plan again (UpFails).",
  ],
  [
    'a transaction that would not take the history row',
    'SET TRANSACTION READ ONLY;',
    "1_a.up.sql:1 says 'SET TRANSACTION READ ONLY', expected no statement that begins, ends or sets a transaction; take it away, since the step makes its own (TransactionControl).",
  ],
  [
    'strings that the server would read otherwise',
    `SET standard_conforming_strings = off; SELECT 'a\\'; DROP TABLE songs; --';`,
    "1_a.up.sql:1 says 'SET standard_conforming_strings = off', which cannot stand in a migration: the rest of the file would be read as something else; take it out (StatementRefused).",
  ],
  [
    'letters that the server would read otherwise',
    `SET NAMES 'LATIN1';`,
    `1_a.up.sql:1 says 'SET NAMES 'LATIN1'', which cannot stand in a migration: the rest of the file would be read as something else; take it out (StatementRefused).`,
  ],
  [
    'a role',
    'CREATE ROLE thief;',
    `1_a.up.sql:1 says 'CREATE ROLE thief', which cannot stand in a migration: ${SERVER}`,
  ],
  [
    'a role made by a block',
    `DO $$ BEGIN /* once */ CREATE /* x */ ROLE thief; END $$;`,
    `1_a.up.sql:1 says 'DO $$ BEGIN /* once */ CREATE /* x */ ROLE thief; END $$', which cannot stand in a migration: ${SERVER}`,
  ],
  [
    'a word about the whole database',
    `COMMENT ON DATABASE postgres IS 'x';`,
    `1_a.up.sql:1 says 'COMMENT ON DATABASE postgres IS 'x'', which cannot stand in a migration: ${SERVER}`,
  ],
  [
    'rights on the whole database',
    'GRANT CONNECT ON DATABASE postgres TO PUBLIC;',
    `1_a.up.sql:1 says 'GRANT CONNECT ON DATABASE postgres TO PUBLIC', which cannot stand in a migration: ${SERVER}`,
  ],
  [
    'rows that an INSERT writes over',
    `INSERT INTO songs (id, title) OVERRIDING SYSTEM VALUE VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET title = 'x';`,
    '1_a.up.sql:1 destroys values of songs.title, which no down can bring back; put the step below a point-of-no-return (ForGood).',
    'DELETE FROM songs WHERE id = 1;',
  ],
  [
    'a table that a function drops and makes again',
    `CREATE FUNCTION boom() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DROP TABLE songs'; END $$; SELECT boom();
     CREATE TABLE songs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text NOT NULL, seconds int); DROP FUNCTION boom();`,
    '1_a.up.sql destroys table songs, which no down can bring back; put the step below a point-of-no-return (ForGood).',
  ],
  [
    'a column that a block drops and makes again',
    `DO $$ BEGIN EXECUTE 'ALTER TABLE songs DROP COLUMN seconds'; EXECUTE 'ALTER TABLE songs ADD COLUMN seconds int'; END $$;`,
    '1_a.up.sql destroys column songs.seconds, which no down can bring back; put the step below a point-of-no-return (ForGood).',
  ],
  [
    'rows that nobody takes out again',
    `INSERT INTO songs (title) SELECT title FROM songs;`,
    '1_a.up.sql:1 inserts rows into songs, and 1_a.down.sql deletes none there, expected it to take them out again; write the DELETE, or put the step below a point-of-no-return (DownDiffers).',
  ],
])('%s is refused', async (_, up, message, down = 'SELECT 1;') => {
  await using world = await makeWorld(one(up, down));
  const before = await world.print();
  expect((await failureOf(world.run('inspect'))).message).toBe(message);
  expect(await world.print()).toEqual(before);
  expect(await world.ask(`SELECT 1 FROM pg_roles WHERE rolname = 'thief'`)).toEqual([]);
});

test('rows and rights that the down leaves are found on the clone', async () => {
  await using rows = await makeWorld(
    one(
      `CREATE FUNCTION seed() RETURNS void LANGUAGE sql AS $$ INSERT INTO songs (title) VALUES ('seed') $$; SELECT seed(); DROP FUNCTION seed();`,
    ),
  );
  expect((await failureOf(rows.run('inspect'))).message).toMatch(
    /^1_a\.down\.sql does not bring back what was there before 1_a\.up\.sql: \+ rows public songs 1 \d+, expected no difference;/,
  );
  await using rights = await makeWorld(one('GRANT SELECT ON songs TO pg_monitor;'));
  expect((await failureOf(rights.run('inspect'))).message).toMatch(
    /^1_a\.down\.sql does not bring back what was there before 1_a\.up\.sql: \+ rights table public songs \{pg_monitor=r\/postgres,.*\}, expected no difference;/,
  );
});

describe('what looks dangerous and is not', () => {
  test.each<[string, Files]>([
    [
      'words in strings, bodies and comments',
      one(
        `/* a /* nested; */ COMMIT; */ CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $a$ SELECT '$$; COMMIT; DROP TABLE songs; --' $a$; -- COMMIT;`,
        'DROP FUNCTION f();',
      ),
    ],
    [
      'lines that end as in Windows, and a mark of their order',
      one('\uFEFFCREATE VIEW v AS\r\nSELECT 1 AS a;\r\n', 'DROP VIEW v;\r\n'),
    ],
    [
      'what pg_dump writes at the top',
      one(
        `SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; CREATE VIEW v AS SELECT 1 AS a;`,
        'DROP VIEW v;',
      ),
    ],
    ['another role', one('SET ROLE pg_monitor; SET search_path = information_schema;')],
    [
      'rights that come and go',
      one('GRANT SELECT ON songs TO pg_monitor;', 'REVOKE SELECT ON songs FROM pg_monitor;'),
    ],
    [
      'an owner',
      one('CREATE TABLE boxes (a int); ALTER TABLE boxes OWNER TO pg_monitor;', 'DROP TABLE boxes;'),
    ],
    ['an extension', one('CREATE EXTENSION btree_gist;', 'DROP EXTENSION btree_gist;')],
    ['rows that come and go', one(`INSERT INTO lists VALUES ('a');`, `DELETE FROM lists WHERE name = 'a';`)],
    [
      'names with dots and quotes, outside of a transaction',
      {
        '1_a.up.sql': 'CREATE TABLE "my.""table" ("a.b" bigint);',
        '1_a.down.sql': 'DROP TABLE "my.""table";',
        '2_b.up.sql': 'CREATE INDEX CONCURRENTLY "my.""index" ON "my.""table" ("a.b");',
        '2_b.down.sql': 'DROP INDEX CONCURRENTLY "my.""index";',
      },
    ],
    [
      'gaps between the numbers',
      {
        ...one('SELECT 1;'),
        '20260101120000_b.up.sql': 'SELECT 2;',
        '20260101120000_b.down.sql': 'SELECT 3;',
      },
    ],
  ])('%s', async (_, files) => {
    await using world = await makeWorld(files, { sql: `${SONGS} CREATE TABLE lists (name text);` });
    await thereAndBack(world);
  });
});

test('what one file makes of its session is gone in the next, on the clone as on the target', async () => {
  const files = {
    '1_a.up.sql': 'CREATE SCHEMA shelf; SET search_path = shelf; CREATE TEMP TABLE t AS SELECT 1 AS a;',
    '1_a.down.sql': 'DROP SCHEMA shelf;',
    '2_b.up.sql': 'CREATE TABLE boxes (a int);',
    '2_b.down.sql': 'DROP TABLE public.boxes;',
  };
  await using world = await makeWorld(files);
  await thereAndBack(world);
  await world.write({ '2_b.up.sql': 'CREATE TABLE boxes AS SELECT * FROM t;' });
  expect((await failureOf(world.run('inspect'))).message).toContain('relation "t" does not exist (42P01)');
});

test('what was set for the database holds on the clone too', async () => {
  await using world = await makeWorld(one('CREATE TABLE boxes (a int);', 'DROP TABLE shelf.boxes;'), {
    sql: `CREATE SCHEMA shelf; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = shelf, public', current_database()); EXECUTE format('ALTER DATABASE %I SET DateStyle = ''SQL, DMY''', current_database()); END $$`,
  });
  await thereAndBack(world);
});

test('a statement that ends its own session is not tried for ever', async () => {
  // It lives where there are rows, so not on the clone.
  const up = `DO $$ BEGIN IF (SELECT count(*) FROM songs) > 0 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; END $$;`;
  await using world = await makeWorld(one(up));
  const before = await world.print();
  await world.run('inspect');
  expect((await failureOf(world.run('apply'))).message).toMatch(
    /^1_a\.up\.sql lost its session 5 times \(.*\), expected it to end; look into the log of the server, then retry \(SessionLost\)\.$/,
  );
  expect(await world.print()).toEqual(before);
});

test('a migration that another run began and never finished is told, and not taken for new', async () => {
  await using world = await makeWorld(one('SELECT 1;'));
  await world.run('inspect');
  await world.run('apply');
  await world.ask(`UPDATE countdown.migration SET state = 'started', run = 7`);
  expect((await failureOf(world.run('inspect'))).message).toBe(
    'Migration 1 was begun by run 7 and never finished, expected all before to be whole; see what of it stands, make it whole or take it away by hand, and delete its row of countdown.migration (Unfinished).',
  );
  // Even where it comes after the look: without its row the migration does not stand either.
  await world.ask('DELETE FROM countdown.migration');
  await world.run('inspect');
  await world.ask(
    `INSERT INTO countdown.migration (source, version, name, sha256, run, step, epoch, seq, state) VALUES ('files', '1', 'a', '', 7, 'schema', 1, 1, 'started')`,
  );
  expect((await failureOf(world.run('apply'))).message).toContain('(Unfinished)');
});

const refusal = async (prepare: (folder: string) => Promise<unknown>, files: Files = one('SELECT 1;')) => {
  await using world = await makeWorld(files);
  await prepare(world.folder);
  return (await failureOf(world.run('inspect'))).message;
};

describe('a folder', () => {
  test('whose files are links to files is read, as where it is mounted so', async () => {
    await using world = await makeWorld(one('SELECT 1;'));
    await rename(join(world.folder, '1_a.up.sql'), join(world.folder, '..data'));
    await symlink('..data', join(world.folder, '1_a.up.sql'));
    expect(await world.run('inspect')).toMatchObject({ verdict: 'pass', output: { pending: ['1'] } });
  });

  test('is refused where a file is none, cannot be read, is too large, or is no text', async () => {
    expect(await refusal((folder) => symlink('/nowhere', join(folder, '2_b.up.sql')))).toMatch(
      /^2_b\.up\.sql of 'files' cannot be read \(ENOENT.*\); give this worker the file \(UnknownFile\)\.$/,
    );
    expect(await refusal((folder) => symlink(folder, join(folder, '2_b.up.sql')))).toBe(
      "2_b.up.sql of 'files' is no file, expected one with SQL in it; remove or replace it (UnknownFile).",
    );
    // Whoever opens a pipe waits for its other end.
    expect(await refusal(async (folder) => execFileSync('mkfifo', [join(folder, '2_b.up.sql')]))).toContain(
      "2_b.up.sql of 'files' is no file",
    );
    expect(
      await refusal(async (folder) => {
        await writeFile(join(folder, '2_b.up.sql'), '');
        await truncate(join(folder, '2_b.up.sql'), 5 * 1024 ** 3);
      }),
    ).toBe(
      "2_b.up.sql of 'files' has 5368709120 bytes, expected at most 4194304; load data by other means (UnknownFile).",
    );
    const latin = Buffer.from(`SELECT 'caf\xe9';`, 'latin1');
    expect(await refusal((folder) => writeFile(join(folder, '2_b.up.sql'), latin))).toBe(
      "2_b.up.sql of 'files' is no text in UTF-8, expected that, since any other would be read as something else; save it so (SqlSyntax).",
    );
  });

  test('without a migration is a wrong address, and no database that is up to date', async () => {
    expect(await refusal((folder) => mkdir(join(folder, '20260101_init')), {})).toBe(
      "The folder of 'files' has no file of SQL but folders (20260101_init/), expected files with names as 0007_add_genre.up.sql and 0007_add_genre.down.sql, or V7__add_genre.sql and U7__add_genre.sql; name the folder that has them (UnknownFile).",
    );
  });

  test.each<[string, string]>([
    [
      'R__views.sql',
      'one that is repeated at each change is not taken: write each change as a version of its own',
    ],
    [
      '0001_users.sql',
      'say which way it goes: 0001_users.up.sql, and 0001_users.down.sql for what takes it back',
    ],
    ['V1_users.sql', 'write two underscores behind the version'],
    ['0001_a.up.SQL', 'rename or remove them'],
    ['schema.sql', 'rename or remove them'],
  ])('with %s says what to write', async (file, advice) => {
    expect(await refusal(async () => {}, { [file]: 'SELECT 1;' })).toBe(
      `'files' has ${file}, expected names as 0007_add_genre.up.sql and 0007_add_genre.down.sql, or V7__add_genre.sql and U7__add_genre.sql; ${advice} (UnknownFile).`,
    );
  });

  test('with one name in large and small letters has that version twice', async () => {
    expect(await refusal(async () => {}, { '1_a.up.sql': 'SELECT 1;', '1_A.up.sql': 'SELECT 2;' })).toBe(
      "'files' has version 1 twice, as 1_A.up.sql and 1_a.up.sql, expected once; give one of them a number of its own (DoubleVersion).",
    );
  });

  test("with Flyway's names is taken as it is, in the order of the parts of its versions", async () => {
    await using world = await makeWorld({
      'V1__add_genre.sql': 'ALTER TABLE songs ADD COLUMN genre text;',
      'U1__add_genre.sql': 'ALTER TABLE songs DROP COLUMN genre;',
      'V1.10__view.sql': 'CREATE VIEW genres AS SELECT genre FROM songs;',
      'U1.10__view.sql': 'DROP VIEW genres;',
      'V1_2__add_year.sql': 'ALTER TABLE songs ADD COLUMN year int;',
      'U1_2__add_year.sql': 'ALTER TABLE songs DROP COLUMN year;',
    });
    await thereAndBack(world);
    expect((await world.run('inspect')).output?.['pending']).toEqual(['1', '1.2', '1.10']);
    world.params.baseline = '1.0';
    world.params.to = '1.02';
    await world.ask('ALTER TABLE songs ADD COLUMN genre text');
    expect((await world.run('inspect')).output?.['pending']).toEqual(['1.2']);
  });
});

test('what the step itself asks is planned before anything is changed', async () => {
  const backfill = {
    table: 'songs',
    pageRows: 9,
    pageTimeMs: 9,
    maxLagMs: 9,
    maxBlocked: 9,
    where: 'genre IS NULL',
  };
  const files = one('ALTER TABLE songs ADD COLUMN genre text;', 'ALTER TABLE songs DROP COLUMN genre;');
  await using world = await makeWorld(files);
  const said = async (params: Partial<MigrateWorld['params']>) => {
    Object.assign(world.params, params);
    return (await failureOf(world.run('inspect'))).message;
  };
  expect(await said({ canary: 'SELECT name FROM songs' })).toBe(
    'canary fails on the target: column "name" does not exist (42703), expected it to have an answer; correct the step (QueryFails).',
  );
  delete world.params.canary;
  expect(await said({ backfill: { ...backfill, set: { genre: 'titel' } } })).toBe(
    'backfill fails on the scratch clone: column "titel" does not exist (42703), expected it to have an answer; correct the step (QueryFails).',
  );
  delete world.params.backfill;
  expect(
    await said({ verify: [{ name: 'all', query: 'SELECT gender FROM songs', expect: { is: 1 } as never }] }),
  ).toBe(
    `verify 'all' fails on the scratch clone: column "gender" does not exist (42703), expected it to have an answer; correct the step (QueryFails).`,
  );
  expect(
    await said({
      verify: [{ name: 'all', query: 'SELECT 1; DROP TABLE songs', expect: { is: 1 } as never }],
    }),
  ).toBe(`verify 'all' has 2 statements, expected one select; take the others away (SqlSyntax).`);
  // A comment at the end takes nothing with it.
  world.params.verify = [];
  world.params.backfill = {
    ...backfill,
    set: { genre: `'rock' -- for now` },
    where: 'genre IS NULL -- new ones',
  };
  await world.run('inspect');
  await world.run('apply');
  expect(await world.run('backfill')).toMatchObject({ output: { rowsFilled: 500 } });
});

test('a database of five hundred tables is cloned, migrated and compared', async () => {
  const sql = `DO $$ BEGIN FOR i IN 1..500 LOOP
    EXECUTE format('CREATE TABLE t%s (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, parent bigint REFERENCES t%s)', i, i); EXECUTE format('CREATE INDEX ON t%s (name)', i); END LOOP; END $$`;
  const files = one('ALTER TABLE t250 ADD COLUMN extra text;', 'ALTER TABLE t250 DROP COLUMN extra;');
  await using world = await makeWorld(files, { sql });
  await thereAndBack(world);
}, 120_000);
