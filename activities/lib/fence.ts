/**
 * The fence place of a PostgreSQL target: one row a target in schema `countdown`. Whoever looks or acts raises it first;
 * each transaction that writes locks it and compares. So an attempt that wakes up late finds a higher fence and can
 * write nothing. The schema stays after an undo and is left out of fingerprints.
 */
import type { PhaseContext } from '../phase.ts';
import { fail } from './fail.ts';
import { inTransaction, sessionName } from './postgres.ts';
import type { Connection } from './postgres.ts';

/** Names any advisory lock of ours in a target's database. */
const SETUP_LOCK = 4_927_310;

const TABLES = `
  CREATE SCHEMA IF NOT EXISTS countdown;
  CREATE TABLE IF NOT EXISTS countdown.fence (target text PRIMARY KEY, epoch bigint NOT NULL, seq bigint NOT NULL);
  CREATE TABLE IF NOT EXISTS countdown.created (run bigint, step text, name text, id oid NOT NULL, PRIMARY KEY (run, step, name));
  CREATE TABLE IF NOT EXISTS countdown.checkpoint (
    run bigint, step text, item text, last_key text, rows bigint NOT NULL DEFAULT 0, done boolean NOT NULL, PRIMARY KEY (run, step, item));
`;

/**
 * Takes the target over from any earlier attempt: ends its sessions (a frozen worker would keep its locks) and raises
 * the fence. Throws FenceLost where a later attempt has been here.
 */
export async function takeOver(connection: Connection, context: PhaseContext): Promise<void> {
  await makeTables(connection);
  await endEarlierSessions(connection, context);
  const raised = await connection.query(
    `INSERT INTO countdown.fence AS held (target, epoch, seq) VALUES ($1, $2, $3)
     ON CONFLICT (target) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
     WHERE (held.epoch, held.seq) <= (excluded.epoch, excluded.seq) RETURNING 1`,
    [connection.name, context.fence.epoch, context.fence.seq],
  );
  if (raised.length === 0) throw lost(connection, context);
}

/** Runs `work` in a transaction that holds the fence. Throws FenceLost, and changes nothing, where it was raised. */
export async function fenced<T>(
  connection: Connection,
  context: PhaseContext,
  work: () => Promise<T>,
): Promise<T> {
  context.signal.throwIfAborted();
  return await inTransaction(connection, async () => {
    const [row] = await connection.query(
      'SELECT epoch, seq FROM countdown.fence WHERE target = $1 FOR UPDATE',
      [connection.name],
    );
    if (row?.[0] !== String(context.fence.epoch) || row[1] !== String(context.fence.seq))
      throw lost(connection, context);
    return await work();
  });
}

function lost(connection: Connection, context: PhaseContext): never {
  const mine = `${context.fence.epoch}.${context.fence.seq}`;
  throw fail(
    'FenceLost',
    `A later attempt has taken over '${connection.name}', so this one (${mine} of ${context.phase}) stops and writes nothing.`,
  );
}

async function makeTables(connection: Connection): Promise<void> {
  const [row] = await connection.query(
    `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'countdown' AND c.relname IN ('fence', 'created', 'checkpoint')`,
  );
  if (row?.[0] === '3') return;
  await inTransaction(connection, async () => {
    await connection.client.query(`SELECT pg_advisory_xact_lock(${SETUP_LOCK})`);
    await connection.client.query(TABLES);
  });
}

async function endEarlierSessions(connection: Connection, context: PhaseContext): Promise<void> {
  const sessions = await connection.query(
    `SELECT pid, application_name FROM pg_stat_activity
     WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() AND application_name LIKE 'countdown %'`,
  );
  const own = sessionName(context, connection.name);
  const suffix = own.slice(own.indexOf(' ', 'countdown '.length));
  for (const [pid = null, name = null] of sessions) {
    const match = /^countdown (\d+)\.(\d+)( .*)$/.exec(name ?? '');
    if (match === null || match[3] !== suffix) continue;
    const [epoch, seq] = [Number(match[1]), Number(match[2])];
    const earlier = epoch < context.fence.epoch || (epoch === context.fence.epoch && seq < context.fence.seq);
    if (earlier) await connection.query('SELECT pg_terminate_backend($1, 5000)', [pid]);
  }
}
