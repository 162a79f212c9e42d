import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { describe, expect, test } from 'vitest';
import { makeApiStore } from '../../store/index.ts';
import { migrate, readMigrations, waitForVersion } from '../../store/migrate.ts';
import { makePool } from '../../store/pool.ts';
import { createLogins } from '../../store/roles.ts';
import { makeDatabase, postgresUrl } from '../support/postgres.ts';

const MIGRATIONS = join(import.meta.dirname, '../../store/migrations');

async function folderOfMigrations(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'countdown-migrations-'));
  await cp(MIGRATIONS, path, { recursive: true });
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

async function query(connectionString: string, sql: string) {
  const client = new Client({ connectionString });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('migrate', () => {
  test('runs each file once, however many processes start at once', async () => {
    await using database = await makeDatabase();
    const { length } = await readMigrations();
    const versions = await Promise.all(Array.from({ length: 4 }, () => migrate(database.url)));
    expect(versions).toEqual([length, length, length, length]);
    const applied = await query(database.url, 'select version from countdown.migrations order by version');
    expect(applied).toEqual(Array.from({ length }, (_, n) => ({ version: n + 1 })));
  });

  test('makes its roles once, when several databases of one cluster start at once', async () => {
    const databases = await Promise.all(Array.from({ length: 3 }, () => makeDatabase()));
    try {
      await Promise.all(databases.map(({ url }) => migrate(url)));
      const logins = await Promise.all(
        databases.map(({ url }) =>
          createLogins(url, { apiPassword: 'a', workerPassword: 'b', suffix: 'race' }),
        ),
      );
      expect(logins[0]).toEqual({ api: 'countdown_api_login_race', worker: 'countdown_worker_login_race' });
    } finally {
      for (const database of databases) await database[Symbol.asyncDispose]();
    }
  });

  test('works for an owner who is no superuser, once the roles are there', async () => {
    await using database = await makeDatabase();
    const server = await postgresUrl();
    await using other = await makeDatabase();
    await migrate(other.url);
    await query(
      server,
      `drop role if exists plain_owner; create role plain_owner login password 'p' in role countdown_owner;
      grant create on database ${database.name} to plain_owner`,
    );
    const url = new URL(database.url);
    url.username = 'plain_owner';
    url.password = 'p';
    expect(await migrate(url.href)).toBe((await readMigrations()).length);
    expect(await migrate(url.href)).toBe((await readMigrations()).length);
  });

  test('refuses a database whose applied file was changed, is missing, or that is newer', async () => {
    await using database = await makeDatabase();
    await using folder = await folderOfMigrations();
    const first = join(folder.path, '0001-tables.sql');
    const migrations = await readMigrations();
    await writeFile(
      join(folder.path, `${String(migrations.length + 1).padStart(4, '0')}-more.sql`),
      'create table countdown.more ()',
    );
    await migrate(database.url, { folder: folder.path });
    await expect(migrate(database.url)).rejects.toThrow(
      `The database is at version ${migrations.length + 1} (${String(migrations.length + 1).padStart(4, '0')}-more.sql), and this code knows ${migrations.length}. Start the newer release.`,
    );
    await expect(waitForVersion(database.url, { timeoutMs: 10_000 })).rejects.toThrow(
      'Start the newer release.',
    );
    await writeFile(first, `${await readFile(first, 'utf8')}-- changed`);
    await expect(migrate(database.url, { folder: folder.path })).rejects.toThrow(
      'Migration 0001-tables.sql was applied with checksum',
    );
    await rm(first);
    await expect(migrate(database.url, { folder: folder.path })).rejects.toThrow(
      'Migration 0002-read-model.sql stands at place 1',
    );
  });

  test('keeps nothing of a file that fails, and goes on from there', async () => {
    await using database = await makeDatabase();
    await using folder = await folderOfMigrations();
    const { length } = await readMigrations();
    const bad = join(folder.path, `${String(length + 1).padStart(4, '0')}-bad.sql`);
    await writeFile(bad, 'create table countdown.half (); select 1 / 0');
    await expect(migrate(database.url, { folder: folder.path })).rejects.toThrow(
      `Migration ${String(length + 1).padStart(4, '0')}-bad.sql failed, and nothing of it was kept: division by zero`,
    );
    expect(await query(database.url, `select to_regclass('countdown.half') as half`)).toEqual([
      { half: null },
    ]);
    await writeFile(bad, 'create table countdown.whole ()');
    expect(await migrate(database.url, { folder: folder.path })).toBe(length + 1);
  });
});

describe('waitForVersion', () => {
  test('waits until another process has migrated', async () => {
    await using database = await makeDatabase();
    const waiting = waitForVersion(database.url, { timeoutMs: 20_000 });
    await migrate(database.url);
    await waiting;
  });

  test('says what it found when nobody migrates', async () => {
    await using database = await makeDatabase();
    await expect(waitForVersion(database.url, { timeoutMs: 1 })).rejects.toThrow(
      /^The database is not at version \d+ after 1 ms \(found: relation "countdown.migrations" does not exist\)/,
    );
  });
});

test('a store on a database without the schema is not ready', async () => {
  await using database = await makeDatabase();
  const pool = makePool(database.url, { name: 'test-ready' });
  await expect(makeApiStore(pool).ready()).rejects.toThrow('countdown.migrations');
  await migrate(database.url);
  await makeApiStore(pool).ready();
  await pool.end();
});
