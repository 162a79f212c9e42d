/** Reverse capture where files, keys, cells and sessions are odd: what the way back once lost, or got stuck at for no reason. */
import { mkdirSync, renameSync, rmdirSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { finished } from 'node:stream/promises';
import { Client } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { describe, expect, test } from 'vitest';
import type { ImportWorld } from '../support/import-world.ts';
import { makeDatabase } from '../support/postgres.ts';
import { released as releasedWorld, takeBack, waitForRow } from '../support/reverse-world.ts';
import type { ReverseOptions } from '../support/reverse-world.ts';

/** A world after the release of writes to what `sql` makes. */
const released = (sql: string, options: ReverseOptions = {}): Promise<ImportWorld> =>
  releasedWorld({ ...options, sql });

function source(world: ImportWorld, sql: string): unknown[][] {
  using db = new DatabaseSync(world.path, { readOnly: true });
  const statement = db.prepare(sql);
  statement.setReadBigInts(true);
  return statement.all().map((row) => Object.values(row));
}

const ONE = `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y')`;

describe('keys', () => {
  test('of booleans, in each form in which they stand', async () => {
    await using world = await released(
      `CREATE TABLE t (a INTEGER, b BOOLEAN, v TEXT, PRIMARY KEY (a, b)); INSERT INTO t VALUES (1, 1, 'x'), (1, 'false', 'y'), (2, 't', 'z')`,
    );
    await world.ask(
      `UPDATE t SET v = v || '!'; INSERT INTO t VALUES (3, true, 'n'); DELETE FROM t WHERE a = 2`,
    );
    await takeBack(world);
    expect(source(world, 'SELECT * FROM t ORDER BY a, v')).toEqual([
      [1n, 1n, 'x!'],
      [1n, 'false', 'y!'],
      [3n, 1n, 'n'],
    ]);
  });

  test('that are UUIDs, written in several ways in one column', async () => {
    await using world = await released(
      `CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT);
       INSERT INTO t VALUES ('0123456789abcdef0123456789abcdef', 'a'), ('11234567-89AB-CDEF-0123-456789ABCDEF', 'b'),
         (x'21234567890123456789012345678901', 'c'), ('3123456789ABCDEF0123456789ABCDEF', 'd')`,
      { mapping: { 't.id': 'uuid' } },
    );
    await world.ask(
      `UPDATE t SET v = v || '!'; DELETE FROM t WHERE id = '11234567-89ab-cdef-0123-456789abcdef'`,
    );
    await takeBack(world);
    expect(source(world, 'SELECT v, typeof(id) FROM t ORDER BY v')).toEqual([
      ['a!', 'text'],
      ['c!', 'blob'],
      ['d!', 'text'],
    ]);
  });

  test('that end in blanks, as char(n) keeps them', async () => {
    await using world = await released(
      `CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES ('ab   ', 'x')`,
      { target: 'CREATE TABLE t (id char(5) PRIMARY KEY, v text)' },
    );
    await world.ask(`UPDATE t SET v = v || '!'; INSERT INTO t VALUES ('cd', 'z')`);
    await takeBack(world);
    expect(source(world, 'SELECT * FROM t ORDER BY id')).toEqual([
      ['ab   ', 'x!'],
      ['cd   ', 'z'],
    ]);
  });

  for (const [type, keys] of [
    ['TEXT', `'a', 'b'`],
    ['INTEGER', '-3, 4'],
  ])
    test(`in a column that is called rowid, of type ${type}`, async () => {
      const [one, other] = (keys ?? '').split(', ');
      await using world = await released(
        `CREATE TABLE t (rowid ${type} PRIMARY KEY, v TEXT); INSERT INTO t VALUES (${one}, 'x')`,
      );
      await world.ask(`UPDATE t SET v = 'y'; INSERT INTO t VALUES (${other}, 'z')`);
      await takeBack(world);
      expect(source(world, 'SELECT v FROM t ORDER BY v')).toEqual([['y'], ['z']]);
    });
});

describe('tables', () => {
  test('whose trigger names them with other capitals: it does not act', async () => {
    await using world = await released(
      `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE log (id INTEGER PRIMARY KEY, v TEXT);
       CREATE TRIGGER g AFTER INSERT ON T BEGIN INSERT INTO log (v) VALUES (new.v); END; INSERT INTO t VALUES (1, 'x')`,
      { skip: ['trigger g'] },
    );
    await world.ask(`INSERT INTO t VALUES (2, 'z')`);
    await takeBack(world);
    expect(source(world, 'SELECT count(*) FROM log')).toEqual([[1n]]);
  });

  test('with triggers of odd names and texts: they stand afterwards as before', async () => {
    await using world = await released(
      `${ONE}; CREATE VIEW w AS SELECT * FROM t; CREATE TRIGGER vv INSTEAD OF INSERT ON w BEGIN INSERT INTO t (v) VALUES (new.v); END;
       CREATE TRIGGER IF NOT EXISTS "odd "" g" AFTER /* c */ UPDATE OF v ON t WHEN new.v <> 'a' BEGIN INSERT INTO missing VALUES (new.v, 'x'); END;`,
      { skip: ['trigger odd " g', 'trigger vv', 'view w'] },
    );
    const schema = `SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name`;
    const before = source(world, schema);
    await world.ask(`UPDATE t SET v = 'b'`);
    await takeBack(world);
    expect(source(world, schema)).toEqual(before);
  });

  test('whose keys fold case: one that changes only its capitals comes back', async () => {
    await using world = await released(
      `CREATE TABLE t (id TEXT PRIMARY KEY COLLATE NOCASE, v TEXT); INSERT INTO t VALUES ('Abc', 'x'), ('def', 'y')`,
      { skip: ['collation t'] },
    );
    await world.ask(`UPDATE t SET id = 'aBC' WHERE id = 'Abc'; INSERT INTO t VALUES ('É', 'e'), ('é', 'e')`);
    await takeBack(world);
    expect(source(world, 'SELECT id FROM t ORDER BY id COLLATE BINARY')).toEqual([
      ['aBC'],
      ['def'],
      ['É'],
      ['é'],
    ]);
  });

  test('that put another row away in a conflict: they do not, and the row is named', async () => {
    await using world = await released(
      `CREATE TABLE t (id INTEGER PRIMARY KEY ON CONFLICT REPLACE, v TEXT, w INTEGER NOT NULL ON CONFLICT REPLACE DEFAULT 5);
       CREATE UNIQUE INDEX p ON t (v) WHERE w > 0; INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 1)`,
      { skip: ['conflict t', 'index p'] },
    );
    await world.ask(`INSERT INTO t VALUES (3, 'x', 1)`);
    await expect(world.undo('release-writes')).rejects.toThrow(/does not take t id=3 back/);
    expect(source(world, 'SELECT id FROM t ORDER BY id')).toEqual([[1n], [2n]]);
  });

  test('with partitions: rows that move, a replication, and one partition that is emptied', async () => {
    await using world = await released(
      `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'x'), (11, 'y'), (30, 'z')`,
      {
        skip: ['counter t.id'],
        target: `CREATE TABLE t (id bigint PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
          CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20); CREATE TABLE t3 PARTITION OF t FOR VALUES FROM (20) TO (100)`,
      },
    );
    await world.ask(
      `UPDATE t SET id = 50 WHERE id = 1; TRUNCATE t2; SET session_replication_role = replica; INSERT INTO t VALUES (3, 'r')`,
    );
    await takeBack(world);
    expect(source(world, 'SELECT id FROM t ORDER BY id')).toEqual([[3n], [30n], [50n]]);
    expect(await world.ask(`SELECT 1 FROM pg_trigger WHERE tgname LIKE 'countdown%'`)).toEqual([]);
  });
});

describe('sessions', () => {
  test('of every kind are noted: serializable, savepoints, ON CONFLICT, MERGE, COPY', async () => {
    await using database = await makeDatabase();
    await using world = await released(
      `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE COLLATE NOCASE); INSERT INTO t VALUES (1, 'x')`,
      { database, skip: ['collation t'] },
    );
    await world.ask(`BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES (1, 'X') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
      INSERT INTO t VALUES (2, 'x') ON CONFLICT DO NOTHING; SAVEPOINT a; INSERT INTO t VALUES (5, 'five'); ROLLBACK TO a;
      MERGE INTO t USING (SELECT 7 AS id) s ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (7, 'seven'); COMMIT`);
    const client = new Client({ connectionString: database.url });
    await client.connect();
    const copy = client.query(copyFrom('COPY t FROM STDIN'));
    copy.end('8\teight\n');
    await finished(copy);
    await client.end();
    await takeBack(world);
    expect(source(world, 'SELECT * FROM t')).toEqual([
      [1n, 'X'],
      [7n, 'seven'],
      [8n, 'eight'],
    ]);
  });

  test('a transaction that does not end is what the message tells of', async () => {
    await using database = await makeDatabase();
    await using world = await released(ONE, { database });
    const client = new Client({ connectionString: database.url, application_name: 'night job' });
    await client.connect();
    await client.query(`BEGIN; UPDATE t SET v = 'last' WHERE id = 1`);
    await expect(world.undo('release-writes')).rejects.toThrow(
      /^A transaction of somebody else still writes to tables of 'dst', though writes are held \(session \d+ of postgres \(night job, idle in transaction\) since [\d:]+ UTC\); end it/,
    );
    await client.query('COMMIT');
    await client.end();
    await takeBack(world);
    expect(source(world, 'SELECT v FROM t')).toEqual([['last'], ['y']]);
  });

  test('of two attempts at once the later one carries all back, and the earlier one ends', async () => {
    await using world = await released(ONE);
    await world.ask(`UPDATE t SET v = 'a'; INSERT INTO t SELECT i, 'n' FROM generate_series(3, 3000) AS i`);
    const [first, second] = await Promise.allSettled([
      world.undo('release-writes'),
      world.undo('release-writes'),
    ]);
    expect(
      String(second.status === 'rejected' && second.reason),
      String(first.status === 'rejected' && first.reason),
    ).toBe('false');
    expect(String(first.status === 'rejected' && first.reason)).toMatch(
      /later attempt|cannot be reached|ended|^false$/,
    );
    await takeBack(world);
    expect(source(world, `SELECT count(*) FROM t WHERE v IN ('a', 'n')`)).toEqual([[3000n]]);
  });

  test('a transaction that ends while its tables are waited for counts, whatever isolation the database has', async () => {
    await using database = await makeDatabase();
    await using world = await released(ONE, { database });
    await world.ask(
      `ALTER DATABASE ${database.name} SET default_transaction_isolation = 'repeatable read'; UPDATE t SET v = 'a' WHERE id = 1`,
    );
    const client = new Client({ connectionString: database.url });
    await client.connect();
    await client.query(`BEGIN; UPDATE t SET v = 'last' WHERE id = 1; INSERT INTO t VALUES (3, 'last')`);
    const undo = world.undo('release-writes');
    await waitForRow(world, 'SELECT 1 FROM pg_locks WHERE NOT granted');
    await client.query('COMMIT');
    await client.end();
    expect((await undo).summary).toMatch(/^2 rows carried back/);
    await takeBack(world);
    expect(source(world, 'SELECT v FROM t ORDER BY id')).toEqual([['last'], ['y'], ['last']]);
  });

  test('a policy that hides rows ends the way back, and loses none', async () => {
    await using database = await makeDatabase();
    const role = `owner_${process.pid}_${Date.now()}`;
    const url = new URL(database.url);
    url.username = role;
    url.password = 'secret';
    const root = new Client({ connectionString: database.url });
    await root.connect();
    await root.query(
      `CREATE ROLE ${role} LOGIN PASSWORD 'secret'; ALTER DATABASE ${database.name} OWNER TO ${role}; ALTER SCHEMA public OWNER TO ${role}`,
    );
    try {
      await using world = await released(ONE, { database: { ...database, url: url.href } });
      await world.ask(
        `UPDATE t SET v = v || '!'; ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`,
      );
      await expect(world.undo('release-writes')).rejects.toThrow(/row-level security policy/);
      expect(source(world, 'SELECT v FROM t')).toEqual([['x'], ['y']]);
      await world.ask('ALTER TABLE t NO FORCE ROW LEVEL SECURITY');
      await takeBack(world);
      expect(source(world, 'SELECT v FROM t')).toEqual([['x!'], ['y!']]);
    } finally {
      await root.query(
        `ALTER DATABASE ${database.name} OWNER TO current_user; REASSIGN OWNED BY ${role} TO current_user; DROP OWNED BY ${role}; DROP ROLE ${role}`,
      );
      await root.end();
    }
  });

  test('past the point of no return no table is kept from the application while another one is in use', async () => {
    await using database = await makeDatabase();
    await using world = await released(
      `${ONE}; CREATE TABLE u (id INTEGER PRIMARY KEY); INSERT INTO u VALUES (1)`,
      { database },
    );
    const reader = new Client({ connectionString: database.url });
    await reader.connect();
    await reader.query('BEGIN; SELECT 1 FROM u');
    const end = world.run('end-capture');
    await waitForRow(world, `SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'u'::regclass`);
    expect(await world.ask(`SELECT 1 FROM pg_locks WHERE relation = 't'::regclass`)).toEqual([]);
    await reader.query('COMMIT');
    await reader.end();
    expect((await end).summary).toBe('4 triggers dropped, no row is noted any more');
  });

  test('an attempt whose session ends between both commits is made good by the next', async () => {
    await using database = await makeDatabase();
    await using world = await released(ONE, { database });
    await world.ask(`UPDATE t SET v = 'a' WHERE id = 1; INSERT INTO t VALUES (3, 'new')`);
    let isCut = false;
    const context = world.context({
      direction: 'undo',
      onProgress: ({ detail }, { signal }) => {
        // The comparison begins after the source has all.
        if (isCut || detail !== 't' || signal.aborted) return;
        isCut = true;
        throw new Error('The worker is gone.');
      },
    });
    await expect(world.undo('release-writes', context)).rejects.toThrow(/gone/);
    expect(source(world, 'SELECT v FROM t ORDER BY id')).toEqual([['a'], ['y'], ['new']]);
    expect(await world.probe('release-writes')).toMatchObject({ answer: 'partly' });
    expect((await world.undo('release-writes')).summary).toMatch(
      /^2 rows carried back \(0 new, 0 changed, 0 removed\)/,
    );
    await takeBack(world);
  });
});

describe('the file', () => {
  test('is waited for as long as somebody reads it', async () => {
    await using world = await released(ONE);
    await world.ask(`UPDATE t SET v = 'a'`);
    using db = new DatabaseSync(world.path);
    db.exec('BEGIN');
    db.prepare('SELECT * FROM t').all();
    const undo = world.undo('release-writes');
    setTimeout(() => db.exec('COMMIT'), 700);
    expect(await undo).toMatchObject({ verdict: 'pass' });
  });

  test('may be read by the application all the time where it has a log', async () => {
    await using world = await released(`PRAGMA journal_mode = WAL; ${ONE}`);
    await world.ask(`UPDATE t SET v = 'a'`);
    using db = new DatabaseSync(world.path);
    db.exec('BEGIN');
    db.prepare('SELECT * FROM t').all();
    await takeBack(world);
    db.exec('COMMIT');
    expect(source(world, 'SELECT v FROM t')).toEqual([['a'], ['a']]);
  });

  test('that is away is named, and no empty one is made in its place', async () => {
    await using world = await released(ONE);
    await world.ask(`UPDATE t SET v = 'a'`);
    renameSync(world.path, `${world.path}.away`);
    await expect(world.undo('release-writes')).rejects.toThrow(/^The file of 'src' was not found/);
    renameSync(`${world.path}.away`, world.path);
    await takeBack(world);
    expect(source(world, 'SELECT v FROM t')).toEqual([['a'], ['a']]);
  });

  test('that cannot be written is named, stays as it was, and takes the rows once it can', async () => {
    await using world = await released(ONE);
    await world.ask(`UPDATE t SET v = 'a'`);
    // What SQLite would write its journal to.
    mkdirSync(`${world.path}-journal`);
    await expect(world.undo('release-writes')).rejects.toThrow(
      /^The rows could not be written to 'src' \(.*\); it is as it was, and writes stay held\. See that the worker may write/,
    );
    rmdirSync(`${world.path}-journal`);
    expect(source(world, 'SELECT v FROM t')).toEqual([['x'], ['y']]);
    await takeBack(world);
    expect(source(world, 'SELECT v FROM t')).toEqual([['a'], ['a']]);
  });
});

describe('cells', () => {
  const MOMENTS = `CREATE TABLE t (id INTEGER PRIMARY KEY, a DATETIME, z DATETIME, s INTEGER, d DATE, n NUMERIC, c TIME, j JSON);
    INSERT INTO t VALUES (1, '2024-01-01 00:00:00', '2024-01-01 00:00:00Z', 1704164645, '2024-01-01', 1, '10:00:00', '{}')`;

  test('that the source has no form for are named one by one, and nothing of it is changed', async () => {
    await using world = await released(MOMENTS, { mapping: { 't.s': 'epoch-seconds', 't.j': 'json' } });
    const before = source(world, 'SELECT * FROM t');
    const odd: [string, string][] = [
      ...['infinity', '12345-01-01 00:00:00', '0044-03-15 00:00:00 BC'].flatMap((moment) =>
        ['a', 'z', 's', 'd'].map((column): [string, string] => [column, moment]),
      ),
      ['n', 'NaN'],
      ['n', '9223372036854775808.5'],
      ['c', '24:00:00'],
    ];
    for (const [column, value] of odd) {
      const [row] = await world.ask(`SELECT ${column}::text AS was FROM t`);
      await world.ask(`UPDATE t SET ${column} = '${value}'`);
      await expect(world.undo('release-writes'), `${column} ${value}`).rejects.toThrow(
        new RegExp(`'src' does not take t id=1 back \\(${column} is .*it is as it was`),
      );
      expect(source(world, 'SELECT * FROM t')).toEqual(before);
      await world.ask(`UPDATE t SET ${column} = '${String(row?.['was'])}'`);
    }
    await takeBack(world);
    expect(source(world, 'SELECT * FROM t')).toEqual(before);
  });

  test('of which the source makes something else end the comparison with their names', async () => {
    await using world = await released(MOMENTS, { mapping: { 't.s': 'epoch-seconds', 't.j': 'json' } });
    await world.ask(`UPDATE t SET j = '12'`);
    await expect(world.undo('release-writes')).rejects.toThrow(
      /t id=1 j holds integer 12, expected JSON .* Writes stay held; change the row in the target/,
    );
    await world.ask(`UPDATE t SET j = '{"a": 12}', n = 1e30`);
    await takeBack(world);
    expect(source(world, 'SELECT j, n FROM t')).toEqual([['{"a": 12}', 1e30]]);
  });

  test('of many megabytes come back a few rows at a time', async () => {
    await using world = await released(
      `CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB); INSERT INTO t VALUES (1, x'00')`,
    );
    await world.ask(
      `INSERT INTO t SELECT i, decode(repeat('00ff', 500000), 'hex') FROM generate_series(2, 60) AS i`,
    );
    await takeBack(world);
    expect(source(world, 'SELECT count(*), sum(length(v)) FROM t')).toEqual([[60n, 59_000_001n]]);
  });
});
