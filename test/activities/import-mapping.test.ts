/** Cells that need a word, files that nobody would wish for, and what is left behind: carried whole or refused with names. */
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { makeImportWorld } from '../support/import-world.ts';
import type { ImportPhase, ImportWorld } from '../support/import-world.ts';
import { failureOf } from '../support/phase-context.ts';

const CARRY: ImportPhase[] = ['inspect', 'hold-writes', 'copy'];

async function carry(world: ImportWorld): Promise<void> {
  for (const phase of CARRY) await world.run(phase);
  const verified = await world.run('verify');
  expect(verified.verdict, verified.summary).toBe('pass');
}

/** What SQLite lets into a file. */
const HOSTILE = `
  PRAGMA foreign_keys = off;
  CREATE TABLE mixed (id INTEGER PRIMARY KEY, n INTEGER, t TEXT, u TEXT, at DATETIME, big INTEGER, r REAL, far DATE, b BLOB);
  INSERT INTO mixed VALUES (1, 5, 'fine', 'fine', '2024-01-01 00:00:00', 9223372036854775807, 1.5, '2024-02-29', x'00ff');
  INSERT INTO mixed VALUES (2, 'five', CAST(x'610062' AS TEXT), CAST(x'61ff' AS TEXT), 1704164645, 9223372036854775808, 9e999, '99999-01-01', 'aGVsbG8=');
  CREATE TABLE keys (k TEXT PRIMARY KEY, v INT);
  INSERT INTO keys VALUES (NULL, 1), ('a', 2);
  CREATE TABLE empty (id INTEGER PRIMARY KEY AUTOINCREMENT, x TEXT);
  INSERT INTO empty VALUES (4000, 'x'); DELETE FROM empty;
  CREATE TABLE parent (id INTEGER PRIMARY KEY);
  CREATE TABLE child (id INTEGER PRIMARY KEY, parent INT REFERENCES parent);
  INSERT INTO child VALUES (8, 77);
`;

/** What stands in the way beside its cells. */
const MORE_HOSTILE = `
  CREATE VIEW recent AS SELECT * FROM mixed;
  CREATE TABLE flags (f BOOLEAN UNIQUE);
  INSERT INTO flags VALUES (1), ('true');
`;

test('a hostile file is refused with every offender at once, and the target stays untouched', async () => {
  await using world = await makeImportWorld({ sql: HOSTILE + MORE_HOSTILE });
  const before = await world.print();
  const { type, message } = await failureOf(world.run('inspect'));
  expect(type).toBe('NotSupported');
  for (const named of [
    'view "recent" (to go without it: skip: [view recent])',
    'child id=8 has no parent in parent for parent=77 (to carry it without the key: skip: [foreign key child.parent])',
    'Duplicate: flags (f) in the rows rowid=1 f=1 and rowid=2',
    `MixedClass: mixed id=2 n holds text 'five'`,
    String.raw`NulInText: mixed id=2 t holds text 'a\x00b'`,
    'BadUtf8: mixed id=2 u holds text that is not valid UTF-8',
    'DateMixed: mixed id=2 at holds integer 1704164645',
    'MixedClass: mixed id=2 big holds real 9223372036854776000',
    `DateMixed: mixed id=2 far holds text '99999-01-01'`,
    'NullKey: keys rowid=1 k holds NULL',
  ])
    expect(message).toContain(named);
  expect(message).toContain("7 cells of 'src'");
  expect(await world.print()).toEqual(before);
  expect(world.switchServer.puts).toEqual([]);
});

test('the same file is carried whole once each offender has its line', async () => {
  await using world = await makeImportWorld(
    { sql: `${HOSTILE} DELETE FROM keys WHERE k IS NULL;` },
    {
      skip: ['foreign key child.parent'],
      mapping: {
        'mixed.n': 'text',
        'mixed.t': 'bytea',
        'mixed.u': 'quarantine',
        'mixed.at': 'quarantine',
        'mixed.big': 'numeric',
        'mixed.far': 'text',
      },
    },
  );
  await carry(world);
  const inspected = world.outputs['database/inspect'];
  expect(inspected).toMatchObject({ quarantined: 2, skipped: ['foreign key "child" ("parent")'] });
  expect(await world.ask('select * from mixed where id = 2')).toEqual([
    {
      id: '2',
      n: 'five',
      t: Buffer.from('a\0b'),
      u: null,
      at: null,
      big: '9223372036854776000',
      r: Number.POSITIVE_INFINITY,
      far: '99999-01-01',
      b: Buffer.from('aGVsbG8='),
    },
  ]);
  expect(
    await world.ask(
      `select "table", "row", "column", class, value from countdown.quarantine order by "column"`,
    ),
  ).toEqual([
    { table: 'mixed', row: 'id=2', column: 'at', class: 'integer', value: Buffer.from('1704164645') },
    { table: 'mixed', row: 'id=2', column: 'u', class: 'text', value: Buffer.from([0x61, 0xff]) },
  ]);
  expect(await world.ask(`insert into empty (x) values ('next') returning id`)).toEqual([{ id: '4001' }]);
  expect(await world.ask('select parent from child')).toEqual([{ parent: '77' }]);
});

