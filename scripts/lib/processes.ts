/**
 * Child processes that never outlive this one. Each is the head of its own process group, writes to a log file, is ready
 * when a check says so, and is stopped by its signal, then by SIGKILL. A watchdog process ends them all where this
 * process cannot do it any more (see watchdog.ts).
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { onNpmGone } from './parents.ts';

const GRACE_MS = 8_000;
const TAIL_LINES = 15;

export type Exit = { code: number | null; signal: NodeJS.Signals | null };

export type StartChild = {
  /** Stands in messages and is the name of the log file. */
  name: string;
  command: string;
  args: readonly string[];
  /** The whole environment of the child; the own one where it is left out. */
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Only root can give these. */
  uid?: number;
  gid?: number;
  /** Standard output and error are appended here. */
  logFile: string;
  /** What asks the child to end; default SIGTERM. */
  stopSignal?: NodeJS.Signals;
  /** Milliseconds between that signal and SIGKILL; default 8 s. */
  graceMs?: number;
};

export type Child = {
  name: string;
  pid: number;
  logFile: string;
  /** Undefined while it runs. */
  exit(): Exit | undefined;
  exited: Promise<Exit>;
  /** Asks it to end, waits, then kills the whole group. Stopping twice is harmless. */
  stop(): Promise<Exit>;
  /** Signals the whole group, for tests that kill or freeze it. */
  signal(signal: NodeJS.Signals): void;
};

const children = new Set<Child>();
let watchdog: ChildProcess | undefined;
let isStopping = false;

/** Starts a child in a process group of its own. Throws where the command cannot be started. */
export async function startChild(options: StartChild): Promise<Child> {
  if (isStopping) throw new Error(`${options.name} was not started, since everything is being stopped.`);
  const process = spawnChild(options);
  const pid = await pidOf(process, options);
  tellWatchdog({ watch: pid, signal: options.stopSignal ?? 'SIGTERM' });
  let exit: Exit | undefined;
  const exited = new Promise<Exit>((resolve) => {
    process.once('exit', (code, signal) => {
      exit = { code, signal };
      // What it started itself may still be there, in its group.
      signalGroup(pid, 'SIGKILL');
      tellWatchdog({ forget: pid });
      children.delete(child);
      resolve(exit);
    });
  });
  const child: Child = {
    name: options.name,
    pid,
    logFile: options.logFile,
    exit: () => exit,
    exited,
    stop: () => stopChild(child, options),
    signal: (signal) => signalGroup(pid, signal),
  };
  children.add(child);
  return child;
}

function spawnChild(options: StartChild): ChildProcess {
  const log = openSync(options.logFile, 'a', 0o600);
  try {
    return spawn(options.command, options.args, {
      detached: true,
      stdio: ['ignore', log, log],
      env: options.env ?? process.env,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      ...(options.gid === undefined ? {} : { gid: options.gid }),
    });
  } finally {
    closeSync(log);
  }
}

function pidOf(process: ChildProcess, { name, command }: StartChild): Promise<number> {
  return new Promise((resolve, reject) => {
    process.once('error', (cause) => {
      reject(new Error(`${name} could not be started: '${command}' answered ${cause.message}.`, { cause }));
    });
    process.once('spawn', () => resolve(process.pid ?? 0));
  });
}

async function stopChild(child: Child, options: StartChild): Promise<Exit> {
  const exit = child.exit();
  if (exit !== undefined) return exit;
  child.signal(options.stopSignal ?? 'SIGTERM');
  child.signal('SIGCONT');
  const timer = setTimeout(() => child.signal('SIGKILL'), options.graceMs ?? GRACE_MS);
  try {
    return await child.exited;
  } finally {
    clearTimeout(timer);
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is gone: nothing is left to signal.
  }
}

export type Readiness<T> = {
  /** Undefined, or an error, while it is not ready. */
  check: () => Promise<T | undefined>;
  timeoutMs: number;
  /** Milliseconds between checks; default 50. */
  everyMs?: number;
  /** What to do where it does not come up, as a sentence. */
  hint?: string;
};

/**
 * Waits until the check answers. Where the child ends first, or the time is over, it is stopped and the error carries the
 * end of its log.
 */
