/** What the tables say in numbers, for whoever watches the service. One statement, so that all parts are of one moment. */
import type { Pool } from 'pg';

export type StoreMetrics = {
  runs: { environment: string; state: string; runs: number }[];
  /** Approvals that are open, of open runs. */
  approvals: { environment: string; waiting: number; oldestMs: number }[];
  /** Runs whose desk waits for a person. */
  desk: { environment: string; runs: number; oldestMs: number }[];
  /** Phases of open runs whose undo has failed. */
  undoFailed: { environment: string; phases: number }[];
  /** Runs that are due and wait for a target. */
  leaseWaits: { environment: string; runs: number; oldestMs: number }[];
  /** Runs that unwind for longer than their objective. */
  lateRollbacks: { environment: string; runs: number }[];
  /** Decisions of open runs that their run has not answered. */
  undelivered: { decisions: number; oldestMs: number };
  /** What phases took that ended well. */
  phases: { environment: string; runbook: string; direction: string; phases: number; seconds: number }[];
};

const AGE = (since: string): string =>
  `greatest(0, extract(epoch from clock_timestamp() - min(${since})) * 1000)::float8`;

const OPEN = `r.state not in ('succeeded', 'stopped', 'rolled-back')`;

const PARTS: Record<keyof StoreMetrics, string> = {
  runs: `select r.environment, r.state, count(*)::int as runs from countdown.runs r group by 1, 2 order by 1, 2`,
  approvals: `select r.environment, count(*)::int as waiting, ${AGE('a.opened_at')} as "oldestMs"
    from countdown.approvals a join countdown.runs r using (run) where a.state = 'open' and ${OPEN} group by 1 order by 1`,
  desk: `select r.environment, count(*)::int as runs, ${AGE('r.unwound_at')} as "oldestMs"
    from countdown.runs r where r.state = 'stuck' group by 1 order by 1`,
  undoFailed: `select r.environment, count(*)::int as phases
    from countdown.phases p join countdown.runs r using (run) where p.state = 'undo-failed' and ${OPEN} group by 1 order by 1`,
  leaseWaits: `select r.environment, count(*)::int as runs, ${AGE('greatest(r.due_at, r.created_at)')} as "oldestMs"
    from countdown.runs r where r.state = 'planned' and r.admitted_at is null and coalesce(r.due_at, r.created_at) <= clock_timestamp()
    group by 1 order by 1`,
  lateRollbacks: `select r.environment, count(*)::int as runs from countdown.runs r
    where r.state = 'unwinding' and clock_timestamp() > r.unwinding_at + r.rollback_ms * interval '1 millisecond' group by 1 order by 1`,
  undelivered: `select count(*)::int as decisions, coalesce(${AGE('d.at')}, 0) as "oldestMs"
    from countdown.decisions d join countdown.runs r using (run) where d.answered_at is null and d.refused is null and ${OPEN}`,
  phases: `select d.environment, d.runbook, d.direction, count(*)::int as phases, sum(d.ms)::float8 / 1000 as seconds
    from countdown.durations d group by 1, 2, 3 order by 1, 2, 3`,
};

const one = (part: string): string => `(select to_json(x) from (${part}) x)`;
const many = (part: string): string => `(select coalesce(json_agg(to_json(x)), '[]') from (${part}) x)`;

export async function readMetrics(pool: Pool): Promise<StoreMetrics> {
  const { undelivered, ...lists } = PARTS;
  const columns = Object.entries(lists).map(([name, part]) => `${many(part)} as "${name}"`);
  const { rows } = await pool.query<StoreMetrics>({
    name: 'metrics',
    text: `select ${columns.join(', ')}, ${one(undelivered)} as undelivered`,
  });
  const [found] = rows;
  if (found === undefined) throw new Error('The store gave no metrics.');
  return found;
}
