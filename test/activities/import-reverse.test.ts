/** Reverse capture: what PostgreSQL takes after the release comes back with a rollback, each cell as its column writes it. */
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { makeImportWorld } from '../support/import-world.ts';
import type { ImportPhase, ImportWorld, ImportWorldOptions } from '../support/import-world.ts';

const PHASES: ImportPhase[] = ['inspect', 'backup', 'hold-writes', 'copy', 'verify', 'switch'];

const SQL = `
  CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE, born DATE, fee NUMERIC(10,2), score REAL,
    is_on BOOLEAN NOT NULL DEFAULT 0, photo BLOB, seen DATETIME);
  CREATE TABLE tags (name TEXT PRIMARY KEY, note TEXT);
  CREATE TABLE links (person INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE, tag TEXT NOT NULL REFERENCES tags (name), at DATETIME,
    PRIMARY KEY (person, tag)) WITHOUT ROWID;
  INSERT INTO people VALUES (1, 'a@x', '2000-02-29', 12.5, 0.1, 1, x'00ff', '2024-01-01T10:00:00.500000'), (2, 'b@x', NULL, 3, 2.0, 0, NULL, NULL),
    (3, 'c@x', '1999-12-31', NULL, NULL, 1, x'', '2024-01-02T11:00:00.000000');
  UPDATE sqlite_sequence SET seq = 40 WHERE name = 'people';
  INSERT INTO tags VALUES ('jazz', 'a'), ('it''s "odd" \\ {}', NULL), ('ünï', 'tab' || char(9) || 'line' || char(10));
  INSERT INTO links VALUES (1, 'jazz', '2024-01-01T00:00:00.000000'), (2, 'ünï', NULL);
  CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT);
  CREATE TRIGGER people_log AFTER INSERT ON people BEGIN INSERT INTO log (what) VALUES (new.email); END;
`;

/** A world up to the release, or further. */
async function released(
  options: ImportWorldOptions & { sql?: string } = {},
  upTo: ImportPhase = 'release-writes',
): Promise<ImportWorld> {
  const { sql = SQL, ...more } = options;
  const world = await makeImportWorld(
    { sql },
    { reverseCapture: true, skip: sql === SQL ? ['trigger people_log'] : [], ...more },
  );
  for (const phase of [...PHASES, 'release-writes' as const]) {
    expect((await world.run(phase)).verdict).toMatch(/pass|warn/);
    if (phase === upTo) break;
  }
  return world;
}

async function takeBack(world: ImportWorld): Promise<string> {
  const back = await world.undo('release-writes');
  expect(back).toMatchObject({ verdict: 'pass' });
  for (const phase of ['switch', 'copy', 'hold-writes'] as const)
    expect(await world.undo(phase), phase).toMatchObject({ verdict: 'pass' });
  return back.summary;
}

function source(world: ImportWorld, sql: string): unknown[][] {
  using db = new DatabaseSync(world.path, { readOnly: true });
  const statement = db.prepare(sql);
  statement.setReadBigInts(true);
  return statement.all().map((row) => Object.values(row));
}

