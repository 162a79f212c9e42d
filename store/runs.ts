/** Runs as they are made, and as the worker and the janitor look at them. */
import type { Pool } from 'pg';
import type { Verdict } from '../procedures/plan.ts';
import type { PhaseState } from '../procedures/states.ts';
import type { Begun } from '../workflows/messages.ts';
import { digest } from './digest.ts';
import { bodyText, readable } from './text.ts';
import type { Awaited, CreatedRun, NewRun, OpenRun, RunRow } from './types.ts';
import { undoSheetOf } from './undo-sheets.ts';

type Created = {
  run: number;
  created: boolean | null;
  admitted: boolean | null;
  refused: 'TargetLeased' | 'KeyReused' | 'PlanUnknown' | null;
  target: string;
  by_run: number;
  waits: boolean;
};

/** Run row, all leases, phases of the read model and journal row 1 in one transaction; without leases where it waits. */
export async function createRun(pool: Pool, row: NewRun): Promise<CreatedRun> {
  const { plan, requester, groups, failAt, idempotency, dueAt, notAfter, waitMs, follows, readyCheck } = row;
  const sheet = await undoSheetOf(pool, plan);
  const body = bodyText({
    state: 'planned',
    plan,
    requester,
    groups,
    failAt,
    undoSheet: sheet,
    ...(dueAt === undefined ? {} : { dueAt: dueAt.toISOString() }),
    ...(notAfter === undefined ? {} : { notAfter: notAfter.toISOString() }),
    ...(waitMs === undefined ? {} : { waitMs }),
    ...(follows === undefined ? {} : { follows }),
    ...(readyCheck === true ? { readyCheck } : {}),
  });
  const { rows } = await pool.query<Created>(
    `select c.run, c.created, c.admitted, c.refused, (c.blocker).target, (c.blocker).run as by_run, (c.blocker).waits
    from countdown.create_run($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, clock_timestamp()), $10, $11, $12, $13, $14, $15) c`,
    [
      plan,
      requester,
      bodyText(groups),
      failAt === null ? null : readable(failAt),
      idempotency?.key ?? null,
      idempotency?.person ?? null,
      idempotency?.bodyHash ?? null,
      body,
      row.now ?? null,
      dueAt ?? null,
      notAfter ?? null,
      waitMs ?? null,
      follows?.run ?? null,
      follows?.followUp ?? null,
      readyCheck === true,
    ],
  );
  const [made] = rows;
  if (made === undefined) throw new Error('countdown.create_run gave no answer.');
  if (made.refused === 'TargetLeased') {
    const { target, by_run: run, waits } = made;
    return { refused: made.refused, blocker: { target, run, waits } };
  }
  if (made.refused !== null) return { refused: made.refused };
  return { run: made.run, created: made.created === true, isAdmitted: made.admitted === true };
}

/** Follow-ups that have no run yet, of runs that have succeeded; those of the oldest first. */
export async function listAwaited(pool: Pool, limit: number): Promise<Awaited[]> {
  const { rows } = await pool.query<Omit<Awaited, 'endedAt'> & { endedAt: Date }>(
    `select r.run, r.environment, r.requester, r.ended_at as "endedAt", f ->> 'id' as "followUp",
      (f ->> 'afterMs')::float8 as "afterMs", f ->> 'plan' as plan
    from countdown.runs r join countdown.plans p on p.hash = r.plan
    cross join lateral jsonb_array_elements(countdown.look(p.body) -> 'followUps') f
    where r.state = 'succeeded' and r.follow_ups <> '{}' and f ->> 'id' = any (r.follow_ups)
    order by r.run limit $1`,
    [limit],
  );
  return rows.map((row) => ({ ...row, endedAt: row.endedAt.toISOString() }));
}

/** The run with its plan, read by the run row's plan hash; undefined where it holds no leases yet, too. */
export async function loadRun(pool: Pool, run: number): Promise<RunRow | undefined> {
  const { rows } = await pool.query<Omit<RunRow, 'epoch'> & { epoch: string }>({
    name: 'load_run',
    text: `
      select r.run, p.body as plan, r.plan as "planHash", r.environment, r.requester, r.fail_at as "failAt", r.epoch
      from countdown.runs r join countdown.plans p on p.hash = r.plan
      where r.run = $1 and r.admitted_at is not null`,
    values: [run],
  });
  const [found] = rows;
  return found && { ...found, epoch: Number(found.epoch) };
}

