/**
 * The scratch clone: a database of its own with the structure of the target and no rows, in which migrations are tried.
 * It is gone afterwards; one that a dead worker left is dropped by the next look.
 */
import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { PostgresTarget } from '../../../procedures/environment.ts';
import type { PhaseContext } from '../../phase.ts';
import { messageOf } from '../fail.ts';
import { type Connection, sqlState, withPostgres } from '../postgres.ts';
import { named, refuse } from './codes.ts';
import { cloneStatements } from './clone-statements.ts';
import { giveSettings, ownSettings } from './session.ts';
import { sha256, shortSql } from './sql.ts';
import { difference, structureOf } from './structure.ts';

/** Passes over statements that came too early; each makes at least one, or the clone is given up. */
const PASSES_MAX = 30;
const STATE_ROWS_MAX = 1_000;
const PG_DUMP_MS = 5 * 60_000;

export type ScratchOptions = {
  /** The target whose structure is cloned. */
  target: string;
  /** The target on whose server the clone is made. */
  server: string;
  step: string;
  /** Tables whose rows are copied too: where a program keeps how far the database is. */
  state: readonly string[];
};

export type Scratch = {
  connection: Connection;
  /** The entry of the server, with the name of the clone. */
  target: PostgresTarget;
  /** Does something while the clone takes no new session. */
  whileClosed<T>(work: () => Promise<T>): Promise<T>;
};

/** Makes the clone, hands it to `work` and drops it. Throws NoScratch, CloneDiffers or NoPgDump. */
export async function withScratch<T>(
  options: ScratchOptions,
  context: PhaseContext,
  work: (scratch: Scratch) => Promise<T>,
): Promise<T> {
  const server = context.target(options.server, 'postgres');
  const name = scratchName({
    run: context.run,
    step: options.step,
    of: context.target(options.target, 'postgres'),
  });
  const target = { ...server, database: name };
  const entries = new Map([[options.server, target]]);
  const inside: PhaseContext = {
    ...context,
    target: (asked, kind) =>
      (entries.get(asked) as ReturnType<typeof context.target<typeof kind>>) ?? context.target(asked, kind),
  };
  return await withPostgres(options.server, context, async (admin) => {
    await create(admin, name, options.server);
    try {
      await giveSettings(admin, name, await withPostgres(options.target, context, ownSettings));
      return await withPostgres(options.server, inside, async (connection) => {
        await fill(connection, { ...options, entry: context.target(options.target, 'postgres') }, context);
        return await work({ connection, target, whileClosed: (inner) => withClosed(admin, name, inner) });
      });
    } finally {
      if (!context.signal.aborted) await drop(admin, name);
    }
  });
}

/** The same for every attempt of a step, so that what a dead worker left is found again. */
export function scratchName({ run, step, of }: { run: number; step: string; of: PostgresTarget }): string {
  const address = sha256(`${of.host}:${of.port}/${of.database}`).slice(0, 8);
  return `${`countdown_scratch_${run}_${step.replaceAll('-', '_')}`.slice(0, 54)}_${address}`;
}

async function create(admin: Connection, name: string, server: string): Promise<void> {
  try {
    await drop(admin, name);
    await admin.client.query(`CREATE DATABASE ${name} TEMPLATE template0`);
  } catch (error) {
    if (sqlState(error) !== '42501') throw error;
    refuse(
      'NoScratch',
      `The user of '${server}' may not create databases, expected that it may, since migrations are tried on a clone; grant it CREATEDB, or name another server with scratch`,
      error,
    );
  }
}

async function drop(admin: Connection, name: string): Promise<void> {
  await admin.client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
}

async function withClosed<T>(admin: Connection, name: string, work: () => Promise<T>): Promise<T> {
  await admin.client.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
  try {
    return await work();
  } finally {
    await admin.client.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
  }
}

type Filling = ScratchOptions & { entry: PostgresTarget };

async function fill(scratch: Connection, options: Filling, context: PhaseContext): Promise<void> {
  await withPostgres(options.target, context, async (source) => {
    const wanted = await structureOf(source);
    const stuck = await replay(scratch, await cloneStatements(source), context);
    let differs = difference(wanted, await structureOf(scratch));
    if (differs.length > 0) {
      await emptied(scratch);
      await restoreDump(scratch, options, { stuck, differs }, context);
      differs = difference(wanted, await structureOf(scratch));
    }
    if (differs.length > 0) {
      refuse(
        'CloneDiffers',
        `The scratch clone of '${options.target}' is not what it was made of: ${named(differs)}; take what cannot be cloned out of the way, or ask for support of it`,
      );
    }
    for (const table of options.state) await copyState(source, scratch, table);
  });
}

/** Runs every statement, and those that came too early again. Gives what could not be made. */
async function replay(scratch: Connection, statements: string[], context: PhaseContext): Promise<string[]> {
  await scratch.client.query('SET check_function_bodies = off');
  let left = statements;
  let failures: string[] = [];
  for (let pass = 0; pass < PASSES_MAX && left.length > 0; pass += 1) {
    const again: string[] = [];
    failures = [];
    for (const sql of left) {
      context.signal.throwIfAborted();
      try {
        await scratch.client.query(sql);
      } catch (error) {
        if (sqlState(error) === undefined) throw error;
        again.push(sql);
        failures.push(`${shortSql(sql, 60)} (${messageOf(error)})`);
      }
    }
    if (again.length === left.length) break;
    left = again;
  }
  await scratch.client.query('RESET check_function_bodies');
  return failures;
}

