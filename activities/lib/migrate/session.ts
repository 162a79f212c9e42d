/** How a session that runs migrations stands: as their own user has it, but for the guards. The same on the target and on the clone. */
import { type Connection, type Rows } from '../postgres.ts';
import type { MigrateParams } from './params.ts';
import { isPassing } from './tries.ts';

/** The settings of the database and of the user, and our guards; strings are read as the parser here reads them. */
export async function asUser(
  connection: Connection,
  { statementTimeoutMs }: Pick<MigrateParams, 'statementTimeoutMs'>,
  lockTimeoutMs: number,
): Promise<void> {
  await connection.client.query(
    `RESET ALL; SET client_min_messages = warning; SET idle_in_transaction_session_timeout = 60000;
     SET standard_conforming_strings = on; SET statement_timeout = ${statementTimeoutMs}; SET lock_timeout = ${lockTimeoutMs}`,
  );
  // A cut socket ends the statement, as it does in every other session of ours.
  await connection.client.query('SET client_connection_check_interval = 1000').catch(() => undefined);
}

/** What a migration made of its session (SET ROLE, search_path) does not count for what is written behind it. */
export async function asOurselves(connection: Connection): Promise<void> {
  await connection.client.query(
    'RESET SESSION AUTHORIZATION; RESET ROLE; SET LOCAL search_path = pg_catalog',
  );
}

/** A session as if it were a new one: nothing of the migration before is left in it, no setting and no temporary table. */
export async function asNew(
  connection: Connection,
  params: Pick<MigrateParams, 'statementTimeoutMs' | 'lockTimeoutMs'>,
): Promise<void> {
  await connection.client.query('DISCARD ALL');
  await asUser(connection, params, params.lockTimeoutMs);
}

/** What somebody set for the database or the user: names and values. */
export async function ownSettings(connection: Connection): Promise<Rows> {
  await connection.client.query('RESET ALL');
  return await connection.query(
    `SELECT name, current_setting(name) FROM pg_catalog.pg_settings
     WHERE (source IN ('database', 'user', 'database user') OR name = 'search_path') AND context IN ('user', 'superuser')
       AND name NOT LIKE 'default_transaction_%' ORDER BY name`,
  );
}

/** Gives them to a database, whoever connects. What this user may not set stays as the server has it. */
export async function giveSettings(connection: Connection, database: string, settings: Rows): Promise<void> {
  for (const [name, value = null] of settings) {
    const own = `"${(name ?? '').replaceAll('"', '""')}"`;
    try {
      await connection.query(`SELECT pg_catalog.set_config($1, $2, false)`, [name ?? '', value]);
      await connection.client.query(`ALTER DATABASE ${database} SET ${own} FROM CURRENT`);
    } catch (error) {
      // A lost session gave nothing, whatever this user may set.
      if (isPassing(error)) throw error;
      // What it means is seen where the migrations are applied: they are taken back whole.
    }
    await connection.client.query(`RESET ${own}`).catch(() => undefined);
  }
}
