/** Every rule, on a real database: what is found, and a safe form that is clean. */
import { expect, test } from 'vitest';
import {
  findingText,
  judge,
  judgeWhole,
  lintWorld,
  note,
  sorted,
} from '../../activities/lib/migrate/judge.ts';
import { type Finding, type Rule, RULES } from '../../activities/lib/migrate/lint.ts';
import { isWidening, keepsValues } from '../../activities/lib/migrate/type-change.ts';
import { readScript } from '../../activities/lib/migrate/scripts.ts';
import { withPostgres } from '../../activities/lib/postgres.ts';
import { SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import type { MigrateWorld } from '../support/migrate-world.ts';
import { failureOf } from '../support/phase-context.ts';

const SQL = `${SONGS}
  CREATE TYPE mood AS ENUM ('calm', 'wild');
  CREATE TABLE lists (id bigint PRIMARY KEY, song bigint, name varchar(20), price numeric(6,2), mood mood, span int4range);
  CREATE TABLE empty_parent (id bigint, day date) PARTITION BY RANGE (day);
  CREATE TABLE part_one PARTITION OF empty_parent FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
  CREATE INDEX lists_name ON lists (name); CREATE UNIQUE INDEX lists_song ON lists (song);
  CREATE TABLE plain (n int); CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM plain; CREATE UNIQUE INDEX totals_n ON totals (n);
  CREATE VIEW named AS SELECT n FROM plain; CREATE SCHEMA shelf; CREATE EXTENSION btree_gist SCHEMA public;`;

/** Rule, SQL of the up, and the object that is named. */
const CASES: [Rule, string, string][] = [
  ['IndexNotConcurrent', 'CREATE INDEX x ON songs (title);', 'songs'],
  ['ConcurrentIfNotExists', 'CREATE INDEX CONCURRENTLY IF NOT EXISTS x ON songs (title);', 'x'],
  ['DropIndexNotConcurrent', 'DROP INDEX lists_name;', 'lists_name'],
  ['ReindexNotConcurrent', 'REINDEX INDEX lists_name;', 'lists_name'],
  [
    'ForeignKeyValidating',
    'ALTER TABLE lists ADD CONSTRAINT x FOREIGN KEY (song) REFERENCES songs;',
    'lists',
  ],
  ['CheckValidating', 'ALTER TABLE songs ADD CONSTRAINT x CHECK (seconds >= 0);', 'songs'],
  ['SetNotNull', 'ALTER TABLE songs ALTER COLUMN seconds SET NOT NULL;', 'songs.seconds'],
  ['UniqueConstraint', 'ALTER TABLE lists ADD CONSTRAINT x UNIQUE (name);', 'lists'],
  ['ExclusionConstraint', 'ALTER TABLE lists ADD CONSTRAINT x EXCLUDE USING gist (span WITH &&);', 'lists'],
  ['TypeChangeRewrite', 'ALTER TABLE songs ALTER COLUMN seconds TYPE bigint;', 'songs.seconds'],
  ['VolatileDefault', 'ALTER TABLE songs ADD COLUMN x uuid DEFAULT gen_random_uuid();', 'songs.x'],
  [
    'StoredGenerated',
    'ALTER TABLE songs ADD COLUMN x int GENERATED ALWAYS AS (seconds * 2) STORED;',
    'songs.x',
  ],
  ['SerialAdd', 'ALTER TABLE songs ADD COLUMN x bigserial;', 'songs.x'],
  ['NotNullWithoutDefault', 'ALTER TABLE songs ADD COLUMN x int NOT NULL;', 'songs.x'],
  ['RenameColumn', 'ALTER TABLE songs RENAME COLUMN title TO name;', 'songs.title'],
  ['RenameTable', 'ALTER TABLE lists RENAME TO playlists;', 'lists'],
  ['RenameSchema', 'ALTER SCHEMA shelf RENAME TO rack;', 'shelf'],
  ['RenameEnumValue', `ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet';`, 'mood'],
  ['DropColumn', 'ALTER TABLE songs DROP COLUMN seconds;', 'songs.seconds'],
  ['DropTable', 'DROP TABLE songs;', 'songs'],
  ['DropCascade', 'DROP VIEW named CASCADE;', 'named'],
  ['DropNotNull', 'ALTER TABLE songs ALTER COLUMN title DROP NOT NULL;', 'songs.title'],
  ['TruncateCascade', 'TRUNCATE songs CASCADE;', 'songs'],
  ['Truncate', 'TRUNCATE songs;', 'songs'],
  ['DetachNotConcurrent', 'ALTER TABLE empty_parent DETACH PARTITION part_one;', 'empty_parent'],
  ['RefreshBlocking', 'REFRESH MATERIALIZED VIEW totals;', 'totals'],
  ['ClusterOrVacuumFull', 'VACUUM FULL songs;', 'songs'],
  ['ClusterOrVacuumFull', 'CLUSTER lists USING lists_name;', 'lists'],
  [
    'BackfillInSchemaChange',
    `ALTER TABLE songs ADD COLUMN x int; UPDATE songs SET x = 1 WHERE id < 5;`,
    'songs',
  ],
  ['UnbatchedWrite', 'UPDATE songs SET seconds = 1;', 'songs'],
  [
    'SeveralTablesLocked',
    'ALTER TABLE songs ADD COLUMN x int; ALTER TABLE lists ADD COLUMN x int;',
    'songs, lists',
  ],
  ['LockTimeoutSet', `SET lock_timeout = '1h';`, 'lock_timeout'],
  ['SearchPathSet', 'SET search_path = shelf;', 'search_path'],
  ['NotAnalysed', 'DO $$ BEGIN NULL; END $$;', 'statement'],
  ['NotAnalysed', `SELECT setval('songs_id_seq', 9);`, 'setval'],
  ['EmptyMigration', '-- nothing yet', '1_a.up.sql'],
  ['LockTimeoutSet', 'RESET ALL;', 'all'],
  ['LockTimeoutSet', `SELECT pg_catalog.set_config('lock_timeout', '0', false);`, 'lock_timeout'],
  ['UnbatchedWrite', 'WITH gone AS (DELETE FROM songs RETURNING 1) SELECT count(*) FROM gone;', 'songs'],
  ['UnbatchedWrite', 'EXPLAIN ANALYZE DELETE FROM songs;', 'songs'],
  ['ClusterOrVacuumFull', 'VACUUM FULL;', 'every table'],
  ['Int4Key', 'CREATE TABLE x (id serial PRIMARY KEY);', 'x.id'],
  ['TimestampWithoutZone', 'ALTER TABLE songs ADD COLUMN x timestamp;', 'songs.x'],
  ['JsonType', 'CREATE TABLE x (id bigint PRIMARY KEY, a json);', 'x.a'],
  ['CharType', 'CREATE TABLE x (id bigint PRIMARY KEY, a char(3));', 'x.a'],
];

/** Statements that do the same without harm, and those on tables that are new. */
const CLEAN = [
  'CREATE INDEX CONCURRENTLY x ON songs (title);',
  'DROP INDEX CONCURRENTLY lists_name;',
  'REINDEX INDEX CONCURRENTLY lists_name;',
  'ALTER TABLE lists ADD CONSTRAINT x FOREIGN KEY (song) REFERENCES songs NOT VALID;',
  'ALTER TABLE songs ADD CONSTRAINT x CHECK (seconds >= 0) NOT VALID;',
  'ALTER TABLE songs ADD CONSTRAINT x CHECK (seconds IS NOT NULL) NOT VALID; ALTER TABLE songs VALIDATE CONSTRAINT x; ALTER TABLE songs ALTER COLUMN seconds SET NOT NULL;',
  'ALTER TABLE lists ADD CONSTRAINT x UNIQUE USING INDEX lists_song;',
  'ALTER TABLE lists ALTER COLUMN name TYPE varchar(30);',
  'ALTER TABLE lists ALTER COLUMN price TYPE numeric(8,2);',
  'ALTER TABLE songs ADD COLUMN x timestamptz DEFAULT now();',
  `ALTER TABLE songs ADD COLUMN x int NOT NULL DEFAULT 5;`,
  'ALTER TABLE empty_parent DETACH PARTITION part_one CONCURRENTLY;',
  'REFRESH MATERIALIZED VIEW CONCURRENTLY totals;',
  'EXPLAIN DELETE FROM songs;',
  'SELECT count(*), now() FROM songs;',
  `SELECT set_config('work_mem', '8MB', false);`,
  'CREATE TABLE x (id bigint PRIMARY KEY, song bigint REFERENCES songs, name text UNIQUE CHECK (name <> $$$$)); CREATE INDEX y ON x (name); INSERT INTO x VALUES (1); UPDATE x SET name = $$a$$;',
];

/** As the dry run judges it: each statement before it is run, where it is, in a transaction that is taken back. */
async function findingsOf(world: MigrateWorld, up: string, { runs = false } = {}): Promise<Finding[]> {
  const script = await readScript('1_a.up.sql', up);
  return await withPostgres('db', world.context(), async (connection) => {
    await connection.client.query(`RESET ALL; BEGIN`);
    const made = new Set<string>();
    const found = judgeWhole(script, made);
    for (const statement of script.statements) {
      found.push(...(await judge(script, statement, lintWorld(connection, script, made, false))));
      note(made, statement);
      if (runs && script.isTransactional) await connection.client.query(statement.sql);
    }
    await connection.client.query('ROLLBACK');
    return found;
  });
}

test('each rule finds what it is for, names the object and says what to write instead', async () => {
  await using world = await makeMigrateWorld({ sql: SQL });
  for (const [rule, up, object] of CASES) {
    const own = (await findingsOf(world, up)).filter((one) => one.rule === rule);
    expect(
      own.map((one) => one.object),
      `${rule}: ${up}`,
    ).toEqual([object]);
    expect(own.map(findingText).join(), rule).toMatch(/^1_a\.up\.sql:1 \S.*; write: \S.*\(\w+\)$/);
    const allow = [{ rule, object, because: 'the night is long' }];
    expect(sorted(own, allow, new Date())).toMatchObject({ blocking: [], advice: [], allowed: own });
    const other = [{ rule, object: 'another', because: 'the night is long' }];
    expect(sorted(own, other, new Date()).allowed).toEqual([]);
  }
  const covered = new Set<string>(CASES.map(([rule]) => rule));
  // A statement of the whole server is refused before any rule; a transaction of Alembic has its own test.
  expect(Object.keys(RULES).filter((rule) => !covered.has(rule))).toEqual([
    'ConcurrentInTransaction',
    'DropDatabase',
  ]);
});

test('the safe forms, and anything on a new table, are clean', async () => {
  await using world = await makeMigrateWorld({ sql: SQL });
  for (const up of CLEAN) expect(await findingsOf(world, up, { runs: true }), up).toEqual([]);
});

const allowedUntil = (until: string) => [
  { rule: 'IndexNotConcurrent', because: 'nobody writes there', until },
];

test('a finding makes inspect red, advice makes it warn, and what is allowed until yesterday is not allowed', async () => {
  const index = { '1_a.up.sql': 'CREATE INDEX x ON songs (title);', '1_a.down.sql': 'DROP INDEX x;' };
  await using world = await makeMigrateWorld({ sql: SQL, files: index });
  expect(await world.run('inspect')).toMatchObject({
    verdict: 'fail',
    summary:
      '1 migrations tried up, down and up, 3 changes: 1_a.up.sql:1 builds an index of songs while the table takes no write; write: CREATE INDEX CONCURRENTLY x ON songs (…), in a file of its own (IndexNotConcurrent)',
  });
  world.params.allow = allowedUntil('2020-01-01');
  expect((await world.run('inspect')).verdict).toBe('fail');
  world.params.allow = allowedUntil('2999-12-31');
  const allowed = await world.run('inspect');
  expect(allowed.verdict).toBe('pass');
  expect(JSON.stringify(allowed.binds?.['allowed'])).toContain('IndexNotConcurrent');
  await world.write({
    '1_a.up.sql': 'CREATE TABLE x (id serial PRIMARY KEY);',
    '1_a.down.sql': 'DROP TABLE x;',
  });
  world.params.lossyDown = true;
  expect((await world.run('inspect')).verdict).toBe('warn');
});

test('what an approval binds to changes with the scripts and with what they do, and with nothing else', async () => {
  const files = { '1_a.up.sql': 'CREATE VIEW v AS SELECT 1 AS a;', '1_a.down.sql': 'DROP VIEW v;' };
  await using world = await makeMigrateWorld({ sql: SQL, files });
  const binds = async () => JSON.stringify((await world.run('inspect')).binds);
  const first = await binds();
  await world.ask('INSERT INTO songs (title) SELECT title FROM songs');
  expect(await binds()).toBe(first);
  await world.write({ '1_a.up.sql': 'CREATE VIEW v AS SELECT 2 AS a;' });
  expect(await binds()).not.toBe(first);
});

test('a table that is dropped needs a point of no return above it', async () => {
  await using world = await makeMigrateWorld({
    sql: SQL,
    files: { '1_a.up.sql': 'DROP TABLE lists CASCADE;' },
  });
  world.params.allow = [
    { rule: 'DropTable', because: 'x' },
    { rule: 'DropCascade', because: 'x' },
  ];
  expect((await failureOf(world.run('inspect'))).message).toBe(
    '1_a.up.sql:1 destroys table lists, which no down can bring back; put the step below a point-of-no-return (ForGood).',
  );
  world.params.forGood = true;
  expect(await world.run('inspect')).toMatchObject({ verdict: 'pass' });
});

test.each([
  ['character varying(20)', 'character varying(30)', true],
  ['character varying(30)', 'character varying(20)', false],
  ['character varying(30)', 'text', true],
  ['numeric(6,2)', 'numeric(8,2)', true],
  ['numeric(6,2)', 'numeric(8,3)', false],
  ['numeric(6,2)', 'numeric', true],
  ['integer', 'bigint', false],
])('%s to %s is made without writing rows: %s', (before, after, expected) => {
  expect(isWidening(before, after)).toBe(expected);
});

test.each([
  ['integer', 'bigint', true],
  ['bigint', 'integer', false],
  ['character varying(20)', 'text', true],
  ['text', 'character varying(20)', false],
  ['timestamp without time zone', 'timestamp with time zone', false],
])('what %s holds can be had back from %s: %s', (before, after, expected) => {
  expect(keepsValues(before, after)).toBe(expected);
});

const change = (type: string, more = '') => `ALTER TABLE songs ALTER COLUMN seconds TYPE ${type}${more};`;

test('a change of type that loses values is for good, and one that keeps them is lossy', async () => {
  await using world = await makeMigrateWorld({ sql: SONGS, params: { lossyDown: true } });
  world.params.allow = [{ rule: 'TypeChangeRewrite', because: 'it is small' }];
  const write = (up: string) =>
    world.write({ '1_a.up.sql': up, '1_a.down.sql': change('int', ' USING seconds::int') });
  await write(change('bigint', ' USING seconds::bigint'));
  expect((await world.run('inspect')).output?.['lossy']).toEqual([
    '1_a.up.sql:1 changes the type of songs.seconds, and what does not fit goes on the way back',
  ]);
  for (const up of [
    change('smallint'),
    change('bigint', ' USING seconds / 10'),
    change('bigint', ' USING seconds::smallint'),
  ]) {
    await write(up);
    expect((await failureOf(world.run('inspect'))).message).toMatch(
      /^1_a\.up\.sql:1 destroys values of songs\.seconds, which become (smallint|bigint), which no down can bring back; .*\(ForGood\)\.$/,
    );
  }
});
