/** Waiting that ends at once when the phase is cancelled. */
import { setImmediate as immediate, setTimeout as timeout } from 'node:timers/promises';

/** Waits `ms` milliseconds. Throws the signal's reason as soon as the phase is cancelled. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  try {
    await timeout(ms, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** Lets heartbeats and sockets have their turn between two pages of synchronous work. */
export async function breathe(signal: AbortSignal): Promise<void> {
  await immediate();
  signal.throwIfAborted();
}
