/** Whether an approval can ever be given: people count once over all groups, and never who asks for the run. */
import type { Environment } from './environment.ts';
import { groupsOf } from './environment.ts';
import type { Approval } from './plan.ts';
import { listAnd } from './schema.ts';
import { count } from './votes.ts';

type Asked = Pick<Approval, 'from'>;

/** Undefined where the approval can be given while this person asks for the run; else one sentence that names who is missing. */
export function quorumPossible(
  step: string,
  approval: Asked,
  environment: Environment,
  requester?: string,
): string | undefined {
  const voters = Object.keys(environment.people)
    .filter((person) => person !== requester)
    .map((person) => ({ person, groups: groupsOf(environment, person) }));
  // Nobody has read yet who is in a group that Slack keeps: whether it can vote shows when it is asked.
  const { groups, slackGroups = {} } = environment;
  const from = Object.fromEntries(
    Object.entries(approval.from).filter(([name]) => name in groups || !(name in slackGroups)),
  );
  const { missing } = count(from, voters);
  const [group] = Object.keys(missing);
  if (group === undefined) return undefined;
  const needed = approval.from[group] ?? 0;
  const members = [...(environment.groups[group] ?? [])].sort();
  const need = `${step} needs ${needed} ${needed === 1 ? 'person' : 'people'} of ${group}`;
  if (members.length === 0) return `${need}, and it has no members.`;
  const asks = requester !== undefined && members.includes(requester) ? requester : undefined;
  if (asks !== undefined && members.length === 1)
    return `${need}, and its only member, ${asks}, asks for this run.`;
  const others = members.filter((member) => member !== asks);
  const who = `${others.length === 1 ? 'only ' : ''}${listAnd(others)} can vote for it`;
  if (others.length < needed)
    return `${need}, and ${others.length} can vote for it (${listAnd(others)})${asks === undefined ? '' : `; ${asks} asks for this run`}.`;
  const elsewhere = Object.keys(approval.from).filter(
    (one) => one !== group && others.some((person) => environment.groups[one]?.includes(person)),
  );
  return `${need}, and ${who}, who ${others.length === 1 ? 'is' : 'are'} needed for ${listAnd(elsewhere)} too: a person counts once.`;
}

/** Undefined where somebody may ask for a run whose approval can then be given; else the sentence for the best case. */
export function quorumPossibleForAnyone(
  step: string,
  approval: Asked,
  environment: Environment,
): string | undefined {
  const requesters = environment.roles.operator;
  // Without an operator nobody can ask; who can vote is all that is left to say.
  const unnamed = quorumPossible(step, approval, environment);
  if (unnamed !== undefined || requesters.length === 0) return unnamed;
  const sentences = requesters.map((requester) => quorumPossible(step, approval, environment, requester));
  if (sentences.includes(undefined)) return undefined;
  const [first] = sentences;
  return requesters.length === 1 ? first : `Whoever of ${listAnd(requesters)} asks: ${first}`;
}
