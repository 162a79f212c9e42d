import { createHash } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeStoreDatabase, type StoreDatabase } from '../support/store.ts';
import { intentRow, newRun, planOver, seqOf } from './support.ts';

let store: StoreDatabase;
const clients: Record<string, Client> = {};
let run: number;
beforeAll(async () => {
  store = await makeStoreDatabase();
  run = await newRun(store, planOver('roles'));
  seqOf(await store.worker.intent(intentRow(run)));
  const urls = { api: store.apiUrl, worker: store.workerUrl, owner: store.ownerUrl };
  for (const [name, connectionString] of Object.entries(urls)) {
    const client = new Client({ connectionString });
    await client.connect();
    clients[name] = client;
  }
});
afterAll(async () => {
  await Promise.all(Object.values(clients).map((client) => client.end()));
  await store[Symbol.asyncDispose]();
});

const ask = (who: string, sql: string) => clients[who]?.query(sql);
const denied = /permission denied|may not append|belong to a run/;

describe('the worker', () => {
  test.each([
    `insert into countdown.decisions (id, run, body) values ('x', 1, '{"id":"x","run":1,"kind":"approve","person":"ana"}')`,
    `insert into countdown.plans (hash, body, person) values (repeat('0', 64), '{}', 'x')`,
    `insert into countdown.runs (run, plan) values (99, 'x')`,
    `insert into countdown.leases (environment, target, run, mode, epoch) values ('test', 'x', 1, 'shared', 1)`,
    `delete from countdown.leases`,
    `update countdown.runs set state = 'succeeded'`,
    `update countdown.phases set state = 'done'`,
    `update countdown.decisions set seq = 1`,
    `select * from countdown.tokens`,
    `insert into countdown.tokens (hash, person, expires_at) values (repeat('0', 64), 'x', now())`,
    `select countdown.create_run('x', 'x', '{}', null, null, null, null, '{}')`,
    `select countdown.append_beside('test', 'refused', 'x', '{}')`,
    `select countdown.admit_run(1, now())`,
    `select countdown.stop_planned(1, null, '{"state":"stopped"}')`,
    `select countdown.refuse_decision(1, 'x', 'NotAsked')`,
    `select countdown.tell_reopened(1, 'x')`,
    `update countdown.decisions set answered_at = now()`,
    `select countdown.append(1, 'asked', null, null, null, null, null, null, '{}')`,
    `select countdown.rebuild(1)`,
    `select countdown.close_lost(1, 'move/inspect', 'run', 1, 1)`,
    `create table countdown.mine ()`,
    `select nextval('countdown.epochs')`,
  ])('may not: %s', async (sql) => {
    await expect(ask('worker', sql)).rejects.toThrow(denied);
  });

  test('may not hide a decision in a list of rows', async () => {
    await expect(
      ask('worker', `select countdown.append_all(${run}, '{k}', '{decision}', '{null}', '{"{}"}')`),
    ).rejects.toThrow('Rows of kind decision are not recorded.');
  });
});

describe('the API', () => {
  test.each([
    `select countdown.append(1, 'intent', 'move/inspect', 'run', 1, 1, null, null, '{}')`,
    `select countdown.append(1, 'outcome', 'move/inspect', 'run', 1, 1, null, 2, '{}')`,
    `select countdown.append_intent(1, 'move/inspect', 'run', 1, 1, '{}')`,
    `select countdown.append(1, 'asked', null, null, null, null, null, null, '{}')`,
    `select countdown.append_all(1, '{k}', '{run}', '{null}', '{"{}"}')`,
    `select countdown.append_beside('test', 'asked', 'x', '{}')`,
    `select countdown.tell_planned(1, 'run', 'k', 'x', '{"state":"succeeded"}')`,
    `select countdown.give_leases(1, '{}')`,
    `update countdown.runs set admitted_at = now()`,
    `insert into countdown.runs (run, plan) values (99, 'x')`,
    `insert into countdown.decisions (id, run, body, seq) values ('x', 1, '{}', 7)`,
    `update countdown.decisions set body = '{}'`,
    `update countdown.decisions set seq = 7`,
    `update countdown.decisions set refused = 'NotAsked'`,
    `update countdown.runs set reopen_reason = 'x'`,
    `delete from countdown.decisions`,
    `update countdown.plans set person = 'x'`,
    `update countdown.tokens set expires_at = 'infinity'`,
    `delete from countdown.leases`,
    `insert into countdown.progress (run, phase, body) values (1, 'move/inspect', '{}')`,
    `update countdown.environment_heads set seq = 0`,
    `select countdown.rebuild(1)`,
  ])('may not: %s', async (sql) => {
    await expect(ask('api', sql)).rejects.toThrow(denied);
  });
});

