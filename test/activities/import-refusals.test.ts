/** What the import cannot carry exactly, each with its own words. */
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeImportWorld } from '../support/import-world.ts';
import { failureOf } from '../support/phase-context.ts';
import { makeDatabase } from '../support/postgres.ts';
import type { TestDatabase } from '../support/postgres.ts';

// One empty database for all: an inspection changes nothing in it.
let shared: TestDatabase | undefined;
beforeAll(async () => {
  shared = await makeDatabase();
});
afterAll(async () => {
  await shared?.[Symbol.asyncDispose]();
});

function database(): TestDatabase {
  if (shared === undefined) throw new Error('The database of this file was not made.');
  return shared;
}

async function refusalOf(sql: string): Promise<{ type: string | undefined; message: string }> {
  await using world = await makeImportWorld({ sql }, { database: database() });
  const failure = await failureOf(world.run('inspect'));
  expect(world.switchServer.puts).toEqual([]);
  return failure;
}

const T = 'CREATE TABLE t (id INTEGER PRIMARY KEY, c INT);';

test.each([
  ['a view', `${T} CREATE VIEW v AS SELECT 1`, 'view "v" (to go without it: skip: [view v])'],
  ['a trigger', `${T} CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END`, 'trigger "g" on "t"'],
  [
    'a generated column',
    'CREATE TABLE t (a INT, b INT AS (a + 1) STORED)',
    'generated or hidden column "t"."b"',
  ],
  ['a virtual table', `${T} CREATE VIRTUAL TABLE f USING fts5 (x)`, 'virtual table "f"'],
  ['an index on an expression', `${T} CREATE INDEX i ON t (abs(c))`, 'index "i" on an expression'],
  ['a partial index', `${T} CREATE INDEX i ON t (c) WHERE c > 0`, 'partial index "i"'],
  ['a collation', 'CREATE TABLE t (a TEXT COLLATE NOCASE)', 'COLLATE of table "t"'],
  [
    'a collation of an index',
    `CREATE TABLE t (a TEXT); CREATE INDEX i ON t (a COLLATE "NOCASE")`,
    'COLLATE of index "i"',
  ],
  ['a CHECK constraint', 'CREATE TABLE t (a INT CHECK (a > 0))', 'CHECK constraint of table "t"'],
  ['a conflict clause', 'CREATE TABLE t (a INT UNIQUE ON CONFLICT REPLACE)', 'ON CONFLICT of table "t"'],
  [
    'a type that is not known, over cells of two classes,',
    `CREATE TABLE t (a JSON); INSERT INTO t VALUES ('{}'), (1)`,
    'MixedClass: column "t"."a", declared JSON, whose cells are of several classes (mapping: { t.a: text }, or bytea)',
  ],
  [
    'a column without a type, over cells of two classes,',
    `CREATE TABLE t (a); INSERT INTO t VALUES ('x'), (x'00')`,
    'column "t"."a", declared without a type',
  ],
  [
    'a default that is computed',
    `CREATE TABLE t (a TEXT DEFAULT (hex(randomblob(4))))`,
    `DefaultExpression: column "t"."a", whose DEFAULT hex(randomblob(4)) is not carried to type text (to go without it: skip: [default t.a])`,
  ],
  [
    'a default of another type',
    `CREATE TABLE t (a DATE DEFAULT 'soon')`,
    `whose DEFAULT 'soon' is not carried to type date`,
  ],
  [
    'a name that is too long',
    `CREATE TABLE "${'ü'.repeat(32)}" (a INT)`,
    'NameTooLong: table or index name "üüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü" of 64 bytes (at most 63)',
  ],
  [
    'names that differ in case only',
    'CREATE TABLE "Ä" (a INT); CREATE TABLE "ä" (a INT)',
    'NameCollision: table or index names "Ä" and "ä", which differ in case only',
  ],
  [
    'a column that PostgreSQL has already',
    'CREATE TABLE t (xmin INT)',
    'column name "t"."xmin", which PostgreSQL keeps for itself',
  ],
  [
    'a foreign key to nowhere',
    'CREATE TABLE t (a INT REFERENCES gone (id))',
    'whose table "gone" does not exist',
  ],
  [
    'a foreign key to columns that are not unique',
    'CREATE TABLE p (x INT); CREATE TABLE t (a INT REFERENCES p (x))',
    'whose columns in "p" are not unique',
  ],
  [
    'a foreign key between types',
    'CREATE TABLE p (x TEXT PRIMARY KEY); CREATE TABLE t (a INT REFERENCES p)',
    'foreign key "t"."a" of type bigint to "p" of type text',
  ],
])('%s in the schema is refused', async (_, sql, named) => {
  const { type, message } = await refusalOf(sql);
  expect(message).toContain(named);
  expect(message).toMatch(/^The schema of 'src' holds what cannot be carried exactly: /);
  expect(type).toBe('NotSupported');
});

