/**
 * The condition of a step on what earlier steps found.
 *
 *   when   compares; where a condition does not hold, the other phases of the step are left out
 */
import { meets, settleExpectation } from '../procedures/expect.ts';
import { type Json, type WhenOutput } from '../procedures/plan.ts';
import { show } from '../procedures/schema.ts';
import type { PhaseActivities } from './phase.ts';

type WhenParams = { conditions: (WhenOutput & { value: Json })[] };

const condition: PhaseActivities<WhenParams> = {
  async run({ conditions }) {
    for (const { output, words, value } of conditions) {
      const found = `${output} is ${show(value)}, expected ${words}`;
      const holds = meets(settleExpectation({ words }), value);
      // Nothing to compare is no answer: neither to run the step nor to leave it out.
      if (holds === undefined) return { verdict: 'inconclusive', summary: found };
      if (!holds) return { verdict: 'pass', summary: found, leaveOut: true };
    }
    return {
      verdict: 'pass',
      summary: conditions.map(({ output, words }) => `${output} is ${words}`).join(', '),
    };
  },
};

export const when = { when: condition };
