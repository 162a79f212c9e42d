/** Reverse capture of statements that are hard to note, and of those that get past its triggers. */
import { describe, expect, test } from 'vitest';
import { beforeQuery } from '../support/before-query.ts';
import type { ImportWorld } from '../support/import-world.ts';
import { EXISTING, THREE_ROWS, released, rowsOf, takeBack, waitForRow } from '../support/reverse-world.ts';

describe('statements', () => {
  const CASES: [string, string, unknown[][]][] = [
    [
      'that swap two keys',
      `BEGIN; UPDATE t SET id = -1 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2; UPDATE t SET id = 2 WHERE id = -1; COMMIT`,
      [
        [1, 'b'],
        [2, 'a'],
        [3, 'c'],
      ],
    ],
    [
      'that remove and add a key again, in one transaction and in two',
      `BEGIN; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'again'); COMMIT; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2, 'b')`,
      [
        [1, 'again'],
        [2, 'b'],
        [3, 'c'],
      ],
    ],
    [
      'that empty the table and fill it again',
      `BEGIN; TRUNCATE t; INSERT INTO t VALUES (3, 'a'), (9, 'c'); COMMIT; TRUNCATE t; INSERT INTO t VALUES (9, 'b'), (2, 'b2')`,
      [
        [2, 'b2'],
        [9, 'b'],
      ],
    ],
    [
      'that are taken back',
      `BEGIN; UPDATE t SET v = v || '?'; ROLLBACK; UPDATE t SET v = 'kept' WHERE id = 3`,
      [
        [1, 'a'],
        [2, 'b'],
        [3, 'kept'],
      ],
    ],
    [
      'in a deferred exchange of keys',
      `ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_pkey PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED; UPDATE t SET id = 4 - id`,
      [
        [1, 'c'],
        [2, 'b'],
        [3, 'a'],
      ],
    ],
  ];
  for (const [name, sql, expected] of CASES)
    test(`${name} come back`, async () => {
      await using world = await released();
      await world.ask(sql);
      await takeBack(world);
      expect(rowsOf(world)).toEqual(expected);
    });

  test('with values that an index holds only because they are compressed come back', async () => {
    await using world = await released();
    await world.ask(`UPDATE t SET v = repeat('long', 2000) WHERE id = 1`);
    await takeBack(world);
    expect(rowsOf(world, 'SELECT length(v) FROM t WHERE id = 1')).toEqual([[8_000]]);
  });

  test('into a child that the table had already are noted', async () => {
    await using world = await released({
      target: `CREATE TABLE t (id bigint PRIMARY KEY, v text UNIQUE); CREATE TABLE child () INHERITS (t)`,
      skip: ['counter t.id'],
    });
    await world.ask(`INSERT INTO child VALUES (7, 'child')`);
    await takeBack(world);
    expect(rowsOf(world).at(-1)).toEqual([7, 'child']);
  });

  const ESCAPES: [string, string, 'before' | 'after'][] = [
    [
      'past triggers that were off for a while',
      `ALTER TABLE t DISABLE TRIGGER ALL; UPDATE t SET v = 'lost' WHERE id = 2; ALTER TABLE t ENABLE TRIGGER ALL`,
      'after',
    ],
    [
      'past triggers that are off',
      `ALTER TABLE t DISABLE TRIGGER ALL; UPDATE t SET v = 'lost' WHERE id = 2`,
      'before',
    ],
    [
      'past triggers that are gone',
      `DROP TRIGGER countdown_capture ON t; UPDATE t SET v = 'lost' WHERE id = 2`,
      'after',
    ],
    [
      'into a new child of the table',
      `CREATE TABLE child () INHERITS (t); INSERT INTO child VALUES (7, 'child')`,
      'after',
    ],
  ];
  for (const [name, sql, when] of ESCAPES)
    test(`${name}, ${when} all was carried back: nothing goes that holds them, and written again they come back`, async () => {
      await using world = await released();
      if (when === 'after') await world.undo('release-writes');
      await world.ask(sql);
      const undo = when === 'before' ? world.undo('release-writes') : backTo(world);
      await expect(undo).rejects.toThrow(
        /differ: t id=[27].* Triggers of public\.(?:t|child) were off or gone, so that writes were not noted; they are on again/,
      );
      await world.ask(`UPDATE t SET v = v WHERE v IN ('lost', 'child')`);
      if (name.includes('child'))
        await world.ask('ALTER TABLE child NO INHERIT t; INSERT INTO t SELECT * FROM child');
      await takeBack(world);
      expect(rowsOf(world).filter(([, v]) => v === 'lost' || v === 'child')).toHaveLength(1);
    });

  test('into a partition that is new come back', async () => {
    await using world = await released({
      target: `CREATE TABLE t (id bigint PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)`,
      skip: ['counter t.id'],
    });
    await world.ask(
      `CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20); INSERT INTO t2 VALUES (12, 'n'), (13, 'm')`,
    );
    await world.undo('release-writes');
    await world.ask(`DELETE FROM t2 WHERE id = 13; ALTER TABLE t DISABLE TRIGGER ALL`);
    await takeBack(world);
    expect(rowsOf(world).at(-1)).toEqual([12, 'n']);
  });
});

