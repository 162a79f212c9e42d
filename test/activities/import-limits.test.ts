/** What a type of PostgreSQL takes and what it does not, at the border of both. */
import { expect, test } from 'vitest';
import { makeImportWorld } from '../support/import-world.ts';
import type { ImportWorld, ImportWorldOptions } from '../support/import-world.ts';
import { failureOf } from '../support/phase-context.ts';

async function makeWorld(cells: readonly string[], step: ImportWorldOptions = {}): Promise<ImportWorld> {
  const world = await makeImportWorld({ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT)' }, step);
  for (const cell of cells) world.change(`INSERT INTO t (c) VALUES ('${cell.replaceAll("'", "''")}')`);
  return world;
}

async function carry(world: ImportWorld): Promise<void> {
  for (const phase of ['inspect', 'hold-writes', 'copy'] as const) await world.run(phase);
  const verified = await world.run('verify');
  expect(verified.verdict, verified.summary).toBe('pass');
}

const FINE = [
  '{}',
  '[1e400, -0.0, 1.50, 1E-300]',
  String.raw`"\ud83d\ude00 \\ \" : "`,
  String.raw`{"a\":b": {"__proto__": 1, "constructor": 2, "2": 3, "10": 4}}`,
  ` \t\r\n[ "" ] `,
  `${'['.repeat(1_000)}${']'.repeat(1_000)}`,
  JSON.stringify({ long: 'x:"'.repeat(400_000) }),
  `[${'9'.repeat(131_072)}, 0.${'1'.repeat(16_383)}]`,
];

test('JSON that PostgreSQL takes is carried as jsonb', async () => {
  await using world = await makeWorld(FINE, { mapping: { 't.c': 'jsonb' } });
  await carry(world);
});

test('JSON that PostgreSQL takes is carried as json, letter by letter', async () => {
  await using world = await makeWorld([...FINE, '{"a":1,"a":2}', String.raw`"\u0000\ud800"`], {
    mapping: { 't.c': 'json' },
  });
  await carry(world);
});

test.each([
  ['half of a character', String.raw`["\ud800"]`],
  ['half of a character in a key', String.raw`{"\udc00": 1}`],
  ['a NUL', String.raw`"\u0000"`],
  ['a number beyond what a numeric holds', '1e131073'],
  ['a number of astronomical size', '1e999999999'],
  ['a fraction beyond what a numeric holds', '1e-16384'],
  ['nesting beyond what its parser takes', `${'['.repeat(1_001)}${']'.repeat(1_001)}`],
  ['a key that comes twice', '{"a": 1, "a": 1}'],
  ['a comma too many', '[1,]'],
])('JSON with %s is refused as jsonb', async (_, cell) => {
  await using world = await makeWorld([cell], { mapping: { 't.c': 'jsonb' } });
  expect((await failureOf(world.run('inspect'))).message).toMatch(
    /MixedClass: t id=1 c holds text '.*', expected JSON without a NUL and without a key that comes twice \(mapping: { t.c: text }, or quarantine\)/,
  );
});

const EXISTING: ImportWorldOptions = { skip: ['counter t.id'] };

test.each([
  [
    'time(1)',
    '12:00:00.25',
    "DateMixed: t id=1 c holds text '12:00:00.25', expected a time as HH:MM:SS, with at most 1 digits after the second",
  ],
  ['timestamp(0)', '2024-01-01 12:00:00.5', "DateMixed: t id=1 c holds text '2024-01-01 12:00:00.5'"],
  [
    'char(3)',
    'ab',
    "TooLong: t id=1 c holds text 'ab', expected text without a NUL character of 3 characters",
  ],
  ['varchar(3)', '♪♪😀♪', 'TooLong: t id=1 c'],
  [
    'int2',
    '5',
    "MixedClass: t id=1 c holds text '5', expected an integer of 16 bits (mapping: { t.c: quarantine })",
  ],
  [
    'bytea',
    'x',
    "MixedClass: t id=1 c holds text 'x', expected a blob (mapping: { t.c: bytea }, or quarantine)",
  ],
  [
    'int2 not null',
    '5',
    "MixedClass: t id=1 c holds text '5', expected an integer of 16 bits (correct it in the source, or widen its column in the target)",
  ],
])('a column of type %s of the target refuses what it would change', async (type, cell, named) => {
  await using world = await makeWorld([cell], EXISTING);
  await world.ask(`create table t (id int primary key, c ${type})`);
  expect((await failureOf(world.run('inspect'))).message).toContain(named);
});

test.each([
  ['time(1)', '12:00:00.5'],
  ['time(0)', '12:00:00.000'],
  ['timestamp(3)', '2024-01-01T12:00:00.125000'],
  ['varchar(3)', '♪♪😀'],
  ['char(3)', 'ab '],
  ['public.short', 'ok'],
])('a column of type %s of the target takes what it holds', async (type, cell) => {
  await using world = await makeWorld([cell], EXISTING);
  await world.ask(`create domain short as varchar(3); create table t (id int primary key, c ${type})`);
  await carry(world);
});

const CHECKED = `create sequence counted; create domain short as text check (length(value) < 5) default 'd' not null;
  create table t (id int primary key, c text constraint no_x check (c <> 'x'), n int not null default nextval('counted'), s short, k text not null default 'k' check (k = 'k'), g text generated always as (c || '!') stored check (g <> 'y!'))`;

test('rows that a check of the target refuses are named before writes are held', async () => {
  await using world = await makeWorld(['a', 'x', 'b', 'y', 'x', 'c'], EXISTING);
  await world.ask(CHECKED);
  const before = await world.print();
  const { message, type } = await failureOf(world.run('inspect'));
  expect(type).toBe('VerificationFailed');
  expect(message).toContain(
    'CheckViolation: t id=2 holds what "no_x" of the target refuses, expected a row that it takes (correct it in the source, or drop the check in the target for the time); ',
  );
  expect(message).toContain('CheckViolation: t id=4 holds what "t_g_check" of the target refuses');
  expect(message).toContain('CheckViolation: t id=5 holds what "no_x" of the target refuses');
  expect(await world.print()).toEqual(before);
  world.change(`DELETE FROM t WHERE c IN ('x', 'y')`);
  await world.run('inspect');
  // Numbers that a rehearsal took would be missing.
  expect(await world.ask('select last_value, is_called from counted')).toEqual([
    { last_value: '1', is_called: false },
  ]);
  await world.run('hold-writes');
  await world.run('copy');
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
});

test('a target whose transactions only read is refused', async () => {
  await using world = await makeWorld(['a']);
  const [found] = await world.ask('select current_database() as name');
  await world.ask(`alter database ${String(found?.['name'])} set default_transaction_read_only = on`);
  const { message, type } = await failureOf(world.run('inspect'));
  expect(message).toBe(
    "Transactions of 'dst' only read, expected that they write; take default_transaction_read_only from the user or the database.",
  );
  expect(type).toBe('PreconditionFailed');
});

test('an unlogged table of the target is told', async () => {
  await using world = await makeWorld(['a'], EXISTING);
  await world.ask('create unlogged table t (id int primary key, c text)');
  expect((await world.run('inspect')).summary).toContain(
    'table "t" of the target is unlogged: a crash of the server would empty it',
  );
});

test('settings of the user or the database change nothing of what is carried', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME, b BLOB, r REAL DEFAULT 0.1, c TEXT DEFAULT 'a\\b');
      INSERT INTO t VALUES (1, '2024-02-03 04:05:06.789', x'00ff5c', 0.1, 'x\\y')`,
  });
  const [found] = await world.ask('select current_database() as name');
  for (const setting of [
    `timezone = 'Asia/Tokyo'`,
    `datestyle = 'SQL, DMY'`,
    `bytea_output = 'escape'`,
    'extra_float_digits = -15',
    'standard_conforming_strings = off',
    `search_path = 'nowhere'`,
    `statement_timeout = '1ms'`,
  ])
    await world.ask(`alter database ${String(found?.['name'])} set ${setting}`);
  await carry(world);
});

test('smaller integers are made where they are asked for, and each must fit', async () => {
  await using world = await makeImportWorld(
    {
      sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT); INSERT INTO t VALUES (1, 32767, -2147483648), (2, 32768, 2147483648)',
    },
    { mapping: { 't.id': 'integer', 't.a': 'smallint', 't.b': 'integer' } },
  );
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain(
    'IntegerOverflow: t id=2 a holds integer 32768, expected an integer of 16 bits (mapping: { t.a: bigint }, or quarantine); ' +
      'IntegerOverflow: t id=2 b holds integer 2147483648, expected an integer of 32 bits (mapping: { t.b: bigint }, or quarantine)',
  );
  world.change('DELETE FROM t WHERE id = 2');
  await carry(world);
  expect(
    await world.ask(
      `select data_type as type from information_schema.columns where table_name = 't' order by ordinal_position`,
    ),
  ).toEqual([{ type: 'integer' }, { type: 'smallint' }, { type: 'integer' }]);
});

test('moments with and without an offset go into one column once the step says what holds for the others', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, c DATETIME); INSERT INTO t VALUES (1, '2024-01-01 00:00:00'), (2, '2024-01-01T00:00:00Z')`,
  });
  expect((await failureOf(world.run('inspect'))).message).toContain(
    "DateMixed: t id=2 c holds text '2024-01-01T00:00:00Z', expected a date and time as YYYY-MM-DD HH:MM:SS, with at most 6 digits after the second and without an offset (mapping: { t.c: timestamptz }, or quarantine)",
  );
  world.params.mapping = { 't.c': 'timestamptz' };
  expect((await failureOf(world.run('inspect'))).message).toContain(
    "TimezoneUndeclared: t id=1 c holds text '2024-01-01 00:00:00', expected a date and time as YYYY-MM-DD HH:MM:SS with an offset (Z or +HH:MM), as the first cell of the column has (timezone: UTC, or the offset that holds)",
  );
  world.params.timezone = '+02:00';
  await carry(world);
  expect(await world.ask('select extract(epoch from c)::int as at from t order by id')).toEqual([
    { at: 1704060000 },
    { at: 1704067200 },
  ]);
});

test('a cell that is too large for one piece is refused', async () => {
  await using world = await makeImportWorld({
    sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB); INSERT INTO t VALUES (1, zeroblob(134217729))',
  });
  expect((await failureOf(world.run('inspect'))).message).toContain(
    'TooLong: t id=1 b holds a blob of 134217729 bytes, expected at most 128 MiB (mapping: { t.b: quarantine })',
  );
});

test('full-text and R-tree tables are named with nothing of them left over', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1); CREATE VIRTUAL TABLE words USING fts5 (text); CREATE VIRTUAL TABLE places USING rtree (id, low, high);
      INSERT INTO words VALUES ('found'); INSERT INTO places VALUES (1, 0, 1)`,
  });
  expect((await failureOf(world.run('inspect'))).message).toContain(
    'holds what cannot be carried exactly: virtual table "places" (to go without it: skip: [table places]); virtual table "words" (to go without it: skip: [table words]). Change it',
  );
  world.params.skip = ['table words', 'table places'];
  await carry(world);
  expect(world.outputs['database/inspect']).toMatchObject({
    tables: 1,
    skipped: ['virtual table "places"', 'virtual table "words"'],
  });
});