test('a cell that is missing from quarantine fails the verification', async () => {
  await using world = await makeImportWorld(
    { sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, c INT); INSERT INTO t VALUES (1, 'x'), (2, 2)` },
    { mapping: { 't.c': 'quarantine' } },
  );
  for (const phase of CARRY) await world.run(phase);
  await world.ask(`update countdown.quarantine set value = 'y'`);
  const verified = await world.run('verify');
  expect(verified.verdict).toBe('fail');
  expect(verified.summary).toContain('t id=1 c is not in quarantine as it is in the source');
});

test.each([
  ['epoch-seconds', '1704164645', '2024-01-02 03:04:05+00'],
  ['epoch-seconds', '1704164645.25', '2024-01-02 03:04:05.25+00'],
  ['epoch-seconds', '-1', '1969-12-31 23:59:59+00'],
  ['epoch-milliseconds', '1704164645250', '2024-01-02 03:04:05.25+00'],
  ['julian-day', '2460311.5', '2024-01-02 00:00:00+00'],
] as const)('%s %s is the moment that it names', async (word, cell, moment) => {
  await using world = await makeImportWorld(
    {
      sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, c DATETIME); INSERT INTO t VALUES (1, ${cell}), (2, NULL)`,
    },
    { mapping: { 't.c': word } },
  );
  await carry(world);
  expect(await world.ask(`select (c at time zone 'UTC')::text || '+00' as c from t where id = 1`)).toEqual([
    { c: moment },
  ]);
});

test('columns whose declared type says nothing get one from their cells', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, a, b JSON, c MONEY, d, e, f VARYING CHARACTER(9), g ANYTHING);
      INSERT INTO t VALUES (1, 1, '{"a":1}', 1.5, x'01', 0.1, 'x', NULL), (2, NULL, NULL, 2, NULL, 0.2, NULL, NULL)`,
  });
  await carry(world);
  const types = await world.ask(
    `select string_agg(data_type, ',' order by ordinal_position) as types from information_schema.columns where table_name = 't'`,
  );
  expect(types).toEqual([{ types: 'bigint,bigint,text,numeric,bytea,double precision,text,numeric' }]);
});

test('what lines of skip name is left behind and said, and nothing else is missing', async () => {
  await using world = await makeImportWorld(
    {
      sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, c INT CHECK (c > 0), d INT AS (c + 1) STORED, name TEXT COLLATE NOCASE UNIQUE, e TEXT DEFAULT (random()));
        CREATE INDEX half ON t (c) WHERE c > 5; CREATE INDEX absolute ON t (abs(c)); CREATE INDEX plain ON t (c);
        CREATE VIEW v AS SELECT 1; CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END;
        CREATE VIRTUAL TABLE f USING fts5 (x); CREATE TABLE scratch (x);
        INSERT INTO t (id, c, name, e) VALUES (1, 7, 'Ann', 'x'); INSERT INTO f VALUES ('word')`,
    },
    {
      skip: [
        'check t',
        'generated t.d',
        'collation t',
        'default t.e',
        'index half',
        'index absolute',
        'view v',
        'trigger g',
        'table f',
        'table scratch',
      ],
    },
  );
  await carry(world);
  expect(world.outputs['database/inspect']?.['skipped']).toHaveLength(10);
  expect(await world.ask('select * from t')).toEqual([{ id: '1', c: '7', d: '8', name: 'Ann', e: 'x' }]);
  const indexes = await world.ask(`select indexdef from pg_indexes where tablename = 't' order by 1`);
  expect(indexes).toEqual([
    { indexdef: 'CREATE INDEX plain ON public.t USING btree (c)' },
    { indexdef: 'CREATE UNIQUE INDEX t_lower_idx ON public.t USING btree (lower((name COLLATE "C")))' },
    { indexdef: 'CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)' },
  ]);
  await expect(world.ask(`insert into t (c, name) values (1, 'ANN')`)).rejects.toThrow('t_lower_idx');
});

