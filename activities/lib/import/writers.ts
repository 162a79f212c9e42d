/** Keeps others from writing tables, and says who still does. */
import { fail } from '../fail.ts';
import { sqlState } from '../postgres.ts';
import type { Connection } from '../postgres.ts';
import { literal } from './defaults.ts';
import { treeSql } from './table-tree.ts';

/** Transactions that a message names. */
const NAMED_MAX = 5;
/** Bytes of a name that somebody else gave. */
const NAME_MAX = 60;

/**
 * Within a transaction: from now on nobody else writes these tables until it ends.
 *
 * @throws Unreachable naming the transactions that still write them, where they do not end while it waits
 */
export async function lockWriters(connection: Connection, tables: readonly string[]): Promise<void> {
  await connection.query('SAVEPOINT before_lock');
  try {
    await connection.query(`LOCK TABLE ${tables.join(', ')} IN SHARE MODE`);
  } catch (error) {
    if (sqlState(error) !== '55P03') throw error;
    await connection.query('ROLLBACK TO SAVEPOINT before_lock');
    const writers = await readWriters(connection, tables);
    const named = writers.length === 0 ? '' : ` (${writers.join('; ')})`;
    throw fail(
      'Unreachable',
      `A transaction of somebody else still writes to tables of '${connection.name}', though writes are held${named}; end it, also one that was prepared, then try again.`,
      error,
    );
  }
}

/** Who holds what keeps the lock away, in words. */
async function readWriters(connection: Connection, tables: readonly string[]): Promise<string[]> {
  const rows = await connection.query(
    `WITH RECURSIVE ${treeSql(tables)}
     SELECT DISTINCT p.gid, coalesce(p.owner, a.usename), l.pid, a.application_name, a.state, to_char(coalesce(p.prepared, a.xact_start), 'HH24:MI:SS')
     FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
       LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction AND x.locktype = 'transactionid'
       LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
     WHERE l.locktype = 'relation' AND l.granted AND l.relation IN (SELECT id FROM tree) AND l.pid IS DISTINCT FROM pg_backend_pid()
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareLock')
     ORDER BY 6, 1, 3 LIMIT ${NAMED_MAX}`,
  );
  return rows.map(([gid = null, user, pid, program, state, since]) => {
    const from = since === null ? '' : ` since ${since} UTC`;
    // PostgreSQL keeps a prepared one over a restart, and no session is there that could be ended.
    if (gid !== null) return `prepared transaction ${literal(gid.slice(0, NAME_MAX))} of ${user}${from}`;
    const what = [program, state].filter((word) => word !== null && word !== '').join(', ');
    return `session ${pid} of ${user}${what === '' ? '' : ` (${what?.slice(0, 2 * NAME_MAX)})`}${from}`;
  });
}
