/** Builds the Temporal CLI, which carries a server, with Go: once a machine, into the cache, whoever asks first. */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, rename, rm, copyFile, chmod } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { withFolderLock } from './folder-lock.mjs';
import { makeFolder, watchGroup } from './processes.ts';

const run = promisify(execFile);

/** Later versions carry a replace directive, which `go install` refuses. */
const VERSION = '1.5.1';
const MODULE = `github.com/temporalio/cli/cmd/temporal@v${VERSION}`;
const REPORT_MS = 5_000;
const ERROR_LINES = 15;

/** The folder for what is built or downloaded once a machine: $XDG_CACHE_HOME/countdown or ~/.cache/countdown. */
export function cacheFolder(): string {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base !== undefined && base.startsWith('/') ? base : join(homedir(), '.cache'), 'countdown');
}

export function cachedTemporal(): string {
  return join(cacheFolder(), `temporal-${VERSION}`, 'temporal');
}

export type BuildTemporal = {
  log: (line: string) => void;
  works: (path: string) => Promise<boolean>;
};

/** Builds it unless another copy of this program does so meanwhile, then waits for that one. Takes about 4 minutes. */
export async function buildTemporal({ log, works }: BuildTemporal): Promise<string> {
  const path = cachedTemporal();
  return withFolderLock(
    join(cacheFolder(), `temporal-${VERSION}.lock`),
    async () => {
      if (await works(path)) return path;
      await assertGo();
      const scratch = await makeFolder('countdown-build-');
      try {
        await goInstall(scratch.path, log);
        await moveInto(join(scratch.path, 'bin', 'temporal'), path);
      } finally {
        await discard(scratch);
      }
      if (await works(path)) return path;
      throw new Error(`${path} was built but does not answer --version; remove it and try again.`);
    },
    { waiting: (seconds) => log(`temporal: another copy of this program builds it, waited ${seconds}s`) },
  );
}

async function assertGo(): Promise<void> {
  try {
    await run('go', ['version']);
  } catch (cause) {
    throw new Error(
      `There is no Temporal server and no Go to build one: install Go 1.24 or later (https://go.dev/dl) or Temporal's CLI (https://docs.temporal.io/cli), or set TEMPORAL_ADDRESS to a server that runs.`,
      { cause },
    );
  }
}

/** GOBIN alone is ours: Go's own caches make a second try short. */
async function goInstall(folder: string, log: (line: string) => void): Promise<void> {
  const began = Date.now();
  const seconds = (): string => `${Math.round((Date.now() - began) / 1000)}s`;
  log(`temporal: building ${VERSION} with Go, once on this machine, about 4 minutes`);
  const go = spawn('go', ['install', '-v', MODULE], {
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, GOBIN: join(folder, 'bin'), GOFLAGS: '-modcacherw' },
    cwd: folder,
  });
  const forget = watchGroup(go);
  const lines = collectLines(go);
  const report = setInterval(
    () => log(`temporal: building, ${seconds()}, ${lines.length} packages`),
    REPORT_MS,
  );
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      go.once('error', reject);
      go.once('close', resolve);
    });
    if (code !== 0) {
      throw new Error(
        `Go could not build ${MODULE} (exit code ${code}); it needs a Go module proxy that it can reach. Its last lines:\n` +
          lines
            .slice(-ERROR_LINES)
            .map((line) => `  ${line}`)
            .join('\n'),
      );
    }
  } finally {
    clearInterval(report);
    forget();
  }
  log(`temporal: built in ${seconds()}`);
}

function collectLines(child: ChildProcess): string[] {
  const lines: string[] = [];
  if (child.stderr !== null) createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
  return lines;
}

/** Beside the goal first, since a rename across file systems is none. */
async function moveInto(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  const beside = `${to}.${process.pid}`;
  await copyFile(from, beside);
  await chmod(beside, 0o755);
  await rename(beside, to);
}

async function discard(scratch: { path: string; discard(): Promise<void> }): Promise<void> {
  await scratch.discard().catch(() => rm(scratch.path, { recursive: true, force: true, maxRetries: 3 }));
}
