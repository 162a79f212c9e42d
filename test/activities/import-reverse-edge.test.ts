/** Reverse capture at its edges: a full disk, two steps at once, a run that is cancelled, and writes that no switch holds. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Client } from 'pg';
import { describe, expect, test } from 'vitest';
import { beforeQuery } from '../support/before-query.ts';
import { makeTestFolder } from '../support/phase-context.ts';
import { makeDatabase } from '../support/postgres.ts';
import { THREE_ROWS, released, rowsOf, switched, takeBack, waitForRow } from '../support/reverse-world.ts';

/** Statements of a phase, at most. */
const STATEMENTS_MAX = 100;
/** From one that a way back is cancelled before to the next. */
const STATEMENTS_BETWEEN = 3;
/** Writes of somebody who ignores the switch, and attempts to undo while they go on. */
const WRITES = 300;
const TURNS_MAX = 200;

describe('a disk without room', () => {
  // Few rows stay in memory until the commit; many are written before it.
  for (const [mode, many] of [
    ['DELETE', 1_200],
    ['DELETE', 200],
    ['WAL', 1_200],
  ] as const)
    test(`for ${many} rows is named, the source stays as it was (${mode}), and they come back once there is room`, async (context) => {
      await using folder = await makeTestFolder();
      const disk = join(folder.path, 'disk');
      using _ = mountSmall(disk) ?? context.skip('mounts nothing here');
      const path = join(disk, 'app.db');
      {
        using db = new DatabaseSync(path);
        db.exec(`PRAGMA journal_mode = ${mode}; ${THREE_ROWS}; ALTER TABLE t ADD COLUMN long TEXT`);
      }
      await using world = await released({ path });
      await world.ask(
        `UPDATE t SET v = v || '!'; INSERT INTO t SELECT i, i, repeat('x', 5000) FROM generate_series(4, ${many}) AS i`,
      );
      const filler = join(disk, 'filler');
      writeFileSync(filler, Buffer.alloc(500_000));
      await expect(world.undo('release-writes')).rejects.toThrow(
        /^The rows could not be written to 'src' \(.*full.*\); it is as it was, and writes stay held\. See that .* the disk has room/,
      );
      expect(world.switchServer.value).toBe('postgres-held');
      rmSync(filler);
      expect(rowsOf(world)).toEqual([
        [1, 'a'],
        [2, 'b'],
        [3, 'c'],
      ]);
      execFileSync('mount', ['-o', 'remount,size=40m', disk]);
      await takeBack(world);
      expect(rowsOf(world, 'SELECT count(*), min(v), sum(length(long)) FROM t WHERE id > 3')).toEqual([
        [many - 3, '10', (many - 3) * 5_000],
      ]);
    });

  test('or one that is only read, is named, and the rows come back once it is written again', async (context) => {
    await using folder = await makeTestFolder();
    const disk = join(folder.path, 'disk');
    using _ = mountSmall(disk) ?? context.skip('mounts nothing here');
    const path = join(disk, 'app.db');
    {
      using db = new DatabaseSync(path);
      db.exec(THREE_ROWS);
    }
    await using world = await released({ path });
    await world.ask(`UPDATE t SET v = v || '!'`);
    execFileSync('mount', ['-o', 'remount,ro', disk]);
    await expect(world.undo('release-writes')).rejects.toThrow(
      /^The rows could not be written to 'src' \(.*readonly.*\); it is as it was, and writes stay held\. See that the worker may write/,
    );
    execFileSync('mount', ['-o', 'remount,rw', disk]);
    await takeBack(world);
    expect(rowsOf(world)).toEqual([
      [1, 'a!'],
      [2, 'b!'],
      [3, 'c!'],
    ]);
  });
});

/** A file system of a megabyte; undefined where this user may not mount one. */
function mountSmall(path: string): Disposable | undefined {
  mkdirSync(path);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', path], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  return { [Symbol.dispose]: () => void execFileSync('umount', ['-l', path]) };
}

describe('two steps of one run into one database', () => {
  test('note apart, and each comes back with its own rows, in reverse order', async () => {
    await using database = await makeDatabase();
    await using first = await released({ database, schema: 'create' });
    await first.ask(`UPDATE t SET v = 'during' WHERE id = 1`);
    await using second = await released({
      database,
      schema: 'create',
      step: 'other',
      sql: `CREATE TABLE u (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO u VALUES (1, 'a'), (2, 'b')`,
    });
    await first.ask(
      `BEGIN; UPDATE t SET v = 'both' WHERE id = 2; UPDATE u SET v = 'both' WHERE id = 2; COMMIT; INSERT INTO u VALUES (3, 'new'); DELETE FROM t WHERE id = 3`,
    );
    await takeBack(second);
    expect(rowsOf(second, 'SELECT id, v FROM u')).toEqual([
      [1, 'a'],
      [2, 'both'],
      [3, 'new'],
    ]);
    // The first one goes on noting.
    await first.ask(`INSERT INTO t VALUES (4, 'after')`);
    await takeBack(first);
    expect(rowsOf(first)).toEqual([
      [1, 'during'],
      [2, 'both'],
      [4, 'after'],
    ]);
    expect(await first.ask(`SELECT 1 FROM countdown.captured`)).toEqual([]);
  });

  test('end their captures apart', async () => {
    await using database = await makeDatabase();
    await using first = await released({ database, schema: 'create' });
    await using second = await released({
      database,
      schema: 'create',
      step: 'other',
      sql: `CREATE TABLE u (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO u VALUES (1, 'a')`,
    });
    expect((await first.run('end-capture')).summary).toBe('2 triggers dropped, no row is noted any more');
    await first.ask(`UPDATE t SET v = v || '!'; UPDATE u SET v = 'mine'`);
    await takeBack(second);
    expect(rowsOf(second, 'SELECT id, v FROM u')).toEqual([[1, 'mine']]);
  });
});