export async function untilReady<T>(child: Child, readiness: Readiness<T>): Promise<T> {
  const deadline = Date.now() + readiness.timeoutMs;
  let last: unknown;
  while (child.exit() === undefined && Date.now() < deadline) {
    try {
      const value = await readiness.check();
      if (value !== undefined) return value;
    } catch (error) {
      last = error;
    }
    await sleep(readiness.everyMs ?? 50);
  }
  const exit = child.exit();
  const found =
    exit === undefined
      ? `was not ready within ${readiness.timeoutMs / 1000} s`
      : `ended with ${exit.signal ?? `exit code ${exit.code}`} before it was ready`;
  await child.stop();
  const hint = readiness.hint === undefined ? '' : ` ${readiness.hint}`;
  throw new Error(`${child.name} ${found}.${hint}\n${await tail(child.logFile)}`, { cause: last });
}

/** The last lines of a log file, each indented, under a line that names the file. */
export async function tail(logFile: string, lines: number = TAIL_LINES): Promise<string> {
  const text = await readFile(logFile, 'utf8').catch(() => '');
  const last = text.trimEnd().split('\n').slice(-lines);
  return [`The end of ${logFile}:`, ...last.map((line) => `  ${line}`)].join('\n');
}

/** For a child that was started elsewhere, detached: ends its group when this process is gone. Gives back how to forget it. */
export function watchGroup(child: ChildProcess): () => void {
  const { pid } = child;
  if (pid === undefined) return () => {};
  tellWatchdog({ watch: pid, signal: 'SIGTERM' });
  return () => {
    signalGroup(pid, 'SIGKILL');
    tellWatchdog({ forget: pid });
  };
}

/** Stops every child that still runs, the newest first; no further one can be started. */
export async function stopAll(): Promise<void> {
  isStopping = true;
  for (const child of [...children].toReversed()) await child.stop();
}

/** A new folder below `parent` (default: the system's temporary folder), removed with `discard` or when this process is gone. */
export async function makeFolder(
  prefix: string,
  parent: string = tmpdir(),
): Promise<{ path: string; discard(): Promise<void>; keep(): void }> {
  const path = await mkdtemp(join(parent, prefix));
  tellWatchdog({ remove: path });
  return {
    path,
    keep: () => tellWatchdog({ spare: path }),
    async discard() {
      await rm(path, { recursive: true, force: true });
      tellWatchdog({ spare: path });
    },
  };
}

/**
 * Calls `stop` once when this process is asked to end (Ctrl-C, SIGTERM, a closed terminal), then ends with 128 + the
 * signal's number. npm that started this process and is gone means SIGTERM. A second signal ends at once; the watchdog does
 * the rest.
 */
export function onInterrupt(stop: (signal: NodeJS.Signals) => Promise<void>): () => void {
  let asked = false;
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const listeners = signals.map((signal) => {
    const code = 128 + constants.signals[signal];
    const listener = (): void => {
      if (asked) process.exit(code);
      asked = true;
      void stop(signal).then(
        () => process.exit(code),
        (error: unknown) => {
          process.stderr.write(`${String(error)}\n`);
          process.exit(code);
        },
      );
    };
    process.on(signal, listener);
    return { signal, listener };
  });
  const unwatch = onNpmGone(() => process.kill(process.pid, 'SIGTERM'));
  return () => {
    unwatch();
    for (const { signal, listener } of listeners) process.off(signal, listener);
  };
}

/** For scripts that have nothing to put away themselves: what they started ends with them, by the watchdog. */
export function endWhenInterrupted(): void {
  onInterrupt(stopAll);
}

function tellWatchdog(order: Record<string, unknown>): void {
  watchdog ??= startWatchdog();
  watchdog.stdin?.write(`${JSON.stringify(order)}\n`);
}

function startWatchdog(): ChildProcess {
  const started = spawn(process.execPath, [fileURLToPath(new URL('./watchdog.ts', import.meta.url))], {
    // A session of its own: a Ctrl-C in the terminal must not reach it.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { PATH: process.env['PATH'] },
    cwd: '/',
  });
  started.unref();
  if (started.stdin instanceof Socket) started.stdin.unref();
  started.once('error', (cause) => {
    throw new Error(`The watchdog process could not be started: ${cause.message}.`, { cause });
  });
  return started;
}