test('a word inside a string, a name or a comment is no constraint', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, "check" TEXT DEFAULT 'CHECK (1)', [collate] TEXT /* CHECK */) -- DEFERRABLE
      ; INSERT INTO t DEFAULT VALUES`,
  });
  expect(await world.run('inspect')).toMatchObject({ verdict: 'pass' });
});

test.each([
  [
    'text among integers',
    'INTEGER',
    `'abc'`,
    `c holds text 'abc', expected an integer (mapping: { t.c: text }, or quarantine)`,
    'MixedClass',
  ],
  [
    'a real among integers',
    'INT',
    '1.5',
    'c holds real 1.5, expected an integer (mapping: { t.c: numeric }, or quarantine)',
    'MixedClass',
  ],
  ['text among reals', 'REAL', `'x'`, `c holds text 'x', expected a real number`, 'MixedClass'],
  [
    'text among numerics',
    'NUMERIC(10,2)',
    `'1,50'`,
    `c holds text '1,50', expected an integer or a finite real number`,
    'MixedClass',
  ],
  ['infinity among numerics', 'NUMERIC', '9e999', 'c holds real Infinity', 'DecimalPrecision'],
  ['another number among booleans', 'BOOLEAN', '2', 'c holds integer 2, expected 0 or 1', 'BooleanValue'],
  ['another word among booleans', 'BOOLEAN', `'yes'`, `c holds text 'yes', expected 0 or 1`, 'BooleanValue'],
  [
    'an integer of 64 bits and one more',
    'INTEGER',
    '9223372036854775808',
    'c holds real 9223372036854776000, expected an integer',
    'MixedClass',
  ],
  [
    'the year 99999',
    'DATETIME',
    `'99999-01-01 00:00:00'`,
    `c holds text '99999-01-01 00:00:00', expected`,
    'DateMixed',
  ],
  [
    'a day that does not exist',
    'DATE',
    `'2023-02-29'`,
    `c holds text '2023-02-29', expected a date as YYYY-MM-DD`,
    'DateMixed',
  ],
  ['the year 0', 'DATE', `'0000-01-01'`, `c holds text '0000-01-01', expected a date`, 'DateMixed'],
  [
    'a date without a time',
    'DATETIME',
    `'2023-01-01'`,
    `c holds text '2023-01-01', expected a date and time`,
    'DateMixed',
  ],
  [
    'seconds since 1970',
    'TIMESTAMP',
    '1700000000',
    'c holds integer 1700000000, expected a date and time as YYYY-MM-DD HH:MM:SS, with at most 6 digits after the second and without an offset (mapping: { t.c: epoch-seconds }, or quarantine)',
    'DateMixed',
  ],
  ['milliseconds since 1970', 'TIMESTAMP', '1700000000000', 'c holds integer 1700000000000', 'DateMixed'],
  ['a Julian day', 'TIMESTAMP', '2460000.5', 'c holds real 2460000.5', 'DateMixed'],
  [
    'the hour 24',
    'DATETIME',
    `'2023-01-01 24:00:00'`,
    `c holds text '2023-01-01 24:00:00', expected`,
    'DateMixed',
  ],
  [
    'nanoseconds',
    'DATETIME',
    `'2023-01-01 00:00:00.1234567'`,
    `c holds text '2023-01-01 00:00:00.1234567', expected`,
    'DateMixed',
  ],
  [
    'a blob among texts',
    'TEXT',
    `x'00ff'`,
    'c holds a blob of 2 bytes, expected text without a NUL character (mapping: { t.c: bytea }, or quarantine)',
    'MixedClass',
  ],
  [
    'a NUL in a text',
    'VARCHAR(9)',
    `CAST(x'610062' AS TEXT)`,
    String.raw`c holds text 'a\x00b', expected text without a NUL character (mapping: { t.c: bytea }, or quarantine)`,
    'NulInText',
  ],
  [
    'a text that is not UTF-8',
    'TEXT',
    `CAST(x'61ff62' AS TEXT)`,
    'c holds text that is not valid UTF-8, expected valid UTF-8 (mapping: { t.c: bytea }, or quarantine)',
    'BadUtf8',
  ],
])('%s stops the inspection, with table, row, column and value', async (_, declared, value, named, code) => {
  const { type, message } = await refusalOf(
    `CREATE TABLE t (id INTEGER PRIMARY KEY, c ${declared}); INSERT INTO t VALUES (1, NULL), (7, ${value})`,
  );
  expect(message).toContain(`1 cell of 'src' cannot be carried exactly: ${code}: t id=7 ${named}`);
  expect(type).toBe('VerificationFailed');
});

test('a text with a real replacement character is carried', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT); INSERT INTO t VALUES (1, char(65533))`,
  });
  expect(await world.run('inspect')).toMatchObject({ verdict: 'pass' });
});

