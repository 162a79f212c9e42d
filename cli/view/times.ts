/** How long something took, whatever overlaps in it. */

export type Stretch = { start: number; end: number };

/** Milliseconds that lie in at least one of the stretches. */
export function unionMs(stretches: readonly Stretch[]): number {
  let total = 0;
  let until = Number.NEGATIVE_INFINITY;
  for (const { start, end } of stretches.toSorted((one, other) => one.start - other.start)) {
    total += Math.max(0, end - Math.max(start, until));
    until = Math.max(until, end);
  }
  return total;
}
