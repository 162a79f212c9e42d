/** Runs as they are made, and as the worker and the janitor look at them. */
import type { Pool } from 'pg';
import type { Json, Plan, Verdict } from '../procedures/plan.ts';
import type { PhaseState, RunState } from '../procedures/states.ts';
import type { Begun } from '../workflows/messages.ts';
import { digest } from './digest.ts';
import { bodyText, readable } from './text.ts';
import type { CreatedRun, NewRun, RunRow } from './types.ts';

type Created = {
  run: number;
  created: boolean | null;
  refused: 'TargetLeased' | 'KeyReused' | 'PlanUnknown' | null;
  target: string;
  by_run: number;
  by_runbook: string;
  by_requester: string;
};

/** Run row, all leases, phases of the read model and journal row 1 in one transaction. */
export async function createRun(pool: Pool, row: NewRun): Promise<CreatedRun> {
  const { plan, requester, groups, failAt, idempotency } = row;
  const body = bodyText({ state: 'planned', plan, requester, groups, failAt });
  const { rows } = await pool.query<Created>(
    'select * from countdown.create_run($1, $2, $3, $4, $5, $6, $7, $8)',
    [
      plan,
      requester,
      bodyText(groups),
      failAt === null ? null : readable(failAt),
      idempotency?.key ?? null,
      idempotency?.person ?? null,
      idempotency?.bodyHash ?? null,
      body,
    ],
  );
  const [made] = rows;
  if (made === undefined) throw new Error('countdown.create_run gave no answer.');
  if (made.refused === 'TargetLeased') {
    const { target, by_run: run, by_runbook: runbook, by_requester: by } = made;
    return { refused: made.refused, target, by: { run, runbook, requester: by } };
  }
  if (made.refused !== null) return { refused: made.refused };
  return { run: made.run, created: made.created === true };
}

/** Plans never change under their hash: a worker reads each once. */
const PLANS_KEPT_MAX = 50;
const plans = new Map<string, Plan>();

type Loaded = Omit<RunRow, 'epoch' | 'plan' | 'outputs'> & {
  epoch: string;
  /** Null where it is known already. */
  plan: Plan | null;
  outputs: { phase: string; output: Record<string, Json> | null }[] | null;
};

/** The run with its plan, read by the run row's plan hash, and the outputs of its done phases. */
export async function loadRun(pool: Pool, run: number): Promise<RunRow | undefined> {
  const { rows } = await pool.query<Loaded>({
    name: 'load_run',
    text: `
      select r.run, case when r.plan = any ($2) then null else p.body end as plan, r.plan as "planHash",
        r.environment, r.requester, r.fail_at as "failAt", r.state, r.epoch,
        (select json_agg(json_build_object('phase', o.phase, 'output', j.body -> 'output') order by o.ordinal)
          from countdown.phases o join countdown.journal j on j.run = o.run and j.seq = o.output_seq
          where o.run = r.run and o.state <> 'undone') as outputs
      from countdown.runs r join countdown.plans p on p.hash = r.plan where r.run = $1`,
    values: [run, [...plans.keys()]],
  });
  const [found] = rows;
  if (found === undefined) return undefined;
  const plan = found.plan ?? plans.get(found.planHash);
  if (plan === undefined)
    throw new Error(`Plan ${found.planHash} of run ${run} is neither stored nor known.`);
  keepPlan(found.planHash, plan);
  const outputs = (found.outputs ?? []).flatMap(({ phase, output }) =>
    output === null ? [] : [[phase, output]],
  );
  return { ...found, plan, epoch: Number(found.epoch), outputs: Object.fromEntries(outputs) };
}

function keepPlan(hash: string, plan: Plan): void {
  plans.delete(hash);
  plans.set(hash, plan);
  const [oldest] = plans.keys();
  if (plans.size > PLANS_KEPT_MAX && oldest !== undefined) plans.delete(oldest);
}

export async function listOpenRuns(
  pool: Pool,
): Promise<{ run: number; state: RunState; planHash: string; createdAt: string }[]> {
  const { rows } = await pool.query<{ run: number; state: RunState; plan: string; created_at: Date }>(
    `select run, state, plan, created_at from countdown.runs
    where state not in ('succeeded', 'stopped', 'rolled-back') order by run`,
  );
  return rows.map(({ run, state, plan, created_at: at }) => ({
    run,
    state,
    planHash: plan,
    createdAt: at.toISOString(),
  }));
}

type Known = {
  plan: string;
  requester: string;
  groups: Record<string, string[]>;
  phases:
    | { phase: string; state: PhaseState; verdict: Verdict | null; started: boolean; try: number }[]
    | null;
  prints:
    | { target: string; try: number; before: { print: { state: string; data: string | null } } | null }[]
    | null;
};

/** What the journal knows of a run. Throws where there is no such run. */
export async function readBegun(pool: Pool, run: number): Promise<Begun> {
  const { rows } = await pool.query<Known>(
    `select r.plan, r.requester, r.groups,
      (select json_agg(json_build_object('phase', p.phase, 'state', p.state, 'verdict', p.verdict,
          'started', p.first_run_seq is not null, 'try', p.try) order by p.first_run_seq nulls last, p.ordinal)
        from countdown.phases p where p.run = r.run and p.state <> 'pending') as phases,
      (select json_agg(json_build_object('target', f.target, 'try', f.try, 'before', j.body))
        from countdown.prints f left join countdown.journal j on j.run = f.run and j.seq = f.before_seq
        where f.run = r.run and f.try > 0) as prints
    from countdown.runs r where r.run = $1`,
    [run],
  );
  const [known] = rows;
  if (known === undefined) throw new Error(`There is no run ${run}: start runs through the API.`);
  const { plan, requester, groups } = known;
  const prints = (known.prints ?? []).map(({ target, try: tried, before }) => [
    target,
    { before: before === null ? null : digest(before.print), try: tried },
  ]);
  return { plan, requester, groups, journal: known.phases ?? [], prints: Object.fromEntries(prints) };
}
