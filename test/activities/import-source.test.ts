/** Files in states that nobody would wish for: refused with a sentence, and never read as if nothing were. */
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkLog } from '../../activities/lib/import/wal.ts';
import { makeImportWorld } from '../support/import-world.ts';
import type { ImportWorld } from '../support/import-world.ts';
import { failureOf, makeTestFolder } from '../support/phase-context.ts';
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

const PAGE = 4096;
const T = `CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
  INSERT INTO t SELECT i, printf('%.*c', 200, 'x') FROM n;`;

async function makeWorld(sql = T): Promise<ImportWorld> {
  return await makeImportWorld({ sql }, shared === undefined ? {} : { database: shared });
}

function overwrite(path: string, change: (bytes: Buffer) => void): void {
  const bytes = readFileSync(path);
  change(bytes);
  writeFileSync(path, bytes);
}

/** Changes what SQLite itself keeps, as a tool that writes to the file by itself would. */
function tamper(path: string, sql: string): void {
  using db = new DatabaseSync(path, { defensive: false });
  db.exec(`PRAGMA writable_schema = on; ${sql}`);
}

/** Leaves the file as a crash would: with what two transactions wrote to the log, and nobody who has it open. */
function crashWithLog(path: string, damage: (log: string) => void = () => {}): void {
  const names = ['', '-wal'];
  const db = new DatabaseSync(path);
  db.exec(
    `PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES (5000, 'one'); INSERT INTO t VALUES (5001, 'two')`,
  );
  for (const name of names) copyFileSync(path + name, `${path}.kept${name}`);
  db.close();
  rmSync(`${path}-shm`, { force: true });
  for (const name of names) renameSync(`${path}.kept${name}`, path + name);
  damage(`${path}-wal`);
}

/** Leaves the file in the middle of a transaction, its journal beside it. */
function crashInTransaction(path: string): void {
  const names = ['', '-journal'];
  const db = new DatabaseSync(path);
  db.exec('PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; UPDATE t SET c = c || 1');
  for (const name of names) copyFileSync(path + name, `${path}.kept${name}`);
  db.exec('ROLLBACK');
  db.close();
  for (const name of names) renameSync(`${path}.kept${name}`, path + name);
}

const NOT_INTACT = "'src' is not an intact SQLite database (database disk image is malformed)";
const LOST = 'SQLite would leave out what was committed behind that';

test.each<[string, (path: string) => void, string]>([
  ['cut off in a page', (path) => truncateSync(path, 100_000), NOT_INTACT],
  ['cut off at a page', (path) => truncateSync(path, 20 * PAGE), NOT_INTACT],
  ['cut off in its head', (path) => truncateSync(path, 50), NOT_INTACT],
  [
    'empty',
    (path) => truncateSync(path, 0),
    "'src' has no tables, expected at least one; see that its path is right.",
  ],
  [
    'a folder',
    (path) => {
      rmSync(path);
      mkdirSync(path);
    },
    "The path of 'src' leads to no file; correct 'path' in the environment file.",
  ],
  [
    'overwritten in a page',
    (path) => overwrite(path, (bytes) => bytes.fill(0xab, 10 * PAGE, 11 * PAGE)),
    NOT_INTACT,
  ],
  [
    'overwritten in a cell',
    (path) => overwrite(path, (bytes) => bytes.fill(0xab, 10 * PAGE + 3000, 10 * PAGE + 3100)),
    "'src' is damaged: *** in database main *** Tree 2 page 11 cell 4: Extends off end of page",
  ],
  [
    'encrypted',
    (path) => overwrite(path, (bytes) => bytes.forEach((byte, at) => (bytes[at] = byte * 31 + at * 7))),
    "'src' is no SQLite database, or an encrypted one (file is not a database), expected one that can be read; correct its path, or decrypt it first.",
  ],
  [
    'in the middle of a transaction',
    crashInTransaction,
    "'src' holds a transaction that was broken off (its -journal file): SQLite must roll it back first",
  ],
  [
    'beside a log with a damaged head',
    (path) => crashWithLog(path, (log) => overwrite(log, (bytes) => bytes.fill(0, 0, 4))),
    `WalUnreadable: the log of 'src' (its -wal file) has a damaged head, expected a whole one: ${LOST}`,
  ],
  [
    'beside a log with a damaged frame',
    (path) => crashWithLog(path, (log) => overwrite(log, (bytes) => bytes.fill(1, 200, 204))),
    `WalUnreadable: the log of 'src' (its -wal file) is damaged behind 0 good frames, expected a whole one: ${LOST}`,
  ],
  [
    'beside a log that is no file',
    (path) =>
      crashWithLog(path, (log) => {
        rmSync(log);
        mkdirSync(log);
      }),
    `WalUnreadable: the log of 'src' (its -wal file) is no file`,
  ],
])('a file that is %s is refused', async (_, damage, named) => {
  await using world = await makeWorld();
  damage(world.path);
  const { type, message } = await failureOf(world.run('inspect'));
  expect(message).toContain(named);
  expect(type).toBe('PreconditionFailed');
});

