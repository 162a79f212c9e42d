/** The runbook: a YAML file that says what to do. Read from top to bottom, without jumps, loops or scripts. */
import { z } from 'zod';
import { approvalSchema } from './approval-asked.ts';
import { Collector } from './collector.ts';
import type { ApprovalAsked } from './environment.ts';
import { LATER_KINDS, PROCEDURE_NAMES, type ProcedureName, isProcedureName } from './index.ts';
import { DAY_MS, ROLLBACK_WITHIN_MS, SECOND_MS, STEPS_MAX } from './limits.ts';
import { nearest } from './nearest.ts';
import { PARAM_NAME, PARAM_NAME_FORM, type ParamDeclaration, checkParam, paramsSchema } from './params.ts';
import type { Json, When } from './plan.ts';
import { PlanProblem, type Problem } from './problem.ts';
import { durationSchema, exact, later, lineSchema, listOr, nameSchema, problemsOf, show } from './schema.ts';
import { checkConditions } from './when.ts';
import { type Source, readYaml } from './yaml.ts';

/** The file name under which a text without a file of its own is parsed; its `name` is free. */
export const TEXT_FILE = 'runbook.yaml';

const TRIES_MAX = 10;

export type RunbookStep = {
  id: string;
  uses: ProcedureName;
  with: { [key: string]: Json };
  /** The step is in the plan where this holds. */
  when?: When;
  approval?: ApprovalAsked;
  /** A window of the environment in which it may start. */
  window?: string;
  onFail: 'unwind' | 'ask';
  /** Milliseconds that one attempt of each of its phases may take; else the kind's own. */
  timeoutMs?: number;
  /** Tries of each of its phases; else the kind's own. */
  tries?: number;
};

export type Runbook = {
  name: string;
  description?: string;
  params: Record<string, ParamDeclaration>;
  rollback: { withinMs: number };
  steps: RunbookStep[];
  /** The text with the place of everything in it, for the problems that only an environment shows. */
  source: Source;
};

const kindSchema = z
  .string('a kind of step')
  .superRefine((kind, context) => {
    if (isProcedureName(kind)) return;
    if (LATER_KINDS.includes(kind)) {
      const message = `Steps of kind ${kind} come with a later version, expected ${listOr(PROCEDURE_NAMES)}.`;
      const params = { code: 'NotSupported', hint: 'take the step away' };
      return context.addIssue({ code: 'custom', message, params });
    }
    const near = nearest(kind, PROCEDURE_NAMES);
    const message = `There is no kind ${show(kind)}, expected ${listOr(PROCEDURE_NAMES)}.`;
    context.addIssue({
      code: 'custom',
      message,
      params: near === undefined ? {} : { hint: `write ${near}` },
    });
  })
  .meta({ enum: PROCEDURE_NAMES });

const whenSchema = exact({
  param: z.string().regex(PARAM_NAME, PARAM_NAME_FORM).describe('A param of this runbook.'),
  is: z
    .union([z.string(), z.number(), z.boolean()], { error: 'a value of the param' })
    .describe('The value with which the step is in the plan.'),
  output: later(
    'when on an output comes with a later version: a plan knows params alone.',
    'write  when: { param: NAME, is: VALUE }',
  ),
});

const stepSchema = exact({
  id: nameSchema
    .refine((id) => id !== 'params', {
      error: "A step cannot be named 'params', since $(params.x) is a param.",
      params: { hint: 'use another id' },
    })
    .describe('Unique in the runbook; outputs are named by it, as in $(id.output).'),
  uses: kindSchema.describe('The kind of step.'),
  with: z.record(z.string(), z.json()).default({}).describe('What the kind takes.'),
  when: whenSchema.exactOptional().describe('The step is in the plan only where a param has this value.'),
  approval: approvalSchema
    .exactOptional()
    .describe('Who must give leave before the first effect; the environment says what is asked at least.'),
  onFail: z
    .enum(['unwind', 'ask'])
    .default('unwind')
    .describe('What follows a failure: unwind, or ask a person for 30m and then unwind.'),
  timeout: durationSchema({ ms: SECOND_MS }, { ms: DAY_MS })
    .exactOptional()
    .describe('Time for one attempt of each of its phases, 1s to 24h. Default the kind’s own.'),
  tries: z
    .int()
    .min(1)
    .max(TRIES_MAX)
    .exactOptional()
    .describe('Tries of each of its phases, with a probe between them. Default the kind’s own, 3.'),
  parallel: later('parallel comes with a later version.', 'write its steps one below the other'),
  window: nameSchema
    .exactOptional()
    .describe('A window of the environment. Comes with a later version: a plan refuses it.'),
  rollback: later('rollback on a step comes with a later version.', 'write it once, beside steps'),
});

