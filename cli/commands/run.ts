/** `countdown run PLAN`: starts a run; `--watch` follows it. */
import { randomUUID } from 'node:crypto';
import type { CommandContext } from '../context.ts';
import { UsageError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { planLines } from '../view/plan.ts';
import type { PlanWire } from '../wire.ts';
import { type Command, type Values, stringOf } from './command.ts';
import { makePlan } from './plan.ts';
import { watchFromCommand } from './watch.ts';

export const run: Command = {
  usage: 'run PLAN|RUNBOOK [--env ENVIRONMENT] [--watch] [--fail-at STEP/PHASE] [--key KEY]',
  about: 'Start a run. Without a terminal it takes only the name of a plan, 12 digits or more.',
  options: {
    env: { type: 'string', short: 'e' },
    param: { type: 'string', multiple: true },
    watch: { type: 'boolean', short: 'w' },
    'fail-at': { type: 'string' },
    timeout: { type: 'string' },
    key: { type: 'string' },
  },
  takes: { least: 1, most: 1 },
  async run(context, [name], values) {
    const plan = await planNamed(context, name ?? '', values);
    if (!(await isConfirmed(context, plan))) {
      context.say('Nothing was started.');
      return EXIT.clientError;
    }
    const failAt = stringOf(values, 'fail-at');
    const started = await context
      .client()
      .start(
        { plan: plan.plan, ...(failAt === undefined ? {} : { failAt }) },
        stringOf(values, 'key') ?? randomUUID(),
      );
    if (values['watch'] === true) return watchFromCommand(context, started.run, values);
    context.answer(
      () => [`run ${started.run} is ${started.state}. Look at it:  countdown watch ${started.run}`],
      started,
    );
    return EXIT.succeeded;
  },
};

async function planNamed(context: CommandContext, name: string, values: Values): Promise<PlanWire> {
  if (/^[0-9a-f]{12,64}$/.test(name) && stringOf(values, 'env') === undefined)
    return context.client().plan(name);
  if (context.terminal.ask === undefined) {
    throw new UsageError(
      `Without a terminal run takes only the name of a plan, not '${name}': make it with countdown plan.`,
    );
  }
  return makePlan(context, name, values);
}

/** On a terminal a person types the environment's name; elsewhere the plan's name is the confirmation. */
async function isConfirmed(context: CommandContext, plan: PlanWire): Promise<boolean> {
  const { ask, err } = context.terminal;
  if (ask === undefined) return true;
  err.write(
    `${planLines(plan, { ...context.style, colour: false })
      .slice(0, -1)
      .join('\n')}\n`,
  );
  return (await ask(`Type ${plan.environment} to start: `)).trim() === plan.environment;
}