test('what stands in the log of a file that nobody has open is carried', async () => {
  await using world = await makeWorld();
  crashWithLog(world.path);
  expect(await world.run('inspect')).toMatchObject({ output: { rows: 2002 } });
});

test('a last transaction that a crash cut off was never committed, and is no damage', async () => {
  await using world = await makeWorld();
  crashWithLog(world.path, (log) => truncateSync(log, readFileSync(log).length - 100));
  expect(await world.run('inspect')).toMatchObject({ output: { rows: 2001 } });
});

test('a log that is written to all the time is never taken for a damaged one', async () => {
  await using folder = await makeTestFolder();
  const path = `${folder.path}/app.db`;
  const stop = new SharedArrayBuffer(4);
  const writer = new Worker(
    `const { workerData: { path, stop } } = require('node:worker_threads'); const { DatabaseSync } = require('node:sqlite');
     const db = new DatabaseSync(path); db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = off; PRAGMA wal_autocheckpoint = 20; CREATE TABLE t (c)');
     const insert = db.prepare('INSERT INTO t VALUES (randomblob(3000))'); const flag = new Int32Array(stop);
     require('node:worker_threads').parentPort.postMessage('begun'); while (Atomics.load(flag, 0) === 0) insert.run(); db.close();`,
    { eval: true, workerData: { path, stop } },
  );
  await new Promise((resolve) => writer.once('message', resolve));
  const ended = new Promise((resolve) => writer.once('exit', resolve));
  try {
    for (let look = 0; look < 50; look += 1) await checkLog('src', path, AbortSignal.timeout(20_000));
  } finally {
    Atomics.store(new Int32Array(stop), 0, 1);
    await ended;
  }
});

test('cells that break a NOT NULL hide no damage, and those that break a CHECK are none', async () => {
  await using world = await makeWorld(
    `${T} UPDATE t SET c = NULL; CREATE TABLE k (a INT CHECK (a > 0)); CREATE INDEX i ON k (a);`,
  );
  world.change('PRAGMA ignore_check_constraints = on; INSERT INTO k VALUES (-1), (-2)');
  tamper(
    world.path,
    `UPDATE sqlite_schema SET sql = replace(sql, 'c TEXT', 'c TEXT NOT NULL') WHERE name = 't'`,
  );
  world.params.skip = ['check k'];
  expect((await failureOf(world.run('inspect'))).message).toMatch(
    /^2,000 cells of 'src' cannot be carried exactly: NullInNotNull: t id=1 c holds NULL/,
  );
  tamper(
    world.path,
    `CREATE TABLE other AS SELECT * FROM k; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'other') WHERE name = 'k'; DELETE FROM sqlite_schema WHERE name = 'other'; INSERT INTO k VALUES (7)`,
  );
  expect((await failureOf(world.run('inspect'))).message).toMatch(/^'src' (?:is damaged|is not an intact)/);
});

