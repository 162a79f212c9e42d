/** What phases are expected to take: the past where there is one, else what the plan declares. */
import type { Pool } from 'pg';
import type { ExpectedPhase } from './types.ts';

type Row = {
  phase: string;
  /** bigint comes as text. */
  run_ms: string;
  undo_ms: string | null;
  undo_samples: string;
};

/** Each phase of a stored plan, in its order; none where there is no such plan. */
export async function readExpected(pool: Pool, plan: string): Promise<ExpectedPhase[]> {
  const { rows } = await pool.query<Row>({
    name: 'expected',
    text: `select e.* from countdown.plans p, countdown.expected_of(countdown.look(p.body)) e where p.hash = $1`,
    values: [plan],
  });
  return rows.map((row) => ({
    phase: row.phase,
    runMs: Number(row.run_ms),
    undoMs: row.undo_ms === null ? null : Number(row.undo_ms),
    undoSamples: Number(row.undo_samples),
  }));
}
