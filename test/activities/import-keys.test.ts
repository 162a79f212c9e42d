/** Keys that are hard to page through, to compare and to name, and rows that a key of the target would not tell apart. */
import { expect, test } from 'vitest';
import { makeImportWorld } from '../support/import-world.ts';
import type { ImportWorld } from '../support/import-world.ts';
import { failureOf } from '../support/phase-context.ts';

async function carry(world: ImportWorld): Promise<void> {
  for (const phase of ['inspect', 'hold-writes', 'copy'] as const) await world.run(phase);
  const verified = await world.run('verify');
  expect(verified.verdict, verified.summary).toBe('pass');
}

const BAD_KEYS = `CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID;
  INSERT INTO t VALUES (CAST(x'61' AS TEXT), 'one'), (CAST(x'6180' AS TEXT), 'two'), (CAST(x'61ff' AS TEXT), 'three'), (char(97, 65533), 'four'), ('b', CAST(x'ff' AS TEXT))`;

test('keys that are no valid UTF-8 are not taken for the text that they look like', async () => {
  await using world = await makeImportWorld({ sql: BAD_KEYS });
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toMatch(/^3 cells of 'src'/);
  expect(message).toContain(
    "BadUtf8: t k=x'6180' k holds text that is not valid UTF-8, expected valid UTF-8 (mapping: { t.k: bytea })",
  );
  expect(message).toContain('BadUtf8: t k=b v holds text that is not valid UTF-8');
});

test.each([1, 2, 100])(
  'keys that are no valid UTF-8 are paged through in chunks of %i',
  async (chunkRows) => {
    await using world = await makeImportWorld(
      { sql: BAD_KEYS },
      { chunkRows, mapping: { 't.k': 'bytea', 't.v': 'quarantine' } },
    );
    await carry(world);
    expect(await world.ask(`select encode(k, 'hex') as k, v from t order by k`)).toEqual([
      { k: '61', v: 'one' },
      { k: '6180', v: 'two' },
      { k: '61efbfbd', v: 'four' },
      { k: '61ff', v: 'three' },
      { k: '62', v: null },
    ]);
  },
);

test('a copy that broke off at a key that is no valid UTF-8 goes on behind it', async () => {
  await using world = await makeImportWorld(
    { sql: BAD_KEYS },
    { chunkRows: 1, mapping: { 't.k': 'bytea', 't.v': 'bytea' } },
  );
  await world.run('inspect');
  await world.run('hold-writes');
  const context = world.context({ onProgress: ({ done }, own) => done === 2 && own.abort() });
  await expect(world.run('copy', context)).rejects.toThrow();
  expect((await world.probe('copy')).answer).toBe('partly');
  await world.run('copy');
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
});

test('quarantine knows a row by its key in whatever order rows are read, however long the key', async () => {
  const long = 'k'.repeat(100);
  await using world = await makeImportWorld(
    {
      sql: `CREATE TABLE t (k TEXT PRIMARY KEY, n INT); INSERT INTO t VALUES ('z', 'same'), ('a', 1), ('b', 'other');
        CREATE TABLE u (k TEXT PRIMARY KEY, n INT) WITHOUT ROWID; INSERT INTO u VALUES ('${long}1', 'same'), ('${long}2', 'same'), ('a' || char(10), 'x'), ('a\\x0a', 'x')`,
    },
    { mapping: { 't.n': 'quarantine', 'u.n': 'quarantine' } },
  );
  await carry(world);
  expect(
    await world.ask(
      `select "table", class, convert_from(value, 'UTF8') as value from countdown.quarantine order by 1, 3`,
    ),
  ).toEqual([
    { table: 't', class: 'text', value: 'other' },
    { table: 't', class: 'text', value: 'same' },
    { table: 'u', class: 'text', value: 'same' },
    { table: 'u', class: 'text', value: 'same' },
    { table: 'u', class: 'text', value: 'x' },
    { table: 'u', class: 'text', value: 'x' },
  ]);
});

const MANY = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)';

test.each([
  ['of moments', 'k DATETIME PRIMARY KEY', `strftime('%Y-%m-%d %H:%M:%f', '2024-01-01', -i || ' minutes')`],
  [
    'that folds case',
    'k TEXT COLLATE NOCASE PRIMARY KEY',
    `CASE i % 2 WHEN 0 THEN 'A' ELSE 'b' END || (1000 - i)`,
  ],
  [
    'of text in a column of blobs',
    'k BLOB PRIMARY KEY',
    `CASE i % 2 WHEN 0 THEN 'x' || (1000 - i) ELSE randomblob(9) END`,
  ],
])('a key %s, with rows in another order, is compared, and a change is named', async (_, key, cell) => {
  await using world = await makeImportWorld(
    { sql: `CREATE TABLE t (${key}, v INT); ${MANY} INSERT INTO t SELECT ${cell}, i FROM n` },
    { skip: key.includes('NOCASE') ? ['collation t'] : [], chunkRows: 50 },
  );
  await carry(world);
  await world.ask('update t set v = 1000 where v = 77');
  const { verdict, summary } = await world.run('verify');
  expect(verdict).toBe('fail');
  expect(summary).toMatch(
    /^1 difference between 'src' and 'dst', expected none: t k=\S.* v: source 77, target 1000$/,
  );
});

