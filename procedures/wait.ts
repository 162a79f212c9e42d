/** wait: lets some time pass. It changes nothing and calls no activity; the clock stands while the run is paused. */
import { z } from 'zod';
import { DAY_MS, SECOND_MS } from './limits.ts';
import type { Procedure } from './procedure.ts';
import { durationSchema, exact } from './schema.ts';
import { writeDuration } from './units.ts';

const params = exact({
  for: durationSchema({ ms: SECOND_MS }, { ms: 30 * DAY_MS }).describe('How long.'),
});

const output = z.object({});

export const wait: Procedure<typeof params> = {
  kind: 'wait',
  summary: 'lets some time pass',
  params,
  output,
  plan: ({ params: { for: forMs } }) => [
    {
      name: 'wait',
      title: `Wait ${writeDuration(forMs)}`,
      effect: 'none',
      targets: [],
      run: { wait: 'timer', forMs },
      expected: { runMs: forMs, undoMs: 0 },
      limits: { timeoutMs: forMs + SECOND_MS, tries: 1 },
    },
  ],
};
