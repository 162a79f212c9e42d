/** `countdown check RUNBOOK --env NAME`: looks at what a run would meet, and changes nothing. */
import { randomUUID } from 'node:crypto';
import type { CommandContext } from '../context.ts';
import { COLUMNS_MAX, cut, plural, safe } from '../view/style.ts';
import type { CheckWire } from '../wire.ts';
import type { Command } from './command.ts';
import { inFile, planRequest } from './plan.ts';
import { watchFromCommand } from './watch.ts';

export const check: Command = {
  usage: 'check RUNBOOK|FILE.yaml --env ENVIRONMENT [--param NAME=VALUE] [--timeout 30m]',
  about:
    'Look at what a run would meet: the phases that change nothing, for real. Leaves with 5 where one is red.',
  options: {
    env: { type: 'string', short: 'e' },
    param: { type: 'string', multiple: true },
    timeout: { type: 'string' },
  },
  takes: { least: 1, most: 1 },
  async run(context, [runbook = ''], values) {
    const request = await planRequest(runbook, values);
    const started = await inFile(runbook, () => context.client().check(request, randomUUID()));
    for (const line of checkLines(started, context)) context.say(line);
    return watchFromCommand(context, started.run, values);
  },
};

/** What is looked at, and what is not. Messages, not the answer: that is the run. */
function checkLines({ run, checked, notChecked }: CheckWire, { style }: CommandContext): string[] {
  return [
    `run ${run} looks at ${plural(checked.length, 'step')} and changes nothing: ${checked.join(', ')}`,
    ...notChecked.map(({ id, kind, because }) => `Not checked  ${id}  ${kind}  ${safe(because)}`),
  ].map((line) => cut(style, line, COLUMNS_MAX));
}
