/**
 * Two eyes on the target while it is changed: a canary that asks what users ask and measures how long an answer takes,
 * and one that writes down who keeps our statements waiting.
 */
import { performance } from 'node:perf_hooks';
import type { PhaseContext } from '../../phase.ts';
import { type Connection, sessionName, withPostgres } from '../postgres.ts';
import { pause } from '../wait.ts';
import { quotedTable } from './judge.ts';
import { isSessionLost } from './tries.ts';

/** How often it is asked who blocks us: several times within a lock timeout. */
const BLOCKERS_EVERY_MS = 100;
const BLOCKERS_LEAST_MS = 10;
const BLOCKERS_MAX = 20;
const TABLES_MAX = 20;

export type WatchReport = {
  canaryQueries: number;
  /** The longest time without an answer, in milliseconds. */
  downtimeMs: number;
  /** Milliseconds in which a statement of ours waited, as far as it was seen. */
  lockWaitMs: number;
  blockers: string[];
};

export type Watch = {
  /** Who kept us waiting last, in words; forgotten by the call. */
  takeBlockers(): string[];
  report(): WatchReport;
};

export type WatchOptions = {
  target: string;
  everyMs: number;
  /** How long a statement of ours waits at most. */
  lockTimeoutMs: number;
  /** A query of the runbook's; default one row of each table. */
  canary?: string | undefined;
  /** Tables that will be locked, as the migrations name them. */
  tables: readonly string[];
};

/** Watches while `work` goes on, and one canary longer. */
export async function withWatch<T>(
  options: WatchOptions,
  context: PhaseContext,
  work: (watch: Watch) => Promise<T>,
): Promise<T> {
  const seen: WatchReport = { canaryQueries: 0, downtimeMs: 0, lockWaitMs: 0, blockers: [] };
  let last: string[] = [];
  const over = new AbortController();
  const eyeEveryMs = Math.max(BLOCKERS_LEAST_MS, Math.min(BLOCKERS_EVERY_MS, options.lockTimeoutMs / 4));
  const isOver = (): boolean => over.signal.aborted || context.signal.aborted;
  const until = AbortSignal.any([over.signal, context.signal]);
  const { promise: open, resolve: opened } = Promise.withResolvers<void>();
  const eyes = Promise.all([
    lookOut(options, context, seen, { isOver, until, opened }),
    lookAround(options.target, context, { isOver, until, everyMs: eyeEveryMs }, (names) => {
      seen.lockWaitMs += eyeEveryMs;
      last = names;
      for (const name of names) {
        if (!seen.blockers.includes(name) && seen.blockers.length < BLOCKERS_MAX) seen.blockers.push(name);
      }
    }),
  ]);
  // What the eyes cannot see is no reason to stop a migration half-way.
  const watched = eyes.catch(() => undefined);
  try {
    // Without a first answer nothing would be measured, and no data is never a pass.
    await Promise.race([open, eyes]);
    return await work({
      takeBlockers: () => {
        // Between two looks a short wait may go unseen; whoever was seen before is then the best guess.
        const names = last.length === 0 ? seen.blockers : last;
        last = [];
        return [...names];
      },
      report: () => ({
        ...seen,
        downtimeMs: Math.ceil(seen.downtimeMs),
        lockWaitMs: Math.round(seen.lockWaitMs),
      }),
    });
  } finally {
    over.abort();
    await watched;
  }
}

type Ending = { isOver: () => boolean; until: AbortSignal };

/** The canary: when it had its last answer, and whether it has had none since. */
type Canary = { answeredAt: number; isFailing: boolean };

/**
 * One query after the other. A query that fails, or a session that is gone, is time without an answer, which ends with
 * the first answer of a new session. Throws where there was never an answer.
 */
async function lookOut(
  options: WatchOptions,
  context: PhaseContext,
  seen: WatchReport,
  ending: Ending & { opened: () => void },
): Promise<void> {
  const at: Canary = { answeredAt: performance.now(), isFailing: false };
  while (!ending.isOver()) {
    const { canaryQueries } = seen;
    try {
      await withPostgres(options.target, context, (connection) =>
        askOn(connection, options, seen, { ...ending, at }),
      );
    } catch (error) {
      if (seen.canaryQueries === 0) throw error;
      noteNoAnswer(seen, at);
      // The first new session at once: until it answers, time without an answer is counted.
      if (seen.canaryQueries === canaryQueries)
        await pause(BLOCKERS_EVERY_MS, ending.until).catch(() => undefined);
    }
  }
  if (at.isFailing) noteNoAnswer(seen, at);
  if (seen.canaryQueries === 0) context.signal.throwIfAborted();
}