test('more of a schema than a message names is all in a file of the run', async () => {
  const views = Array.from({ length: 30 }, (_, place) => `CREATE VIEW v${place} AS SELECT 1;`).join(' ');
  await using world = await makeImportWorld({ sql: `CREATE TABLE t (id INTEGER PRIMARY KEY); ${views}` });
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain('; and 20 more. Change it');
  const path = /listed in (.+)\.$/.exec(message)?.[1] ?? '';
  const lines = (await readFile(path, 'utf8')).trim().split('\n');
  expect(lines).toHaveLength(30);
  expect(lines).toContain('view "v29" (to go without it: skip: [view v29])');
});

test('more rows than a message names are all in the file, whatever is wrong with them', async () => {
  const numbers = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)';
  await using world = await makeImportWorld({
    sql: `PRAGMA foreign_keys = off; CREATE TABLE p (id INTEGER PRIMARY KEY);
      CREATE TABLE c (id INTEGER PRIMARY KEY, p INT REFERENCES p, m NUMERIC, r TEXT, at DATETIME UNIQUE);
      ${numbers} INSERT INTO c (p, at) SELECT i, datetime(i * 1000, 'unixepoch') FROM n;
      ${numbers} INSERT INTO c (r, at) SELECT CAST(x'00' AS TEXT), replace(datetime(i * 1000, 'unixepoch'), ' ', 'T') FROM n`,
  });
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain("'src' has 150 rows whose foreign key points at nothing: c id=1 has no parent");
  expect(message).toContain("150 cells of 'src' cannot be carried exactly: NulInText: c id=151 r");
  expect(message.match(/; and 140 more\. /g)).toHaveLength(3);
  const path = /All of them are listed in (.+)\.$/.exec(message)?.[1] ?? '';
  const lines = (await readFile(path, 'utf8')).trim().split('\n');
  expect(lines).toHaveLength(450);
  const last = [
    /^c id=150 has no parent in p for p=150 /,
    /^NulInText: c id=300 r /,
    /^Duplicate: c \(at\) in the rows id=150 .* and id=300 /,
  ];
  for (const line of last) expect(lines.filter((one) => line.test(one))).toHaveLength(1);
});

test('fewer than ten cells are listed too, where the message does not name them all', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT); INSERT INTO t (a, b) VALUES ('v', 'w'), ('v', 1), ('v', 1), ('v', 1), ('v', 1)`,
  });
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain("6 cells of 'src' cannot be carried exactly");
  expect(message).toContain('; and 2 more. ');
  const path = /All of them are listed in (.+)\.$/.exec(message)?.[1] ?? '';
  expect((await readFile(path, 'utf8')).trim().split('\n')).toHaveLength(6);
});

test('the worked example of the page is what the program says', async () => {
  const page = await readFile(new URL('../../docs/procedures/database-import.md', import.meta.url), 'utf8');
  const sql = /```sql\n([^`]+)```/.exec(page)?.[1] ?? '';
  const said = /^> (The schema of .+)$/m.exec(page)?.[1];
  await using world = await makeImportWorld({ sql });
  const { message } = await failureOf(world.run('inspect'));
  expect(message.replaceAll("'src'", "'app-sqlite'")).toBe(said);
  world.params.skip = ['view recent'];
  world.params.mapping = { 'songs.added': 'epoch-seconds', 'songs.year': 'quarantine' };
  await carry(world);
  expect(await world.ask('select id, title, year from songs')).toEqual([
    { id: '7', title: 'Für Elise', year: null },
  ]);
});

test('a column that is left behind takes its keys and indexes with it, and a table its last column', async () => {
  await using world = await makeImportWorld(
    {
      sql: `CREATE TABLE p (id INTEGER PRIMARY KEY, a INT UNIQUE, b INT); CREATE INDEX both ON p (a, b);
        CREATE TABLE c (id INTEGER PRIMARY KEY, a INT REFERENCES p (a)); CREATE TABLE one (x INT); INSERT INTO p VALUES (1, 2, 3); INSERT INTO c VALUES (1, 2)`,
    },
    { skip: ['column p.a', 'column one.x'] },
  );
  expect((await failureOf(world.run('inspect'))).message).toContain(
    'table "one", of which no column is left (to go without it: skip: [table one])',
  );
  world.params.skip = ['column p.a', 'table one'];
  await carry(world);
  expect(world.outputs['database/inspect']?.['skipped']).toEqual([
    'table "one"',
    'column "p"."a"',
    'foreign key ("a") of "c", over a column that is left behind',
    'unique set ("a") of "p", over a column that is left behind',
    'index "both" of "p", over a column that is left behind',
  ]);
  expect(await world.ask(`select indexname from pg_indexes where schemaname = 'public' order by 1`)).toEqual([
    { indexname: 'c_pkey' },
    { indexname: 'p_pkey' },
  ]);
});

