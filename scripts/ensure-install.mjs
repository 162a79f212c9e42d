/**
 * Installs what package-lock.json names where it is missing, so that `npm run demo` and `npm test` are the only commands.
 * Plain JavaScript for Node 18 and later: it brings the Node that runs everything else (node_modules/.bin/node).
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { withFolderLock } from './lib/folder-lock.mjs';

const NODE_LEAST = 18;
const REPORT_MS = 5_000;
const TAIL_LINES = 25;

/** Installs into `root` where its modules are not those of its package-lock.json. Says what it does through `log`. */
export async function ensureInstall({ root, log, npm = 'npm' }) {
  if (isInstalled(root)) return false;
  assertPrograms(npm);
  return withFolderLock(
    join(root, '.countdown-install.lock'),
    async () => {
      if (isInstalled(root)) return false;
      await install({ root, log, npm });
      if (!isAsLocked(root)) {
        throw new Error(
          'npm has installed other packages than package-lock.json names; remove node_modules and try again, and where that does not help restore package-lock.json.',
        );
      }
      writeStamp(root);
      return true;
    },
    { waiting: (seconds) => log(`install: another copy of this program installs, waited ${seconds}s`) },
  );
}

/** The stamp is written when npm has ended well; modules that somebody installed by hand are compared one by one. */
export function isInstalled(root) {
  if (!existsSync(join(root, 'node_modules/.bin/node'))) return false;
  if (readStamp(root) === digest(join(root, 'package-lock.json'))) return true;
  if (!isAsLocked(root)) return false;
  writeStamp(root);
  return true;
}

function readStamp(root) {
  try {
    return readFileSync(stampFile(root), 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** Whether npm's own record of what it installed agrees with the lock; packages for other platforms are not there. */
function isAsLocked(root) {
  try {
    const wanted = readPackages(join(root, 'package-lock.json'));
    const found = readPackages(join(root, 'node_modules/.package-lock.json'));
    return Object.entries(wanted).every(([path, entry]) => {
      if (path === '') return true;
      const installed = found[path];
      if (installed === undefined) return entry.optional === true;
      return installed.version === entry.version && installed.integrity === entry.integrity;
    });
  } catch {
    return false;
  }
}

function readPackages(file) {
  return JSON.parse(readFileSync(file, 'utf8')).packages;
}

function stampFile(root) {
  return join(root, 'node_modules', '.countdown-lock');
}

function writeStamp(root) {
  writeFileSync(stampFile(root), `${digest(join(root, 'package-lock.json'))}\n`);
}

function digest(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

function assertPrograms(npm) {
  for (const [command, help] of [
    ['git', 'install git (Debian: apt-get install git)'],
    [npm, 'install npm, which comes with Node (https://nodejs.org)'],
  ]) {
    const { error, status } = spawnSync(command, ['--version'], { stdio: 'ignore' });
    if (error === undefined && status === 0) continue;
    throw new Error(`'${command}' did not answer, and Countdown is installed with it; ${help}.`);
  }
}

/**
 * `npm install`, and then every package is compared with the lock: `npm ci` refuses to install at all where a registry
 * lacks an optional package of some other platform. npm says little without a terminal, so a line every few seconds says
 * that it is at work.
 */
async function install({ root, log, npm }) {
  log('install: npm install, once in this folder');
  const began = Date.now();
  const seconds = () => `${Math.round((Date.now() - began) / 1000)}s`;
  const child = spawn(npm, ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => output.push(chunk));
  const report = setInterval(() => log(`install: npm install, ${seconds()}`), REPORT_MS);
  const unforward = forwardSignals(child);
  try {
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (exitCode, signal) => resolve(signal ?? exitCode));
    });
    if (code !== 0) {
      const tail = Buffer.concat(output).toString('utf8').trimEnd().split('\n').slice(-TAIL_LINES);
      throw new Error(
        `npm install ended with ${code}, expected 0; it needs a package registry that it can reach (npm ping). Its last lines:\n${tail
          .map((line) => `  ${line}`)
          .join('\n')}`,
      );
    }
  } finally {
    clearInterval(report);
    unforward();
  }
  log(`install: done in ${seconds()}`);
}

/** npm leads a group of its own, so all that it started ends with it, and this process after it. */
function forwardSignals(child) {
  const listeners = ['SIGINT', 'SIGTERM', 'SIGHUP'].map((signal) => {
    const listener = () => {
      endGroup(child, signal);
      child.once('exit', () => {
        endGroup(child, 'SIGKILL');
        process.exit(128 + { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }[signal]);
      });
    };
    process.on(signal, listener);
    return [signal, listener];
  });
  return () => {
    for (const [signal, listener] of listeners) process.off(signal, listener);
  };
}

function endGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended.
  }
}

async function main() {
  const [major = 0] = process.versions.node.split('.').map(Number);
  if (major < NODE_LEAST) {
    throw new Error(
      `Node ${process.versions.node} is too old to install Countdown; install Node ${NODE_LEAST} or later.`,
    );
  }
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  await ensureInstall({ root, log: (line) => process.stderr.write(`${line}\n`) });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  main().catch((error) => {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  });
}
