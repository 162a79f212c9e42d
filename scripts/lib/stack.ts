/**
 * Everything that the demo needs, on this machine: Temporal, PostgreSQL, the API, a worker, and Piano Keys under write
 * traffic. Each part is a process of its own with a log file; all ports are free ones of 127.0.0.1.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { parseDocument } from 'yaml';
import { generate } from '../../examples/piano-keys/generate.ts';
import { makeApiStore } from '../../store/index.ts';
import { makePool } from '../../store/pool.ts';
import { createLogins } from '../../store/roles.ts';
import { ROOT } from './checks.ts';
import { startPostgres } from './postgres.ts';
import { startChild, untilReady } from './processes.ts';
import type { Child } from './processes.ts';
import { startTemporal } from './temporal.ts';

const READY_MS = 60_000;
const TOKEN_DAYS = 1;
const DAY_MS = 86_400_000;

export type StartStack = {
  /** Where all files go: data, logs, the ledger, the run's own files. */
  folder: string;
  /** A line for each part that has started, and for each few seconds of a build. */
  progress: (line: string) => void;
  /** Rows that Piano Keys begins with; default 100,000. */
  rows?: number;
  /** Writes a second; default 40. */
  ratePerSecond?: number;
  /** Servers that run already, for tests; started and stopped with the stack where they are left out. */
  servers?: {
    temporalAddress: string;
    postgresUrl: string;
    /** A PostgreSQL of its own for the application's database; default: the same as Countdown's. */
    targetPostgresUrl?: string;
  };
  /** Default TEMPORAL_NAMESPACE, else `default`. Two stacks with the same run numbers need a namespace each. */
  temporalNamespace?: string;
  /** Another worker program than `worker.ts`, and more variables for it; for tests. */
  worker?: { program?: string; variables?: Record<string, string>; route?: Route };
  /** More variables for the API's process. */
  api?: { variables: Record<string, string>; route?: Route };
  /** More variables for the application's process. */
  app?: { variables: Record<string, string> };
  /** More entries for the demo environment, by their path in the file. */
  environment?: readonly (readonly [path: string[], value: unknown])[];
};

/** Addresses (`host:port`) at which a process finds the servers, such as those of proxies; default: the servers' own. */
export type Route = { temporal: string; postgres: string };

export type Stack = {
  folder: string;
  /** Where the API answers. */
  url: string;
  /** A token for each person of the demo environment. */
  tokens: Record<string, string>;
  temporalAddress: string;
  databaseUrl: string;
  app: { url: string; adminToken: string; sqlite: string; postgresUrl: string; ledger: string };
  processes: { api: Child; app: Child; writer: Child; worker: () => Child };
  /** Starts one more worker, beside the first or after it was stopped or killed; by default on the first one's route. */
  startWorker(route?: Route): Promise<Child>;
  /** Starts the API again after it was killed; `COUNTDOWN_LISTEN` says where. Does not wait until it listens. */
  startApi(): Promise<Child>;
  /** Starts the application again after it was killed; `PIANO_LISTEN` says where. Does not wait until it listens. */
  startApp(): Promise<Child>;
  /** Ends the write traffic and waits for its last answer. */
  stopWriter(): Promise<void>;
  /** Stops everything, the newest first. */
  stop(): Promise<void>;
};

