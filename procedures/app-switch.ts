/**
 * app.switch: sets a switch and reads it back.
 *
 *   read   what it says now; no effect, and an approval binds to it
 *   set    undo: what `read` found
 *
 * The last value of a switch with more than two opens the target for writes. What is written there is lost on the way
 * back, so that value is set only below a point of no return.
 */
import { z } from 'zod';
import { MINUTE_MS, SECOND_MS } from './limits.ts';
import { nearest } from './nearest.ts';
import { type Procedure, callOf, targetOf } from './procedure.ts';
import { exact, listOr, nameSchema } from './schema.ts';
import { setByHand } from './set-by-hand.ts';

const params = exact({
  switch: nameSchema.describe('Target of kind switch.'),
  to: z.string().describe('One of its values.'),
});

const output = z.object({ found: z.string() });

export const appSwitch: Procedure<typeof params> = {
  kind: 'app.switch',
  summary: 'sets a switch and reads it back',
  params,
  output,
  plan(input) {
    const {
      step,
      params: { switch: name, to },
    } = input;
    const target = targetOf(input, ['switch'], name, 'switch');
    if (target === undefined) return [];
    if (!target.values.includes(to)) {
      const near = nearest(to, target.values);
      input.refuse({
        field: ['to'],
        message: `Switch '${name}' has no value '${to}', expected ${listOr(target.values)}.`,
        ...(near === undefined ? {} : { hint: `write ${near}` }),
      });
      return [];
    }
    if (target.values.length > 2 && to === target.values.at(-1) && !input.belowPointOfNoReturn) {
      input.refuse({
        field: ['to'],
        code: 'PointOfNoReturn',
        message: `'${to}' opens ${name} for writes that no undo could keep, expected a point of no return above this step.`,
        hint: 'put a step above it:  { id: keep, uses: point-of-no-return, with: { because: … } }',
      });
    }
    const found = `$(${step}.found)`;
    return [
      {
        name: 'read',
        title: `Read ${name}`,
        effect: 'none',
        targets: [name],
        run: callOf('app.switch', 'read', 'run', { switch: name, to }),
        expected: { runMs: 100, undoMs: 0 },
        limits: { timeoutMs: MINUTE_MS, attempts: 3 },
      },
      {
        name: 'set',
        title: `Set ${name} to ${to}`,
        effect: 'reversible',
        targets: [name],
        run: callOf('app.switch', 'set', 'run', { switch: name, to, from: found }),
        undo: callOf('app.switch', 'set', 'undo', { switch: name, to: found, from: to }),
        undoTitle: `Set ${name} to what it was before`,
        byHand: setByHand(name, { from: to, to: found }),
        probe: callOf('app.switch', 'set', 'probe', { switch: name, to, from: found }),
        expected: { runMs: SECOND_MS, undoMs: SECOND_MS },
        limits: { timeoutMs: 2 * MINUTE_MS },
      },
    ];
  },
};