describe('reverse capture', () => {
  test('rows that were added, changed and removed come back, and cells that nobody touched stay as they were', async () => {
    await using world = await released();
    expect(world.switchServer.value).toBe('postgres');
    await world.ask(`
      INSERT INTO people (email, born, fee, score, is_on, photo, seen) VALUES ('new@x', '2001-01-01', 9.99, 1e300, true, '\\xdeadbeef', '2025-03-04 05:06:07.25');
      UPDATE people SET fee = 13.75, is_on = false WHERE id = 1;
      DELETE FROM people WHERE id = 2 AND NOT EXISTS (SELECT 1 FROM links WHERE person = 2);
      DELETE FROM links WHERE person = 2; DELETE FROM people WHERE id = 2;
      UPDATE tags SET note = 'back\\slash' || chr(9) WHERE name = 'it''s "odd" \\ {}';
      INSERT INTO links VALUES (3, 'it''s "odd" \\ {}', '2025-01-01 00:00:00');`);
    expect(await takeBack(world)).toMatch(
      /^6 rows carried back \(2 new, 2 changed, 2 removed\), \d+ cells equal on both sides$/,
    );
    expect(source(world, 'SELECT * FROM people ORDER BY id')).toEqual([
      [1n, 'a@x', '2000-02-29', 13.75, 0.1, 0n, new Uint8Array([0, 255]), '2024-01-01T10:00:00.500000'],
      [3n, 'c@x', '1999-12-31', null, null, 1n, new Uint8Array(), '2024-01-02T11:00:00.000000'],
      [
        41n,
        'new@x',
        '2001-01-01',
        9.99,
        1e300,
        1n,
        new Uint8Array([0xde, 0xad, 0xbe, 0xef]),
        '2025-03-04T05:06:07.250000',
      ],
    ]);
    expect(source(world, 'SELECT * FROM links')).toEqual([
      [1n, 'jazz', '2024-01-01T00:00:00.000000'],
      [3n, 'it\'s "odd" \\ {}', '2025-01-01T00:00:00.000000'],
    ]);
    expect(source(world, `SELECT note FROM tags WHERE name LIKE 'it%'`)).toEqual([['back\\slash\t']]);
    expect(source(world, `SELECT seq FROM sqlite_sequence WHERE name = 'people'`)).toEqual([[41n]]);
    // The source's own triggers did not act on what came back, and stand as before.
    expect(source(world, 'SELECT count(*) FROM log')).toEqual([[0n]]);
    expect(source(world, `SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'`)).toEqual([[1n]]);
    expect(world.switchServer.value).toBe('sqlite');
    expect(await world.ask(`SELECT 1 FROM pg_class WHERE relname = 'people'`)).toEqual([]);
    expect(await world.ask(`SELECT 1 FROM pg_proc WHERE pronamespace = 'countdown'::regnamespace`)).toEqual(
      [],
    );
  });

  test('unique values that changed their places come back', async () => {
    await using world = await released();
    await world.ask(`
      UPDATE people SET email = 'z@x' WHERE id = 1; UPDATE people SET email = 'a@x' WHERE id = 2; UPDATE people SET email = 'b@x' WHERE id = 1;
      DELETE FROM people WHERE id = 3; INSERT INTO people (id, email) VALUES (7, 'c@x');
      UPDATE tags SET name = 'swing' WHERE name = 'nothing of this name'; UPDATE links SET tag = 'ünï' WHERE person = 1;`);
    await takeBack(world);
    expect(source(world, 'SELECT id, email FROM people ORDER BY id')).toEqual([
      [1n, 'b@x'],
      [2n, 'a@x'],
      [7n, 'c@x'],
    ]);
    expect(source(world, 'SELECT person, tag FROM links')).toEqual([
      [1n, 'ünï'],
      [2n, 'ünï'],
    ]);
  });

  test('a table that was emptied comes back empty, and rows of a replication come back too', async () => {
    await using world = await released();
    await world.ask(`TRUNCATE links`);
    await world.ask(
      `SET session_replication_role = replica; INSERT INTO tags VALUES ('replicated', NULL); SET session_replication_role = origin`,
    );
    await takeBack(world);
    expect(source(world, 'SELECT count(*) FROM links')).toEqual([[0n]]);
    expect(source(world, `SELECT count(*) FROM tags WHERE name = 'replicated'`)).toEqual([[1n]]);
  });

  test('a user without rights in schema countdown writes, and its settings change no key', async () => {
    await using world = await released({
      sql: `CREATE TABLE days (day DATE PRIMARY KEY, id BLOB); INSERT INTO days VALUES ('2024-01-02', x'01')`,
    });
    const role = `writer_${process.pid}_${Date.now()}`;
    await world.ask(`CREATE ROLE ${role}; GRANT ALL ON days TO ${role}`);
    try {
      await world.ask(
        `SET ROLE ${role}; SET datestyle = 'German'; SET bytea_output = 'escape'; UPDATE days SET id = '\\x02'; INSERT INTO days VALUES ('3.4.2024', '\\x03')`,
      );
      await takeBack(world);
      expect(source(world, 'SELECT * FROM days ORDER BY day')).toEqual([
        ['2024-01-02', new Uint8Array([2])],
        ['2024-04-03', new Uint8Array([3])],
      ]);
    } finally {
      await world.ask(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  });

  test('what an earlier release had is carried back once, and a second undo finds nothing to do', async () => {
    await using world = await released();
    await world.ask(`UPDATE tags SET note = 'x' WHERE name = 'jazz'`);
    expect((await world.undo('release-writes')).summary).toMatch(/^1 rows? carried back/);
    expect((await world.undo('release-writes')).summary).toBe('all was carried back already');
    expect(await world.probe('release-writes')).toMatchObject({ answer: 'no' });
    // And it can be let in again.
    await world.run('release-writes');
    await world.ask(`UPDATE tags SET note = 'y' WHERE name = 'jazz'`);
    await takeBack(world);
    expect(source(world, `SELECT note FROM tags WHERE name = 'jazz'`)).toEqual([['y']]);
  });

  test('an existing schema is emptied again, and its triggers are gone', async () => {
    const sql = `CREATE TABLE tags (name TEXT PRIMARY KEY, id CHAR(32)); INSERT INTO tags VALUES ('jazz', '0123456789abcdef0123456789abcdef')`;
    await using world = await makeImportWorld({ sql }, { reverseCapture: true });
    await world.ask('CREATE TABLE tags (name varchar(20) PRIMARY KEY, id uuid)');
    for (const phase of [...PHASES, 'release-writes' as const])
      expect(await world.run(phase)).toMatchObject({ verdict: 'pass' });
    await world.ask(`INSERT INTO tags VALUES ('blues', 'fedcba98-7654-3210-fedc-ba9876543210')`);
    await takeBack(world);
    expect(source(world, `SELECT id FROM tags ORDER BY name`)).toEqual([
      ['fedcba9876543210fedcba9876543210'],
      ['0123456789abcdef0123456789abcdef'],
    ]);
    expect(await world.ask('SELECT count(*)::int AS rows FROM tags')).toEqual([{ rows: 0 }]);
    expect(await world.ask(`SELECT 1 FROM pg_trigger WHERE tgrelid = 'tags'::regclass`)).toEqual([]);
  });

  test('writes of others after all was carried back are carried too, as long as nobody writes to the source', async () => {
    await using world = await released();
    await world.undo('release-writes');
    await world.ask(`INSERT INTO tags VALUES ('late', NULL)`);
    expect(await world.probe('release-writes')).toMatchObject({ answer: 'partly' });
    expect(await world.undo('switch')).toMatchObject({ verdict: 'pass' });
    await world.ask(`INSERT INTO tags VALUES ('later', NULL)`);
    world.switchServer.value = 'sqlite';
    await expect(world.undo('copy')).rejects.toThrow(
      /^1 row of 'dst' was written after all was carried back/,
    );
    await expect(world.undo('release-writes')).rejects.toThrow(/the application writes to 'src'/);
    world.switchServer.value = 'sqlite-held';
    expect(await world.undo('copy')).toMatchObject({ verdict: 'pass' });
    expect(await world.undo('hold-writes')).toMatchObject({ verdict: 'pass' });
    expect(source(world, `SELECT count(*) FROM tags WHERE name LIKE 'late%'`)).toEqual([[2n]]);
  });

  test('what a person carried back by hand, and took off the list, is compared before anything after it is undone', async () => {
    await using world = await released();
    await world.ask(`INSERT INTO tags VALUES ('mine', NULL); UPDATE tags SET note = 'n' WHERE name = 'jazz'`);
    world.switchServer.value = 'postgres-held';
    world.change(`INSERT INTO tags VALUES ('mine', NULL)`);
    await expect(world.undo('switch')).rejects.toThrow(/delete its rows from countdown.captured/);
    await world.ask('DELETE FROM countdown.captured');
    await expect(world.undo('switch')).rejects.toThrow(/tags name=jazz note: source a, target n/);
    world.change(`UPDATE tags SET note = 'n' WHERE name = 'jazz'`);
    for (const phase of ['switch', 'copy', 'hold-writes'] as const)
      expect(await world.undo(phase), phase).toMatchObject({ verdict: 'pass' });
  });

  test('rows that were written between two releases come back with the second', async () => {
    await using world = await released();
    await world.undo('release-writes');
    await world.ask(`INSERT INTO tags VALUES ('between', NULL)`);
    await world.run('release-writes');
    await takeBack(world);
    expect(source(world, `SELECT count(*) FROM tags WHERE name = 'between'`)).toEqual([[1n]]);
  });

  test('as long as writes are not carried back nothing after it is undone, whatever is tried', async () => {
    await using world = await released();
    await world.ask(`INSERT INTO tags VALUES ('mine', NULL)`);
    world.switchServer.value = 'postgres-held';
    for (const phase of ['switch', 'hold-writes'] as const)
      await expect(world.undo(phase)).rejects.toThrow(
        /holds writes that are not carried back to the source yet/,
      );
    await expect(world.undo('copy')).rejects.toThrow(/would be dropped/);
    world.switchServer.value = 'sqlite-held';
    await expect(world.undo('copy')).rejects.toThrow(/holds writes that are not carried back/);
    world.switchServer.value = 'postgres-held';
    await takeBack(world);
    expect(source(world, `SELECT count(*) FROM tags WHERE name = 'mine'`)).toEqual([[1n]]);
  });

  test('somebody who wrote to the source meanwhile is seen, and nothing is dropped', async () => {
    await using world = await released();
    world.change(`UPDATE tags SET note = 'behind its back' WHERE name = 'jazz'`);
    await world.ask(`UPDATE people SET fee = 1 WHERE id = 1`);
    await expect(world.undo('release-writes')).rejects.toThrow(
      /'src' has the 1 row .* 1 cells or rows differ: tags name=jazz note: source behind its back, target a\. Writes stay held/,
    );
    expect(world.switchServer.value).toBe('postgres-held');
  });

  test('a row that the source cannot hold is named, nothing of it is changed, and it comes back once it can', async () => {
    const sql = `CREATE TABLE n (id INTEGER PRIMARY KEY, v NUMERIC); INSERT INTO n VALUES (1, 2)`;
    await using world = await released({ sql });
    await world.ask(`UPDATE n SET v = 12345678901234567890.123456789; INSERT INTO n VALUES (2, 3)`);
    await expect(world.undo('release-writes')).rejects.toThrow(
      /'src' does not take n id=1 back \(v is 12345678901234567890.123456789, for which it has no exact form.* it is as it was/,
    );
    expect(source(world, 'SELECT * FROM n')).toEqual([[1n, 2n]]);
    await world.ask(`UPDATE n SET v = 5.5 WHERE id = 1`);
    await takeBack(world);
    expect(source(world, 'SELECT * FROM n')).toEqual([
      [1n, 5.5],
      [2n, 3n],
    ]);
  });

  test('a source that somebody keeps locked is waited for, and then named', async () => {
    await using world = await released();
    await world.ask(`UPDATE tags SET note = 'x'`);
    using db = new DatabaseSync(world.path);
    db.exec('BEGIN IMMEDIATE');
    const undo = world.undo('release-writes');
    setTimeout(() => db.exec('ROLLBACK'), 300);
    expect(await undo).toMatchObject({ verdict: 'pass' });
  });

  test('an attempt that comes late writes neither here nor there', async () => {
    await using world = await released();
    const late = world.context({ direction: 'undo' });
    await world.ask(`UPDATE tags SET note = 'x' WHERE name = 'jazz'`);
    await world.undo('release-writes');
    const before = source(world, 'SELECT * FROM tags');
    await expect(world.undo('release-writes', late)).rejects.toMatchObject({ type: 'FenceLost' });
    expect(source(world, 'SELECT * FROM tags')).toEqual(before);
  });

  test('past the point of no return nothing is noted any more, once or twice', async () => {
    await using world = await released();
    expect(await world.probe('end-capture')).toMatchObject({ answer: 'no' });
    expect((await world.run('end-capture')).summary).toBe('8 triggers dropped, no row is noted any more');
    expect((await world.run('end-capture')).summary).toBe('nothing was noted any more');
    expect(await world.probe('end-capture')).toMatchObject({ answer: 'yes' });
    await world.ask(`UPDATE tags SET note = 'x'`);
    expect(await world.ask('SELECT count(*)::int AS rows FROM countdown.captured')).toEqual([{ rows: 0 }]);
    await expect(world.undo('release-writes')).rejects.toThrow(/nothing was noted of what is written/);
  });

  test('never released, undone: nothing happened', async () => {
    await using world = await released({}, 'switch');
    expect(await world.undo('release-writes')).toMatchObject({ summary: 'no writes were let in' });
    expect(world.switchServer.value).toBe('postgres-held');
    expect(await world.probe('release-writes')).toMatchObject({ answer: 'no' });
  });

  test('moments in numbers, texts for booleans and offsets come back in their own form', async () => {
    const sql = `
      CREATE TABLE m (id INTEGER PRIMARY KEY, s INTEGER, ms INTEGER, z DATETIME, b BOOLEAN, odd TEXT);
      INSERT INTO m VALUES (1, 1704164645, 1704164645250, '2024-01-01 10:00:00Z', 'true', x'ff' || 'text');`;
    await using world = await released({
      sql,
      mapping: {
        'm.s': 'epoch-seconds',
        'm.ms': 'epoch-milliseconds',
        'm.odd': 'bytea',
      },
    });
    await world.ask(`
      INSERT INTO m SELECT 2, s + interval '1 day', ms + interval '1 ms', z + interval '1 hour', false, '\\x6162' FROM m;
      UPDATE m SET b = false WHERE id = 1`);
    await takeBack(world);
    expect(source(world, 'SELECT id, s, ms, z, b, typeof(odd), hex(odd) FROM m ORDER BY id')).toEqual([
      [1n, 1704164645n, 1704164645250n, '2024-01-01 10:00:00Z', 'false', 'text', 'FF74657874'],
      [2n, 1704251045n, 1704164645251n, '2024-01-01 11:00:00Z', 'false', 'text', '6162'],
    ]);
  });
});

describe('inspect refuses a reverse capture', () => {
  const CASES: [string, string, ImportWorldOptions, RegExp][] = [
    ['of a table without a key', `CREATE TABLE t (a TEXT)`, {}, /table "t", which has no primary key/],
    [
      'by a key of reals',
      `CREATE TABLE t (a REAL PRIMARY KEY)`,
      {},
      /whose key "a" of type double precision has no one text/,
    ],
    [
      'beside a full-text index',
      `CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE VIRTUAL TABLE f USING fts5 (a)`,
      { skip: ['table f'] },
      /virtual table "f", whose index would not know the rows/,
    ],
    [
      'of a column with quarantine',
      `CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)`,
      { mapping: { 't.a': 'quarantine' } },
      /from where none comes back/,
    ],
    [
      'of Julian days beside microseconds',
      `CREATE TABLE t (id INTEGER PRIMARY KEY, a REAL)`,
      { mapping: { 't.a': 'julian-day' } },
      /whose Julian days hold no microseconds as timestamp with time zone does; let the target have timestamptz\(3\)/,
    ],
    [
      'of a column that only the source computes',
      `CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER AS (a + 1))`,
      { skip: ['generated t.b'] },
      /which the source computes and the target does not/,
    ],
    [
      'where a new row could not come back',
      `CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL)`,
      { skip: ['column t.a'] },
      /which is left behind, NOT NULL and without a default/,
    ],
  ];

  for (const [name, sql, options, message] of CASES) {
    test(name, async () => {
      await using world = await makeImportWorld({ sql }, { reverseCapture: true, ...options });
      await expect(world.run('inspect')).rejects.toThrow(message);
      // Without it the same source can be carried.
      await using other = await makeImportWorld({ sql }, options);
      expect((await other.run('inspect')).summary).toContain('can be carried exactly');
    });
  }
});
