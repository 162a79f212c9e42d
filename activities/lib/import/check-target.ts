/** Whether a target can take an import: its version, encoding and rights, and what stands where new tables would. */
import { fail } from '../fail.ts';
import type { Connection } from '../postgres.ts';

/** PostgreSQL below this lacks what the fence uses. */
const POSTGRES_VERSION_MIN = 140_000;

/** Throws PreconditionFailed where the server or the rights in it are not enough. */
export async function checkServer(connection: Connection): Promise<void> {
  const [row] = await connection.query(
    `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), pg_is_in_recovery(),
       has_database_privilege(current_database(), 'CREATE') OR to_regnamespace('countdown') IS NOT NULL,
       coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false),
       has_database_privilege(current_database(), 'TEMPORARY'), current_setting('transaction_read_only')`,
  );
  const [version, encoding, standby, ownSchema, inPublic, temporary, readOnly] = row ?? [];
  const name = connection.name;
  if (Number(version) < POSTGRES_VERSION_MIN)
    throw fail('PreconditionFailed', `'${name}' runs PostgreSQL ${version}, expected 14 or later.`);
  if (encoding !== 'UTF8')
    throw fail(
      'PreconditionFailed',
      `'${name}' stores ${encoding}, expected UTF8; make the database with that encoding.`,
    );
  if (standby === 't')
    throw fail(
      'PreconditionFailed',
      `'${name}' is a standby, expected a server that takes writes; name its primary.`,
    );
  if (readOnly === 'on')
    throw fail(
      'PreconditionFailed',
      `Transactions of '${name}' only read, expected that they write; take default_transaction_read_only from the user or the database.`,
    );
  if (ownSchema !== 't' || inPublic !== 't') {
    throw fail(
      'PreconditionFailed',
      `The user of '${name}' may not create schemas and tables, expected both; grant CREATE on the database and on schema public.`,
    );
  }
  if (temporary !== 't') {
    throw fail(
      'PreconditionFailed',
      `The user of '${name}' may not make temporary tables, expected the right to, since the verification proves itself on one; grant TEMPORARY on the database.`,
    );
  }
}
