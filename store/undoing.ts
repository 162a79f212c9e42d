/** What an undo is told besides its params: how the phase ended, and what a person changed of its params on the desk. */
import type { Pool } from 'pg';
import type { Json } from '../procedures/plan.ts';

export type Undoing = {
  error: { type: string; message: string } | null;
  params: Record<string, Json> | null;
};

export async function readUndoing(pool: Pool, run: number, phase: string): Promise<Undoing> {
  const { rows } = await pool.query<{
    body: { error?: Undoing['error'] } | null;
    resolution: { params?: Record<string, Json> } | null;
  }>({
    name: 'undoing',
    text: `select
      (select j.body from countdown.journal j where j.run = $1 and j.phase = $2 and j.kind = 'outcome'
        and j.direction = 'run' and not countdown.is_again(j.body) order by j.seq desc limit 1) as body,
      (select d.body -> 'resolution' from countdown.decisions d where d.run = $1 and d.subject = $2
        and d.kind = 'resolve' and d.seq is not null and d.refused is null order by d.seq desc limit 1) as resolution`,
    values: [run, phase],
  });
  const [found] = rows;
  return { error: found?.body?.error ?? null, params: found?.resolution?.params ?? null };
}