/** The file, key by key. What only the whole shows (ids, references) is checked after it. */
export const runbookSchema = exact({
  name: nameSchema.describe('The name of the file, without .yaml.'),
  description: lineSchema(500).exactOptional().describe('One line for lists of runbooks.'),
  params: paramsSchema.default({}).describe('What a run is given; used as $(params.name).'),
  rollback: exact({
    within: durationSchema({ ms: SECOND_MS }, { ms: 7 * DAY_MS })
      .default(ROLLBACK_WITHIN_MS)
      .describe('The time that a whole unwinding may take. Default 1h.'),
  })
    .default({ within: ROLLBACK_WITHIN_MS })
    .describe('The rollback objective.'),
  steps: z
    .array(stepSchema, 'a list of steps')
    .min(1, 'at least 1 step')
    .max(STEPS_MAX, `at most ${STEPS_MAX} steps`)
    .describe('What is done, in the order written.'),
  followUp: later(
    'followUp comes with a later version.',
    'take it away, and write a runbook of its own for later',
  ),
});

/** The runbook that the text describes, every default filled in. Throws PlanProblem with all that is wrong. */
export function parseRunbook(text: string, file: string): Runbook {
  const source = readYaml(text, file);
  const parsed = runbookSchema.safeParse(source.value);
  if (!parsed.success) {
    const at = { base: [], value: source.value, code: 'RunbookInvalid' as const };
    throw new PlanProblem(withoutEchoes(problemsOf(parsed.error, source, at)));
  }
  const { name, description, params, rollback, steps } = parsed.data;
  const runbook: Runbook = {
    name,
    ...(description === undefined ? {} : { description }),
    params: params as Record<string, ParamDeclaration>,
    rollback: { withinMs: rollback.within },
    steps: steps.map(({ timeout, ...step }) => ({
      id: step.id,
      uses: step.uses as ProcedureName,
      with: step.with as { [key: string]: Json },
      onFail: step.onFail,
      ...(step.when === undefined ? {} : { when: step.when }),
      ...(step.approval === undefined ? {} : { approval: step.approval }),
      ...(step.window === undefined ? {} : { window: step.window }),
      ...(timeout === undefined ? {} : { timeoutMs: timeout }),
      ...(step.tries === undefined ? {} : { tries: step.tries }),
    })),
    source,
  };
  const found = new Collector(source);
  found.push([...checkName(runbook, file), ...checkIds(runbook), ...checkDefaults(runbook)]);
  checkConditions(runbook, found);
  found.finish();
  return runbook;
}

/**
 * An entry with `parallel` has no `uses`, and a condition on an output has no `param`: to say so would only hide why it is
 * refused.
 */
function withoutEchoes(problems: Problem[]): Problem[] {
  const pointers = problems.map(({ pointer }) => pointer);
  return problems.filter(({ pointer }) => {
    const owner = pointer.slice(0, pointer.lastIndexOf('/'));
    if (pointer.endsWith('/uses')) return !pointers.includes(`${owner}/parallel`);
    const output = `${owner}/output`;
    return !owner.endsWith('/when') || pointer === output || !pointers.includes(output);
  });
}

function checkName({ name, source }: Runbook, file: string): Problem[] {
  const own = file.slice(file.lastIndexOf('/') + 1);
  const expected = own.replace(/\.ya?ml$/, '');
  if (own === TEXT_FILE || name === expected) return [];
  const message = `The name is '${name}', expected '${expected}': a runbook has the name of its file.`;
  return [{ ...source.place(['name']), code: 'RunbookInvalid', message, hint: `write  name: ${expected}` }];
}

function checkIds({ steps, source }: Runbook): Problem[] {
  return steps.flatMap(({ id }, index) => {
    const first = steps.findIndex((step) => step.id === id);
    if (first === index) return [];
    const line = source.place(['steps', first, 'id']).line;
    const message = `Step '${id}' stands here a second time, first in line ${line}, expected each id once.`;
    return [
      {
        ...source.place(['steps', index, 'id']),
        code: 'RunbookInvalid' as const,
        message,
        hint: 'use another id',
      },
    ];
  });
}

function checkDefaults({ params, source }: Runbook): Problem[] {
  return Object.entries(params).flatMap(([name, declaration]) => {
    if (declaration.default === undefined) return [];
    const checked = checkParam(declaration, declaration.default);
    if ('value' in checked) return [];
    const place = source.place(['params', name, 'default']);
    const message = `The default of param '${name}' is ${show(declaration.default)}, expected ${checked.expected}.`;
    return [
      { ...place, code: 'RunbookInvalid' as const, message, hint: 'correct it, or take the default away' },
    ];
  });
}
