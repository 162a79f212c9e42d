import { createHash } from 'node:crypto';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { serve } from '@hono/node-server';
import { expect, test } from 'vitest';
import { generate } from '../../examples/piano-keys/generate.ts';
import { checkLedger, readLedger } from '../../examples/piano-keys/ledger.ts';
import { openModeSwitch } from '../../examples/piano-keys/mode.ts';
import type { Mode } from '../../examples/piano-keys/mode.ts';
import { createApp } from '../../examples/piano-keys/routes.ts';
import { openSqlite } from '../../examples/piano-keys/store-sqlite.ts';
import { startWriter } from '../../examples/piano-keys/writer.ts';

async function makeFolder() {
  const path = await mkdtemp(join(tmpdir(), 'countdown-piano-'));
  return {
    at: (name: string) => join(path, name),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

async function makeServer(file: string, state: string) {
  const store = openSqlite(file);
  const mode = await openModeSwitch(state);
  const app = createApp({ mode, storeOf: () => store, adminToken: 'token' });
  const listening = Promise.withResolvers<number>();
  const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) =>
    listening.resolve(port),
  );
  const url = `http://127.0.0.1:${await listening.promise}`;
  return {
    url,
    set: (value: Mode) => mode.set(value, mode.current().generation),
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => {
        server.close(resolve);
        if ('closeAllConnections' in server) server.closeAllConnections();
      });
      await store.close();
    },
  };
}

function digest(file: string): string {
  const database = new DatabaseSync(file, { readOnly: true });
  const hash = createHash('sha256');
  for (const table of ['users', 'songs', 'sessions']) {
    for (const row of database.prepare(`select * from ${table} order by id`).iterate()) {
      for (const cell of Object.values(row))
        hash.update(cell instanceof Uint8Array ? cell : `${typeof cell} ${cell}\n`);
    }
  }
  database.close();
  return hash.digest('hex');
}

test('the generator makes the same rows for the same seed, and other rows for another', async () => {
  await using folder = await makeFolder();
  const counts = generate({ file: folder.at('a.db'), rows: 2_000, seed: 7 });
  generate({ file: folder.at('b.db'), rows: 2_000, seed: 7 });
  generate({ file: folder.at('c.db'), rows: 2_000, seed: 8 });
  expect(counts).toEqual({ users: 120, songs: 80, sessions: 1_800 });
  expect(digest(folder.at('b.db'))).toBe(digest(folder.at('a.db')));
  expect(digest(folder.at('c.db'))).not.toBe(digest(folder.at('a.db')));
  expect(() => generate({ file: folder.at('a.db'), rows: 20 })).toThrow('has rows already');
});

test('the generated file has what breaks a careless copy', async () => {
  await using folder = await makeFolder();
  generate({ file: folder.at('a.db'), rows: 5_000 });
  const database = new DatabaseSync(folder.at('a.db'), { readOnly: true });
  const one = (sql: string) => database.prepare(sql).get();
  expect(
    one(`select seq - (select max(id) from sessions) as ahead from sqlite_sequence where name = 'sessions'`),
  ).toEqual({
    ahead: 7,
  });
  expect(
    one('select count(*) > 0 as found from users where birthday is null and avatar is not null'),
  ).toEqual({ found: 1 });
  expect(one(`select count(*) > 0 as found from sessions where notes = '' or notes = '\\N'`)).toEqual({
    found: 1,
  });
  expect(
    one(`select count(*) > 0 as found from songs where typeof(price) = 'real' and price <> round(price)`),
  ).toEqual({ found: 1 });
  expect(one('select count(*) as broken from pragma_foreign_key_check')).toEqual({ broken: 0 });
  database.close();
});

test('every acknowledged write is found again, with a held phase in the middle', async () => {
  await using folder = await makeFolder();
  generate({ file: folder.at('app.db'), rows: 100 });
  await using server = await makeServer(folder.at('app.db'), folder.at('mode.json'));
  const writer = startWriter({ url: server.url, ledger: folder.at('ledger'), ratePerSecond: 400 });
  await expect.poll(() => writer.counts().acknowledged, { timeout: 10_000 }).toBeGreaterThan(60);
  await server.set('sqlite-held');
  const whenHeld = writer.counts();
  await expect.poll(() => writer.counts().refused, { timeout: 10_000 }).toBeGreaterThan(whenHeld.refused + 4);
  // At most one answer a lane was on its way when the switch had answered.
  expect(writer.counts().acknowledged - whenHeld.acknowledged).toBeLessThanOrEqual(4);
  await server.set('sqlite');
  await expect
    .poll(() => writer.counts().acknowledged, { timeout: 10_000 })
    .toBeGreaterThan(whenHeld.acknowledged + 60);
  const counts = await writer.stop();
  const check = await checkLedger({ ledger: folder.at('ledger'), url: server.url });
  expect(check).toEqual({ ...counts, present: counts.acknowledged, missing: [] });
  expect(check.unknown).toBe(0);
  const operations = new Set((await readLedger(folder.at('ledger'))).map(({ operation }) => operation));
  expect([...operations].sort()).toEqual(['create', 'remove', 'update']);
});

test('a lost or changed row is reported with what was acknowledged and what is there', async () => {
  await using folder = await makeFolder();
  generate({ file: folder.at('app.db'), rows: 100 });
  await using server = await makeServer(folder.at('app.db'), folder.at('mode.json'));
  const row: { id: 1 } = JSON.parse(await (await fetch(`${server.url}/api/users/1`)).text());
  const at = '2026-11-22T01:05:00.000Z';
  const entry = { at, operation: 'update', table: 'users', id: 1, outcome: 'acknowledged' };
  const gone = { id: 999_999 };
  await writeFile(
    folder.at('ledger'),
    [
      { ...entry, row: { ...row, level: -1 } },
      { ...entry, row: { ...row, level: -2 } },
      { ...entry, operation: 'create', id: gone.id, row: gone },
      { ...entry, operation: 'create', id: null, row: null, outcome: 'unknown' },
      { ...entry, operation: 'remove', id: 999_998, row: null },
    ]
      .map((line) => `${JSON.stringify(line)}\n`)
      .join(''),
  );
  // A writer that was killed leaves half a line.
  await appendFile(folder.at('ledger'), '{"at":"2026');
  expect(await checkLedger({ ledger: folder.at('ledger'), url: server.url })).toEqual({
    acknowledged: 4,
    present: 1,
    refused: 0,
    unknown: 1,
    missing: [
      { table: 'users', id: 1, writes: 2, expected: { ...row, level: -2 }, found: row },
      { table: 'users', id: 999_999, writes: 1, expected: gone, found: null },
    ],
  });
});