test('a key of a number column that folds case for text is made without folding', async () => {
  await using world = await makeImportWorld(
    {
      sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, n INT COLLATE NOCASE UNIQUE); INSERT INTO t VALUES (1, 5)',
    },
    { skip: ['collation t'] },
  );
  await carry(world);
  await expect(world.ask('insert into t (n) values (5)')).rejects.toThrow('duplicate key');
});

test('a key that names a column twice is made with each once', async () => {
  await using world = await makeImportWorld({
    sql: 'CREATE TABLE t (a INT, b INT, UNIQUE (a, b, a)); INSERT INTO t VALUES (1, 2)',
  });
  await carry(world);
  await expect(world.ask('insert into t values (1, 2)')).rejects.toThrow('duplicate key');
});

test('the last number that there is stands, and its counter with it', async () => {
  await using world = await makeImportWorld({
    sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, v INT); INSERT INTO t VALUES (9223372036854775807, 1), (-9223372036854775808, 2)',
  });
  await carry(world);
  await expect(world.ask('insert into t (v) values (3)')).rejects.toThrow(
    'reached maximum value of sequence',
  );
});

test.each([
  [
    'a moment in two spellings',
    `CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME UNIQUE); INSERT INTO t VALUES (1, '2024-01-01 00:00:00'), (2, '2024-01-01T00:00:00.0')`,
    "Duplicate: t (at) in the rows id=1 at='2024-01-01 00:00:00' and id=2 at='2024-01-01T00:00:00.0' (mapping: { t.at: text }; or correct one of them in the source)",
  ],
  [
    'a truth in two spellings',
    `CREATE TABLE t (a INT, b BOOLEAN, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO t VALUES (1, 1), (1, 'true')`,
    "Duplicate: t (a, b) in the rows a=1 b='true' and a=1 b=1 (mapping: { t.b: text }",
  ],
  [
    'text and a blob of the same bytes',
    `CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB); CREATE UNIQUE INDEX once ON t (b); INSERT INTO t VALUES (1, 'a'), (2, x'61')`,
    'to go without the key: skip: [index once])',
  ],
])('%s under a unique key is refused, both rows named', async (_, sql, named) => {
  await using world = await makeImportWorld({ sql });
  const before = await world.print();
  const { type, message } = await failureOf(world.run('inspect'));
  expect(message).toContain(named);
  expect(message).toContain("'src' has rows that a unique key of the target would not tell apart: ");
  expect(type).toBe('VerificationFailed');
  expect(await world.print()).toEqual(before);
});

test.each([
  [
    'a key on lower()',
    'create table t (id int primary key, email text); create unique index once on t (lower(email))',
  ],
  [
    'citext',
    'create extension citext schema public; create table t (id int primary key, email citext constraint once unique)',
  ],
])('names that %s of the target would take for one are refused', async (_, target) => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INT PRIMARY KEY, email TEXT UNIQUE); INSERT INTO t VALUES (3, 'Ann@x'), (7, 'ann@x'), (8, NULL), (9, NULL)`,
  });
  await world.ask(target);
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain(
    `CaseDuplicate: t (email) in the rows rowid=1 email='Ann@x' and rowid=2 email='ann@x' (correct one of them in the source, or drop "once" in the target for the time)`,
  );
  world.change('DELETE FROM t WHERE id = 7');
  await carry(world);
});

test('rows that only the target holds apart are refused, NULLs only where it says so', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT); INSERT INTO t VALUES (1, 1, 'x'), (2, 1, 'x'), (3, 2, NULL), (4, 2, NULL)`,
  });
  await world.ask('create table t (id bigserial primary key, a int, b text, constraint once unique (a, b))');
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain(`Duplicate: t (a, b) in the rows id=1 a=1 b='x' and id=2 a=1 b='x'`);
  expect(message).not.toContain('id=3');
  world.change('DELETE FROM t WHERE id = 2');
  await carry(world);
});

test('a number in a column of blobs is not made into text without a word', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB); INSERT INTO t VALUES (1, 5), (2, 'text'), (3, x'00')`,
  });
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain(
    "1 cell of 'src' cannot be carried exactly: MixedClass: t id=1 b holds integer 5, expected a blob (mapping: { t.b: bytea }, or quarantine)",
  );
  world.params.mapping = { 't.b': 'bytea' };
  await carry(world);
  expect(await world.ask('select b from t where id = 1')).toEqual([{ b: Buffer.from('5') }]);
});

test('an extra row of the target under a key that is there already is found', async () => {
  await using world = await makeImportWorld(
    { sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 1), (2, 2)' },
    { skip: ['counter t.id'] },
  );
  await world.ask('create table t (id bigint not null, v int)');
  await carry(world);
  await world.ask('insert into t values (1, 1)');
  expect(await world.run('verify')).toMatchObject({
    verdict: 'fail',
    summary: expect.stringContaining('t id=1 is in the target twice'),
  });
});
