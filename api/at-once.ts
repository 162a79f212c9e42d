/**
 * Calls `act` for each item in order, at most `limit` at a time, so that a slow one holds up no other. Resolves when all
 * have ended; once the signal aborts none is begun any more. `act` must not throw.
 */
export async function eachAtOnce<T>(
  limit: number,
  items: readonly T[],
  act: (item: T) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  // Every lane takes from the same iterator, so each item is taken once.
  const left = items.values();
  const lane = async (): Promise<void> => {
    for (const item of left) {
      if (signal?.aborted === true) return;
      await act(item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
}
