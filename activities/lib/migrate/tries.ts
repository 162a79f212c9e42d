/** Trying again where a lock was not to be had, so that nobody queues behind us for longer than the lock timeout. */
import type { PhaseContext } from '../../phase.ts';
import { sqlState } from '../postgres.ts';
import { pause } from '../wait.ts';
import { named, refuse } from './codes.ts';
import type { MigrateParams } from './params.ts';
import type { Watch } from './watch.ts';

const BACKOFF_MAX_MS = 60_000;

/** Not available within the timeout, deadlock, serialization: nothing was changed, and the next try may have luck. */
export const LOCK_STATES = ['55P03', '40P01', '40001'];

/** Ended by an administrator, a shutdown or a crash, broken off, or asleep in a transaction for too long. */
const SESSION_STATES = /^(?:08|57P0[123]|25P0[34])/;

/** Whether the session is gone, so that the error says nothing of the statement. */
export function isSessionLost(error: unknown): boolean {
  const state = sqlState(error);
  return state === undefined || SESSION_STATES.test(state);
}

/** Whether the error says nothing of the statement: the session is gone, or a lock was not to be had in time. */
export function isPassing(error: unknown): boolean {
  return isSessionLost(error) || LOCK_STATES.includes(sqlState(error) ?? '');
}

export type Tries = { used: number; startedAt: number };

/** Between half and all of twice the time before, at most a minute. */
export function backoffMs(tried: number, lockTimeoutMs: number, random = Math.random()): number {
  const full = Math.min(BACKOFF_MAX_MS, lockTimeoutMs * 2 ** Math.min(tried - 1, 20));
  return Math.round(full * (0.5 + random / 2));
}

/**
 * Waits before the next try, and says who stands in the way. Throws LockTimeout where no try is left.
 *
 * @param what what could not be done, for the message
 * @param waitedMs how long it waited each time
 */
export async function nextTry(
  what: string,
  tries: Tries,
  params: Pick<MigrateParams, 'lockTimeoutMs' | 'lockTries'>,
  watch: Watch,
  context: PhaseContext,
  waitedMs: number = params.lockTimeoutMs,
): Promise<void> {
  tries.used += 1;
  const blockers = watch.takeBlockers();
  const who = blockers.length === 0 ? 'nobody was seen' : named(blockers);
  if (tries.used >= params.lockTries) {
    const tookS = Math.round((performance.now() - tries.startedAt) / 1_000);
    refuse(
      'LockTimeout',
      `${what} did not get its locks in ${tries.used} tries of ${waitedMs} ms over ${tookS} s, expected them to be free; what stood in the way: ${who}; end it or wait for it, then retry`,
    );
  }
  context.progress({ done: tries.used, total: params.lockTries, unit: 'tries', detail: `waits for ${who}` });
  await pause(backoffMs(tries.used, params.lockTimeoutMs), context.signal);
}
