import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { askForServer } from './servers.ts';

export type TestDatabase = AsyncDisposable & {
  /** The superuser's connection string for this database. */
  url: string;
  name: string;
};

/** The superuser's connection string for the suite's PostgreSQL, database `postgres`. */
export function postgresUrl(): Promise<string> {
  return askForServer('postgres');
}

/** A fresh database, empty or cloned from `template`, dropped when the test leaves its scope, whoever is still connected. */
export async function makeDatabase(options: { template?: string } = {}): Promise<TestDatabase> {
  const server = await postgresUrl();
  const name = `test_${randomBytes(8).toString('hex')}`;
  await query(server, `create database ${name} template ${options.template ?? 'template0'}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    name,
    async [Symbol.asyncDispose]() {
      await query(server, `drop database if exists ${name} with (force)`);
    },
  };
}

async function query(connectionString: string, sql: string): Promise<void> {
  const client = new Client({ connectionString });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
