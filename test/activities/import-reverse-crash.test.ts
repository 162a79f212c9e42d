/** Reverse capture and a server of its own: what was prepared is waited for, and a crash in the middle loses nothing. */
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres } from '../../scripts/lib/postgres.ts';
import type { Postgres } from '../../scripts/lib/postgres.ts';
import { makeFolder } from '../../scripts/lib/processes.ts';
import { beforeQuery } from '../support/before-query.ts';
import type { ImportWorld } from '../support/import-world.ts';
import { released, rowsOf, takeBack, waitForRow } from '../support/reverse-world.ts';

let server: Postgres;
let databases = 0;
const putAway = new AsyncDisposableStack();

beforeAll(async () => {
  const folder = await makeFolder('countdown-reverse-crash-');
  putAway.defer(() => folder.discard());
  // Durable: what it acknowledged must be there after a crash.
  server = await startPostgres({ folder: folder.path, settings: { max_prepared_transactions: '5' } });
  putAway.defer(() => server.stop());
});

afterAll(() => putAway.disposeAsync());

/** A world on this server after the release. */
async function releasedHere(): Promise<ImportWorld> {
  databases += 1;
  const name = `world_${databases}`;
  const root = new Client({ connectionString: server.url() });
  await root.connect();
  await root.query(`CREATE DATABASE ${name}`);
  await root.end();
  const database = { url: server.url(name), name, [Symbol.asyncDispose]: () => Promise.resolve() };
  return await released({ database });
}

describe('a transaction that was prepared', () => {
  test('is named, nothing is changed, and it comes back once it is committed', async () => {
    await using world = await releasedHere();
    await world.ask(
      `BEGIN; UPDATE t SET v = 'prepared' WHERE id = 1; INSERT INTO t VALUES (4, 'too'); PREPARE TRANSACTION 'the other one'`,
    );
    await world.ask(`UPDATE t SET v = 'b!' WHERE id = 2`);
    await expect(world.undo('release-writes')).rejects.toThrow(
      /^A transaction of somebody else still writes to tables of 'dst', though writes are held \(prepared transaction 'the other one' of postgres since [\d:]+ UTC\); end it/,
    );
    expect(rowsOf(world)).toEqual([
      [1, 'a'],
      [2, 'b'],
      [3, 'c'],
    ]);
    for (const phase of ['switch', 'hold-writes'] as const)
      await expect(world.undo(phase)).rejects.toThrow(/holds writes that are not carried back/);
    await world.ask(`COMMIT PREPARED 'the other one'`);
    await takeBack(world);
    expect(rowsOf(world)).toEqual([
      [1, 'prepared'],
      [2, 'b!'],
      [3, 'c'],
      [4, 'too'],
    ]);
  });

  test('after all was carried back keeps the tables, and comes back too', async () => {
    await using world = await releasedHere();
    await world.undo('release-writes');
    await world.ask(`BEGIN; INSERT INTO t VALUES (4, 'late'); PREPARE TRANSACTION 'late'`);
    // Nobody sees its key yet.
    await world.undo('switch');
    const undo = world.undo('copy');
    await waitForRow(world, `SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 't'::regclass`);
    await world.ask(`COMMIT PREPARED 'late'`);
    await expect(undo).rejects.toThrow(/^1 row of 'dst' was written after all was carried back/);
    for (const phase of ['copy', 'hold-writes'] as const)
      expect(await world.undo(phase), phase).toMatchObject({ verdict: 'pass' });
    expect(rowsOf(world).at(-1)).toEqual([4, 'late']);
  });
});

describe('a crash of the server', () => {
  const MOMENTS: [string, RegExp, unknown[][]][] = [
    [
      'before the source commits',
      /^SELECT 1$/,
      [
        [1, 'a'],
        [2, 'b'],
        [3, 'c'],
      ],
    ],
    [
      'after the source has all, before the capture ends',
      /^DELETE FROM countdown\.captured/,
      [
        [1, 'b'],
        [2, 'a'],
        [4, 'new'],
      ],
    ],
  ];
  for (const [moment, statement, between] of MOMENTS)
    test(`${moment}: the next attempt carries all back, once`, async () => {
      await using world = await releasedHere();
      await world.ask(
        `BEGIN; UPDATE t SET v = 'x' WHERE id = 1; UPDATE t SET v = 'a' WHERE id = 2; UPDATE t SET v = 'b' WHERE id = 1; COMMIT;
         DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (4, 'new')`,
      );
      {
        let isUp = true;
        using _ = beforeQuery(
          (sql) => isUp && statement.test(sql),
          async () => {
            isUp = false;
            await server.crash();
          },
        );
        await expect(world.undo('release-writes')).rejects.toMatchObject({ type: 'Unreachable' });
        expect(isUp).toBe(false);
      }
      expect(rowsOf(world)).toEqual(between);
      // While it is down nothing is undone, and writes stay held.
      await expect(world.undo('release-writes')).rejects.toThrow(
        /^PostgreSQL 'dst' at 127\.0\.0\.1:\d+ cannot be reached/,
      );
      expect(world.switchServer.value).toBe('postgres-held');
      await server.startAgain();
      await takeBack(world);
      expect(rowsOf(world)).toEqual([
        [1, 'b'],
        [2, 'a'],
        [4, 'new'],
      ]);
    });

  test('after its last commit, whose answer is lost: nothing is carried twice', async () => {
    await using world = await releasedHere();
    await world.ask(`INSERT INTO t VALUES (4, 'new')`);
    {
      let isClosed = false;
      using _closed = beforeQuery(
        (sql) => sql.startsWith('DELETE FROM countdown.captured'),
        () => {
          isClosed = true;
        },
      );
      using _ = beforeQuery(
        (sql) => isClosed && sql === 'COMMIT',
        async (client) => {
          isClosed = false;
          await client.query('COMMIT');
          await server.crash();
        },
      );
      await expect(world.undo('release-writes')).rejects.toMatchObject({ type: 'Unreachable' });
    }
    await server.startAgain();
    expect((await world.undo('release-writes')).summary).toBe('all was carried back already');
    await takeBack(world);
    expect(rowsOf(world).at(-1)).toEqual([4, 'new']);
  });
});
