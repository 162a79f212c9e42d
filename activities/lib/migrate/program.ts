/**
 * A program that migrates by itself: Alembic, or one of the operator's with a probe. It is started without a shell, with
 * the address of the database in one variable, and with settings of PostgreSQL's own client library, so that its
 * sessions wait for no lock longer than we would and can be ended by whoever takes over.
 */
import type { MigrationsTarget, PostgresTarget } from '../../../procedures/environment.ts';
import type { PhaseContext } from '../../phase.ts';
import { failureType } from '../fail.ts';
import { type Connection, sessionName } from '../postgres.ts';
import { type CommandEnd, runCommand } from '../run-command.ts';
import { quotedTable } from './judge.ts';
import { refuse } from './codes.ts';
import type { MigrateParams } from './params.ts';
import { stateTable } from './program-state.ts';
import { shortSql } from './sql.ts';

export type ProgramSource = Exclude<MigrationsTarget['source'], { is: 'folder' }>;

/** Where a database stands. Null is before the first revision. */
export type Standing = { revision: string | null; pending: string[] };

/** A program that is pointed at one database. */
export type Program = {
  /** What its own evidence says; never its exit code. Throws MultipleHeads, ProbeUnreadable, ProgramFails. */
  standing(): Promise<Standing>;
  /** Asks the database for anything, and changes nothing. Fails where it takes no session. */
  ask(): Promise<CommandEnd>;
  /** Goes to the revision. Ends as the program ended; what it did is asked of `standing`. */
  up(revision: string): Promise<CommandEnd>;
  /** Null is before the first revision. */
  down(revision: string | null): Promise<CommandEnd>;
  /** The statements between two revisions, where the program can tell them without a database. */
  sql(
    direction: 'upgrade' | 'downgrade',
    from: string | null,
    to: string | null,
  ): Promise<string | undefined>;
};

/** What both programs call the place before the first revision. */
const BASE = 'base';
const SAID_LENGTH = 300;

export async function openProgram(
  params: MigrateParams,
  source: ProgramSource,
  database: { target: PostgresTarget; connection: Connection },
  context: PhaseContext,
): Promise<Program> {
  const start = await starter(params, source, database.target, context);
  const name = params.source;
  if (source.is === 'command') {
    return {
      standing: async () =>
        readStanding(mustPass(await start(source.probe), `The probe of '${name}'`), name, params.to),
      ask: () => start(source.probe),
      up: (revision) => start([...source.up, revision]),
      down: (revision) => start([...source.down, revision ?? BASE]),
      sql: () => Promise.resolve(undefined),
    };
  }
  const alembic = (...args: string[]) => start([...source.argv, ...args]);
  /** Its files stay as they are meanwhile, so they are read once. */
  let files: Promise<{ heads: string[]; below: Map<string, string | null> }> | undefined;
  return {
    async standing() {
      files ??= readRevisions(alembic, params);
      const { heads, below } = await files;
      const revision = await currentOf(database.connection, source.state[0] ?? 'alembic_version', name);
      return { revision, pending: pathOf(below, { from: revision, to: params.to ?? heads[0], name }) };
    },
    ask: () => alembic('current'),
    up: (revision) => alembic('upgrade', revision),
    down: (revision) => alembic('downgrade', revision ?? BASE),
    async sql(direction, from, to) {
      const done = await alembic(direction, `${from ?? BASE}:${to ?? BASE}`, '--sql');
      return done.end === 'exit' && done.code === 0 ? done.stdout : undefined;
    },
  };
}

async function readRevisions(
  alembic: (...args: string[]) => Promise<CommandEnd>,
  { source, to }: MigrateParams,
) {
  const heads = linesOf(mustPass(await alembic('heads'), `'${source}' heads`));
  if (heads.length > 1 && to === undefined) {
    refuse(
      'MultipleHeads',
      `'${source}' has ${heads.length} heads (${heads.join(', ')}), expected one; merge them with alembic merge, or name one with to`,
    );
  }
  return { heads, below: chainOf(mustPass(await alembic('history'), `'${source}' history`)) };
}

/** Starts programs of the entry with the address of one database. */
async function starter(
  params: MigrateParams,
  source: ProgramSource,
  target: PostgresTarget,
  context: PhaseContext,
): Promise<(argv: string[]) => Promise<CommandEnd>> {
  const env: Record<string, string> = {};
  const secrets: string[] = [];
  for (const [key, value] of Object.entries(source.env)) {
    env[key] = typeof value === 'string' ? value : await context.secret(value);
    if (typeof value !== 'string') secrets.push(env[key]);
  }
  const password = target.password === undefined ? undefined : await context.secret(target.password);
  const url = urlOf(source, target, password);
  if (password !== undefined) secrets.push(password, encodeURIComponent(password), url);
  env[source.urlIn] = url;
  env['PGOPTIONS'] =
    `-c lock_timeout=${params.lockTimeoutMs} -c statement_timeout=${params.statementTimeoutMs} -c idle_in_transaction_session_timeout=60000`;
  env['PGAPPNAME'] = sessionName(context, params.target);
  const cwd = source.cwd ?? (await context.folder());
  return async (argv) => {
    await context.assertCurrent();
    return await runCommand({
      argv,
      cwd,
      env,
      secrets,
      timeoutMs: source.timeoutMs,
      signal: context.signal,
      assertCurrent: () => context.assertCurrent(),
      isSuperseded: (error) => failureType(error) === 'FenceLost',
    });
  };
}

