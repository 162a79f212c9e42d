/** Decisions that the journal holds: what a workflow must have heard. */
import type { Pool } from 'pg';
import { DECISIONS_MAX, UNHEARD_MAX } from '../procedures/limits.ts';
import type { Counted } from '../workflows/messages.ts';

/** The oldest abort that an interface stored and the workflow has not heard. Undefined also for a run that goes back already. */
export async function readUnheardAbort(pool: Pool, run: number): Promise<string | undefined> {
  const { rows } = await pool.query<{ id: string }>({
    name: 'unheard_abort',
    text: `select d.id from countdown.decisions d join countdown.runs r using (run)
      where d.run = $1 and d.kind = 'abort' and d.seq is null and d.refused is null
        and r.state in ('running', 'waiting', 'paused') and r.unwinding_at is null
        and not exists (
          select from countdown.decisions e where e.run = d.run and e.kind = 'abort' and e.seq is not null)
      order by d.at limit 1`,
    values: [run],
  });
  return rows[0]?.id;
}

/** Decisions of a run whose journal row comes after `after`, oldest first. From 0 `DECISIONS_MAX` at most, else `UNHEARD_MAX`. */
export async function readCounted(pool: Pool, run: number, after: number): Promise<Counted[]> {
  const { rows } = await pool.query<Counted>({
    name: 'counted',
    text: `select d.seq, d.body as decision from countdown.decisions d
      where d.run = $1 and d.seq > $2 order by d.seq limit $3`,
    values: [run, after, after === 0 ? DECISIONS_MAX : UNHEARD_MAX],
  });
  return rows;
}
