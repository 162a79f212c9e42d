/**
 * A launch in a world of its own, for the chaos driver: Temporal, a PostgreSQL for Countdown and another one for the
 * application, the API, two workers, Piano Keys and its writer. Each is a process whose pid is known, and a proxy stands on
 * each wire between them.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Pool } from 'pg';
import { makeClient } from '../../cli/client.ts';
import type { Client } from '../../cli/client.ts';
import { ROOT } from '../../scripts/lib/checks.ts';
import { freePort } from '../../scripts/lib/ports.ts';
import { startPostgres } from '../../scripts/lib/postgres.ts';
import type { Postgres } from '../../scripts/lib/postgres.ts';
import { makeFolder, startChild } from '../../scripts/lib/processes.ts';
import type { Child } from '../../scripts/lib/processes.ts';
import { acknowledged, startStack } from '../../scripts/lib/stack.ts';
import type { Stack } from '../../scripts/lib/stack.ts';
import { startTemporal } from '../../scripts/lib/temporal.ts';
import { workflowBundle } from './bundle.ts';
import { postgresPart, superviseProcess, temporalPart } from './chaos-parts.ts';
import type { Part, ProcessPart } from './chaos-parts.ts';
import { REQUESTER, eventually, runbookText } from './launch-world.ts';
import { dropTargetTables, setMode } from './launch-world-looks.ts';
import { makeTcpProxy } from './tcp-proxy.ts';
import type { TcpProxy } from './tcp-proxy.ts';

/** What the generator makes of them, so that every id above is the writer's. */
const ROWS = 3_000;
const GENERATED = { sessions: 2_700, songs: 120, users: 180 } as const;
const RATE_PER_SECOND = 30;
const QUERY_MS = 2_000;
const LIVE_MS = 60_000;
const WRITTEN_MS = 60_000;
/** The writer waits 15 s for its last answer. */
const WRITER_GRACE_MS = 25_000;

export type Parts = {
  workers: readonly [ProcessPart, ProcessPart];
  api: ProcessPart;
  app: ProcessPart;
  temporal: Part;
  /** Countdown's own PostgreSQL. */
  journal: Part;
  /** The PostgreSQL that the application moves to. */
  target: Part;
};

/** Each worker has its own wires to Countdown's parts; both share those to the targets, which their environment names. */
export type Wires = {
  workerTemporal: readonly [TcpProxy, TcpProxy];
  workerJournal: readonly [TcpProxy, TcpProxy];
  apiTemporal: TcpProxy;
  apiJournal: TcpProxy;
  target: TcpProxy;
  app: TcpProxy;
};

export type ChaosWorld = AsyncDisposable & {
  folder: string;
  stack: Stack;
  parts: Parts;
  wires: Wires;
  client(person?: string): Client;
  /** A query to Countdown's database on the direct way; undefined while it does not answer. */
  ask<T>(sql: string, values?: unknown[]): Promise<T[] | undefined>;
  /** Starts a run of the quick first-launch and gives its number. */
  start(failAt: string | undefined): Promise<number>;
  /** The ledger of the writer since the last reset. */
  ledger(): string;
  /** Waits until the application has acknowledged writes that were sent after now. */
  written(): Promise<void>;
  /** Ends the write traffic and waits for its last answer. */
  stopWriter(): Promise<void>;
  /** Takes every fault away, and waits until each part is up. */
  heal(): Promise<void>;
  /** Back to the start: the application on SQLite with its first rows, an empty target, new traffic with a new ledger. */
  reset(): Promise<void>;
};

/** Ready when both workers poll and the application takes writes. Everything ends with the scope. */
export async function makeChaosWorld(): Promise<ChaosWorld> {
  const defer = new AsyncDisposableStack();
  try {
    return await makeWorld(defer);
  } catch (error) {
    await defer.disposeAsync();
    throw error;
  }
}

