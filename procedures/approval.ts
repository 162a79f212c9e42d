/**
 * approval: waits until people have given their leave. It changes nothing and calls no activity; whom it asks stands in
 * the step's `approval`. Use it where people decide something that is not about one step's effects.
 */
import { z } from 'zod';
import { SECOND_MS } from './limits.ts';
import type { Procedure } from './procedure.ts';
import { exact } from './schema.ts';

const params = exact({});

const output = z.object({});

export const approval: Procedure<typeof params> = {
  kind: 'approval',
  summary: 'waits until people have given their leave',
  params,
  output,
  plan: () => [
    {
      name: 'approval',
      title: 'Wait for leave',
      effect: 'none',
      targets: [],
      run: { wait: 'approval' },
      expected: { runMs: 0, undoMs: 0 },
      limits: { timeoutMs: SECOND_MS, tries: 1 },
    },
  ],
};
