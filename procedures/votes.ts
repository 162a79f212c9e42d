/** Who counts for what in an approval. Pure and without imports: the planner, the doors, the workflow and the interceptor count alike. */

export type Voter = { person: string; groups: readonly string[] };

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
export function count(from: Record<string, number>, votes: readonly Voter[]): Count {
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