function urlOf({ urlScheme }: ProgramSource, target: PostgresTarget, password: string | undefined): string {
  const { host, port, database, user, tls } = target;
  const secret = password === undefined ? '' : `:${encodeURIComponent(password)}`;
  const address = host.includes(':') ? `[${host}]` : host;
  const mode = tls === 'disable' ? 'disable' : 'verify-full';
  return `${urlScheme}://${encodeURIComponent(user)}${secret}@${address}:${port}/${encodeURIComponent(database)}?sslmode=${mode}`;
}

/** The standard output of a program that ended well. Throws ProgramFails. */
export function mustPass(done: CommandEnd, what: string): string {
  if (done.end === 'exit' && done.code === 0) return done.stdout;
  return refuse(
    'ProgramFails',
    `${what} ${howItEnded(done)}, expected exit 0: ${said(done)}; correct it and plan again`,
  );
}

export function howItEnded(done: CommandEnd): string {
  if (done.end === 'exit') return `ended with exit ${done.code}`;
  if (done.end === 'timeout') return 'took too long and was ended';
  return done.end === 'lost' ? `was cut short (${done.why})` : `could not be started (${done.why})`;
}

/** The last lines that it wrote, on one line. */
export function said({ stdout, stderr }: CommandEnd): string {
  const text = (stderr.trim() === '' ? stdout : stderr).trim().replace(/\s+/g, ' ');
  return text === ''
    ? 'it wrote nothing'
    : text.length > SAID_LENGTH
      ? `…${text.slice(-SAID_LENGTH)}`
      : shortSql(text, SAID_LENGTH);
}

/** The first word of each line that a list of revisions has: `ae1027a6acf (head)`. */
function linesOf(stdout: string): string[] {
  return stdout.split('\n').flatMap((line) => /^([\w.-]+)(?:\s|$)/.exec(line)?.[1] ?? []);
}

/** What stands below each revision, from lines as `1975ea83b712 -> ae1027a6acf (head), add genre`. */
function chainOf(stdout: string): Map<string, string | null> {
  const below = new Map<string, string | null>();
  for (const line of stdout.split('\n')) {
    const [, before = '', revision] = /^(\S+(?:, \S+)*) -> ([\w.-]+)/.exec(line) ?? [];
    if (revision === undefined) continue;
    const first = before.split(', ')[0] ?? '';
    below.set(revision, first === '<base>' ? null : first);
  }
  return below;
}

const REVISIONS_MAX = 100_000;

function pathOf(
  below: ReadonlyMap<string, string | null>,
  { from, to, name }: { from: string | null; to: string | undefined; name: string },
): string[] {
  const path: string[] = [];
  let at: string | null = to ?? from;
  while (at !== from && path.length < REVISIONS_MAX) {
    const next: string | null | undefined = at === null ? undefined : below.get(at);
    if (at === null || next === undefined) {
      return refuse(
        'UnknownRevision',
        `'${name}' knows no way from ${from ?? 'the empty database'} to ${to ?? 'its head'}, expected a revision above the one of the database; correct to, or look at alembic history`,
      );
    }
    path.unshift(at);
    at = next;
  }
  return path;
}

async function currentOf(connection: Connection, table: string, name: string): Promise<string | null> {
  const schema = stateTable(table);
  const [found] = await connection.query('SELECT to_regclass($1) IS NOT NULL', [quotedTable(schema)]);
  if (found?.[0] !== 't') return null;
  const rows = await connection.query(`SELECT version_num FROM ${quotedTable(schema)} ORDER BY 1`);
  if (rows.length > 1) {
    refuse(
      'MultipleHeads',
      `'${connection.name}' stands at ${rows.length} revisions of '${name}' (${rows.map(([one]) => one).join(', ')}), expected one; merge them first`,
    );
  }
  return rows[0]?.[0] ?? null;
}

const PENDING_FORM = '{"revision": "0007" or null, "pending": ["0008", …]}';

function readStanding(stdout: string, name: string, to: string | undefined): Standing {
  const wrong = (found: string): never =>
    refuse(
      'ProbeUnreadable',
      `The probe of '${name}' wrote ${found}, expected one object as ${PENDING_FORM}; correct it`,
    );
  let value: unknown;
  try {
    value = JSON.parse(stdout);
  } catch {
    return wrong(`'${shortSql(stdout, 60)}'`);
  }
  const { revision, pending } = (value ?? {}) as { revision?: unknown; pending?: unknown };
  if (revision !== null && typeof revision !== 'string') return wrong('no revision');
  if (!Array.isArray(pending) || !pending.every((one): one is string => typeof one === 'string')) {
    return wrong('no list of pending revisions');
  }
  if (to === undefined || to === revision) return { revision, pending: to === undefined ? pending : [] };
  const last = pending.indexOf(to);
  if (last < 0) {
    return refuse(
      'UnknownRevision',
      `'${name}' has no pending revision ${to}, expected one of ${pending.join(', ') || 'none'}; correct to`,
    );
  }
  return { revision, pending: pending.slice(0, last + 1) };
}