async function emptied(scratch: Connection): Promise<void> {
  const rows = await scratch.query(
    `SELECT 'DROP EXTENSION IF EXISTS ' || quote_ident(extname) || ' CASCADE' FROM pg_extension WHERE extname <> 'plpgsql'
     UNION ALL SELECT 'DROP SCHEMA ' || quote_ident(nspname) || ' CASCADE' FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'`,
  );
  for (const [sql] of rows) await scratch.client.query(sql ?? '');
  await scratch.client.query('CREATE SCHEMA public');
}

/** Rows of a program's own table. The table may not be there yet. */
async function copyState(source: Connection, scratch: Connection, table: string): Promise<void> {
  const schema = table.includes('.') ? table : `public.${table}`;
  const [found] = await source.query('SELECT to_regclass($1) IS NOT NULL', [schema]);
  if (found?.[0] !== 't') return;
  const rows = await source.query(`SELECT to_jsonb(t)::text FROM ${schema} t LIMIT ${STATE_ROWS_MAX}`);
  for (const [row = null] of rows) {
    await scratch.query(
      `INSERT INTO ${schema} SELECT * FROM jsonb_populate_record(NULL::${schema}, $1::jsonb)`,
      [row],
    );
  }
}

/** What our own clone lacks, pg_dump may know. */
async function restoreDump(
  scratch: Connection,
  { entry, target }: Filling,
  found: { stuck: string[]; differs: string[] },
  context: PhaseContext,
): Promise<void> {
  const [version] = await scratch.query('SHOW server_version_num');
  const major = Math.floor(Number(version?.[0] ?? 0) / 10_000);
  const program = await findPgDump(major, context);
  if (program === undefined) {
    const lacks = [...found.stuck, ...found.differs];
    refuse(
      'NoPgDump',
      `'${target}' has what only pg_dump can clone (${named(lacks, 3)}), and there is no pg_dump of version ${major} on this worker; install PostgreSQL ${major}, or set PG_BIN_DIR to the folder of its programs`,
    );
  }
  const dump = await runPgDump(program, entry, context);
  // The schema that every database has is in the dump where it was changed; what notes rows for the way back of an
  // import is in it without the functions that it calls.
  const theirs = dump
    .replace(/^CREATE SCHEMA public;$/gm, '')
    .replace(/^CREATE TRIGGER countdown_capture\w* .* EXECUTE FUNCTION countdown\..*;$/gm, '')
    .replace(/^ALTER TABLE .* ENABLE ALWAYS TRIGGER countdown_capture\w*;$/gm, '');
  await scratch.client.query(theirs);
  await scratch.client.query('SET search_path = pg_catalog');
}

const PLACES = [
  '/usr/lib/postgresql/MAJOR/bin',
  '/usr/pgsql-MAJOR/bin',
  '/opt/homebrew/opt/postgresql@MAJOR/bin',
  '/usr/local/opt/postgresql@MAJOR/bin',
];

/** PG_BIN_DIR of the worker alone where it is set, else where systems put it. */
async function findPgDump(major: number, context: PhaseContext): Promise<string | undefined> {
  const set = await context.secret({ env: 'PG_BIN_DIR' }).catch(() => undefined);
  const folders = set === undefined ? PLACES.map((one) => one.replace('MAJOR', String(major))) : [set];
  for (const folder of folders) {
    const path = join(folder, 'pg_dump');
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // The next place.
    }
  }
  return undefined;
}

async function runPgDump(program: string, entry: PostgresTarget, context: PhaseContext): Promise<string> {
  const password = entry.password === undefined ? undefined : await context.secret(entry.password);
  const dump = spawn(
    program,
    [
      '--schema-only',
      '--no-owner',
      '--no-privileges',
      '--no-publications',
      '--exclude-schema=countdown',
      '--no-password',
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: PG_DUMP_MS,
      signal: context.signal,
      env: {
        PGHOST: entry.host,
        PGPORT: String(entry.port),
        PGDATABASE: entry.database,
        PGUSER: entry.user,
        PGSSLMODE: entry.tls === 'disable' ? 'disable' : 'verify-full',
        ...(password === undefined ? {} : { PGPASSWORD: password }),
      },
    },
  );
  const ended = new Promise<number | null>((resolve, reject) => {
    dump.once('error', reject);
    dump.once('close', resolve);
  });
  const [said, complaint, code] = await Promise.all([text(dump.stdout), text(dump.stderr), ended]);
  context.signal.throwIfAborted();
  if (code !== 0) {
    refuse(
      'NoPgDump',
      `${program} ended with exit ${code}, expected 0: ${shortSql(complaint, 300)}; correct what it says`,
    );
  }
  // Lines for psql alone.
  return said.replace(/^\\.*$/gm, '');
}