test('moments with and without an offset in one column are refused', async () => {
  const { message } = await refusalOf(
    `CREATE TABLE t (id INTEGER PRIMARY KEY, c DATETIME); INSERT INTO t VALUES (1, '2023-01-01T00:00:00Z'), (2, '2023-01-01 00:00:00')`,
  );
  expect(message).toContain(
    `t id=2 c holds text '2023-01-01 00:00:00', expected a date and time as YYYY-MM-DD HH:MM:SS with an offset`,
  );
});

test('a NULL in a primary key, which SQLite lets pass, is refused', async () => {
  const { message } = await refusalOf(
    'CREATE TABLE t (a TEXT PRIMARY KEY, b INT); INSERT INTO t VALUES (NULL, 1)',
  );
  expect(message).toContain(
    'NullKey: t rowid=1 a holds NULL, expected a value, because it is part of the primary key',
  );
});

test('a value that no index entry can hold is refused', async () => {
  const { message } = await refusalOf(
    `CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE); INSERT INTO t VALUES (1, printf('%.*c', 3000, 'x'))`,
  );
  expect(message).toContain(
    'IndexEntryTooLong: t id=1 a holds more than 2600 bytes, expected at most that, because an index covers it',
  );
});

test('ten offenders are named and the others counted', async () => {
  const { message } = await refusalOf(
    `CREATE TABLE t (id INTEGER PRIMARY KEY, c INT);
     WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) INSERT INTO t SELECT i, 'x' FROM n`,
  );
  expect(message).toContain("250 cells of 'src' cannot be carried exactly: MixedClass: t id=1 c");
  expect(message).toContain('t id=10 c');
  expect(message).not.toContain('t id=11 c');
  expect(message).toContain('; and 240 more.');
});

test('rows whose foreign key points at nothing are named', async () => {
  const { type, message } = await refusalOf(
    `PRAGMA foreign_keys = off; CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY, p INT REFERENCES p); INSERT INTO t VALUES (4, 9)`,
  );
  expect(type).toBe('PreconditionFailed');
  expect(message).toContain(
    `'src' has 1 row whose foreign key points at nothing: t id=4 has no parent in p for p=9 (to carry it without the key: skip: [foreign key t.p])`,
  );
});

test('a source without tables is refused', async () => {
  expect((await refusalOf('PRAGMA user_version = 1')).message).toContain("'src' has no tables");
});

test('another encoding is refused', async () => {
  const { message } = await refusalOf(`PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a TEXT)`);
  expect(message).toContain("'src' is stored as UTF-16le, expected UTF-8");
});

test('a file that is no database is refused', async () => {
  await using world = await makeImportWorld({ sql: T }, { database: database() });
  await writeFile(world.path, 'this is not a database, but a text that is long enough to look like one');
  expect(await failureOf(world.run('inspect'))).toMatchObject({
    type: 'PreconditionFailed',
    message: expect.stringContaining("'src' is no SQLite database, or an encrypted one"),
  });
});

test('a damaged file is refused with what is damaged', async () => {
  await using world = await makeImportWorld(
    { sql: `${T} CREATE INDEX i ON t (c); INSERT INTO t VALUES (1, 2), (3, 4)` },
    { database: database() },
  );
  world.change('DROP INDEX i; CREATE INDEX i ON t (c)');
  const bytes = await readFile(world.path);
  // The second page is the table, the third the index: its two entries are gone, and its count says so.
  bytes.writeUInt16BE(0, 2 * 4096 + 3);
  await writeFile(world.path, bytes);
  expect(await failureOf(world.run('inspect'))).toMatchObject({
    type: 'PreconditionFailed',
    message: expect.stringMatching(/^'src' is damaged: .*missing from index i/),
  });
});

test('a file that is not there is refused', async () => {
  await using world = await makeImportWorld({ path: '/nonexistent/app.db' }, { database: database() });
  expect(await failureOf(world.run('inspect'))).toMatchObject({
    type: 'PreconditionFailed',
    message: expect.stringContaining("The file of 'src' was not found"),
  });
});
