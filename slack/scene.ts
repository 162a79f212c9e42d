/** What every message of a run is made of, and the words that several of them share. Pure. */
import type { Environment } from '../procedures/environment.ts';
import type { Plan } from '../procedures/plan.ts';
import { count } from '../procedures/votes.ts';
import type { SlackBody } from '../store/slack.ts';
import type { RunDetail } from '../store/types.ts';
import { type Block, cut } from './blocks.ts';
import type { Round } from './story.ts';
import { type Mentions, atGroup, atPeople, safe } from './words.ts';

/** All that messages are made of. The groups of the environment hold the members that Slack keeps, as far as they are known. */
export type Scene = {
  run: RunDetail;
  plan: Plan;
  rounds: readonly Round[];
  environment: Environment;
  mentions: Mentions;
};

export const name = (text: string): string => safe(text, 60);

export function bodyOf(place: SlackBody['place'], text: string, blocks: Block[]): SlackBody {
  return { text: cut(text, 300), blocks, place };
}

/** `rolled-back (verified)`: the state as it is said. */
export function stateWords(run: Pick<RunDetail, 'state' | 'verified' | 'notVerified'>): string {
  if (run.state !== 'rolled-back') return run.state;
  if (run.verified === true) return 'rolled-back (verified)';
  return `rolled-back (not verified${run.notVerified.length === 0 ? '' : `: ${run.notVerified.join(', ')}`})`;
}

/** `owner 1 (olu)`; the names without mentions. */
export function neededText(round: Round, environment: Environment, run: RunDetail): string {
  const missing = Object.entries(count(round.from, round.votes).missing);
  if (missing.length === 0) return 'all votes are there';
  return `needs ${missing
    .slice(0, 8)
    .map(([group, needed]) => {
      const people = votersOf(round, group, environment, run);
      return `${name(group)} ${needed}${people.length === 0 ? '' : ` (${people.slice(0, 8).map(name).join(', ')})`}`;
    })
    .join(', ')}`;
}

/** Who can still vote for a group. */
export function votersOf(round: Round, group: string, environment: Environment, run: RunDetail): string[] {
  const voted = round.votes.map(({ person }) => person);
  return (environment.groups[group] ?? []).filter(
    (person) => person !== run.requester && !voted.includes(person),
  );
}

/** The groups that are still needed, called: those that Slack keeps as such, others by their members, each person once. */
export function calls(
  { environment, mentions, run }: Scene,
  round: Round,
  groups: readonly string[],
): string {
  const kept = groups.filter((group) => Object.hasOwn(mentions.groups, group));
  const people = new Set(
    groups
      .filter((group) => !kept.includes(group))
      .flatMap((group) => votersOf(round, group, environment, run)),
  );
  return [...kept.map((group) => atGroup(mentions, group, [])), atPeople(mentions, [...people])]
    .filter((text) => text !== '')
    .join(' ');
}