describe('the journal', () => {
  const changes = [
    'update countdown.journal set actor = actor',
    'delete from countdown.journal',
    'truncate countdown.journal',
  ];

  const writes = [...changes, 'insert into countdown.journal (run) values (1)'];
  test.each(writes.flatMap((sql) => ['api', 'worker'].map((who) => [who, sql] as const)))(
    'is not written by the %s past its functions: %s',
    async (who, sql) => {
      await expect(ask(who, sql)).rejects.toThrow('permission denied');
    },
  );

  test.each(changes)('is not changed by its owner, nor by a superuser: %s', async (sql) => {
    await expect(ask('owner', sql)).rejects.toThrow('The journal is append-only');
    await expect(ask('owner', `set role countdown_owner; ${sql}`)).rejects.toThrow(
      'The journal is append-only',
    );
    await ask('owner', 'reset role');
    await expect(ask('owner', `set session_replication_role = replica; ${sql}`)).rejects.toThrow(
      'The journal is append-only',
    );
    await ask('owner', 'reset session_replication_role');
  });
});

test('nothing in the schema is open to everybody', async () => {
  const open = await ask(
    'owner',
    `select p.proname as name from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
      where p.pronamespace = 'countdown'::regnamespace and a.grantee = 0
    union all select c.relname from pg_class c, aclexplode(c.relacl) a
      where c.relnamespace = 'countdown'::regnamespace and a.grantee = 0
    union all select n.nspname from pg_namespace n, aclexplode(n.nspacl) a
      where n.nspname = 'countdown' and a.grantee = 0`,
  );
  expect(open?.rows).toEqual([]);
});

test('functions that run with the rights of the owner have a fixed search path and no superuser behind them', async () => {
  const found = await ask(
    'owner',
    `select p.proname as name, p.proconfig as config, r.rolsuper as super
    from pg_proc p join pg_roles r on r.oid = p.proowner
    where p.pronamespace = 'countdown'::regnamespace and p.prosecdef order by 1`,
  );
  const config = ['search_path=pg_catalog, pg_temp'];
  expect(found?.rows).toEqual(
    [
      'admit_run',
      'append',
      'append_all',
      'append_beside',
      'append_intent',
      'create_run',
      'refuse_decision',
      'say_ready',
      'stop_planned',
      'tell_reopened',
    ].map((name) => ({ name, config, super: false })),
  );
});

const hash = (token: string): string => createHash('sha256').update(token).digest('hex');

describe('tokens', () => {
  test('are kept as their sha256 alone, and found until they expire or are revoked', async () => {
    const token = 'countdown_secret-token';
    const row = await store.api.insertToken({
      hash: hash(token),
      person: 'ana',
      expiresAt: new Date(Date.now() + 60_000),
    });
    expect(await store.api.token(hash(token))).toEqual(row);
    expect(row).toMatchObject({ person: 'ana', id: expect.stringMatching(/^[0-9a-f-]{36}$/) });
    expect(await store.api.token(hash('another'))).toBeUndefined();
    const kept = await ask('owner', 'select t::text as row from countdown.tokens t');
    expect(kept?.rows[0].row).toContain(hash(token));
    expect(kept?.rows[0].row).not.toContain(token);
    expect(await store.api.revokeToken(row.id)).toBe(true);
    expect(await store.api.revokeToken(row.id)).toBe(false);
    expect(await store.api.revokeToken('not an id')).toBe(false);
    expect(await store.api.token(hash(token))).toBeUndefined();
  });

  test('that have expired are unknown, and one that is no sha256 is refused', async () => {
    await store.api.insertToken({ hash: hash('old'), person: 'ana', expiresAt: new Date(Date.now() - 1) });
    expect(await store.api.token(hash('old'))).toBeUndefined();
    const plain = { hash: 'secret', person: 'ana', expiresAt: new Date() };
    await expect(store.api.insertToken(plain)).rejects.toThrow('tokens_hash_check');
  });
});