function noteNoAnswer(seen: WatchReport, at: Canary): void {
  at.isFailing = true;
  seen.downtimeMs = Math.max(seen.downtimeMs, performance.now() - at.answeredAt);
}

/** With one session. Ends when the watch is over, and throws when the session is gone. */
async function askOn(
  connection: Connection,
  { everyMs, canary, tables }: WatchOptions,
  seen: WatchReport,
  { isOver, until, opened, at }: Ending & { opened: () => void; at: Canary },
): Promise<void> {
  await connection.client.query(
    'RESET search_path; SET lock_timeout = 0; SET default_transaction_read_only = on',
  );
  const queries = canary === undefined ? await queriesOf(connection, tables) : [canary];
  for (let turn = 0; !isOver(); turn += 1) {
    const startedAt = performance.now();
    const note = (): void => {
      const since = at.isFailing ? at.answeredAt : startedAt;
      seen.downtimeMs = Math.max(seen.downtimeMs, performance.now() - since);
    };
    const waiting = setInterval(note, BLOCKERS_EVERY_MS);
    try {
      await connection.client.query(queries[turn % queries.length] ?? 'SELECT 1');
      note();
      seen.canaryQueries += 1;
      at.answeredAt = performance.now();
      at.isFailing = false;
      opened();
    } catch (error) {
      if (seen.canaryQueries === 0 || isSessionLost(error)) throw error;
      noteNoAnswer(seen, at);
    } finally {
      clearInterval(waiting);
    }
    await pause(everyMs, until).catch(() => undefined);
  }
}

/** Tables that are not there yet nobody reads. */
async function queriesOf(connection: Connection, tables: readonly string[]): Promise<string[]> {
  const queries: string[] = [];
  for (const table of tables.slice(0, TABLES_MAX)) {
    const name = quotedTable(table);
    const [row] = await connection.query(
      `SELECT c.relkind IN ('r', 'p', 'm') AND has_table_privilege(c.oid, 'SELECT') FROM pg_class c WHERE c.oid = to_regclass($1)`,
      [name],
    );
    if (row?.[0] === 't') queries.push(`SELECT 1 FROM ${name} LIMIT 1`);
  }
  return queries.length === 0 ? ['SELECT 1'] : queries;
}

/** Sessions of this attempt are known by their name, those of a program too. A session that is gone is made again. */
async function lookAround(
  target: string,
  context: PhaseContext,
  ending: Ending & { everyMs: number },
  found: (names: string[]) => void,
): Promise<void> {
  while (!ending.isOver()) {
    // Blockers are reported as far as they were seen.
    await withPostgres(target, context, (eye) => lookOn(eye, context, ending, found)).catch(() => undefined);
    await pause(BLOCKERS_EVERY_MS, ending.until).catch(() => undefined);
  }
}

async function lookOn(
  connection: Connection,
  context: PhaseContext,
  { isOver, until, everyMs }: Ending & { everyMs: number },
  found: (names: string[]) => void,
): Promise<void> {
  const own = sessionName(context, connection.name);
  while (!isOver()) {
    const rows = await connection.query(
      `SELECT DISTINCT b.pid, b.usename, b.application_name, b.state, round(extract(epoch FROM now() - b.xact_start))::text, left(regexp_replace(b.query, '\\s+', ' ', 'g'), 60)
       FROM pg_stat_activity w CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocking(pid) JOIN pg_stat_activity b ON b.pid = blocking.pid
       WHERE w.datname = current_database() AND w.application_name = $1 AND w.wait_event_type = 'Lock' AND b.application_name <> $1`,
      [own],
    );
    if (rows.length > 0) found(rows.map(blocker));
    await pause(everyMs, until).catch(() => undefined);
  }
}

function blocker([pid, user, app, state, age, query]: (string | null)[]): string {
  const program = app === null || app === '' ? '' : ` (${app})`;
  return `session ${pid} of ${user}${program}, ${state ?? 'busy'} for ${age ?? '?'} s: ${query}`;
}