test('lines that name nothing are refused', async () => {
  await using world = await makeImportWorld(
    { sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY)' },
    { skip: ['view v'], mapping: { 't.x': 'text' } },
  );
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain(`skip names 'view v', which is not there`);
  expect(message).toContain(`mapping names 't.x', which is no column; write TABLE.COLUMN`);
});

test('each foreign key is looked at when the source looks at it', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE p (id INTEGER PRIMARY KEY, b INT UNIQUE);
      CREATE TABLE c (id INTEGER PRIMARY KEY, "REFERENCES" INT REFERENCES p, late INT REFERENCES p (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
        never INT references p NOT DEFERRABLE INITIALLY DEFERRED, soon INT REFERENCES p DEFERRABLE /* REFERENCES DEFERRABLE INITIALLY DEFERRED */ INITIALLY IMMEDIATE,
        b INT, other INT, FOREIGN KEY (b) REFERENCES p (b) DEFERRABLE INITIALLY DEFERRED, FOREIGN KEY (other) REFERENCES p)`,
  });
  for (const phase of ['inspect', 'hold-writes', 'copy'] as const) await world.run(phase);
  const keys = await world.ask(
    `select a.attname as column, k.condeferred as late from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1] where k.contype = 'f' order by a.attnum`,
  );
  expect(keys).toEqual([
    { column: 'REFERENCES', late: false },
    { column: 'late', late: true },
    { column: 'never', late: false },
    { column: 'soon', late: false },
    { column: 'b', late: true },
    { column: 'other', late: false },
  ]);
});

test('defaults mean the same, and a key that is looked at late stays one', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT DEFAULT (datetime('now')), b DATETIME DEFAULT CURRENT_TIMESTAMP, c DATE DEFAULT (date('now')),
        d INTEGER DEFAULT (unixepoch()), e TEXT DEFAULT 'it''s', f BOOLEAN DEFAULT TRUE, g REAL DEFAULT 1, h BLOB DEFAULT x'00ff');
      CREATE TABLE u (id INTEGER PRIMARY KEY, t INT REFERENCES t DEFERRABLE INITIALLY DEFERRED); INSERT INTO u VALUES (1, NULL)`,
  });
  await carry(world);
  const [row] = await world.ask(
    `insert into t default values returning a = to_char(b, 'YYYY-MM-DD HH24:MI:SS') as a, b = date_trunc('second', b) as b, c = b::date as c,
       abs(d - extract(epoch from now())) < 60 as d, e, f, g, h`,
  );
  expect(row).toEqual({
    a: true,
    b: true,
    c: true,
    d: true,
    e: `it's`,
    f: true,
    g: 1,
    h: Buffer.from([0, 255]),
  });
  await world.ask('begin; insert into u values (2, 99); insert into t (id) values (99); commit');
  await expect(world.ask('insert into u values (3, 100)')).rejects.toThrow('violates foreign key');
});

test('text in a column of blobs and text longer than declared are carried and told', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB, v VARCHAR(3)); INSERT INTO t VALUES (1, 'aGVsbG8=', 'longer'), (2, x'00', 'abc')`,
  });
  const inspected = await world.run('inspect');
  expect(inspected.verdict).toBe('warn');
  expect(inspected.summary).toContain('BlobText: 1 cell of t.b hold text in a column of blobs');
  expect(inspected.summary).toContain('LengthIgnored: 1 cell of t.v are longer than declared');
  await world.run('hold-writes');
  await world.run('copy');
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
  expect(await world.ask('select b, v from t where id = 1')).toEqual([
    { b: Buffer.from('aGVsbG8='), v: 'longer' },
  ]);
});

test('more offenders than a message names are all in a file of the run', async () => {
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (id INTEGER PRIMARY KEY, c INT);
      WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) INSERT INTO t SELECT i, 'x' FROM n`,
  });
  const { message } = await failureOf(world.run('inspect'));
  const path = /listed in (.+)\.$/.exec(message)?.[1] ?? '';
  const lines = (await readFile(path, 'utf8')).trim().split('\n');
  expect(lines).toHaveLength(250);
  expect(lines[249]).toContain("MixedClass: t id=250 c holds text 'x'");
});
