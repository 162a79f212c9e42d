/** `countdown run PLAN`: starts a run; `--watch` follows it. */
import { randomUUID } from 'node:crypto';
import type { StartBody } from '../client.ts';
import { type CommandContext, readDuration, runNumber } from '../context.ts';
import { UsageError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { planLines } from '../view/plan.ts';
import { typed } from '../view/style.ts';
import { stateText } from '../view/waits.ts';
import type { PlanWire } from '../wire.ts';
import { type Command, type Values, stringOf } from './command.ts';
import { makePlan } from './plan.ts';
import { watchFromCommand } from './watch.ts';

export const run: Command = {
  usage:
    'run PLAN|RUNBOOK [--env ENVIRONMENT] [--watch] [--at TIME] [--not-after TIME] [--wait 1h] [--ready-check] [--fail-at STEP/PHASE] [--key KEY]',
  about: 'Start a run. Without a terminal it takes only the name of a plan, 12 digits or more.',
  options: {
    env: { type: 'string', short: 'e' },
    param: { type: 'string', multiple: true },
    watch: { type: 'boolean', short: 'w' },
    'fail-at': { type: 'string' },
    at: { type: 'string' },
    'not-after': { type: 'string' },
    wait: { type: 'string' },
    'ready-check': { type: 'boolean' },
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
    const key = stringOf(values, 'key') ?? randomUUID();
    const started = await context.client().start({ plan: plan.plan, ...wishes(values) }, key);
    if (values['watch'] === true) {
      context.say(stateText(started));
      return watchFromCommand(context, started.run, values);
    }
    const look = typed(context.style, `watch ${started.run}`);
    context.answer(() => [`${stateText(started)} Look at it:  ${look}`], started);
    return EXIT.succeeded;
  },
};

/** What the options say of the start. Throws UsageError for a wait that is no duration. */
function wishes(values: Values): Omit<StartBody, 'plan'> {
  const failAt = stringOf(values, 'fail-at');
  const at = stringOf(values, 'at');
  const notAfter = stringOf(values, 'not-after');
  const wait = stringOf(values, 'wait');
  return {
    ...(failAt === undefined ? {} : { failAt }),
    ...(at === undefined ? {} : { at }),
    ...(notAfter === undefined ? {} : { notAfter }),
    ...(wait === undefined ? {} : { waitMs: readDuration(wait) }),
    ...(values['ready-check'] === true ? { readyCheck: true as const } : {}),
  };
}

export const ready: Command = {
  usage: 'ready RUN',
  about: 'Say that you are there to approve a run that was asked for with --ready-check.',
  takes: { least: 1, most: 1 },
  async run(context, [number]) {
    const started = await context.client().ready(runNumber(number));
    context.answer(() => [`Counted: you are ready. ${stateText(started)}`], started);
    return EXIT.succeeded;
  },
};

async function planNamed(context: CommandContext, name: string, values: Values): Promise<PlanWire> {
  if (/^[0-9a-f]{12,64}$/.test(name)) {
    const plan = await context.client().plan(name);
    checkPlanned(plan, values);
    return plan;
  }
  if (context.terminal.ask === undefined) {
    throw new UsageError(
      `Without a terminal run takes only the name of a plan, its first 12 digits, not '${name}': make it with ${typed(context.style, `plan ${name} --env ${stringOf(values, 'env') ?? 'ENVIRONMENT'}`)}`,
    );
  }
  return makePlan(context, name, values);
}

/** A plan says where and with which params. Throws UsageError where the options say something else. */
function checkPlanned({ plan, environment }: PlanWire, values: Values): void {
  const name = plan.slice(0, 12);
  const env = stringOf(values, 'env');
  if (env !== undefined && env !== environment)
    throw new UsageError(
      `Plan ${name} is for ${environment}, not ${env}: leave --env out, or plan for ${env}.`,
    );
  if (values['param'] !== undefined)
    throw new UsageError(`Plan ${name} has its params already: leave --param out, or make another plan.`);
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
