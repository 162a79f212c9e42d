/** What cannot be asked is no answer: no driver takes a lost session, a locked file or a killed program for "none" or "wrong". */
import { symlinkSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { StatementSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { markSource } from '../../activities/lib/import-source.ts';
import { giveSettings, ownSettings } from '../../activities/lib/migrate/session.ts';
import { type Watch, withWatch } from '../../activities/lib/migrate/watch.ts';
import { withPostgres } from '../../activities/lib/postgres.ts';
import { sqlCheck } from '../../activities/sql-check.ts';
import { makeAlembic } from '../support/alembic.ts';
import { beforeQuery } from '../support/before-query.ts';
import { makeImportWorld } from '../support/import-world.ts';
import { EXAMPLE, SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import type { MigrateWorld } from '../support/migrate-world.ts';
import { failureOf, makeTestFolder } from '../support/phase-context.ts';
import { makeTcpProxy } from '../support/tcp-proxy.ts';

const WAIT_MS = 20_000;
const LOOK_EVERY_MS = 10;
const ALEMBIC_TEST_MS = 300_000;

/** Of a link that leads to itself. */
const UNSEEN = /^The file of 'src' cannot be looked at \(ELOOP: /;

async function eventually(what: string, isSo: () => boolean): Promise<void> {
  const until = Date.now() + WAIT_MS;
  while (!isSo()) {
    if (Date.now() > until) throw new Error(`It never came to be that ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** Ends the session of a statement while the server works on it, once it waits or sleeps. */
async function endWhile(world: MigrateWorld, statement: string): Promise<void> {
  const until = Date.now() + WAIT_MS;
  for (;;) {
    const ended = await world.ask(
      `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()
         AND wait_event IS NOT NULL AND starts_with(query, '${statement}')`,
    );
    if (ended.length > 0) return;
    if (Date.now() > until) throw new Error(`No session came to wait in ${statement}.`);
  }
}

/**
 * Before the first statement that `isMeant` picks: the server ends the session, because it slept in its transaction. The
 * client reads that only after it has sent the statement, as a worker does that was frozen.
 */
function sleepBefore(world: MigrateWorld, isMeant: (sql: string) => boolean): Disposable {
  let isOver = false;
  return beforeQuery(
    (sql) => !isOver && isMeant(sql),
    async (client) => {
      isOver = true;
      await client.query('SET idle_in_transaction_session_timeout = 1');
      const { stream } = client.connection;
      stream.pause();
      const pid = Number(Reflect.get(client, 'processID'));
      const isThere = () => world.ask(`SELECT 1 FROM pg_stat_activity WHERE pid = ${pid}`);
      for (const until = Date.now() + WAIT_MS; (await isThere()).length > 0;)
        if (Date.now() > until) throw new Error('The session was never ended.');
      setImmediate(() => stream.resume());
    },
  );
}

describe('a SQLite file', () => {
  test('whose Alembic table is locked for a moment still has its revision', async () => {
    const alembic = `CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL); INSERT INTO alembic_version VALUES ('a1')`;
    const sql = `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'); ${alembic}`;
    await using world = await makeImportWorld({ sql }, { skip: ['counter t.id'] });
    await world.ask(`CREATE TABLE t (id bigint PRIMARY KEY, v text); ${alembic.replace("'a1'", "'b2'")};`);
    using writer = new DatabaseSync(world.path);
    using _ = beforePrepare(
      (text) => /version_num.*alembic_version|alembic_version.*version_num/s.test(text),
      () => {
        writer.exec('BEGIN EXCLUSIVE');
        setTimeout(() => writer.exec('ROLLBACK'), 200);
      },
    );
    await expect(world.run('inspect')).rejects.toThrow(
      /alembic_version, which says 'a1' in the source and 'b2' in the target/,
    );
  });

  test('whose log cannot be looked at is not taken for one without a log', async () => {
    await using world = await makeImportWorld({ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY)' });
    const log = `${world.path}-wal`;
    symlinkSync(log, log);
    await expect(markSource(world.params, world.context())).rejects.toThrow(UNSEEN);
    await expect(world.run('inspect')).rejects.toThrow(UNSEEN);
    await expect(world.run('hold-writes')).rejects.toThrow(UNSEEN);
  });

  test('that cannot be looked at is not said to be missing', async () => {
    await using world = await makeImportWorld({ sql: 'CREATE TABLE t (id INTEGER PRIMARY KEY)' });
    await using folder = await makeTestFolder();
    const path = join(folder.path, 'loop.db');
    symlinkSync(path, path);
    const target = { kind: 'sqlite' as const, path };
    const context = world.context({ targets: { ...world.context().environment.targets, src: target } });
    expect(await failureOf(world.run('backup', context))).toMatchObject({
      type: 'PreconditionFailed',
      message: expect.stringMatching(UNSEEN),
    });
  });
});

describe('a migration', () => {
  test('whose canary lost its session is watched on with a new one', async () => {
    await using world = await makeMigrateWorld({ sql: SONGS });
    const context = world.context();
    await withWatch(watching('SELECT 41'), context, async (watch) => {
      await world.ask(
        `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query = 'SELECT 41' AND pid <> pg_backend_pid()`,
      );
      const { canaryQueries } = watch.report();
      await eventually('the canary asks again', () => watch.report().canaryQueries > canaryQueries + 2);
    });
  });

  test('counts the time in which its target was away as time without an answer', async () => {
    await using world = await makeMigrateWorld({ sql: SONGS });
    const entry = world.context().target('db', 'postgres');
    await using wire = await makeTcpProxy(`${entry.host}:${entry.port}`);
    const targets = { ...world.targets, db: { ...entry, host: '127.0.0.1', port: wire.port } };
    let last: Watch | undefined;
    await withWatch(watching('SELECT 41'), world.context({ targets }), async (watch) => {
      last = watch;
      wire.cut();
      await eventually('a query waits for 500 ms', () => watch.report().downtimeMs > 500);
      wire.mend();
      const { canaryQueries } = watch.report();
      await eventually('the canary asks again', () => watch.report().canaryQueries > canaryQueries);
    });
    expect(last?.report().downtimeMs).toBeGreaterThan(500);
  });

  test('is not accused of what a session that the server ended did not do on the clone', async () => {
    const files = { '1_sleep.up.sql': `DO $$ BEGIN PERFORM pg_sleep(30); END $$;` };
    await using world = await makeMigrateWorld({ sql: SONGS, files, params: { forGood: true } });
    const inspected = failureOf(world.run('inspect'));
    await endWhile(world, 'DO $$ BEGIN PERFORM pg_sleep');
    expect(await inspected).toMatchObject({ type: 'Unreachable' });
  });

  test('is not accused of a canary whose session the server ended', async () => {
    const params = { canary: 'SELECT count(*) FROM songs' };
    await using world = await makeMigrateWorld({ sql: SONGS, files: EXAMPLE, params });
    await using other = await world.session();
    await other.query('BEGIN; LOCK TABLE songs');
    const inspected = failureOf(world.run('inspect'));
    await endWhile(world, 'EXPLAIN SELECT count(*) FROM songs');
    expect(await inspected).toMatchObject({ type: 'Unreachable' });
  });

  test('is not accused of a session that slept between two of its statements', async () => {
    await using world = await makeMigrateWorld({ sql: SONGS, files: EXAMPLE, params: { lossyDown: true } });
    await world.run('inspect');
    using _ = sleepBefore(world, (sql) => sql.startsWith('CREATE INDEX lists_name'));
    expect(await world.run('apply')).toMatchObject({ verdict: 'pass', output: { applied: 3 } });
  });

  test('is not tried on a clone that lacks settings, because the session that gave them was lost', async () => {
    await using world = await makeMigrateWorld({ sql: SONGS });
    const database = new URL(world.url).pathname.slice(1);
    await world.ask(`ALTER DATABASE ${database} SET search_path = public, pg_catalog`);
    await using other = await world.session();
    // What the settings are given to is locked, so the session that gives them waits.
    await other.query(`BEGIN; ALTER DATABASE ${database} SET work_mem = '8MB'`);
    const given = withPostgres('db', world.context(), async (connection) =>
      giveSettings(connection, database, await ownSettings(connection)),
    );
    const failure = failureOf(given);
    await endWhile(world, 'ALTER DATABASE');
    expect(await failure).toMatchObject({ type: 'Unreachable' });
  });
});

describe('a program that is ended while it is asked', () => {
  test(
    'is said to have been ended: it has no statements that differ, and knows no other revisions',
    async () => {
      await using folder = await makeTestFolder();
      const marker = join(folder.path, 'ended');
      const kill = (verb: string): string[] => [
        'import os, sys',
        `if "${verb}" in sys.argv and os.path.exists("${marker}"): os.kill(os.getpid(), 9)`,
      ];
      const revision = {
        revision: 'a1b2c3d4e5f6',
        down: null,
        label: 'library',
        up: [...kill('--sql'), `op.add_column("songs", sa.Column("genre", sa.Text()))`],
        back: [`op.drop_column("songs", "genre")`],
      };
      const source = await makeAlembic(join(folder.path, 'app'), [revision]);
      await writeFile(
        join(folder.path, 'app', 'alembic', 'versions', 'other.py'),
        `${kill('show').join('\n')}\nrevision = "b2c3d4e5f6a1"\ndown_revision = "a1b2c3d4e5f6"\ndef upgrade(): pass\ndef downgrade(): pass\n`,
      );
      const params = {
        to: 'a1b2c3d4e5f6',
        lossyDown: true,
        allow: [{ rule: 'NotAnalysed', because: 'we read it' }],
      };
      await using world = await makeMigrateWorld({ sql: SONGS, source, params });
      expect(await world.run('inspect')).toMatchObject({ verdict: 'pass' });
      writeFileSync(marker, '');
      const ended = /was cut short \(it was ended by SIGKILL\), expected exit 0: .*\(ProgramFails\)\.$/;
      await expect(world.run('inspect')).rejects.toThrow(ended);
      await expect(world.run('apply')).rejects.toThrow(ended);
      world.params.to = 'library@head';
      await expect(world.run('inspect')).rejects.toThrow(ended);
    },
    ALEMBIC_TEST_MS,
  );
});

test('a check whose session slept is no wrong query', async () => {
  await using world = await makeMigrateWorld({ sql: SONGS });
  using _ = sleepBefore(world, (sql) => sql.startsWith('FETCH'));
  const params = {
    target: 'db',
    query: 'SELECT count(*) FROM songs',
    values: [],
    of: 'value' as const,
    expect: { words: 500 },
    timeoutMs: 5_000,
  };
  expect(await failureOf(sqlCheck.check.run(params, world.context()))).toMatchObject({ type: 'Unreachable' });
});

function watching(canary: string) {
  return { target: 'db', everyMs: 5, lockTimeoutMs: 200, canary, tables: [] };
}

/** A moment before this process prepares a statement in SQLite, once. */
function beforePrepare(isMeant: (sql: string) => boolean, act: () => void): Disposable {
  type Prepare = (this: DatabaseSync, sql: string) => StatementSync;
  const prototype = DatabaseSync.prototype as unknown as { prepare: Prepare };
  const original = prototype.prepare;
  prototype.prepare = function prepare(this: DatabaseSync, sql: string): StatementSync {
    if (isMeant(sql)) {
      prototype.prepare = original;
      act();
    }
    return original.call(this, sql);
  };
  return {
    [Symbol.dispose]() {
      prototype.prepare = original;
    },
  };
}
