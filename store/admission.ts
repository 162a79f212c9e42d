/** Runs that wait for their time or for a target, and the leases that they are given. */
import type { Pool } from 'pg';
import { bodyText, readable } from './text.ts';
import type { Admission, Blocker, IdempotencyKey, LeaseRow } from './types.ts';

type Admitted = { answer: Admission['answer'] } & Partial<Blocker>;

/** All leases and an epoch in one transaction, first come first served for each target. */
export async function admitRun(pool: Pool, run: number, now: Date): Promise<Admission> {
  const { rows } = await pool.query<Admitted>(
    `select a.answer, (a.blocker).target, (a.blocker).run, (a.blocker).waits from countdown.admit_run($1, $2) a`,
    [run, now],
  );
  const [said] = rows;
  if (said === undefined) throw new Error('countdown.admit_run gave no answer.');
  if (said.answer !== 'leased') return { answer: said.answer };
  const { target = '', run: by = 0, waits = false } = said;
  return { answer: 'leased', blocker: { target, run: by, waits } };
}

/** What stands in the way of a run that waits. */
export async function readBlocker(pool: Pool, run: number, now: Date): Promise<Blocker | undefined> {
  return blockerIn(pool, 'countdown.blocker_of_run($1, $2)', [run, now]);
}

/** What would stand in the way of a run of this plan. */
export async function readBlockerOfPlan(pool: Pool, plan: string, now: Date): Promise<Blocker | undefined> {
  const call = `countdown.blocker_of(
    2147483647, (select countdown.look(p.body) from countdown.plans p where p.hash = $1), $2)`;
  return blockerIn(pool, call, [plan, now]);
}

async function blockerIn(pool: Pool, call: string, values: unknown[]): Promise<Blocker | undefined> {
  const { rows } = await pool.query<Blocker | { run: null }>(`select b.* from ${call} b`, values);
  const [found] = rows;
  return found === undefined || found.run === null ? undefined : found;
}

/** Ends a run that no workflow has yet, in its journal. False where it began or ended meanwhile. */
export async function stopPlanned(
  pool: Pool,
  row: { run: number; because: string; decision: string | null },
): Promise<boolean> {
  const { rows } = await pool.query<{ stopped: boolean }>(
    'select countdown.stop_planned($1, $2, $3) as stopped',
    [row.run, row.decision, bodyText({ state: 'stopped', because: readable(row.because) })],
  );
  return rows[0]?.stopped === true;
}

/** False where nobody is asked whether he is there. */
export async function sayReady(
  pool: Pool,
  row: { run: number; person: string; door: string },
): Promise<boolean> {
  const { rows } = await pool.query<{ said: boolean }>('select countdown.say_ready($1, $2, $3) as said', [
    row.run,
    row.person,
    row.door,
  ]);
  return rows[0]?.said === true;
}

/** What this key made before. */
export async function replayOf(
  pool: Pool,
  { key, person, bodyHash }: IdempotencyKey,
): Promise<{ run: number } | { refused: 'KeyReused' } | undefined> {
  const { rows } = await pool.query<{ run: number; isSame: boolean }>(
    'select run, body_hash = $3 as "isSame" from countdown.idempotency where person = $1 and key = $2',
    [person, key, bodyHash],
  );
  const [known] = rows;
  if (known === undefined) return undefined;
  return known.isSame ? { run: known.run } : { refused: 'KeyReused' };
}

/** Leases that are held, by environment, target and run. */
export async function listLeases(pool: Pool): Promise<LeaseRow[]> {
  const { rows } = await pool.query<LeaseRow>(
    'select environment, target, mode, run from countdown.leases order by environment, target, run',
  );
  return rows;
}
