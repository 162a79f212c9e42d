/** One script against the target: in a transaction with its history row and the fence, or alone; tried again for locks. */
import { performance } from 'node:perf_hooks';
import type { PhaseContext } from '../../phase.ts';
import { failureType, messageOf } from '../fail.ts';
import { fenced } from '../fence.ts';
import { type Connection, sessionName, sqlState, withPostgres } from '../postgres.ts';
import { pause } from '../wait.ts';
import { runAlone } from './alone.ts';
import { refuse, refuseUndo } from './codes.ts';
import type { MigrateParams } from './params.ts';
import type { Script } from './scripts.ts';
import { type Statement, shortSql } from './sql.ts';
import { asOurselves, asUser } from './session.ts';
import { LOCK_STATES, type Tries, isSessionLost, nextTry } from './tries.ts';
import type { Watch } from './watch.ts';

/** A statement that stops no query may wait longer for those that it waits for. */
const ALONE_LOCK_TIMEOUT_MS = 30_000;
const COMMIT_KNOWN_MS = 30_000;
const COMMIT_POLL_MS = 200;
/** Sessions that one script may lose: a statement that ends its own session would else be tried for ever. */
const LOST_MAX = 5;

export type OneOptions = {
  params: MigrateParams;
  watch: Watch;
  tries: Tries;
  indexes: Readonly<Record<string, string>>;
  isUndo: boolean;
};

/** Whatever goes with the script: in its transaction, or in one of its own before and after it. */
export type Bookkeeping = {
  /** Before a script that stands alone. */
  begin?(connection: Connection): Promise<void>;
  /** With a script in a transaction; after one that stands alone. */
  finish(connection: Connection): Promise<void>;
  /** Whether the database says that it is finished. */
  isFinished(connection: Connection): Promise<boolean>;
};

function lockTimeoutOf({ isTransactional }: Script, { lockTimeoutMs }: MigrateParams): number {
  return isTransactional ? lockTimeoutMs : Math.max(lockTimeoutMs, ALONE_LOCK_TIMEOUT_MS);
}

type Ended = 'done' | 'locked' | { lost: unknown };

/** Runs it once, however often it has to be tried. Throws LockTimeout, StatementFails, SessionLost, CommitUnknown, FenceLost. */
export async function runOne(
  script: Script,
  books: Bookkeeping,
  options: OneOptions,
  context: PhaseContext,
): Promise<void> {
  const { params } = options;
  for (let lost = 1; ;) {
    const session: Session = {};
    const ended = await withPostgres(params.target, context, (connection) =>
      attempt(connection, script, books, options, context, session),
    );
    if (ended === 'done') return;
    if (ended === 'locked') {
      const waitedMs = lockTimeoutOf(script, params);
      await nextTry(script.file, options.tries, params, options.watch, context, waitedMs);
      continue;
    }
    if (await wasCommitted(books, session, ended.lost, options, context)) return;
    if (lost >= LOST_MAX) {
      const sentence = `${script.file} lost its session ${lost} times (${messageOf(ended.lost)}), expected it to end; look into the log of the server, then retry`;
      if (options.isUndo) refuseUndo('SessionLost', sentence, ended.lost);
      refuse('SessionLost', sentence, ended.lost);
    }
    lost += 1;
    context.progress({ done: lost, total: LOST_MAX, unit: 'sessions', detail: 'the last one was lost' });
    await pause(COMMIT_POLL_MS, context.signal);
  }
}

/** The transaction under way, known to who must find out what became of it. */
type Session = { xid?: string; pid?: string };

async function attempt(
  connection: Connection,
  script: Script,
  books: Bookkeeping,
  options: OneOptions,
  context: PhaseContext,
  session: Session,
): Promise<Ended> {
  const { params, indexes } = options;
  const at: { statement?: Statement } = {};
  try {
    await asUser(connection, params, lockTimeoutOf(script, params));
    if (script.isTransactional) {
      await fenced(connection, context, async () => {
        const [row] = await connection.query('SELECT pg_current_xact_id(), pg_backend_pid()');
        session.xid = row?.[0] ?? '';
        session.pid = row?.[1] ?? '';
        for (const statement of script.statements) {
          at.statement = statement;
          await connection.client.query(statement.sql);
        }
        delete at.statement;
        await asOurselves(connection);
        await books.finish(connection);
      });
      return 'done';
    }
    if (books.begin !== undefined) await fenced(connection, context, async () => books.begin?.(connection));
    const [statement] = script.statements;
    if (statement !== undefined) at.statement = statement;
    await runAlone(connection, script, indexes);
    delete at.statement;
    await fenced(connection, context, () => books.finish(connection));
    return 'done';
  } catch (error) {
    return endOf(error, script, at.statement, options.isUndo, context);
  }
}

function endOf(
  error: unknown,
  script: Script,
  statement: Statement | undefined,
  isUndo: boolean,
  context: PhaseContext,
): Ended {
  context.signal.throwIfAborted();
  const state = sqlState(error);
  if (failureType(error) !== undefined || error instanceof TypeError) throw error;
  if (state === undefined || isSessionLost(error)) return { lost: error };
  if (LOCK_STATES.includes(state)) return 'locked';
  const where = statement === undefined ? script.file : `${script.file}:${statement.line}`;
  const what = statement === undefined ? '' : `, in '${shortSql(statement.sql)}'`;
  const left = script.isTransactional
    ? 'nothing of this migration stands'
    : 'what it left half-done is found by the undo and by the next try';
  const sentence = `${where} fails: ${messageOf(error)} (${state})${what}; ${left}; correct it and plan again`;
  return isUndo ? refuseUndo('StatementFails', sentence, error) : refuse('StatementFails', sentence, error);
}

/** The session was lost, perhaps between COMMIT and its answer: the server knows what became of the transaction. */
async function wasCommitted(
  books: Bookkeeping,
  { xid, pid }: Session,
  lost: unknown,
  { params }: OneOptions,
  context: PhaseContext,
): Promise<boolean> {
  return await withPostgres(params.target, context, async (connection) => {
    const fate = xid === undefined ? 'aborted' : await fateOf(connection, xid, pid, context);
    const isFinished = await books.isFinished(connection);
    if (fate === 'aborted' || (fate === 'committed' && isFinished)) return isFinished;
    return refuse(
      'CommitUnknown',
      `The session was lost (${messageOf(lost)}), transaction ${xid} is ${fate}, and the history ${isFinished ? 'has' : 'lacks'} its row, expected both to agree; look into countdown.migration of '${params.target}', then retry`,
      lost,
    );
  });
}

/** Polls pg_xact_status; a session that nobody listens to any more is ended, so that it is decided. */
async function fateOf(
  connection: Connection,
  xid: string,
  pid: string | undefined,
  context: PhaseContext,
): Promise<string> {
  const deadline = performance.now() + COMMIT_KNOWN_MS;
  for (;;) {
    const [row] = await connection.query('SELECT pg_xact_status($1::xid8)', [xid]);
    const status = row?.[0] ?? 'unknown';
    if (status !== 'in progress' || performance.now() > deadline) return status;
    await connection.query(
      'SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = $1 AND application_name = $2 AND pid <> pg_backend_pid()',
      [pid ?? '0', sessionName(context, connection.name)],
    );
    await pause(COMMIT_POLL_MS, context.signal);
  }
}
