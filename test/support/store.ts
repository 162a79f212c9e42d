/** The store on a database of its own, cloned from a template that is migrated once for the suite. */
import { createHash, randomBytes } from 'node:crypto';
import { Client, type Pool } from 'pg';
import { makeApiStore, makeWorkerStore } from '../../store/index.ts';
import { migrate, readMigrations } from '../../store/migrate.ts';
import { makePool } from '../../store/pool.ts';
import { createLogins } from '../../store/roles.ts';
import type { ApiStore, WorkerStore } from '../../store/types.ts';
import { makeDatabase, postgresUrl } from './postgres.ts';

/** The logins of all test databases: roles belong to the cluster. */
const LOGINS = {
  apiPassword: 'a-password-of-tests-alone',
  workerPassword: 'another-password-of-tests',
  suffix: 'test',
};
/** Advisory lock in database `postgres`, which every test process can reach. */
const LOCK = 7_265_004_412;

export type StoreDatabase = AsyncDisposable & {
  /** A superuser's connection string. */
  ownerUrl: string;
  apiUrl: string;
  workerUrl: string;
  api: ApiStore;
  worker: WorkerStore;
  /** The pool of the API's role. */
  apiPool: Pool;
  /** The superuser's pool: for looking behind the store. */
  owner: Pool;
};

export async function makeStoreDatabase(): Promise<StoreDatabase> {
  const database = await makeDatabase({ template: await template() });
  const loginUrl = (user: string, password: string): string => {
    const url = new URL(database.url);
    url.username = user;
    url.password = password;
    return url.href;
  };
  const apiUrl = loginUrl('countdown_api_login_test', LOGINS.apiPassword);
  const workerUrl = loginUrl('countdown_worker_login_test', LOGINS.workerPassword);
  const pools = {
    owner: makePool(database.url, { name: 'test-owner' }),
    api: makePool(apiUrl, { name: 'test-api' }),
    worker: makePool(workerUrl, { name: 'test-worker' }),
  };
  return {
    ownerUrl: database.url,
    apiUrl,
    workerUrl,
    api: makeApiStore(pools.api),
    worker: makeWorkerStore(pools.worker),
    apiPool: pools.api,
    owner: pools.owner,
    async [Symbol.asyncDispose]() {
      await Promise.all(Object.values(pools).map((pool) => pool.end()));
      await database[Symbol.asyncDispose]();
    },
  };
}

let made: Promise<string> | undefined;

function template(): Promise<string> {
  return (made ??= makeTemplate());
}

/** Made under a lock and named at last, so that no other process clones a half-made one. */
async function makeTemplate(): Promise<string> {
  const server = await postgresUrl();
  const migrations = await readMigrations();
  const version = createHash('sha256')
    .update(migrations.map((one) => one.checksum).join())
    .digest('hex');
  const name = `store_template_${version.slice(0, 12)}`;
  const client = new Client({ connectionString: server });
  await client.connect();
  try {
    await client.query('select pg_advisory_lock($1)', [LOCK]);
    const found = await client.query('select from pg_database where datname = $1', [name]);
    if (found.rowCount === 0) {
      const draft = `store_draft_${randomBytes(6).toString('hex')}`;
      await client.query(`create database ${draft} template template0`);
      const url = new URL(server);
      url.pathname = `/${draft}`;
      await migrate(url.href);
      await createLogins(server, LOGINS);
      await client.query(`alter database ${draft} rename to ${name}`);
    }
  } finally {
    await client.end();
  }
  return name;
}
