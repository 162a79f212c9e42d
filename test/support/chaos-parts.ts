/**
 * The processes that the chaos driver kills and freezes. Each is started again after it ends, as a service manager does it,
 * on its port and with its data.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Postgres } from '../../scripts/lib/postgres.ts';
import type { Child } from '../../scripts/lib/processes.ts';
import type { Temporal } from '../../scripts/lib/temporal.ts';

/** How long a process that ended by itself stays down. */
const RESTART_MS = 300;
/** A start can fail while another part is away; it is tried again for this long. */
const START_MS = 90_000;
const START_AGAIN_MS = 300;
const LOOK_MS = 20;

export type Kill = {
  /** How long it stays down. */
  downMs: number;
  /** Called once it is down. */
  whenDown?: () => void;
};

export type Part = {
  name: string;
  pid(): number;
  signal(signal: NodeJS.Signals): Promise<void>;
  /** Sends SIGKILL, and resolves once it is up again. */
  kill(how: Kill): Promise<void>;
  /** Waits until it is up. */
  up(): Promise<void>;
};

export type ProcessPart = Part & {
  logFile(): string;
  /** How often it ended without being killed. */
  ownEnds(): number;
  /** Resolves when it is no longer looked after. */
  ended: Promise<void>;
};

/** Looks after a process until `ending` is aborted. `start` resolves once the process is ready. */
export function superviseProcess(part: {
  name: string;
  first: Child;
  start: () => Promise<Child>;
  ending: AbortSignal;
}): ProcessPart {
  let child: Child | undefined = part.first;
  let pid = part.first.pid;
  let logFile = part.first.logFile;
  let next: Kill | undefined;
  let ownEnds = 0;
  const aborted = new Promise<void>((resolve) => {
    part.ending.addEventListener('abort', () => resolve(), { once: true });
  });

  const loop = async (): Promise<void> => {
    for (let current = part.first; ;) {
      await Promise.race([current.exited, aborted]);
      if (part.ending.aborted) return;
      child = undefined;
      const how = next;
      next = undefined;
      if (how === undefined) ownEnds += 1;
      how?.whenDown?.();
      await Promise.race([pause(how?.downMs ?? RESTART_MS), aborted]);
      if (part.ending.aborted) return;
      current = await patiently(part.name, part.start, part.ending);
      ({ pid, logFile } = current);
      child = current;
    }
  };
  const isUp = (): boolean => child !== undefined && child.exit() === undefined;
  const up = async (): Promise<void> => {
    const deadline = Date.now() + START_MS;
    while (!isUp()) {
      if (Date.now() > deadline) throw new Error(`${part.name} did not come up within ${START_MS} ms.`);
      await pause(LOOK_MS);
    }
  };
  return {
    name: part.name,
    pid: () => pid,
    logFile: () => logFile,
    ownEnds: () => ownEnds,
    ended: loop().catch((error: unknown) => {
      if (!part.ending.aborted) throw error;
    }),
    async signal(signal) {
      child?.signal(signal);
    },
    async kill(how) {
      await up();
      const dying = child;
      next = how;
      dying?.signal('SIGKILL');
      await dying?.exited;
      // The loop takes the child away first.
      await pause(LOOK_MS);
      await up();
    },
    up,
  };
}

/** Temporal with its data in a file. */
export function temporalPart(server: Temporal): Part {
  return {
    name: 'temporal',
    pid: () => server.pid ?? 0,
    signal: async (signal) => server.signal(signal),
    async kill({ downMs, whenDown }) {
      await server.crash();
      whenDown?.();
      await pause(downMs);
      await patiently('temporal', () => server.startAgain());
    },
    up: async () => {},
  };
}

/** A PostgreSQL server with its sessions. */
export function postgresPart(name: string, server: Postgres): Part {
  return {
    name,
    pid: () => server.pid,
    signal: (signal) => server.signal(signal),
    async kill({ downMs, whenDown }) {
      await server.signal('SIGKILL');
      whenDown?.();
      await pause(downMs);
      // A session that has not ended yet keeps the shared memory, and the server refuses to start.
      await patiently(name, () => server.startAgain());
    },
    up: async () => {},
  };
}

async function patiently<T>(name: string, start: () => Promise<T>, ending?: AbortSignal): Promise<T> {
  const deadline = Date.now() + START_MS;
  for (;;) {
    try {
      return await start();
    } catch (error) {
      if (Date.now() > deadline || ending?.aborted === true)
        throw new Error(`${name} could not be started again.`, { cause: error });
      await pause(START_AGAIN_MS);
    }
  }
}
