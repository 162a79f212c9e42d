/** What phases declare invariant, as their outcome rows hold it. Outputs come with an intent: `countdown.outputs_of`. */
import type { Pool } from 'pg';
import type { Json } from '../procedures/plan.ts';

type Values = Record<string, Record<string, Json>>;

/** What an approval binds to, by phase id: `binds` of each phase's last good run. */
export async function readBinds(pool: Pool, run: number, phases: string[]): Promise<Values> {
  const { rows } = await pool.query<{ phase: string; body: { binds?: Record<string, Json> } }>({
    name: 'binds',
    text: `
      select p.phase, j.body from countdown.phases p
      join countdown.journal j on j.run = p.run and j.seq = p.binds_seq
      where p.run = $1 and p.phase = any ($2) order by p.ordinal`,
    values: [run, phases],
  });
  return collect(rows.map(({ phase, body }) => [phase, body.binds]));
}

function collect(entries: [string, Record<string, Json> | undefined][]): Values {
  return Object.fromEntries(
    entries.flatMap(([phase, values]) => (values === undefined ? [] : [[phase, values]])),
  );
}
