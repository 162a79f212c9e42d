/**
 * Who may answer, what an answer counts for, and the sentence that every door says back. Pure: the workflow decides with
 * it, and the interceptor recounts with it.
 */

import type { Approval } from '../procedures/plan.ts';
import { type Voter, count } from '../procedures/votes.ts';

export type Vote = {
  id: string;
  person: string;
  groups: string[];
  door: string;
  at: number;
};

export function stands(from: Record<string, number>, votes: readonly Voter[]): boolean {
  return Object.keys(count(from, votes).missing).length === 0;
}

/** Whether an answer came through a door where it may be given. */
export function isDoorFor({ via }: Pick<Approval, 'via'>, door: string): boolean {
  if (via === 'any') return true;
  return (via === 'slack') === (door === 'slack');
}

export const saysWhy = ({ reason }: { reason: string | null }): boolean => (reason ?? '').trim() !== '';

/** `owner 1 (olu), sre 1 (ana, ben)`: what is missing, and who could still give it. */
export function stillNeeded(
  missing: Record<string, number>,
  groups: Record<string, string[]>,
  without: readonly string[],
): string {
  return Object.entries(missing)
    .map(([group, needed]) => {
      const people = (groups[group] ?? []).filter((person) => !without.includes(person));
      return people.length > 0 ? `${group} ${needed} (${people.join(', ')})` : `${group} ${needed}`;
    })
    .join(', ');
}

/** `ana`, `ana and olu`, `ana, ben and olu`. */
export function listNames(names: readonly string[]): string {
  if (names.length < 2) return names.join('');
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

/** `01:05 UTC` of a time in epoch milliseconds; no locale, so that a replay says the same. */
export function clock(at: number): string {
  return `${new Date(at).toISOString().slice(11, 16)} UTC`;
}
