/**
 * The watchdog: one small process beside every process that starts servers. Its standard input is a pipe whose other end
 * the parent alone holds, so the pipe closes however the parent ends, SIGKILL included; then the watchdog ends what the
 * parent had started, newest first, and removes the folders it was told of. It takes JSON lines:
 *
 *   {"watch":PID,"signal":"SIGTERM"}   end this process group when the parent is gone
 *   {"forget":PID}                     it has ended, or somebody else looks after it now
 *   {"remove":"/tmp/x"}                remove this folder when the parent is gone
 *   {"spare":"/tmp/x"}                 do not remove it any more
 */
import { rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { isGroupAlive } from './process-group.ts';

const GRACE_MS = 8_000;
const POLL_MS = 50;

type Order = { watch?: number; signal?: NodeJS.Signals; forget?: number; remove?: string; spare?: string };

const watched = new Map<number, NodeJS.Signals>();
const folders = new Set<string>();

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(signal, () => {});

for await (const line of createInterface({ input: process.stdin })) {
  const order: Order = JSON.parse(line);
  if (order.watch !== undefined) watched.set(order.watch, order.signal ?? 'SIGTERM');
  if (order.forget !== undefined) watched.delete(order.forget);
  if (order.remove !== undefined) folders.add(order.remove);
  if (order.spare !== undefined) folders.delete(order.spare);
}

// One after the other: a server that others write to goes last, as it came first.
for (const [pid, signal] of [...watched].toReversed()) await end(pid, signal);
for (const folder of folders) await rm(folder, { recursive: true, force: true });

async function end(pid: number, signal: NodeJS.Signals): Promise<void> {
  const deadline = Date.now() + GRACE_MS;
  tell(pid, signal);
  // A stopped process takes no signal but SIGKILL until it is continued.
  tell(pid, 'SIGCONT');
  while (isGroupAlive(pid) && Date.now() < deadline) await sleep(POLL_MS);
  tell(pid, 'SIGKILL');
}

/** Signals the whole group. */
function tell(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left in it.
  }
}
