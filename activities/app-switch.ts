/**
 * app.switch: sets a switch and reads it back.
 *
 *   read   what it says now; nothing changes, and an approval binds to it
 *   set    PUT with the ETag that was read; undo puts back what `read` found
 */
import type { PhaseActivities } from './phase.ts';
import { list, openSwitch } from './lib/switch-client.ts';
import { fail } from './lib/fail.ts';

type ReadParams = { switch: string; to: string };
type SetParams = { switch: string; to: string; from: string };

const read: PhaseActivities<ReadParams> = {
  async run(params, context) {
    const client = await openSwitch(params.switch, context);
    if (!client.values.includes(params.to)) {
      throw fail(
        'PreconditionFailed',
        `Switch '${params.switch}' has no value '${params.to}'; it has ${list(client.values)}.`,
      );
    }
    const { value } = await client.read();
    return {
      verdict: 'pass',
      summary: `${params.switch} says ${value}`,
      output: { found: value },
      binds: { found: value },
    };
  },
};

const set: PhaseActivities<SetParams> = {
  async run(params, context) {
    const client = await openSwitch(params.switch, context);
    await client.set({ to: params.to, from: [params.from] });
    return { verdict: 'pass', summary: `${params.switch} says ${params.to}` };
  },

  async probe(params, context) {
    const client = await openSwitch(params.switch, context);
    const value = await client.probe();
    const answer = value === params.to ? 'yes' : value === params.from ? 'no' : 'unknown';
    return { answer, summary: `${params.switch} says ${value}` };
  },

  /** Where `set` never ran the switch says what `read` found, and setting it again changes nothing. */
  async undo(params, context) {
    const client = await openSwitch(params.switch, context);
    await client.set({ to: params.to, from: [params.from], otherwise: 'UndoFailed' });
    return { verdict: 'pass', summary: `${params.switch} says ${params.to} again` };
  },
};

export const appSwitch = { read, set };
