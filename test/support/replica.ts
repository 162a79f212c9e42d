/** A primary of its own with a replica that streams from it, both real; the replica can be told to stop replaying. */
import { execFile } from 'node:child_process';
import { appendFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { freePort } from '../../scripts/lib/ports.ts';
import { startPostgres } from '../../scripts/lib/postgres.ts';
import { findAccount, placeFor, postgresPrograms } from '../../scripts/lib/postgres-programs.ts';
import { makeFolder, startChild, untilReady } from '../../scripts/lib/processes.ts';

const READY_MS = 60_000;
const run = promisify(execFile);

export type Pair = AsyncDisposable & {
  /** The superuser's connection string of the primary, database `postgres`. */
  url: string;
  /** One question to the primary. */
  ask(sql: string): Promise<Record<string, unknown>[]>;
  replay(goes: 'on' | 'paused'): Promise<void>;
};

export async function makePair(): Promise<Pair> {
  const stack = new AsyncDisposableStack();
  const folder = await makeFolder('countdown-replica-');
  stack.defer(() => folder.discard());
  const primary = await startPostgres({ folder: folder.path });
  stack.defer(() => primary.stop());
  const url = primary.url();
  const port = await startReplica(url, folder.path, stack);
  const there = new URL(url);
  there.port = String(port);
  return {
    url,
    ask: (sql) => ask(url, sql),
    async replay(goes) {
      await ask(there.href, goes === 'on' ? 'SELECT pg_wal_replay_resume()' : 'SELECT pg_wal_replay_pause()');
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function startReplica(url: string, folder: string, stack: AsyncDisposableStack): Promise<number> {
  const account = await findAccount(() => {});
  const { postgres } = await postgresPrograms(account);
  const place = await makeFolder('countdown-replica-', await placeFor(folder, account));
  stack.defer(() => place.discard());
  const data = join(place.path, 'data');
  await copyOf(url, data);
  if (account !== undefined) await run('chown', ['-R', `${account.uid}:${account.gid}`, place.path]);
  const port = await freePort();
  const child = await startChild({
    name: 'PostgreSQL replica',
    command: postgres,
    args: [
      '-D',
      data,
      '-c',
      'listen_addresses=127.0.0.1',
      '-c',
      `port=${port}`,
      '-c',
      'unix_socket_directories=',
      '-c',
      'max_connections=200',
    ],
    env: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC', HOME: place.path },
    cwd: place.path,
    ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
    logFile: join(folder, 'replica.log'),
    stopSignal: 'SIGINT',
  });
  stack.defer(() => child.stop().then(() => undefined));
  await untilReady(child, {
    timeoutMs: READY_MS,
    check: async () => {
      const [row] = await ask(url, `SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'`);
      return row;
    },
  });
  return port;
}

/** A copy of its files between the two calls that make it a backup. */
async function copyOf(url: string, data: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ data_directory: string }>('SHOW data_directory');
    await client.query(`SELECT pg_backup_start('replica', true)`);
    await run('cp', ['-a', rows[0]?.data_directory ?? '', data]);
    const { rows: ended } = await client.query<{ labelfile: string }>(
      'SELECT labelfile FROM pg_backup_stop()',
    );
    await rm(join(data, 'postmaster.pid'), { force: true });
    await writeFile(join(data, 'backup_label'), ended[0]?.labelfile ?? '');
    await writeFile(join(data, 'standby.signal'), '');
    await appendFile(
      join(data, 'postgresql.auto.conf'),
      `\nprimary_conninfo = '${url}'\nwal_receiver_status_interval = '1s'\n`,
    );
  } finally {
    await client.end();
  }
}

async function ask(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const { rows } = await client.query<Record<string, unknown>>(sql);
    return rows;
  } finally {
    await client.end();
  }
}
