/**
 * Where the time of a rollback went, read from its journal:
 *
 *   phase starts ──detect──▶ it has failed ──decide──▶ unwinding ──execute──▶ last undo ──verify──▶ rolled-back
 */
import type { Pool } from 'pg';
import type { Recovery } from './types.ts';

/** A journal row, as far as the times of a rollback ask for it. `at` in milliseconds. */
export type TimedRow = {
  seq: number;
  at: number;
  kind: 'run' | 'phase' | 'decision' | 'intent' | 'outcome';
  phase: string | null;
  direction: 'run' | 'undo' | null;
  /** The state that the row brought, for rows of a run and of a phase. */
  state: string | null;
  /** Whether an outcome was no good: it failed, or its verdict blocks. */
  isBad: boolean;
  /** For a decision: abort, retry and so on. */
  decision: string | null;
};

/** Undefined where the run was not rolled back. */
export async function readRecovery(pool: Pool, run: number): Promise<Recovery | undefined> {
  const { rows } = await pool.query<TimedRow>({
    name: 'recovery',
    text: `
      select seq, (extract(epoch from at) * 1000)::float8 as at, kind, phase, direction,
        case when kind in ('run', 'phase') then b ->> 'state' end as state,
        kind = 'outcome' and (b ->> 'result' = 'failed' or b ->> 'verdict' not in ('pass', 'warn')) as "isBad",
        case when kind = 'decision' then b ->> 'kind' end as decision
      from (
        select j.*, countdown.look(j.body) as b from countdown.journal j
        where j.run = $1 and j.kind in ('run', 'phase', 'decision', 'intent', 'outcome')
          and coalesce(j.direction, 'run') in ('run', 'undo')) said
      -- An attempt that was tried again neither broke the run nor ended an undo.
      where not coalesce((b ->> 'again')::boolean, false)
      order by seq`,
    values: [run],
  });
  return recoveryOf(rows);
}

/** The four parts of a rollback's time; undefined where the rows hold none. */
export function recoveryOf(rows: readonly TimedRow[]): Recovery | undefined {
  const left = rows.find(({ kind, state }) => kind === 'run' && state === 'unwinding');
  const end = rows.findLast(({ kind, state }) => kind === 'run' && state === 'rolled-back');
  if (left === undefined || end === undefined) return undefined;
  const before = rows.filter(({ seq }) => seq < left.seq);
  const cause = causeOf(before);
  const undo = rows.findLast((row) => row.kind === 'outcome' && row.direction === 'undo');
  const undoneAt = Math.max(left.at, undo?.at ?? left.at);
  return {
    detectMs: Math.round(cause === undefined ? 0 : cause.at - cause.since),
    decideMs: Math.round(cause === undefined ? 0 : left.at - cause.at),
    executeMs: Math.round(undoneAt - left.at),
    verifyMs: Math.round(end.at - undoneAt),
  };
}

/** What the run went back for, and since when it was coming: a phase that broke, or a person who said abort. */
function causeOf(rows: readonly TimedRow[]): { at: number; since: number } | undefined {
  const broke = rows.findLast(
    ({ kind, direction, state, isBad }) =>
      (isBad && direction === 'run') || (kind === 'phase' && state === 'maybe'),
  );
  const isForward = (row: TimedRow) => row.kind === 'intent' && row.direction === 'run';
  const mended = rows.some(
    (row) => broke !== undefined && row.seq > broke.seq && row.phase === broke.phase && isForward(row),
  );
  if (broke !== undefined && !mended) {
    const start = rows.findLast((row) => row.seq < broke.seq && row.phase === broke.phase && isForward(row));
    // The row of the shell follows the outcome: the first of the two is when it was known.
    const known = rows.find(
      (row) =>
        row.seq > (start?.seq ?? 0) && row.phase === broke.phase && (row.isBad || row.state === 'maybe'),
    );
    const at = known?.at ?? broke.at;
    return { at, since: start?.at ?? at };
  }
  const said = rows.findLast(({ decision }) => decision === 'abort' || decision === 'reject');
  return said === undefined ? undefined : { at: said.at, since: said.at };
}