const RUNS_KEPT_MAX = 200;

/** What `loadRun` says never changes: of each run it is asked once, the most recent runs are kept. */
export function makeRunLoader(pool: Pool): (run: number) => Promise<RunRow | undefined> {
  const known = new Map<number, RunRow>();
  return async (run) => {
    const found = known.get(run) ?? (await loadRun(pool, run));
    if (found === undefined) return undefined;
    known.delete(run);
    known.set(run, found);
    const [oldest] = known.keys();
    if (known.size > RUNS_KEPT_MAX && oldest !== undefined) known.delete(oldest);
    return found;
  };
}

/** Who has said that he is there, of run `r`. */
export const READY = `array(select j.actor from countdown.journal j
  where r.ready_check and j.run = r.run and j.key like 'ready/%' order by j.seq)`;

export async function listOpenRuns(pool: Pool): Promise<OpenRun[]> {
  const { rows } = await pool.query<Omit<OpenRun, DateKey> & Record<DateKey, Date | null>>(
    `select run, state, plan as "planHash", environment, requester, created_at as "createdAt",
      admitted_at is not null as "isAdmitted", ready_check as "readyCheck", ${READY} as ready,
      due_at as "dueAt", wait_until as "waitUntil", not_after as "notAfter"
    from countdown.runs r where state not in ('succeeded', 'stopped', 'rolled-back') order by run`,
  );
  return rows.map((row) => ({
    ...row,
    createdAt: iso(row.createdAt) ?? '',
    dueAt: iso(row.dueAt),
    waitUntil: iso(row.waitUntil),
    notAfter: iso(row.notAfter),
  }));
}

const iso = (at: Date | null): string | null => at?.toISOString() ?? null;

type DateKey = 'createdAt' | 'dueAt' | 'waitUntil' | 'notAfter';

/** Stores why the workflow of an open run is opened again, for the workflow that starts next; 500 characters are kept. */
export async function tellReopened(pool: Pool, run: number, reason: string): Promise<void> {
  await pool.query('select countdown.tell_reopened($1, $2)', [run, readable(reason)]);
}

type Known = {
  plan: string;
  requester: string;
  groups: Record<string, string[]>;
  reopened: boolean;
  reopenReason: string | null;
  phases:
    | { phase: string; state: PhaseState; verdict: Verdict | null; started: boolean; try: number }[]
    | null;
  prints:
    | { target: string; try: number; before: { print: { state: string; data: string | null } } | null }[]
    | null;
};

/** What the journal knows of a run. Throws where there is no such run. */
export async function readBegun(pool: Pool, run: number, execution: string): Promise<Begun> {
  const { rows } = await pool.query<Known>(
    `select r.plan, r.requester, r.groups, r.reopen_reason as "reopenReason",
      (select json_agg(json_build_object('phase', p.phase, 'state', p.state, 'verdict', p.verdict,
          'started', p.first_run_seq is not null, 'try', p.try) order by p.first_run_seq nulls last, p.ordinal)
        from countdown.phases p where p.run = r.run and p.state <> 'pending') as phases,
      (select json_agg(json_build_object('target', f.target, 'try', f.try, 'before', j.body))
        from countdown.prints f left join countdown.journal j on j.run = f.run and j.seq = f.before_seq
        where f.run = r.run and f.try > 0) as prints,
      exists (select from countdown.journal j where j.run = r.run and j.kind in ('run', 'phase', 'approval')
        and j.actor = 'worker' and not starts_with(j.key, $2 || '/')) as reopened
    from countdown.runs r where r.run = $1`,
    [run, execution],
  );
  const [known] = rows;
  if (known === undefined) throw new Error(`There is no run ${run}: start runs through the API.`);
  const { plan, requester, groups, reopened, reopenReason } = known;
  const prints = (known.prints ?? []).map(({ target, try: tried, before }) => [
    target,
    { before: before === null ? null : digest(before.print), try: tried },
  ]);
  return {
    plan,
    requester,
    groups,
    reopened,
    reopenReason,
    journal: known.phases ?? [],
    prints: Object.fromEntries(prints),
  };
}
