/**
 * The ready check: a run that is asked for with it begins once enough people have said that they are there to approve it. It
 * decides nothing: each of them still approves what he then sees.
 */
import { type Environment, groupsOf } from '../procedures/environment.ts';
import type { Plan } from '../procedures/plan.ts';
import { count } from '../procedures/votes.ts';
import { stillNeeded } from '../workflows/approvals.ts';
import { membersOf } from './views.ts';

/** Who is still to say so, as `owner 1 (olu), sre 1 (ana, ben)`; undefined where enough have. */
export function readyNeeded(
  plan: Plan,
  environment: Environment,
  { requester, ready }: { requester: string; ready: readonly string[] },
): string | undefined {
  const there = ready.map((person) => ({ person, groups: groupsOf(environment, person) }));
  const most: Record<string, number> = {};
  for (const asked of Object.values(plan.approvals)) {
    if (asked.skip === true) continue;
    for (const [group, votes] of Object.entries(count(asked.from, there).missing))
      most[group] = Math.max(most[group] ?? 0, votes);
  }
  if (Object.keys(most).length === 0) return undefined;
  const groups = Object.fromEntries(
    Object.keys(most).map((group) => [group, membersOf(environment, group, [requester])]),
  );
  return stillNeeded(most, groups, [requester, ...ready]);
}