describe('a run that is cancelled while it lets writes in', () => {
  test('before any of its statements: no write is lost, and writes go to the source again', async () => {
    await using world = await switched();
    const expected: unknown[][] = rowsOf(world);
    let ended = 0;
    for (let place = 1; place <= STATEMENTS_MAX; place += 1) {
      const context = world.context();
      let count = 0;
      using _ = beforeQuery(
        () => (count += 1) === place,
        () => context.abort(),
      );
      const ending = await world.run('release-writes', context).catch((error: unknown) => error);
      if (count < place) break;
      ended += 1;
      expect(String(ending)).toMatch(/cancelled/);
      // As an application that follows the switch.
      if (world.switchServer.value === 'postgres') {
        await world.ask(`INSERT INTO t VALUES (${place + 10}, 'w${place}')`);
        expected.push([place + 10, `w${place}`]);
      }
      expect((await world.undo('release-writes')).verdict).toBe('pass');
    }
    expect(ended).toBeGreaterThan(10);
    await takeBack(world);
    expect(rowsOf(world)).toEqual(expected);
  });

  test('before it asks the switch: nothing was let in, and all goes back', async () => {
    await using world = await switched();
    const context = world.context({ isCurrent: () => (context.abort(), true) });
    await expect(world.run('release-writes', context)).rejects.toThrow(/cancelled/);
    expect(world.switchServer.value).toBe('postgres-held');
    await takeBack(world);
    expect(rowsOf(world)).toHaveLength(3);
  });

  for (const moment of ['before', 'after'] as const)
    test(`${moment} the switch took its value: every write comes back`, async () => {
      await using world = await switched();
      const context = world.context();
      if (moment === 'before') world.switchServer.beforePut = () => context.abort();
      else {
        const put = world.switchServer.puts.push.bind(world.switchServer.puts);
        world.switchServer.puts.push = (...values) => {
          context.abort();
          return put(...values);
        };
      }
      await expect(world.run('release-writes', context)).rejects.toThrow(/cancelled/);
      // The server carried it out, whoever asked is gone.
      expect(world.switchServer.value).toBe('postgres');
      await world.ask(`INSERT INTO t VALUES (4, 'new')`);
      await takeBack(world);
      expect(rowsOf(world).at(-1)).toEqual([4, 'new']);
    });
});

test('a way back that is cancelled before one statement after the other goes on, and ends with every write', async () => {
  await using world = await released();
  await world.ask(`DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (4, 'c')`);
  let place = 1;
  for (; place < STATEMENTS_MAX; place += STATEMENTS_BETWEEN) {
    await world.ask(`UPDATE t SET v = 'n${place}' WHERE id = 1`);
    const context = world.context({ direction: 'undo' });
    let count = 0;
    using _ = beforeQuery(
      () => (count += 1) === place,
      () => context.abort(),
    );
    const ending = await world.undo('release-writes', context).catch((error: unknown) => String(error));
    if (count < place) break;
    expect(ending).toMatch(/cancelled/);
    // All of it or nothing.
    expect([3, 4]).toContain(rowsOf(world).at(-1)?.[0]);
    expect(rowsOf(world)).toHaveLength(3);
  }
  expect(place).toBeGreaterThan(20);
  await takeBack(world);
  expect(rowsOf(world)).toEqual([
    [1, `n${place}`],
    [2, 'b'],
    [4, 'c'],
  ]);
});

describe('writes that no switch holds', () => {
  test('of somebody who writes all the time: what was acknowledged comes back', async () => {
    await using database = await makeDatabase();
    await using world = await released({ database });
    const acknowledged: number[] = [];
    const client = new Client({ connectionString: database.url });
    await client.connect();
    client.on('error', () => undefined);
    const traffic = (async () => {
      for (let id = 10; id < 10 + WRITES; id += 1) {
        await client.query('INSERT INTO t VALUES ($1, $2)', [id, `cron ${id}`]);
        acknowledged.push(id);
      }
    })().catch(() => undefined);
    for (const phase of ['release-writes', 'switch', 'copy', 'hold-writes'] as const)
      for (let turn = 1; ; turn += 1) {
        const result = await world.undo(phase).catch((error: unknown) => error);
        if (!(result instanceof Error)) break;
        // Somebody was faster between its look and its lock: nothing is lost, and it is tried again.
        expect(result.message).toMatch(/(?:was|were) written after all was carried back/);
        expect(turn).toBeLessThan(TURNS_MAX);
      }
    await traffic;
    await client.end();
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(rowsOf(world, 'SELECT id FROM t WHERE id >= 10 ORDER BY id').flat()).toEqual(acknowledged);
  });

  test('that wait for the lock of the way back come back with what is undone next', async () => {
    await using database = await makeDatabase();
    await using world = await released({ database });
    let waiting: Promise<unknown> | undefined;
    {
      using _ = beforeQuery(
        (sql) => waiting === undefined && sql.startsWith('DELETE FROM countdown.captured'),
        async () => {
          waiting = world.ask(`UPDATE t SET v = 'waited' WHERE id = 2; DELETE FROM t WHERE id = 3`);
          await waitForRow(world, `SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 't'::regclass`);
        },
      );
      await world.ask(`UPDATE t SET v = 'first' WHERE id = 1`);
      expect((await world.undo('release-writes')).summary).toMatch(/^1 row carried back/);
    }
    await waiting;
    await takeBack(world);
    expect(rowsOf(world)).toEqual([
      [1, 'first'],
      [2, 'waited'],
    ]);
  });
});
