import type { Pool } from 'pg';
import type { Json } from '../procedures/plan.ts';
import { bodyText } from './text.ts';

/** Replaces what the phase says of itself. A side table: never journalled, and lost without harm. */
export async function saveProgress(
  pool: Pool,
  row: { run: number; phase: string; progress: Record<string, Json> },
): Promise<void> {
  await pool.query({
    name: 'save_progress',
    text: `
      insert into countdown.progress (run, phase, body) values ($1, $2, $3)
      on conflict (run, phase) do update set body = excluded.body, at = clock_timestamp()`,
    values: [row.run, row.phase, bodyText(row.progress)],
  });
}