async function makeWorld(defer: AsyncDisposableStack): Promise<ChaosWorld> {
  const folder = await makeFolder('countdown-driver-');
  defer.defer(() => folder.discard());
  const servers = await startServers(folder.path, defer);
  const [apiPort, appPort] = [await freePort(), await freePort()];
  const wires = await makeWires(servers, appPort, defer);
  const stack = await startRouted({ folder: folder.path, servers, wires, apiPort, appPort });
  defer.defer(() => stack.stop());
  const ending = new AbortController();
  const parts = await makeParts({ stack, wires, servers, ending: ending.signal });
  const supervised = [...parts.workers, parts.api, parts.app];
  const heal = makeHeal(wires, parts);
  const writer = makeWriter(stack);
  defer.defer(() => writer.stop());
  defer.defer(async () => {
    await heal();
    ending.abort();
    await Promise.all(supervised.map((part) => part.ended));
  });
  const pool = makeAskPool(stack.databaseUrl);
  defer.defer(() => pool.end());

  const client = (person: string = REQUESTER): Client =>
    makeClient({ url: stack.url, token: stack.tokens[person] ?? person });
  const world: ChaosWorld = {
    folder: folder.path,
    stack,
    parts,
    wires,
    client,
    async ask<T>(sql: string, values: unknown[] = []) {
      try {
        return (await pool.query(sql, values)).rows as T[];
      } catch {
        return undefined;
      }
    },
    async start(failAt) {
      const text = await runbookText();
      const { plan } = await client().makePlan({ runbook: { text }, environment: 'demo', params: {} });
      const body = { plan, ...(failAt === undefined ? {} : { failAt }) };
      return (await client().start(body, randomUUID())).run;
    },
    ledger: () => writer.ledger(),
    written: () => writer.written(),
    stopWriter: () => writer.stop(),
    heal,
    async reset() {
      await writer.stop();
      await setMode(stack, 'sqlite');
      await dropTargetTables(stack);
      removeWrittenRows(stack.app.sqlite);
      // What earlier runs took under faults must not bound this one.
      await world.ask('truncate countdown.durations');
      await writer.start();
      await writer.written();
    },
    [Symbol.asyncDispose]: () => defer.disposeAsync(),
  };
  return world;
}

type Servers = {
  temporal: Awaited<ReturnType<typeof startTemporal>>;
  journal: Postgres;
  target: Postgres;
};

/** What a killed process had written is with the system, so nothing needs to wait for the disk. */
const QUICK = { fsync: 'off', full_page_writes: 'off' };

async function startServers(folder: string, defer: AsyncDisposableStack): Promise<Servers> {
  const started = await Promise.allSettled([
    startTemporal({ folder: join(folder, 'temporal'), own: true }),
    startPostgres({ folder: join(folder, 'journal'), settings: QUICK }),
    startPostgres({ folder: join(folder, 'target'), settings: QUICK }),
  ]);
  for (const one of started) if (one.status === 'fulfilled') defer.defer(() => one.value.stop());
  const [temporal, journal, target] = started;
  if (temporal.status === 'rejected') throw temporal.reason;
  if (journal.status === 'rejected') throw journal.reason;
  if (target.status === 'rejected') throw target.reason;
  return { temporal: temporal.value, journal: journal.value, target: target.value };
}

async function makeWires(servers: Servers, appPort: number, defer: AsyncDisposableStack): Promise<Wires> {
  const to = async (address: string): Promise<TcpProxy> => defer.use(await makeTcpProxy(address));
  const { address } = servers.temporal;
  const journal = `127.0.0.1:${servers.journal.port}`;
  return {
    workerTemporal: [await to(address), await to(address)],
    workerJournal: [await to(journal), await to(journal)],
    apiTemporal: await to(address),
    apiJournal: await to(journal),
    target: await to(`127.0.0.1:${servers.target.port}`),
    app: await to(`127.0.0.1:${appPort}`),
  };
}

async function startRouted(part: {
  folder: string;
  servers: Servers;
  wires: Wires;
  apiPort: number;
  appPort: number;
}): Promise<Stack> {
  const { servers, wires } = part;
  const bundle = await workflowBundle();
  return startStack({
    folder: part.folder,
    progress: () => {},
    rows: ROWS,
    ratePerSecond: RATE_PER_SECOND,
    servers: {
      temporalAddress: servers.temporal.address,
      postgresUrl: servers.journal.url(),
      targetPostgresUrl: servers.target.url(),
    },
    temporalNamespace: 'default',
    worker: {
      variables: { COUNTDOWN_WORKFLOW_BUNDLE: bundle.codePath },
      route: workerRoute(wires, 0),
    },
    api: {
      variables: {
        COUNTDOWN_LISTEN: `127.0.0.1:${part.apiPort}`,
        // The driver looks more often than a person does.
        COUNTDOWN_LIMITS: 'read=1000000,write=1000000,decide=1000000,abort=1000000',
      },
      route: { temporal: wires.apiTemporal.address, postgres: wires.apiJournal.address },
    },
    app: { variables: { PIANO_LISTEN: `127.0.0.1:${part.appPort}` } },
    environment: [
      [['targets', 'app', 'url'], `http://${wires.app.address}`],
      [['targets', 'app-database-mode', 'url'], `http://${wires.app.address}/admin/database`],
      [['targets', 'app-postgres', 'host'], '127.0.0.1'],
      [['targets', 'app-postgres', 'port'], wires.target.port],
    ],
  });
}

