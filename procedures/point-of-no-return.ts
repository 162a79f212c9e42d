/**
 * point-of-no-return: the line after which nothing is taken back. Above it every effect has an undo; past it abort is
 * refused, and a step that fails waits for a person. It counts as irreversible, so it asks, once for every step below it.
 *
 *   pass          the line itself
 *   end-capture   where an import above keeps what is written for the way back: that ends here
 */
import { z } from 'zod';
import { capturesBack, endOfCapture } from './database-import.ts';
import { SECOND_MS } from './limits.ts';
import type { Procedure } from './procedure.ts';
import { exact, lineSchema } from './schema.ts';

const params = exact({
  because: lineSchema(500).describe('What is given up, in words that the approval shows.'),
});

const output = z.object({});

export const pointOfNoReturn: Procedure<typeof params> = {
  kind: 'point-of-no-return',
  summary: 'the line after which nothing is taken back',
  params,
  output,
  plan: ({ params: { because }, before }) => {
    const captures = before.filter(({ kind, params: given }) => capturesBack(kind, given));
    const isOnly = captures.length === 1;
    return [
      {
        name: 'pass',
        title: 'Point of no return',
        effect: 'irreversible',
        targets: [],
        run: { wait: 'point-of-no-return', because },
        expected: { runMs: 0, undoMs: 0 },
        limits: { timeoutMs: SECOND_MS, tries: 1 },
      },
      ...captures.flatMap((one) => endOfCapture(one, { isOnly }) ?? []),
    ];
  },
};
