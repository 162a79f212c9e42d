/**
 * A program that migrates by itself: Alembic, or one of the operator's with a probe. It is started without a shell, with
 * the address of the database in one variable, and with settings of PostgreSQL's own client library, so that its
 * sessions wait for no lock longer than we would and can be ended by whoever takes over.
 */
import type { MigrationsTarget, PostgresTarget } from '../../../procedures/environment.ts';
import type { PhaseContext } from '../../phase.ts';
import { failureType } from '../fail.ts';
import { type Connection, sessionName } from '../postgres.ts';
import { CUT_MARK, type CommandEnd, runCommand } from '../run-command.ts';
import { openAlembic } from './alembic.ts';
import { refuse } from './codes.ts';
import type { MigrateParams } from './params.ts';
import { shortSql } from './sql.ts';

export type ProgramSource = Exclude<MigrationsTarget['source'], { is: 'folder' }>;

/** Where a database stands. Null is before the first revision; several heads of Alembic are joined by commas. */
export type Standing = { revision: string | null; pending: string[] };

/** A program that is pointed at one database. */
export type Program = {
  /** What its own evidence says; never its exit code. Throws MultipleHeads, UnknownRevision, ProbeUnreadable, ProgramFails. */
  standing(): Promise<Standing>;
  /** The revision of `standing` alone. */
  where(): Promise<string | null>;
  /** Where a database stands that stood at `state`, once the revision is applied. */
  stateAfter(state: string | null, revision: string): Promise<string>;
  /** Asks the database for anything, and changes nothing. Fails where it takes no session. */
  ask(): Promise<CommandEnd>;
  /** Goes to the revision. Ends as the program ended; what it did is asked of `standing`. */
  up(revision: string): Promise<CommandEnd>;
  /** Takes the revision back, so that the database stands at `to` again. */
  down(revision: string, to: string | null): Promise<CommandEnd>;
  /** The statements of a revision, where the program can tell them without a database. */
  sql(direction: 'upgrade' | 'downgrade', revision: string): Promise<string | undefined>;
};

/** What both programs call the place before the first revision. */
export const BASE = 'base';
/** Instead of a checksum, where a program does not tell its statements. */
export const NOT_KNOWN = 'not known';
const SAID_LENGTH = 300;
/** What a program may say: the history of ten thousand revisions, the statements of a large one. */
const CAPTURED_BYTES = 4 * 1024 * 1024;

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
      where: async () =>
        readStanding(mustPass(await start(source.probe), `The probe of '${name}'`), name, undefined).revision,
      stateAfter: (_, revision) => Promise.resolve(revision),
      ask: () => start(source.probe),
      up: (revision) => start([...source.up, revision]),
      down: (_, to) => start([...source.down, to ?? BASE]),
      sql: () => Promise.resolve(undefined),
    };
  }
  return openAlembic((...args) => start([...source.argv, ...args]), params, source, database.connection);
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
      capturedBytes: CAPTURED_BYTES,
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
  if (done.end === 'exit' && done.code === 0) {
    if (!done.stdout.startsWith(CUT_MARK)) return done.stdout;
    return refuse(
      'ProgramFails',
      `${what} wrote more than ${CAPTURED_BYTES} bytes, expected fewer; squash its oldest revisions`,
    );
  }
  return refuse(
    'ProgramFails',
    `${what} ${howItEnded(done)}, expected exit 0: ${said(done)}; correct it and plan again`,
  );
}

/** A program that said what it had to say, with whatever exit. Throws ProgramFails where it was cut short or never began. */
export function assertEnded(done: CommandEnd, what: string): CommandEnd {
  if (done.end !== 'exit') mustPass(done, what);
  return done;
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
