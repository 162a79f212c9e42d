/** pgloader, as Debian has it: the program that people take for the same work today. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';

const run = promisify(execFile);
const INSTALL_MS = 300_000;
const LOAD_MS = 1_800_000;
/** Rows that it reads ahead. With its default of 100,000 its heap of 1 GiB, as Debian builds it, is too small. */
const PREFETCH_ROWS = 10_000;

/** Its version. Root gets it with apt-get where it is missing; anybody else hears what to install. */
export async function findPgloader(log: (line: string) => void): Promise<string> {
  try {
    return await version();
  } catch {
    await install(log);
    return version();
  }
}

async function version(): Promise<string> {
  const { stdout } = await run('pgloader', ['--version']);
  return /"([^"]+)"/.exec(stdout)?.[1] ?? stdout.trim();
}

async function install(log: (line: string) => void): Promise<void> {
  const missing = `The bench compares with pgloader, which is not there; install it (Debian: apt-get install pgloader).`;
  if (process.getuid?.() !== 0) throw new Error(missing);
  log('bench: installing pgloader with apt-get');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    await run('apt-get', ['-q', 'update'], { timeout: INSTALL_MS, env });
    const args = ['-q', 'install', '--yes', '--no-install-recommends', 'pgloader'];
    await run('apt-get', args, { timeout: INSTALL_MS, env });
  } catch (cause) {
    throw new Error(missing, { cause });
  }
}

/** Loads the file with its defaults but one. Gives milliseconds. Throws where it reports an error. */
export async function loadByPgloader(path: string, url: string): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'countdown-pgloader-'));
  const args = ['--root-dir', folder, '--with', `prefetch rows = ${PREFETCH_ROWS}`, `sqlite://${path}`, url];
  const startedAt = performance.now();
  // Without an input, since its debugger would wait for one for ever.
  const program = spawn('pgloader', args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: LOAD_MS });
  const [out, problems] = await Promise.all([
    text(program.stdout),
    text(program.stderr),
    once(program, 'close'),
  ]);
  const tookMs = performance.now() - startedAt;
  await rm(folder, { recursive: true, force: true });
  const said = `${out}\n${problems}`;
  if (!/Total import time\s+✓/.test(said) || /\b(?:ERROR|FATAL)\b/.test(said))
    throw new Error(`pgloader did not load the file: ${said.slice(0, 2_000)}`);
  return tookMs;
}
