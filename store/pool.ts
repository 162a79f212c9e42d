import { type PoolClient, Pool } from 'pg';

/** A statement that takes longer is ended by PostgreSQL. */
export const STATEMENT_TIMEOUT_MS = 10_000;
/** An answer that takes longer counts as lost: the server may be frozen. */
const QUERY_TIMEOUT_MS = 15_000;
const CONNECT_TIMEOUT_MS = 5_000;
const IDLE_MS = 30_000;
const CONNECTIONS_MAX = 10;

/**
 * A pool whose waits all have an end. `name` is what PostgreSQL's own views show; `max` is the number of connections,
 * 10 by default.
 */
export function makePool(url: string, options: { name: string; max?: number }): Pool {
  const pool = new Pool({
    connectionString: url,
    application_name: options.name,
    max: options.max ?? CONNECTIONS_MAX,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    idleTimeoutMillis: IDLE_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
    keepAlive: true,
  });
  // An idle connection that breaks is replaced by the next query; without a listener it would end the process.
  pool.on('error', () => {});
  return pool;
}

/** All of it or nothing, on one connection. */
export async function inTransaction<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    client.release();
    return result;
  } catch (error) {
    // A connection on which something went wrong is not used again: ending it ends its transaction.
    client.release(true);
    throw error;
  }
}