describe('what the source has no place for', () => {
  test('is named by inspect, unless the step leaves it behind', async () => {
    const more = {
      target:
        'CREATE TABLE t (id bigint PRIMARY KEY, v text UNIQUE, nick text, up text GENERATED ALWAYS AS (upper(v)) STORED)',
    };
    await expect(released({ ...EXISTING, ...more })).rejects.toThrow(
      /column "t"\."nick" of the target, which the source does not have, so that what is written there could not come back; drop it, leave it behind \(skip: \[column t\.nick\]\), or go without reverseCapture/,
    );
    await using world = await released({ ...more, skip: ['counter t.id', 'column t.nick'] });
    await world.ask(`UPDATE t SET nick = 'x', v = 'y' WHERE id = 1`);
    await takeBack(world);
    expect(rowsOf(world)[0]).toEqual([1, 'y']);
  });

  test('is named by the way back where the column came later, and nothing is lost', async () => {
    await using world = await released();
    await world.ask(
      `ALTER TABLE t ADD nick text, ADD empty text; UPDATE t SET nick = 'x', v = 'y' WHERE id = 1`,
    );
    await expect(world.undo('release-writes')).rejects.toThrow(
      /^The source has no column for what "t"\."nick" of 'dst' holds, so that it would be lost; 'src' is as it was, and writes stay held\. Keep it elsewhere/,
    );
    expect(rowsOf(world)[0]).toEqual([1, 'a']);
    await world.ask(`CREATE TABLE nicks AS SELECT id, nick FROM t; ALTER TABLE t DROP nick`);
    await takeBack(world);
    expect(rowsOf(world)[0]).toEqual([1, 'y']);
  });

  test('in other tables that refer to the rows stays: they are not taken along', async () => {
    await using world = await released({
      ...EXISTING,
      target: `${EXISTING.target}; CREATE TABLE plays (song bigint REFERENCES t (id) ON DELETE CASCADE)`,
    });
    await world.ask(`INSERT INTO plays VALUES (1), (NULL)`);
    for (const phase of ['release-writes', 'switch'] as const) await world.undo(phase);
    await expect(world.undo('copy')).rejects.toThrow(
      /^Table public\.plays of 'dst' has rows that refer to rows that would be taken out/,
    );
    expect(await world.ask('SELECT song FROM plays')).toHaveLength(2);
    await world.ask('DELETE FROM plays WHERE song = 1');
    await takeBack(world);
  });

  test('is a table whose rows no crash survives: inspect refuses it', async () => {
    await expect(
      released({ ...EXISTING, target: 'CREATE UNLOGGED TABLE t (id bigint PRIMARY KEY, v text UNIQUE)' }),
    ).rejects.toThrow(
      /table "t" of the target, which is unlogged, so that a crash .*; SET LOGGED, or go without/,
    );
  });
});

test('a target whose tables take no row of the source is refused by name, as without the way back', async () => {
  await expect(released({ target: 'CREATE TABLE left_over (id bigint)' })).rejects.toThrow(
    /^The schema of 'src' holds what cannot be carried exactly for the tables that 'dst' has \(left_over; schema: create makes new ones\): table "t", which has no table of this name/,
  );
});

test('a table that somebody dropped by hand, once all was carried back, is in the way of nothing', async () => {
  await using world = await released({
    sql: `${THREE_ROWS}; CREATE TABLE u (id INTEGER PRIMARY KEY); INSERT INTO u VALUES (1)`,
  });
  await world.ask(`UPDATE t SET v = 'y' WHERE id = 1`);
  await world.undo('release-writes');
  await world.ask('DROP TABLE t');
  await takeBack(world);
  expect(rowsOf(world)[0]).toEqual([1, 'y']);
  expect(await world.ask(`SELECT 1 FROM pg_class WHERE relname = 'u'`)).toEqual([]);
});

test('a write that waited until its table was emptied is told of, when writes go to the source again', async () => {
  await using world = await released(EXISTING);
  let late: Promise<unknown> | undefined;
  using _ = beforeQuery(
    (sql) => late === undefined && sql.startsWith('TRUNCATE'),
    async () => {
      late = world.ask(`INSERT INTO t VALUES (9, 'late')`);
      await waitForRow(world, `SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 't'::regclass`);
    },
  );
  for (const phase of ['release-writes', 'switch', 'copy'] as const)
    expect(await world.undo(phase)).toMatchObject({ verdict: 'pass' });
  await late;
  expect(await world.undo('hold-writes')).toMatchObject({
    verdict: 'fail',
    summary: expect.stringMatching(
      /^public\."t" of 'dst' took rows after all was carried back and emptied; writes go to 'src' again/,
    ),
  });
  expect(world.switchServer.value).toBe('sqlite');
});

async function backTo(world: ImportWorld): Promise<void> {
  for (const phase of ['switch', 'copy', 'hold-writes'] as const) await world.undo(phase);
}
