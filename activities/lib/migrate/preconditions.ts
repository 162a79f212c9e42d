/** What must hold of the target before anything is tried or changed, and what people should know of it. */
import type { Connection } from '../postgres.ts';
import { named, refuse } from './codes.ts';

const POSTGRES_VERSION_MIN = 140_000;
const ROUND_TRIPS = 3;
const OLD_TRANSACTION_S = 30;
const REPLICA_LAG_S = 10;

export type Preconditions = {
  expectDatabase?: string | undefined;
  /** Schema-qualified names of invalid indexes that this step made itself, and will drop. */
  ownIndexes?: readonly string[];
};

/**
 * Throws ReadOnly, WrongDatabase, PooledConnection, InvalidIndex, PreparedTransactions, or PreconditionFailed. Gives what
 * is no obstacle, in words: old transactions, replicas that are behind.
 */
export async function checkTarget(connection: Connection, options: Preconditions): Promise<string[]> {
  const { name } = connection;
  await checkSession(connection);
  const [row] = await connection.query(
    `SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), current_database(), current_setting('server_version_num')`,
  );
  const [isStandby, readOnly, database, version] = row ?? [];
  if (isStandby === 't' || readOnly === 'on') {
    const found =
      isStandby === 't' ? 'is a standby' : 'takes no writes (default_transaction_read_only is on)';
    refuse(
      'ReadOnly',
      `'${name}' ${found}, expected the primary; correct its address in the environment file`,
    );
  }
  if (options.expectDatabase !== undefined && database !== options.expectDatabase) {
    refuse(
      'WrongDatabase',
      `'${name}' is database '${database}', expected '${options.expectDatabase}'; correct the environment file or expectDatabase`,
    );
  }
  if (Number(version) < POSTGRES_VERSION_MIN) {
    refuse(
      'StatementRefused',
      `'${name}' is PostgreSQL ${version}, expected 14 or later; upgrade the server first`,
    );
  }
  await checkIndexes(connection, options.ownIndexes ?? []);
  await checkPrepared(connection);
  return [
    ...(await oldTransactions(connection)),
    ...(await laggingReplicas(connection)),
    ...(await hiddenReplicas(connection)),
  ];
}

/** A pooler that gives each transaction another session would lose advisory locks and settings between two statements. */
export async function checkSession(connection: Pick<Connection, 'name' | 'query'>): Promise<void> {
  const pids = new Set<string>();
  for (let turn = 0; turn < ROUND_TRIPS; turn += 1) {
    const [row] = await connection.query('SELECT pg_backend_pid()');
    pids.add(row?.[0] ?? '');
  }
  if (pids.size === 1) return;
  refuse(
    'PooledConnection',
    `'${connection.name}' answered from ${pids.size} sessions in ${ROUND_TRIPS} round trips, expected one: a pooler gives each transaction another; use the address of the server itself, or a pool by session`,
  );
}

async function checkIndexes(connection: Connection, own: readonly string[]): Promise<void> {
  const rows = await connection.query(
    `SELECT n.nspname || '.' || c.relname, t.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE NOT i.indisvalid AND n.nspname !~ '^pg_' AND c.relkind = 'i'
       AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid) ORDER BY 1`,
  );
  const strange = rows
    .filter(([index]) => !own.includes(index ?? ''))
    .map(([index, table]) => `${index} of ${table}`);
  if (strange.length === 0) return;
  refuse(
    'InvalidIndex',
    `'${connection.name}' has indexes that a broken CREATE INDEX CONCURRENTLY left invalid (${named(strange)}), expected none; DROP INDEX CONCURRENTLY them, or REINDEX them`,
  );
}

async function checkPrepared(connection: Connection): Promise<void> {
  const rows = await connection.query(
    `SELECT gid, owner, round(extract(epoch FROM now() - prepared))::text FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared`,
  );
  if (rows.length === 0) return;
  const list = rows.map(([gid, owner, age]) => `'${gid}' of ${owner}, ${age} s old`);
  refuse(
    'PreparedTransactions',
    `'${connection.name}' has prepared transactions, which keep their locks for ever (${named(list)}), expected none; COMMIT PREPARED or ROLLBACK PREPARED them`,
  );
}

async function oldTransactions(connection: Connection): Promise<string[]> {
  const rows = await connection.query(
    `SELECT pid, usename, application_name, state, round(extract(epoch FROM now() - xact_start))::text FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
       AND xact_start < now() - interval '${OLD_TRANSACTION_S} seconds' ORDER BY xact_start LIMIT 5`,
  );
  return rows.map(
    ([pid, user, app, state, age]) =>
      `session ${pid} of ${user}${app === '' ? '' : ` (${app})`} is in a transaction for ${age} s, ${state}`,
  );
}

/** A user without the right sees the replicas, and not how far they are. */
async function hiddenReplicas(connection: Connection): Promise<string[]> {
  const [row] = await connection.query('SELECT count(*) FROM pg_stat_replication WHERE state IS NULL');
  const count = row?.[0] ?? '0';
  return count === '0' ? [] : [`its user may not see how far ${count} replicas are: grant it pg_monitor`];
}

async function laggingReplicas(connection: Connection): Promise<string[]> {
  const rows = await connection.query(
    `SELECT application_name, round(extract(epoch FROM replay_lag))::text FROM pg_stat_replication WHERE replay_lag > interval '${REPLICA_LAG_S} seconds' ORDER BY 1 LIMIT 5`,
  );
  return rows.map(([name, lag]) => `replica ${name} is ${lag} s behind`);
}
