import type { Pool, PoolClient } from 'pg';
import { listOpenRuns } from './runs.ts';

const CHECK_EVERY_MS = 10_000;
const PAUSE_MS_FIRST = 100;
const PAUSE_MS_MAX = 5_000;

/**
 * Calls back with the number of each run whose journal grows, until the signal aborts. A connection that breaks is made
 * anew, and since rows may have come meanwhile, every open run is then called once.
 */
export async function listen(pool: Pool, onRow: (run: number) => void, signal: AbortSignal): Promise<void> {
  let pauseMs = PAUSE_MS_FIRST;
  for (let isFirst = true; !signal.aborted; isFirst = false) {
    try {
      await listenOnce(pool, onRow, signal, async () => {
        pauseMs = PAUSE_MS_FIRST;
        if (!isFirst) for (const { run } of await listOpenRuns(pool)) onRow(run);
      });
    } catch {
      await pause(pauseMs, signal);
      pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
    }
  }
}

async function listenOnce(
  pool: Pool,
  onRow: (run: number) => void,
  signal: AbortSignal,
  onReady: () => Promise<void>,
): Promise<void> {
  const client = await pool.connect();
  const onNotification = (message: { payload?: string | undefined }) => onRow(Number(message.payload));
  try {
    client.on('notification', onNotification);
    const broken = new Promise<never>((_, reject) => {
      // Stays until the end of the client: an error that nobody listens to would end the process.
      client.on('error', reject);
      client.once('end', () => reject(new Error('The connection ended.')));
    });
    broken.catch(() => {});
    await client.query('listen countdown_journal');
    await onReady();
    while (!signal.aborted) {
      await Promise.race([pause(CHECK_EVERY_MS, signal), broken]);
      // A frozen server sends nothing and closes nothing: only a question shows it.
      if (!signal.aborted) await client.query('select');
    }
  } finally {
    release(client, onNotification);
  }
}

/** Thrown away, so that no other query shares a connection that listens. */
function release(
  client: PoolClient,
  onNotification: (message: { payload?: string | undefined }) => void,
): void {
  client.off('notification', onNotification);
  client.release(true);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
