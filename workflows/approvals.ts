/**
 * Who may answer, what an answer counts for, and the sentence that every door says back. Pure: the workflow decides with
 * it, and the interceptor recounts with it.
 */

export type Vote = {
  id: string;
  person: string;
  groups: string[];
  door: string;
  at: number;
};

export type Count = {
  /** The group for which each person counts; a person counts once. */
  counted: Record<string, string>;
  /** What is still needed, by group; empty where the quorum stands. */
  missing: Record<string, number>;
};

/**
 * Seats are filled so that as many as possible are taken: somebody who is in two groups sits where he is needed
 * (augmenting paths; seats and people are few).
 */
export function count(
  from: Record<string, number>,
  votes: readonly Pick<Vote, 'person' | 'groups'>[],
): Count {
  const seats = Object.keys(from)
    .sort()
    .flatMap((group) => Array.from({ length: from[group] ?? 0 }, () => group));
  const groupsOf = new Map(votes.map((vote) => [vote.person, vote.groups]));
  const sitting: (string | undefined)[] = seats.map(() => undefined);

  const seat = (person: string, tried: Set<number>): boolean => {
    for (const [index, group] of seats.entries()) {
      if (tried.has(index) || !groupsOf.get(person)?.includes(group)) continue;
      tried.add(index);
      const other = sitting[index];
      if (other === undefined || seat(other, tried)) {
        sitting[index] = person;
        return true;
      }
    }
    return false;
  };
  for (const person of groupsOf.keys()) seat(person, new Set());

  const counted: Record<string, string> = {};
  const missing: Record<string, number> = {};
  for (const [index, group] of seats.entries()) {
    const person = sitting[index];
    if (person === undefined) missing[group] = (missing[group] ?? 0) + 1;
    else counted[person] = group;
  }
  return { counted, missing };
}

export function stands(
  from: Record<string, number>,
  votes: readonly Pick<Vote, 'person' | 'groups'>[],
): boolean {
  return Object.keys(count(from, votes).missing).length === 0;
}

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
