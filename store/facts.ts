/** What the journal proves of a run, for rows that only the workflow tells of. */
import type { Pool } from 'pg';
import { digest } from './digest.ts';
import type { Direction, Json } from '../procedures/plan.ts';
import type { PhaseState } from '../procedures/states.ts';

export type Facts = {
  /** `begun`: an intent row of direction run exists. */
  phases: Record<string, { state: PhaseState; begun: boolean; startedAtMs: number | null }>;
  /** Of steps and blocks: the state of the latest approval. */
  approvals: Record<string, string>;
  /** Decisions of people that a door wrote and the worker journalled. */
  decisions: { kind: string; subject: string | null }[];
  /** Outcome rows of the phases that were asked about, oldest first; without those of attempts that were tried again. */
  outcomes: { phase: string; direction: Direction; body: Record<string, Json> }[];
  /** Targets whose fingerprints were taken twice and differ. */
  differing: string[];
};

export async function readFacts(pool: Pool, run: number, phases: string[]): Promise<Facts> {
  const { rows } = await pool.query<{
    phases: Facts['phases'] | null;
    approvals: Facts['approvals'] | null;
    decisions: Facts['decisions'] | null;
    outcomes: Facts['outcomes'] | null;
    prints: { target: string; before: { print?: Json }; after: { print?: Json } }[] | null;
  }>({
    name: 'facts',
    text: `select
      (select json_object_agg(p.phase, json_build_object(
          'state', p.state, 'begun', p.first_run_seq is not null,
          'startedAtMs', (extract(epoch from p.started_at) * 1000)::bigint))
        from countdown.phases p where p.run = $1) as phases,
      (select json_object_agg(a.step, a.state) from countdown.approvals a where a.run = $1) as approvals,
      (select json_agg(json_build_object('kind', d.kind, 'subject', d.subject))
        from countdown.decisions d where d.run = $1 and d.seq is not null and d.refused is null) as decisions,
      (select json_agg(json_build_object('phase', j.phase, 'direction', j.direction, 'body', j.body) order by j.seq)
        from countdown.journal j where j.run = $1 and j.kind = 'outcome' and j.phase = any ($2)
          and not countdown.is_again(j.body)) as outcomes,
      (select json_agg(json_build_object('target', f.target, 'before', b.body, 'after', e.body))
        from countdown.prints f
        join countdown.journal b on b.run = f.run and b.seq = f.before_seq
        join countdown.journal e on e.run = f.run and e.seq = f.after_seq
        where f.run = $1) as prints`,
    values: [run, phases],
  });
  const [found] = rows;
  return {
    phases: found?.phases ?? {},
    approvals: found?.approvals ?? {},
    decisions: found?.decisions ?? [],
    outcomes: found?.outcomes ?? [],
    differing: (found?.prints ?? [])
      .filter(({ before, after }) => digest(before.print ?? null) !== digest(after.print ?? null))
      .map(({ target }) => target),
  };
}
