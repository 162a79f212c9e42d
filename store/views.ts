/** Runs as people see them. */
import type { Pool } from 'pg';
import { digest } from './digest.ts';
import { READY } from './runs.ts';
import type { Decision } from '../workflows/messages.ts';
import type { RunDetail, RunView } from './types.ts';

const iso = (column: string): string =>
  `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

// A plan may hold NUL, which PostgreSQL cannot decode.
const CHECK = `select coalesce((replace(p.body::text, '\\u0000', '\\u2400')::jsonb ->> 'check')::boolean, false)
  from countdown.plans p where p.hash = r.plan`;

const RUN = `json_build_object(
  'run', r.run, 'check', (${CHECK}), 'runbook', r.runbook, 'environment', r.environment, 'plan', r.plan, 'requester', r.requester,
  'state', r.state, 'verdict', r.verdict, 'because', r.because, 'verified', r.verified, 'notVerified', r.not_verified,
  'step', r.step, 'failAt', r.fail_at, 'notAfter', ${iso('r.not_after')},
  'dueAt', ${iso('r.due_at')}, 'waitUntil', ${iso('r.wait_until')}, 'isAdmitted', r.admitted_at is not null,
  'readyCheck', r.ready_check, 'ready', ${READY},
  'createdAt', ${iso('r.created_at')}, 'startedAt', ${iso('r.started_at')},
  'endedAt', ${iso('r.ended_at')}, 'unwindingAt', ${iso('r.unwinding_at')}, 'unwoundAt', ${iso('r.unwound_at')},
  'head', json_build_object('seq', r.seq, 'hash', r.hash))`;

// Progress of an earlier attempt says nothing about this one.
const PHASES = `select json_agg(json_build_object(
    'phase', p.phase, 'step', p.step, 'title', p.title, 'effect', p.effect, 'state', p.state, 'verdict', p.verdict,
    'summary', p.summary, 'error', p.error, 'try', p.try, 'waitingFor', p.waiting_for, 'progress', g.body,
    'startedAt', ${iso('p.started_at')}, 'endedAt', ${iso('p.ended_at')}, 'actAt', ${iso('p.act_at')},
    'newsAt', ${iso('greatest(p.act_at, g.at)')},
    'runMs', p.run_ms, 'undoMs', p.undo_ms, 'isOwed', countdown.is_owed(p)) order by p.ordinal)
  from countdown.phases p
  left join countdown.progress g on g.run = p.run and g.phase = p.phase and g.at >= p.act_at
  where p.run = r.run`;

const APPROVALS = `select json_agg(json_build_object(
    'step', a.step, 'state', a.state, 'evidence', a.evidence, 'round', a.round, 'from', a.quorum,
    'openedAt', ${iso('a.opened_at')}, 'dueAt', ${iso('a.due_at')}) order by a.opened_at, a.step)
  from countdown.approvals a where a.run = r.run`;

// A workflow ends once it has heard every journalled decision, so an ended run has heard those that are journalled.
const HAS_ENDED = `r.state in ('succeeded', 'stopped', 'rolled-back')`;
const DELIVERY = `case
    when d.refused is not null then 'refused'
    when d.answered_at is not null or (d.seq is not null and ${HAS_ENDED}) then 'confirmed'
    when d.seq is not null then 'journalled'
    when ${HAS_ENDED} then 'too-late'
    else 'stored' end`;

const DECISIONS = `select json_agg(json_build_object(
    'body', d.body, 'at', ${iso('d.at')}, 'counted', d.seq is not null and d.refused is null, 'refused', d.refused,
    'delivery', ${DELIVERY}) order by d.at, d.id)
  from countdown.decisions d where d.run = r.run`;

const TARGETS = `select json_agg(json_build_object('target', f.target, 'before', b.body, 'after', e.body) order by f.target)
  from countdown.prints f
  left join countdown.journal b on b.run = f.run and b.seq = f.before_seq
  left join countdown.journal e on e.run = f.run and e.seq = f.after_seq
  where f.run = r.run`;

const FOLLOWS = `case when r.follows is not null then
    json_build_object('run', r.follows, 'followUp', r.follow_up) end`;

const FOLLOW_UPS = `select json_agg(json_build_object(
    'followUp', c.follow_up, 'run', c.run, 'state', c.state, 'dueAt', ${iso('c.due_at')}) order by c.due_at, c.run)
  from countdown.runs c where c.follows = r.run`;

type Print = { print: { state: string; data: string | null } } | null;
type Detail = {
  view: RunView;
  phases: RunDetail['phases'] | null;
  approvals: RunDetail['approvals'] | null;
  decisions:
    | ({ body: Decision } & Pick<RunDetail['decisions'][number], 'at' | 'counted' | 'refused' | 'delivery'>)[]
    | null;
  targets: { target: string; before: Print; after: Print }[] | null;
  follows: RunDetail['follows'];
  followUps: RunDetail['followUps'] | null;
};

/** One statement, so that all parts are of one moment. */
export async function readRun(pool: Pool, run: number): Promise<RunDetail | undefined> {
  const { rows } = await pool.query<Detail>({
    name: 'run_detail',
    text: `select ${RUN} as view, (${PHASES}) as phases, (${APPROVALS}) as approvals, (${DECISIONS}) as decisions,
      (${TARGETS}) as targets,
      ${FOLLOWS} as follows, (${FOLLOW_UPS}) as "followUps" from countdown.runs r where r.run = $1`,
    values: [run],
  });
  const [found] = rows;
  if (found === undefined) return undefined;
  return {
    ...found.view,
    phases: found.phases ?? [],
    approvals: found.approvals ?? [],
    decisions: (found.decisions ?? []).map(({ body, ...row }) => ({ ...body, ...row })),
    follows: found.follows,
    followUps: found.followUps ?? [],
    targets: (found.targets ?? []).map(({ target, before, after }) => compared(target, before, after)),
  };
}

function compared(target: string, before: Print, after: Print): RunDetail['targets'][number] {
  const was = before && digest(before.print);
  const is = after && digest(after.print);
  return { target, before: was, after: is, equal: was === null || is === null ? null : was === is };
}

/** Newest first; `before` is the last run of the page before. */
export async function listRuns(pool: Pool, page: { limit: number; before?: number }): Promise<RunView[]> {
  const { rows } = await pool.query<{ view: RunView }>(
    `select ${RUN} as view from countdown.runs r where r.run < $1 order by r.run desc limit $2`,
    [page.before ?? 2 ** 31 - 1, page.limit],
  );
  return rows.map(({ view }) => view);
}
