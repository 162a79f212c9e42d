/** Brings a database to the schema of this code: numbered files, each in a transaction, one process at a time. */
import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { OWNER, ensureGroups } from './roles.ts';

const FOLDER = join(import.meta.dirname, 'migrations');
/** `pg_advisory_lock` key: any number that nobody else in this database takes. */
const LOCK = 7_265_004_411;
const LOOK_EVERY_MS = 200;
const CONNECT_TIMEOUT_MS = 5_000;

export type Migration = { version: number; name: string; sql: string; checksum: string };
type Applied = Pick<Migration, 'version' | 'name' | 'checksum'>;

export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

/** The files of a folder in order. Throws where a number is missing or double, or a name is not `NNNN-words.sql`. */
export async function readMigrations(folder: string = FOLDER): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort();
  return Promise.all(
    names.map(async (name, index) => {
      const version = Number(/^(\d{4})-[a-z0-9-]+\.sql$/.exec(name)?.[1]);
      if (version !== index + 1) {
        throw new MigrationError(
          `Migration ${name} stands at place ${index + 1}: number the files 0001-, 0002- and so on, without a gap.`,
        );
      }
      const sql = await readFile(join(folder, name), 'utf8');
      return { version, name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

/**
 * Runs what is not applied yet, as `countdown_owner`, and gives back the version. `ownerUrl` is a superuser's, or that of
 * a member of `countdown_owner` who owns the database. Throws MigrationError where an applied file was changed or is
 * missing, or the database is newer than the code; then nothing is changed.
 */
export async function migrate(ownerUrl: string, options: { folder?: string } = {}): Promise<number> {
  const migrations = await readMigrations(options.folder);
  const client = new Client({
    connectionString: ownerUrl,
    application_name: 'countdown-migrate',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  await client.connect();
  try {
    await client.query('select pg_advisory_lock($1)', [LOCK]);
    await prepare(client);
    const applied = await readApplied(client);
    assertKnown(migrations, applied);
    for (const migration of migrations.slice(applied.length)) await apply(client, migration);
    return migrations.length;
  } finally {
    await client.end();
  }
}

/** Waits until another process has migrated. Throws MigrationError after `timeoutMs`, or at once for a newer database. */
export async function waitForVersion(url: string, options: { timeoutMs: number }): Promise<void> {
  const wanted = await readMigrations();
  const until = Date.now() + options.timeoutMs;
  for (;;) {
    const seen = await look(url);
    if ('applied' in seen) {
      assertKnown(wanted, seen.applied);
      if (seen.applied.length === wanted.length) return;
    }
    if (Date.now() + LOOK_EVERY_MS > until) {
      const found = 'applied' in seen ? `version ${seen.applied.length}` : seen.problem;
      throw new MigrationError(
        `The database is not at version ${wanted.length} after ${options.timeoutMs} ms (found: ${found}). Start an API with COUNTDOWN_MIGRATE_URL.`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

async function look(url: string): Promise<{ applied: Applied[] } | { problem: string }> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  try {
    await client.connect();
    return { applied: await readApplied(client) };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  } finally {
    await client.end().catch(() => {});
  }
}

/** What must be there before the first file: roles, the schema, and the table of versions. */
async function prepare(client: Client): Promise<void> {
  const { rows } = await client.query<{ encoding: string }>(
    `select current_setting('server_encoding') as encoding`,
  );
  if (rows[0]?.encoding !== 'UTF8') {
    throw new MigrationError(
      `The database is encoded in ${rows[0]?.encoding}, but hashes are taken over UTF8. Create it with ENCODING 'UTF8'.`,
    );
  }
  await ensureGroups(client);
  // Looked for first: `if not exists` asks for the right to make schemas even where there is nothing to make.
  const schema = await client.query(`select from pg_namespace where nspname = 'countdown'`);
  if (schema.rowCount === 0) await client.query(`create schema countdown authorization ${OWNER}`);
  await client.query(`set role ${OWNER}`);
  await client.query(`
    create table if not exists countdown.migrations (
      version integer primary key,
      name text not null,
      checksum text not null,
      at timestamptz not null default clock_timestamp()
    )`);
}

async function readApplied(client: Client): Promise<Applied[]> {
  const { rows } = await client.query<Applied>(
    'select version, name, checksum from countdown.migrations order by version',
  );
  return rows;
}

function assertKnown(migrations: readonly Migration[], applied: readonly Applied[]): void {
  for (const [index, done] of applied.entries()) {
    const file = migrations[index];
    if (file === undefined) {
      throw new MigrationError(
        `The database is at version ${applied.length} (${done.name}), and this code knows ${migrations.length}. Start the newer release.`,
      );
    }
    if (file.version !== done.version || file.name !== done.name || file.checksum !== done.checksum) {
      throw new MigrationError(
        `Migration ${done.name} was applied with checksum ${done.checksum.slice(0, 12)}, but ${file.name} has ${file.checksum.slice(0, 12)}. Restore the file; put changes into a new one.`,
      );
    }
  }
}

async function apply(client: Client, migration: Migration): Promise<void> {
  await client.query('begin');
  try {
    await client.query(migration.sql);
    const { version, name, checksum } = migration;
    await client.query('insert into countdown.migrations (version, name, checksum) values ($1, $2, $3)', [
      version,
      name,
      checksum,
    ]);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => {});
    const message = error instanceof Error ? error.message : String(error);
    throw new MigrationError(`Migration ${migration.name} failed, and nothing of it was kept: ${message}`, {
      cause: error,
    });
  }
}
