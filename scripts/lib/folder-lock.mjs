/**
 * A lock between processes, and between containers that share a folder: a directory whose holder touches it every two
 * seconds. A lock that nobody has touched for 20 seconds is stale and is taken over. Plain JavaScript, since
 * ensure-install.mjs needs it before a Node that runs TypeScript is there.
 */
import { mkdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const TOUCH_MS = 2_000;
const STALE_MS = 20_000;
const POLL_MS = 200;
const REPORT_MS = 5_000;

/**
 * Runs `work` while nobody else holds the lock at `path`. `waiting(seconds)` is called every few seconds while somebody
 * else does. `work` must look first whether the other one has done its work already.
 */
export async function withFolderLock(path, work, { waiting = () => {}, staleMs = STALE_MS } = {}) {
  mkdirSync(dirname(path), { recursive: true });
  const began = Date.now();
  let reported = began;
  while (!take(path)) {
    dropStale(path, staleMs);
    if (Date.now() - reported >= REPORT_MS) {
      reported = Date.now();
      waiting(Math.round((reported - began) / 1000));
    }
    await sleep(POLL_MS);
  }
  const touch = setInterval(() => touchLock(path), TOUCH_MS);
  const drop = () => rmSync(path, { recursive: true, force: true });
  process.once('exit', drop);
  try {
    return await work();
  } finally {
    clearInterval(touch);
    process.off('exit', drop);
    drop();
  }
}

function take(path) {
  try {
    mkdirSync(path);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw new Error(`The lock ${path} could not be made: ${error.message}. Make its folder writable.`, {
      cause: error,
    });
  }
}

function touchLock(path) {
  try {
    const now = new Date();
    utimesSync(path, now, now);
  } catch {
    // Somebody removed it by hand; the work goes on.
  }
}

/** Moves it away first: of two that see the same stale lock, one rename succeeds, and a fresh lock is never removed. */
function dropStale(path, staleMs) {
  try {
    if (Date.now() - statSync(path).mtimeMs < staleMs) return;
    const aside = `${path}.stale-${process.pid}-${Date.now()}`;
    renameSync(path, aside);
    rmSync(aside, { recursive: true, force: true });
  } catch {
    // It is gone already.
  }
}