/** Starts all parts. Where one does not come up, what has started is stopped and the error says which, with its log's end. */
export async function startStack(options: StartStack): Promise<Stack> {
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (let next = stops.pop(); next !== undefined; next = stops.pop()) await next();
  };
  try {
    return { ...(await startParts(options, stops)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startParts(
  options: StartStack,
  stops: (() => Promise<unknown>)[],
): Promise<Omit<Stack, 'stop'>> {
  const { folder, progress } = options;
  const logs = join(folder, 'logs');
  const state = join(folder, 'state');
  await Promise.all([logs, state].map((path) => mkdir(path, { recursive: true })));
  const servers = options.servers ?? (await startServers({ folder: logs, data: folder, progress, stops }));
  const databases = await makeDatabases(servers);
  const start = (name: string, args: string[], env: Record<string, string>): Promise<Child> =>
    startNode({ name, args, env, logs, stops });

  const app = await startApp({ options, postgresUrl: databases.piano.url, start });
  const environments = await writeEnvironments({
    folder,
    app,
    piano: databases.piano,
    more: options.environment ?? [],
  });
  const shared = {
    TEMPORAL_ADDRESS: servers.temporalAddress,
    TEMPORAL_NAMESPACE: options.temporalNamespace ?? process.env['TEMPORAL_NAMESPACE'] ?? 'default',
    // A server that is not ours alone may have other stacks on it.
    COUNTDOWN_TASK_QUEUE: `countdown-${databases.suffix}`,
    COUNTDOWN_ENVIRONMENTS: environments,
  };
  const startApi = (): Promise<Child> =>
    start('api', ['api/server.ts'], {
      ...shared,
      COUNTDOWN_DATABASE_URL: databases.countdown.api,
      COUNTDOWN_MIGRATE_URL: databases.countdown.owner,
      COUNTDOWN_RUNBOOKS: join(ROOT, 'runbooks'),
      COUNTDOWN_LISTEN: '127.0.0.1:0',
      ...routed(databases.countdown.api, options.api?.route),
      ...options.api?.variables,
    });
  const api = await startApi();
  const url = await listeningUrl(api, 'api: listening');
  progress(`api ${url}`);
  let worker: Child;
  let workers = 0;
  const startWorker = async (route = options.worker?.route): Promise<Child> => {
    workers += 1;
    const program = options.worker?.program ?? 'worker.ts';
    const started = await start(workers === 1 ? 'worker' : `worker-${workers}`, [program], {
      ...shared,
      ...options.worker?.variables,
      COUNTDOWN_DATABASE_URL: databases.countdown.worker,
      ...routed(databases.countdown.worker, route),
      COUNTDOWN_STATE: state,
      PIANO_POSTGRES_PASSWORD: databases.piano.password,
      PIANO_ADMIN_TOKEN: app.adminToken,
    });
    worker = started;
    await logged(started, 'worker: polling');
    return started;
  };
  worker = await startWorker();
  progress('worker');
  const tokens = await makeTokens({ environments, databaseUrl: databases.countdown.api });
  return {
    folder,
    url,
    tokens,
    temporalAddress: servers.temporalAddress,
    databaseUrl: databases.countdown.owner,
    app: { ...app, postgresUrl: databases.piano.url },
    processes: { api, app: app.process, writer: app.writer, worker: () => worker },
    startWorker,
    startApi,
    startApp: app.start,
    stopWriter: async () => void (await app.writer.stop()),
  };
}

type Servers = NonNullable<StartStack['servers']>;

/** Both at once: each is a second or two, and Temporal may be minutes where it must be built. */
async function startServers(part: {
  folder: string;
  data: string;
  progress: (line: string) => void;
  stops: (() => Promise<unknown>)[];
}): Promise<Servers> {
  const { folder, progress, stops } = part;
  const [postgres, temporal] = await Promise.allSettled([
    startPostgres({ folder, log: progress }),
    startTemporal({ folder, log: progress }),
  ]);
  if (postgres.status === 'fulfilled') stops.push(() => postgres.value.stop());
  if (temporal.status === 'fulfilled') stops.push(() => temporal.value.stop());
  if (postgres.status === 'rejected') throw postgres.reason;
  if (temporal.status === 'rejected') throw temporal.reason;
  progress(`postgres 127.0.0.1:${postgres.value.port}`);
  progress(`temporal ${temporal.value.address}`);
  return { temporalAddress: temporal.value.address, postgresUrl: postgres.value.url() };
}

type Databases = {
  suffix: string;
  countdown: { owner: string; api: string; worker: string };
  piano: { url: string; user: string; password: string };
};

/** The variables that send a process to its servers by another way. */
function routed(databaseUrl: string, route: Route | undefined): Record<string, string> {
  if (route === undefined) return {};
  const url = new URL(databaseUrl);
  url.host = route.postgres;
  return { TEMPORAL_ADDRESS: route.temporal, COUNTDOWN_DATABASE_URL: url.href };
}

/** Countdown's own database with a role for each process, and the application's with a role that owns it. */
async function makeDatabases({ postgresUrl, targetPostgresUrl }: Servers): Promise<Databases> {
  const suffix = randomBytes(4).toString('hex');
  const [apiPassword, workerPassword, pianoPassword] = [secret(), secret(), secret()];
  const piano = `piano_${suffix}`;
  const countdown = `countdown_${suffix}`;
  const targetUrl = targetPostgresUrl ?? postgresUrl;
  await runStatements(targetUrl, [
    `create role ${piano} login createdb password '${pianoPassword}'`,
    `create database ${piano} owner ${piano} template template0`,
  ]);
  await runStatements(postgresUrl, [`create database ${countdown} template template0`]);
  const logins = await createLogins(postgresUrl, { apiPassword, workerPassword, suffix });
  const at = (database: string, user?: string, password?: string, server = postgresUrl): string => {
    const url = new URL(server);
    url.pathname = `/${database}`;
    if (user !== undefined && password !== undefined) Object.assign(url, { username: user, password });
    return url.href;
  };
  return {
    suffix,
    countdown: {
      owner: at(countdown),
      api: at(countdown, logins.api, apiPassword),
      worker: at(countdown, logins.worker, workerPassword),
    },
    piano: { url: at(piano, piano, pianoPassword, targetUrl), user: piano, password: pianoPassword },
  };
}

async function runStatements(connectionString: string, statements: readonly string[]): Promise<void> {
  const client = new Client({ connectionString });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

type Start = (name: string, args: string[], env: Record<string, string>) => Promise<Child>;
type App = {
  url: string;
  adminToken: string;
  sqlite: string;
  ledger: string;
  process: Child;
  writer: Child;
  start: () => Promise<Child>;
};

/** The application on SQLite with its data, and the writer; ready when the first write was acknowledged. */
async function startApp(part: { options: StartStack; postgresUrl: string; start: Start }): Promise<App> {
  const { folder, progress, rows, ratePerSecond } = part.options;
  const [sqlite, ledger, adminToken] = [join(folder, 'app.db'), join(folder, 'ledger.jsonl'), secret()];
  const counts = generate({ file: sqlite, ...(rows === undefined ? {} : { rows }) });
  const total = counts.users + counts.songs + counts.sessions;
  const start = (): Promise<Child> =>
    part.start('app', ['examples/piano-keys/app.ts'], {
      PIANO_SQLITE: sqlite,
      PIANO_POSTGRES_URL: part.postgresUrl,
      PIANO_STATE: join(folder, 'mode.json'),
      PIANO_ADMIN_TOKEN: adminToken,
      ...part.options.app?.variables,
    });
  const app = await start();
  const url = await listeningUrl(app, 'piano-keys: listening');
  progress(`app ${url}, ${total.toLocaleString('en-US')} rows in SQLite`);
  await writeFile(ledger, '');
  const writer = await part.start('writer', ['examples/piano-keys/writer.ts'], {
    PIANO_URL: url,
    PIANO_LEDGER: ledger,
    ...(ratePerSecond === undefined ? {} : { PIANO_RATE: String(ratePerSecond) }),
  });
  await untilReady(writer, {
    timeoutMs: READY_MS,
    check: async () => (await acknowledged(ledger)) > 0 || undefined,
  });
  progress('writer');
  return { url, adminToken, sqlite, ledger, process: app, writer, start };
}

/** Writes that the application has acknowledged so far. */
export async function acknowledged(ledger: string): Promise<number> {
  return (await readFile(ledger, 'utf8')).split('"outcome":"acknowledged"').length - 1;
}

type StartNode = {
  name: string;
  args: string[];
  env: Record<string, string>;
  logs: string;
  stops: (() => Promise<unknown>)[];
};

/** Its environment is what it is given and what a process needs to live: settings of the caller's shell must not leak in. */
async function startNode({ name, args, env, logs, stops }: StartNode): Promise<Child> {
  const passed = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'NODE_OPTIONS', 'COUNTDOWN_LOG_LEVEL'];
  const kept = Object.fromEntries(
    passed.flatMap((key) => (process.env[key] === undefined ? [] : [[key, process.env[key]]])),
  );
  const child = await startChild({
    name,
    command: process.execPath,
    args,
    cwd: ROOT,
    env: { ...kept, TZ: 'UTC', NODE_ENV: 'production', ...env },
    logFile: join(logs, `${name}.log`),
    // The worker gives its activities 15 s.
    graceMs: 20_000,
  });
  stops.push(() => child.stop());
  return child;
}

/** Waits for a JSON line with this message in the child's log, and gives its fields. */
async function logged(child: Child, msg: string): Promise<Record<string, unknown>> {
  return untilReady(child, {
    timeoutMs: READY_MS,
    check: async () => {
      const text = await readFile(child.logFile, 'utf8');
      return text
        .split('\n')
        .slice(0, -1)
        .map(fieldsOf)
        .findLast((fields) => fields['msg'] === msg);
    },
  });
}

async function listeningUrl(child: Child, msg: string): Promise<string> {
  const { url } = await logged(child, msg);
  if (typeof url === 'string') return url;
  throw new Error(`${child.name} said '${msg}' without its url, expected one; look at ${child.logFile}.`);
}

function fieldsOf(line: string): Record<string, unknown> {
  try {
    const fields: Record<string, unknown> = JSON.parse(line);
    return fields;
  } catch {
    return {};
  }
}

/** A copy of the demo environment with the addresses of this stack. */
async function writeEnvironments(part: {
  folder: string;
  app: App;
  piano: Databases['piano'];
  more: NonNullable<StartStack['environment']>;
}): Promise<string> {
  const { folder, app, piano, more } = part;
  const environments = join(folder, 'environments');
  await mkdir(environments, { recursive: true });
  const document = parseDocument(await readFile(join(ROOT, 'environments/demo.yaml'), 'utf8'));
  const postgres = new URL(piano.url);
  const values: [path: string[], value: unknown][] = [
    [['app', 'url'], app.url],
    [['app-sqlite', 'path'], app.sqlite],
    [['app-migrations', 'folder'], join(ROOT, 'examples/piano-keys/migrations')],
    [['app-postgres', 'host'], postgres.hostname],
    [['app-postgres', 'port'], Number(postgres.port)],
    [['app-postgres', 'database'], postgres.pathname.slice(1)],
    [['app-postgres', 'user'], piano.user],
    [['app-postgres', 'password'], { env: 'PIANO_POSTGRES_PASSWORD' }],
    [['app-postgres', 'tls'], 'disable'],
    [['app-database-mode', 'url'], `${app.url}/admin/database`],
    [['app-database-mode', 'token'], { env: 'PIANO_ADMIN_TOKEN' }],
  ];
  for (const [path, value] of values) document.setIn(['targets', ...path], value);
  for (const [path, value] of more) document.setIn(path, value);
  await writeFile(join(environments, 'demo.yaml'), document.toString());
  return environments;
}

/** A token for each person that the demo environment names. */
async function makeTokens(part: {
  environments: string;
  databaseUrl: string;
}): Promise<Record<string, string>> {
  const text = await readFile(join(part.environments, 'demo.yaml'), 'utf8');
  const { people }: { people: Record<string, unknown> } = parseDocument(text).toJS();
  const pool = makePool(part.databaseUrl, { name: 'countdown-stack', max: 1 });
  const tokens: Record<string, string> = {};
  try {
    const store = makeApiStore(pool);
    for (const person of Object.keys(people)) {
      const token = secret();
      const hash = createHash('sha256').update(token).digest('hex');
      await store.insertToken({ hash, person, expiresAt: new Date(Date.now() + TOKEN_DAYS * DAY_MS) });
      tokens[person] = token;
    }
  } finally {
    await pool.end();
  }
  return tokens;
}

function secret(): string {
  return randomBytes(24).toString('base64url');
}
