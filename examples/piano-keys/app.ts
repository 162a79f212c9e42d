/**
 * Piano Keys: songs, users and practice sessions over HTTP, kept in SQLite or in PostgreSQL. Configured by the environment:
 *
 *   PIANO_SQLITE        the SQLite file
 *   PIANO_POSTGRES_URL  the connection string of the PostgreSQL database
 *   PIANO_STATE         the small file that remembers the mode
 *   PIANO_ADMIN_TOKEN   the bearer token of /admin
 *   PIANO_LISTEN        host:port, default 127.0.0.1:0
 */
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { openModeSwitch } from './mode.ts';
import { createApp } from './routes.ts';
import { openPostgres } from './store-postgres.ts';
import { openSqlite } from './store-sqlite.ts';

const [hostname = '127.0.0.1', port = '0'] = (process.env['PIANO_LISTEN'] ?? '127.0.0.1:0').split(':');
const sqlite = openSqlite(required('PIANO_SQLITE'));
const postgres = openPostgres(required('PIANO_POSTGRES_URL'));
const app = createApp({
  mode: await openModeSwitch(required('PIANO_STATE')),
  storeOf: (mode) => (mode.startsWith('sqlite') ? sqlite : postgres),
  adminToken: required('PIANO_ADMIN_TOKEN'),
});

const server = serve({ fetch: app.fetch, hostname, port: Number(port) }, (address: AddressInfo) => {
  const url = `http://${address.address}:${address.port}`;
  process.stdout.write(`${JSON.stringify({ msg: 'piano-keys: listening', url })}\n`);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop);

function stop(): void {
  server.close(() => {
    void Promise.all([sqlite.close(), postgres.close()]).then(() => process.exit(0));
  });
  if ('closeIdleConnections' in server) server.closeIdleConnections();
  setTimeout(() => process.exit(1), 5_000).unref();
}

function required(name: string): string {
  const value = process.env[name];
  if (value !== undefined && value !== '') return value;
  process.stderr.write(
    `piano-keys: ${name} is not set; see examples/piano-keys/README.md for what it must hold.\n`,
  );
  process.exit(2);
}
