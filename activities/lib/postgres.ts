/** A connection to a postgres target, its settings, and its errors in our words. */
import { Client, DatabaseError } from 'pg';
import type { PhaseContext } from '../phase.ts';
import { PASSING_SQLSTATE, fail, failureType, isPassing, messageOf } from './fail.ts';
import { LendingSocket } from './lending-socket.ts';

const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_MS = 1_000;

/** Every field as the text that PostgreSQL sent. */
const AS_TEXT = { getTypeParser: () => (value: string) => value };

/**
 * Settings under which equal values have equal texts, a vanished client is noticed within a second, and a transaction
 * whose client sleeps is ended.
 */
const SETTINGS = [
  `SET TimeZone = 'UTC'`,
  `SET DateStyle = 'ISO, YMD'`,
  `SET IntervalStyle = 'postgres'`,
  `SET bytea_output = 'hex'`,
  `SET extra_float_digits = 1`,
  `SET client_encoding = 'UTF8'`,
  `SET search_path = pg_catalog`,
  `SET standard_conforming_strings = on`,
  // Whatever the database says: what was committed before a lock was got must be seen after it.
  `SET default_transaction_isolation = 'read committed'`,
  `SET idle_in_transaction_session_timeout = 60000`,
  `SET statement_timeout = 0`,
  `SET lock_timeout = 5000`,
].join('; ');

export type Rows = (string | null)[][];

export type Connection = {
  /** Name of the target, for messages. */
  name: string;
  client: Client;
  /** Runs one statement; rows hold texts. */
  query(sql: string, values?: (string | number | null)[]): Promise<Rows>;
};

/** The session's name: who holds what, for whoever looks, and for the attempt that takes over. */
export function sessionName(context: PhaseContext, target: string): string {
  return `countdown ${context.fence.epoch}.${context.fence.seq} ${target.slice(0, 32)}`;
}

/**
 * Opens a session, hands it to `work` and closes it. When the phase is cancelled the socket is cut, so that a statement
 * under way ends and its transaction is rolled back.
 *
 * @throws Unreachable where the server cannot be reached or ended the session, PreconditionFailed where it refuses the
 * user or database, PhaseFailed for any other error of the server. What `work` itself throws stays as it is.
 */
export async function withPostgres<T>(
  name: string,
  context: PhaseContext,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  const target = context.target(name, 'postgres');
  const password = target.password === undefined ? undefined : await context.secret(target.password);
  context.signal.throwIfAborted();
  const client = new Client({
    host: target.host,
    port: target.port,
    database: target.database,
    user: target.user,
    ...(password === undefined ? {} : { password }),
    ...(target.tls === 'disable'
      ? { ssl: false, stream: () => new LendingSocket() }
      : { ssl: { rejectUnauthorized: true } }),
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: sessionName(context, name),
  });
  // Without a listener a connection that breaks while idle would end the process. What the server said last, as that it is
  // shut down, says more than that the next statement found no connection.
  let broken: Error | undefined;
  client.on('error', (error) => {
    broken ??= error;
  });
  const cut = (): void => void client.connection.stream.destroy();
  context.signal.addEventListener('abort', cut, { once: true });
  try {
    await client.connect();
    await client.query(SETTINGS);
    // Not every platform's server has it; without it a cut socket is noticed later.
    await client.query('SET client_connection_check_interval = 1000').catch(() => undefined);
    return await work({ name, client, query: (sql, values) => query(client, sql, values) });
  } catch (error) {
    context.signal.throwIfAborted();
    // Work that gives up in the middle of a COPY cuts the connection too: its own error is the reason then.
    const isCut = (broken !== undefined || client.connection.stream.destroyed) && isOfConnection(error);
    const cause = isCut && sqlState(error) === undefined ? (broken ?? error) : error;
    if (failureType(error) !== undefined) throw error;
    throw postgresError({ name, address: `${target.host}:${target.port}`, isCut }, cause);
  } finally {
    context.signal.removeEventListener('abort', cut);
    if (!context.signal.aborted) await close(client);
  }
}

/** Says goodbye, but does not wait for a server that is in the middle of sending. */
async function close(client: Client): Promise<void> {
  const timer = setTimeout(() => client.connection.stream.destroy(), CLOSE_MS);
  await client.end().catch(() => undefined);
  clearTimeout(timer);
}

async function query(client: Client, sql: string, values?: (string | number | null)[]): Promise<Rows> {
  const result = await client.query<(string | null)[]>({
    text: sql,
    ...(values === undefined ? {} : { values }),
    rowMode: 'array',
    types: AS_TEXT,
  });
  return result.rows;
}

/** Runs `work` in a transaction. Rolls back when it throws. */
export async function inTransaction<T>(
  connection: Connection,
  work: () => Promise<T>,
  mode = '',
): Promise<T> {
  await connection.client.query(`BEGIN ${mode}`);
  try {
    const result = await work();
    await connection.client.query('COMMIT');
    return result;
  } catch (error) {
    // The error that counts is the first one; a session that is gone has rolled back by itself.
    await connection.client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** SQLSTATE of an error of the server. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof DatabaseError ? error.code : undefined;
}

function isTls(error: Error): boolean {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return (
    /SSL connection/.test(error.message) ||
    /^(?:CERT_|ERR_TLS_|ERR_SSL_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_)/.test(code)
  );
}

/** SQLSTATEs that pass besides: a lock that was not got in time, and a session that was idle for too long. */
const PASSING_HERE = /^(?:55P03|25P03|57P05)$/;

/** What pg and streams say of a statement that found no connection, or lost it; they carry no code. */
const NO_CONNECTION =
  /connection terminated|not queryable|stream was destroyed|socket has been ended|premature close/i;

function isOfConnection(error: unknown): boolean {
  return isPassing(error) || (error instanceof Error && NO_CONNECTION.test(error.message));
}

type Place = { name: string; address: string; isCut: boolean };

function postgresError({ name, address, isCut }: Place, error: unknown): never {
  if (!(error instanceof Error)) throw error;
  const state = sqlState(error) ?? '';
  const said = messageOf(error);
  const server = `PostgreSQL '${name}' at ${address}`;
  if (state === '' && isTls(error)) {
    throw fail(
      'PreconditionFailed',
      `${server} gives no trusted TLS connection (${said}); install its certificate authority for this worker, or write 'tls: disable' in the environment file.`,
      error,
    );
  }
  if (/^(?:28|3D)/.test(state) || (state === '' && said.startsWith('SASL'))) {
    throw fail(
      'PreconditionFailed',
      `${server} refused the connection (${said}); correct user, password reference or database in the environment file.`,
      error,
    );
  }
  if (state === '') {
    if (!isCut && !isPassing(error)) throw error;
    throw fail(
      'Unreachable',
      `${server} cannot be reached (${said}); check that it runs and that this worker may connect to it.`,
      error,
    );
  }
  if (PASSING_SQLSTATE.test(state) || PASSING_HERE.test(state)) {
    throw fail('Unreachable', `${server} ended the work (${said}, ${state}).`, error);
  }
  if (state === '42501') {
    throw fail(
      'PreconditionFailed',
      `The user of '${name}' lacks a right (${said}); grant CREATE on the database and on schema public.`,
      error,
    );
  }
  throw fail('PhaseFailed', `PostgreSQL '${name}' said: ${said} (${state}).`, error);
}
