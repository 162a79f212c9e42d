/**
 * Decision rows: the API writes one before it sends it to the workflow. It counts once the worker has journalled it, and it
 * is settled once the API has heard the workflow's answer.
 */
import type { Pool } from 'pg';
import type { Decision } from '../workflows/messages.ts';
import { bodyText, readableJson } from './text.ts';
import { STEERING } from './types.ts';

export async function insertDecision(pool: Pool, decision: Decision): Promise<void> {
  await pool.query('insert into countdown.decisions (id, run, body) values ($1, $2, $3)', [
    decision.id,
    decision.run,
    bodyText(readableJson(decision)),
  ]);
}

/** The update of the decision completed: the run has heard it, and it is not sent again. */
export async function answerDecision(pool: Pool, row: { run: number; id: string }): Promise<void> {
  await pool.query(
    'update countdown.decisions set answered_at = clock_timestamp() where run = $1 and id = $2 and answered_at is null',
    [row.run, row.id],
  );
}

/** What became of a refusal; `counted` if the row was journalled before, `settled` if there was nothing left to settle. */
export type RefusalStored = 'refused' | 'counted' | 'settled';

/** The workflow refused the decision: it is never sent again. It never counts, unless its row was journalled before. */
export async function refuseDecision(
  pool: Pool,
  row: { run: number; id: string; code: string },
): Promise<RefusalStored> {
  const { rows } = await pool.query<{ stored: RefusalStored }>(
    'select countdown.refuse_decision($1, $2, $3) as stored',
    [row.run, row.id, row.code],
  );
  return rows[0]?.stored ?? 'settled';
}

export async function readDecision(pool: Pool, run: number, id: string): Promise<Decision | undefined> {
  const { rows } = await pool.query<{ body: Decision }>(
    'select body from countdown.decisions where run = $1 and id = $2',
    [run, id],
  );
  return rows[0]?.body;
}

/** Which unanswered decisions: of one run, or without those of some; by default all. */
export type Unanswered = { of?: number; without?: readonly number[] };

/**
 * Rows that the run has neither answered nor refused, of open runs, older than `olderMs`: aborts first, then oldest first.
 */
export async function unansweredDecisions(
  pool: Pool,
  olderMs: number,
  limit: number,
  { of, without = [] }: Unanswered = {},
): Promise<Decision[]> {
  const { rows } = await pool.query<{ body: Decision }>(
    `select d.body from countdown.decisions d join countdown.runs r using (run)
    where d.answered_at is null and d.refused is null and d.at <= clock_timestamp() - $1 * interval '1 millisecond'
      and r.state not in ('succeeded', 'stopped', 'rolled-back')
      and ($3::integer is null or d.run = $3) and d.run <> all ($4::integer[])
    order by d.kind <> 'abort', d.at limit $2`,
    [olderMs, limit, of ?? null, without],
  );
  return rows.map(({ body }) => body);
}

/** What an approval has been given: journalled and unrefused rows alone. */
export async function readVotes(
  pool: Pool,
  run: number,
  step: string,
): Promise<{ evidence: string | null; approvals: Decision[]; steered: string[] }> {
  const { rows } = await pool.query<{
    evidence: string | null;
    approvals: Decision[] | null;
    steered: string[];
  }>({
    name: 'votes',
    text: `
      with counted as (
        select d.* from countdown.decisions d where d.run = $1 and d.seq is not null and d.refused is null)
      select
        (select a.evidence from countdown.approvals a where a.run = $1 and a.step = $2) as evidence,
        (select json_agg(c.body order by c.seq) from counted c
          where c.kind = 'approve' and c.subject = $2) as approvals,
        -- Who steers once the last vote was counted takes nothing away from what had been approved.
        array(select distinct c.person from counted c where c.kind = any ($3) and c.seq < (
          select max(v.seq) from counted v where v.kind = 'approve' and v.subject = $2)) as steered`,
    values: [run, step, STEERING],
  });
  const [found] = rows;
  return {
    evidence: found?.evidence ?? null,
    approvals: found?.approvals ?? [],
    steered: found?.steered ?? [],
  };
}
