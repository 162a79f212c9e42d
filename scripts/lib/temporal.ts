/**
 * The embedded Temporal server. Where it comes from, in this order: TEMPORAL_ADDRESS (a server that runs already),
 * `temporal` on PATH, the cache, and else Go builds it into the cache, once.
 */
import { execFile } from 'node:child_process';
import { access, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Connection } from '@temporalio/client';
import { freePort } from './ports.ts';
import { startChild, untilReady } from './processes.ts';
import type { Child } from './processes.ts';
import { buildTemporal, cachedTemporal } from './temporal-build.ts';

const run = promisify(execFile);

const PORT_TRIES = 5;
const READY_MS = 60_000;
/** The oldest server with everything that Countdown uses (updates with start, eager activities). */
const SERVER_LEAST = [1, 28] as const;

/**
 * Without the first two the server polls its queues 20 times a second, which caps a serial workflow at 10 steps a second.
 * One partition a queue: our workers poll little, and a task in a partition that nobody polls is passed on 20 to 40 ms later.
 */
const DYNAMIC_CONFIG = [
  'history.transferProcessorMaxPollRPS=2000',
  'history.timerProcessorMaxPollRPS=2000',
  'system.enableActivityEagerExecution=true',
  'matching.numTaskqueueReadPartitions=1',
  'matching.numTaskqueueWritePartitions=1',
];

export type Temporal = {
  /** `host:port` of the gRPC front end. */
  address: string;
  /** Undefined where TEMPORAL_ADDRESS names a server that somebody else runs. */
  readonly pid: number | undefined;
  logFile: string | undefined;
  /** Signals the server, for tests that freeze it. Does nothing to a server that TEMPORAL_ADDRESS names. */
  signal(signal: NodeJS.Signals): void;
  /** Ends the server at once, as a crash does; its data stay. Throws for a server that TEMPORAL_ADDRESS names. */
  crash(): Promise<void>;
  /** Starts a server that crashed again, on its port and with its data. */
  startAgain(): Promise<void>;
  stop(): Promise<void>;
};

export type StartTemporal = {
  /** Where its data and its log go. */
  folder: string;
  /** Progress of a build, a line at a time. */
  log?: (line: string) => void;
  /** Starts a server even if TEMPORAL_ADDRESS names one, for tests that kill it; default false. */
  own?: boolean;
};

/** Starts a server, or connects to the one that TEMPORAL_ADDRESS names. Throws with the end of its log. */
export async function startTemporal({
  folder,
  log = () => {},
  own = false,
}: StartTemporal): Promise<Temporal> {
  const given = own ? undefined : process.env['TEMPORAL_ADDRESS'];
  if (given !== undefined && given !== '') return foreign(given);
  const namespace = own ? 'default' : namespaceOfShell();
  await mkdir(folder, { recursive: true });
  const command = await findTemporal(log);
  const logFile = join(folder, 'temporal.log');
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const address = `127.0.0.1:${port}`;
    const start = async (): Promise<Child> => {
      const child = await startServer({ command, folder, port, logFile });
      await untilReady(child, { timeoutMs: READY_MS, check: () => answers(address, namespace) });
      return child;
    };
    try {
      return serverOf({ address, logFile, child: await start(), start });
    } catch (error) {
      const text = await readFile(logFile, 'utf8').catch(() => '');
      if (attempt === PORT_TRIES || !/address already in use|can't set free port|port .* in use/i.test(text))
        throw error;
    }
  }
}

function serverOf(part: {
  address: string;
  logFile: string;
  child: Child;
  start: () => Promise<Child>;
}): Temporal {
  let { child } = part;
  return {
    address: part.address,
    get pid() {
      return child.pid;
    },
    logFile: part.logFile,
    signal: (signal) => child.signal(signal),
    async crash() {
      child.signal('SIGKILL');
      await child.exited;
    },
    async startAgain() {
      child = await part.start();
    },
    stop: async () => void (await child.stop()),
  };
}

function namespaceOfShell(): string {
  return process.env['TEMPORAL_NAMESPACE'] ?? 'default';
}

async function foreign(address: string): Promise<Temporal> {
  try {
    await answers(address, namespaceOfShell());
  } catch (cause) {
    throw new Error(
      `TEMPORAL_ADDRESS names ${address}, where no Temporal server answered; start it, or unset TEMPORAL_ADDRESS to use the embedded one.`,
      { cause },
    );
  }
  const refuse = async (): Promise<never> => {
    throw new Error(
      `TEMPORAL_ADDRESS names ${address}, which this process did not start and cannot restart.`,
    );
  };
  return {
    address,
    pid: undefined,
    logFile: undefined,
    signal: () => {},
    crash: refuse,
    startAgain: refuse,
    stop: async () => {},
  };
}

function startServer(part: {
  command: string;
  folder: string;
  port: number;
  logFile: string;
}): Promise<Child> {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('TEMPORAL_')),
  );
  return startChild({
    name: 'Temporal',
    command: part.command,
    args: [
      'server',
      'start-dev',
      '--headless',
      '--ip=127.0.0.1',
      `--port=${part.port}`,
      `--db-filename=${join(part.folder, 'temporal.db')}`,
      '--log-level=warn',
      ...DYNAMIC_CONFIG.map((value) => `--dynamic-config-value=${value}`),
    ],
    env,
    cwd: part.folder,
    logFile: part.logFile,
  });
}

/** A real call: the port is open before the namespace is there. */
async function answers(address: string, namespace: string): Promise<true> {
  const connection = await Connection.connect({ address, connectTimeout: '5s' });
  try {
    await connection.withDeadline(Date.now() + 5_000, () =>
      connection.workflowService.describeNamespace({ namespace }),
    );
    return true;
  } finally {
    await connection.close();
  }
}

/** The path of a `temporal` that works; builds it where there is none. */
export async function findTemporal(log: (line: string) => void): Promise<string> {
  for (const candidate of [...onPath(), cachedTemporal()]) {
    if (await works(candidate)) return candidate;
  }
  return buildTemporal({ log, works });
}

function onPath(): string[] {
  const folders = (process.env['PATH'] ?? '').split(':').filter((folder) => folder.startsWith('/'));
  return folders.map((folder) => join(folder, 'temporal'));
}

async function works(path: string): Promise<boolean> {
  try {
    await access(path);
    const { stdout } = await run(path, ['--version'], { timeout: 10_000 });
    const found = /Server (\d+)\.(\d+)/.exec(stdout);
    const [major = 0, minor = 0] = found?.slice(1).map(Number) ?? [];
    return major > SERVER_LEAST[0] || (major === SERVER_LEAST[0] && minor >= SERVER_LEAST[1]);
  } catch {
    return false;
  }
}