test('a virtual table whose module is not there and a view that leads nowhere are left behind like others', async () => {
  await using world = await makeWorld(`${T} CREATE TABLE gone (a); CREATE VIEW broken AS SELECT a FROM gone`);
  tamper(
    world.path,
    `DELETE FROM sqlite_schema WHERE name = 'gone'; INSERT INTO sqlite_schema VALUES ('table', 'strange', 'strange', 0, 'CREATE VIRTUAL TABLE strange USING nowhere (a)')`,
  );
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain('view "broken" (to go without it: skip: [view broken])');
  expect(message).toContain('virtual table "strange" (to go without it: skip: [table strange])');
  world.params.skip = ['view broken', 'table strange'];
  expect(await world.run('inspect')).toMatchObject({ verdict: 'pass', output: { tables: 1 } });
});

test('a disk without room for the backup is seen before anything is written', async () => {
  await using world = await makeWorld();
  const { bavail, bsize } = await statfs(dirname(world.path));
  truncateSync(world.path, bavail * bsize + 2 ** 30);
  for (const phase of ['inspect', 'backup'] as const) {
    const { type, message } = await failureOf(world.run(phase));
    expect(message).toMatch(
      /^DiskShort: the run's folder has room for \d+ bytes, expected more than the \d+ of 'src', which is backed up there; make room/,
    );
    expect(type).toBe('PreconditionFailed');
  }
});

test.each<[string, (path: string) => void]>([
  [
    'a direct writer',
    (path) => {
      using db = new DatabaseSync(path);
      db.exec(`UPDATE t SET c = 'changed' WHERE id = 2`);
    },
  ],
  [
    'a direct writer to the log',
    (path) => {
      using db = new DatabaseSync(path);
      db.exec(
        `PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; UPDATE t SET c = 'changed' WHERE id = 2`,
      );
    },
  ],
  [
    'another file of the same size and time',
    (path) => {
      const bytes = readFileSync(path);
      const at = bytes.indexOf('xxxx', 10 * PAGE);
      bytes.write('yyyy', at);
      writeFileSync(`${path}.new`, bytes);
      renameSync(`${path}.new`, path);
    },
  ],
  [
    'bytes of a text that look the same once decoded',
    (path) => {
      using db = new DatabaseSync(path);
      db.exec(`UPDATE b SET c = CAST(x'fe' AS TEXT)`);
    },
  ],
])('%s between verification and switch is caught', async (_, write) => {
  await using world = await makeImportWorld(
    {
      sql: `${T} CREATE TABLE b (id INTEGER PRIMARY KEY, c TEXT); INSERT INTO b VALUES (1, CAST(x'ff' AS TEXT))`,
    },
    { mapping: { 'b.c': 'bytea' } },
  );
  for (const phase of ['inspect', 'hold-writes', 'copy', 'verify'] as const) await world.run(phase);
  const { mtime, atime } = await stat(world.path);
  write(world.path);
  utimesSync(world.path, atime, mtime);
  const { type, message } = await failureOf(world.run('switch'));
  expect(message).toMatch(/^'src' has changed since its cells were compared/);
  expect(type).toBe('VerificationFailed');
  expect(world.switchServer.value).toBe('sqlite-held');
});

test('a file that is replaced by one of another schema between inspection and copy is refused', async () => {
  await using world = await makeWorld();
  await world.run('inspect');
  await world.run('hold-writes');
  using other = new DatabaseSync(`${world.path}.new`);
  other.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, c INT)');
  renameSync(`${world.path}.new`, world.path);
  expect((await failureOf(world.run('copy'))).message).toMatch(/^The mapping of 'src' is \w+, expected \w+:/);
});

test.skipIf(process.env['COUNTDOWN_TEST_DEEP'] !== '1')(
  'a file that stays locked says for how long it was waited',
  async () => {
    await using world = await makeWorld();
    using writer = new DatabaseSync(world.path);
    writer.exec('BEGIN EXCLUSIVE');
    expect(await failureOf(world.run('inspect'))).toEqual({
      type: 'Unreachable',
      message: "'src' stayed locked by a writer for 10000 ms; end the long transaction of that writer.",
    });
    writer.exec('ROLLBACK');
  },
);