function workerRoute(wires: Wires, slot: 0 | 1): { temporal: string; postgres: string } {
  return { temporal: wires.workerTemporal[slot].address, postgres: wires.workerJournal[slot].address };
}

async function makeParts(part: {
  stack: Stack;
  wires: Wires;
  servers: Servers;
  ending: AbortSignal;
}): Promise<Parts> {
  const { stack, wires, servers, ending } = part;
  const supervise = (name: string, first: Child, start: () => Promise<Child>): ProcessPart =>
    superviseProcess({ name, first, start, ending });
  const worker = (slot: 0 | 1) => () => stack.startWorker(workerRoute(wires, slot));
  const [first, second] = [stack.processes.worker(), await worker(1)()];
  return {
    workers: [supervise('worker-1', first, worker(0)), supervise('worker-2', second, worker(1))],
    api: supervise(
      'api',
      stack.processes.api,
      listening(() => stack.startApi(), stack.url),
    ),
    app: supervise(
      'app',
      stack.processes.app,
      listening(() => stack.startApp(), stack.app.url),
    ),
    temporal: temporalPart(servers.temporal),
    journal: postgresPart('journal', servers.journal),
    target: postgresPart('target', servers.target),
  };
}

/** The start of a process that is ready once it answers at the url. */
function listening(start: () => Promise<Child>, url: string): () => Promise<Child> {
  return async () => {
    const child = await start();
    await untilLive(child, url);
    return child;
  };
}

async function untilLive(child: Child, url: string): Promise<void> {
  await eventually(
    async () => {
      if (child.exit() !== undefined) throw new Error(`${child.name} ended before it listened.`);
      const answer = await fetch(`${url}/health/live`, { signal: AbortSignal.timeout(QUERY_MS) }).catch(
        () => undefined,
      );
      return answer?.ok === true;
    },
    `${child.name} listens`,
    LIVE_MS,
  );
}

function makeHeal(wires: Wires, parts: Parts): () => Promise<void> {
  return async () => {
    for (const wire of Object.values(wires).flat()) {
      wire.flow();
      wire.mend();
    }
    const all = [parts.temporal, parts.journal, parts.target, parts.app, parts.api, ...parts.workers];
    for (const part of all) await part.signal('SIGCONT');
    for (const part of all) await part.up();
  };
}

/** A driver that looks while servers die: no wait is long, and a session that breaks is replaced. */
function makeAskPool(url: string): Pool {
  const pool = new Pool({
    connectionString: url,
    max: 4,
    connectionTimeoutMillis: QUERY_MS,
    query_timeout: QUERY_MS,
    application_name: 'chaos-driver',
  });
  pool.on('error', () => {});
  return pool;
}

function makeWriter(stack: Stack) {
  let current: Child | undefined;
  let isFirst = true;
  let turn = 0;
  let ledger = stack.app.ledger;
  return {
    ledger: () => ledger,
    async stop(): Promise<void> {
      if (isFirst) await stack.stopWriter();
      isFirst = false;
      await current?.stop();
      current = undefined;
    },
    async start(): Promise<void> {
      turn += 1;
      ledger = join(stack.folder, `ledger-${turn}.jsonl`);
      current = await startChild({
        name: 'writer',
        command: process.execPath,
        args: ['examples/piano-keys/writer.ts'],
        cwd: ROOT,
        env: {
          PATH: process.env['PATH'],
          PIANO_URL: stack.app.url,
          PIANO_LEDGER: ledger,
          PIANO_RATE: String(RATE_PER_SECOND),
          PIANO_SEED: String(turn),
        },
        logFile: join(stack.folder, 'logs', 'writer.log'),
        graceMs: WRITER_GRACE_MS,
      });
    },
    async written(): Promise<void> {
      const before = await acknowledged(ledger).catch(() => 0);
      // Each of the four lanes may have had a write under way: the fifth was sent after now.
      await eventually(
        async () => (await acknowledged(ledger).catch(() => 0)) >= before + 5,
        'the application acknowledges a write',
        WRITTEN_MS,
      );
    },
  };
}

/** The file would grow with each run, and each run would take longer than the one before. */
function removeWrittenRows(file: string): void {
  using database = new DatabaseSync(file, { timeout: 5_000 });
  for (const [table, last] of Object.entries(GENERATED))
    database.prepare(`delete from ${table} where id > ?`).run(last);
}
