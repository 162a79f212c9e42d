import type { Pool } from 'pg';
import type { Plan } from '../procedures/plan.ts';
import { bodyText } from './text.ts';

const PREFIX = /^[0-9a-f]{12,64}$/;

/** Stored once; the database refuses a hash that is not the plan's own. */
export async function savePlan(pool: Pool, row: { hash: string; plan: Plan; person: string }): Promise<void> {
  await pool.query(
    'insert into countdown.plans (hash, body, person) values ($1, $2, $3) on conflict (hash) do nothing',
    [row.hash, bodyText(row.plan), row.person],
  );
}

export async function readPlan(pool: Pool, hash: string): Promise<Plan | undefined> {
  const { rows } = await pool.query<{ body: Plan }>('select body from countdown.plans where hash = $1', [
    hash,
  ]);
  return rows[0]?.body;
}

/** A plan by its first digits (at least 12); undefined where none or more than one begins so. */
export async function readPlanByPrefix(
  pool: Pool,
  prefix: string,
): Promise<{ hash: string; plan: Plan } | undefined> {
  if (!PREFIX.test(prefix)) return undefined;
  const { rows } = await pool.query<{ hash: string; plan: Plan }>(
    'select hash, body as plan from countdown.plans where starts_with(hash, $1) limit 2',
    [prefix],
  );
  return rows.length === 1 ? rows[0] : undefined;
}
