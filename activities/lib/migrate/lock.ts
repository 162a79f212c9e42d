/**
 * One migration at a time in a database, whoever starts it: an advisory lock of a session of its own. It is polled and
 * never waited for, since a session that waits for it would deadlock with CREATE INDEX CONCURRENTLY of its holder.
 */
import type { PhaseContext } from '../../phase.ts';
import { takeOver } from '../fence.ts';
import { type Connection, withPostgres } from '../postgres.ts';
import { pause } from '../wait.ts';
import { named, refuse } from './codes.ts';
import { checkSession } from './preconditions.ts';

/** Names the lock in the database of the target. */
const LOCK = 4_927_312;
const POLL_MS = 1_000;
const POLLS_MAX = 60;

export type Guard = {
  connection: Connection;
  /** Throws AdvisoryLockLost where the session, and so the lock, is not there any more. */
  assertHeld(): Promise<void>;
};

/** Raises the fence, takes the lock, and hands both to `work`. Throws LockHeld after `polls`, by default a minute. */
export async function withMigrationLock<T>(
  target: string,
  context: PhaseContext,
  work: (guard: Guard) => Promise<T>,
  polls: number = POLLS_MAX,
): Promise<T> {
  return await withPostgres(target, context, async (connection) => {
    await takeOver(connection, context);
    await checkSession(connection);
    await connection.client.query('SET idle_session_timeout = 0');
    await take(connection, context, polls);
    return await work({ connection, assertHeld: () => assertHeld(connection) });
  });
}

async function take(connection: Connection, context: PhaseContext, polls: number): Promise<void> {
  for (let poll = 1; ; poll += 1) {
    const [row] = await connection.query(`SELECT pg_try_advisory_lock(${LOCK})`);
    if (row?.[0] === 't') return;
    const holders = await holdersOf(connection);
    if (poll >= polls) {
      refuse(
        'LockHeld',
        `Another migration of '${connection.name}' has held its lock for ${(polls * POLL_MS) / 1_000} s (${named(holders)}), expected it to be free; wait for it, or end its session`,
      );
    }
    context.progress({
      done: poll,
      total: polls,
      unit: 'polls',
      detail: `waits for ${named(holders, 1)}`,
    });
    await pause(POLL_MS, context.signal);
  }
}

async function holdersOf(connection: Connection): Promise<string[]> {
  const rows = await connection.query(
    `SELECT a.pid, a.usename, a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.locktype = 'advisory' AND l.granted AND l.objid = ${LOCK} AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  return rows.map(([pid, user, app]) => `session ${pid} of ${user}${app === '' ? '' : `, ${app}`}`);
}

async function assertHeld(connection: Connection): Promise<void> {
  const [row] = await connection.query(
    `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = ${LOCK} AND pid = pg_backend_pid()`,
  );
  if (row?.[0] !== '0') return;
  refuse(
    'AdvisoryLockLost',
    `The session that kept other migrations of '${connection.name}' away has lost its lock, expected it to stand; try again`,
  );
}
