/** Decisions that the journal holds: what a workflow must have heard. */
import type { Pool } from 'pg';
import { DECISIONS_MAX, UNHEARD_MAX } from '../procedures/limits.ts';
import type { Counted } from '../workflows/messages.ts';

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
