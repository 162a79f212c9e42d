/** The runbook: a YAML file that says what to do. Read from top to bottom, without jumps, loops or scripts. */
import { z } from 'zod';
import { approvalSchema } from './approval-asked.ts';
import { Collector } from './collector.ts';
import type { ApprovalAsked } from './environment.ts';
import type { Added, Scope } from './include.ts';
import { LATER_KINDS, PROCEDURE_NAMES, type ProcedureName, isProcedureName } from './index.ts';
import { DAY_MS, ROLLBACK_WITHIN_MS, SECOND_MS, STEPS_MAX } from './limits.ts';
import { nearest } from './nearest.ts';
import type { Objective } from './objectives.ts';
import { type ParamDeclaration, checkParam, paramsSchema } from './params.ts';
import type { Json, When, WhenOutput } from './plan.ts';
import { PlanProblem, type Problem } from './problem.ts';
import {
  durationSchema,
  exact,
  later,
  lineSchema,
  listOr,
  nameSchema,
  problemsOf,
  refusedKey,
  show,
} from './schema.ts';
import { checkConditions, splitConditions, whenSchema } from './when.ts';
import { type Path, type Source, readYaml } from './yaml.ts';

/** What stands for the file of a text that has none, as a request brings it; its `name` is free. */
export const TEXT_FILE = 'your text';
/** A file of this name says nothing of what is in it: its `name` is free, too. */
const ANY_FILE = 'runbook.yaml';

const TRIES_MAX = 10;
/** Steps beside each other in one block. */
const BRANCHES_MAX = 10;

export type RunbookStep = {
  id: string;
  /** Where it stands in the file. */
  path: Path;
  /** The block of parallel steps in which it is a branch. */
  block?: string;
  uses: ProcedureName | 'runbook';
  /** Where it uses another runbook: that one's name, and its params. */
  include?: { runbook: string; params: Record<string, Json> };
  with: { [key: string]: Json };
  /** The step is in the plan where all of these hold: its own, and that of its block. */
  when: When[];
  /** While the run goes on it is left out where one of these does not hold. */
  whenOutputs: (WhenOutput & { path?: Path })[];
  approval?: ApprovalAsked;
  /** A window of the environment in which it may start, and where that is written: at the step, or at its block. */
  window?: { name: string; path: Path };
  onFail: 'unwind' | 'ask';
  /** The time in which it alone must be able to be taken back: its own, else that of its block. */
  rollback?: Objective;
  /** Milliseconds that one attempt of each of its phases may take; else the kind's own. */
  timeoutMs?: number;
  /** Tries of each of its phases; else the kind's own. */
  tries?: number;
};

/** A step with the ids, paths and references of the whole plan. */
export type PlacedStep = RunbookStep & {
  /** The params that its references name. */
  scope: Scope;
  /** The branch of its block: the same for all steps of a runbook that is used there. */
  branch?: string;
  /** Approvals that steps around it add. */
  added?: readonly Added[];
};

/** A step of the plan, every runbook that is used put in its place. */
export type PlainStep = PlacedStep & { uses: ProcedureName };

/** Steps beside each other: asked about once, and all of them ended before the next entry begins. */
export type Block = {
  id: string;
  path: Path;
  approval?: ApprovalAsked;
  /** Approvals that steps around it add. */
  added?: readonly Added[];
  rollback?: Objective;
};

export type Runbook = {
  name: string;
  description?: string;
  params: Record<string, ParamDeclaration>;
  rollback: { withinMs: number };
  /** Every step in the order written, branches of a block one after the other. */
  steps: RunbookStep[];
  blocks: Block[];
  /** The text with the place of everything in it, for the problems that only an environment shows. */
  source: Source;
};

/** What may stand after `uses`. */
const USABLE: readonly string[] = [...PROCEDURE_NAMES, 'runbook'].toSorted();

/** What `with` takes where a step uses another runbook. */
export const includeSchema = exact({
  runbook: nameSchema.describe('The name of a shipped runbook.'),
  params: z.record(z.string(), z.json()).default({}).describe('Its params by name.'),
});

const kindSchema = z
  .string('a kind of step')
  .superRefine((kind, context) => {
    if (isProcedureName(kind) || kind === 'runbook') return;
    if (LATER_KINDS.includes(kind)) {
      const message = `Steps of kind ${kind} come with a later version, expected ${listOr(USABLE)}.`;
      const params = { code: 'NotSupported', hint: 'take the step away' };
      return context.addIssue({ code: 'custom', message, params });
    }
    const near = nearest(kind, USABLE);
    const message = `There is no kind ${show(kind)}, expected ${listOr(USABLE)}.`;
    context.addIssue({
      code: 'custom',
      message,
      params: near === undefined ? {} : { hint: `write ${near}` },
    });
  })
  .meta({ enum: USABLE });

const idSchema = nameSchema
  .refine((id) => id !== 'params', {
    error: "A step cannot be named 'params', since $(params.x) is a param.",
    params: { hint: 'use another id' },
  })
  .describe('Unique in the runbook; outputs are named by it, as in $(id.output).');

const approvalOfStep = approvalSchema
  .exactOptional()
  .describe('Who must give leave before the first effect; the environment says what is asked at least.');
const windowOfStep = nameSchema
  .exactOptional()
  .describe('A window of the environment: the first effect waits until it is open.');
const rollbackOfStep = exact({
  within: durationSchema({ ms: SECOND_MS }, { ms: 7 * DAY_MS }).describe('A duration.'),
})
  .exactOptional()
  .describe('The time in which it must be able to be taken back; at most that of the runbook.');

/** A step's keys in the order in which people write them. In a block `approval` and `parallel` are refused. */
const stepForm = <A extends z.ZodType, P extends z.ZodType>({
  approval,
  parallel,
}: {
  approval: A;
  parallel: P;
}) =>
  exact({
    id: idSchema,
    uses: kindSchema.describe('The kind of step.'),
    with: z.record(z.string(), z.json()).default({}).describe('What the kind takes.'),
    when: whenSchema.exactOptional(),
    approval,
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
    window: windowOfStep,
    rollback: rollbackOfStep,
    parallel,
  });

const stepSchema = stepForm({ approval: approvalOfStep, parallel: z.never().exactOptional() });

const branchSchema = stepForm({
  approval: refusedKey({
    message: 'A branch asks for no approval of its own, expected one approval of the whole block.',
    hint: 'write it beside parallel',
  }),
  parallel: refusedKey({
    message: 'parallel stands inside parallel, expected steps that use a kind.',
    hint: 'put its steps into the block around it',
  }),
});

const blockSchema = exact({
  id: idSchema,
  parallel: z
    .array(branchSchema, 'a list of steps')
    .min(2, 'at least 2 steps')
    .max(BRANCHES_MAX, `at most ${BRANCHES_MAX} steps`)
    .describe('Steps beside each other. The next entry begins when all of them have ended.'),
  when: whenSchema.exactOptional(),
  approval: approvalOfStep,
  window: windowOfStep,
  rollback: rollbackOfStep,
  uses: refusedKey({
    message: 'The entry has uses and parallel, expected one of the two.',
    hint: 'put the step that uses it into parallel, or above',
  }),
});

/** Exactly one of `uses` and `parallel`; which of the two says which keys there are. */
const entrySchema = z.union([stepSchema, blockSchema]);

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
    .array(entrySchema, 'a list of steps')
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
    throw new PlanProblem(problemsOf(unfolded(parsed.error, source.value), source, at));
  }
  const { name, description, params, rollback, steps } = parsed.data;
  const runbook: Runbook = {
    name,
    ...(description === undefined ? {} : { description }),
    params: params as Record<string, ParamDeclaration>,
    rollback: { withinMs: rollback.within },
    steps: steps.flatMap((entry, index) => stepsOf(entry, ['steps', index])),
    blocks: steps.flatMap((entry, index): Block[] => {
      if (!('parallel' in entry)) return [];
      const { id, approval, rollback: own } = entry;
      const path = ['steps', index];
      return [{ id, path, ...(approval === undefined ? {} : { approval }), ...objectiveOf(own, path) }];
    }),
    source,
  };
  const found = new Collector(source);
  found.push([...checkName(runbook, file), ...checkIds(runbook), ...checkDefaults(runbook)]);
  checkConditions(runbook, found);
  takeIncludes(runbook, found);
  found.finish();
  return runbook;
}

type Entry = z.output<typeof entrySchema>;
type Branch = z.output<typeof branchSchema>;

function stepsOf(entry: Entry, path: Path): RunbookStep[] {
  if (!('parallel' in entry)) return [stepOf(entry, path)];
  const { id, parallel, when, window, rollback } = entry;
  return parallel.map((branch, index): RunbookStep => {
    const step = stepOf(branch, [...path, 'parallel', index]);
    const inherited = splitConditions(when);
    return {
      ...objectiveOf(rollback, path),
      ...step,
      block: id,
      ...(step.window !== undefined || window === undefined
        ? {}
        : { window: { name: window, path: [...path, 'window'] } }),
      when: [...inherited.when, ...step.when],
      whenOutputs: [...inherited.whenOutputs, ...step.whenOutputs],
    };
  });
}

function stepOf(entry: z.output<typeof stepSchema> | Branch, path: Path): RunbookStep {
  const { id, uses, when, onFail, window, timeout, tries, rollback } = entry;
  const approval = entry.approval as ApprovalAsked | undefined;
  return {
    id,
    path,
    uses: uses as RunbookStep['uses'],
    with: entry.with,
    onFail,
    ...splitConditions(when),
    ...(approval === undefined ? {} : { approval }),
    ...(window === undefined ? {} : { window: { name: window, path: [...path, 'window'] } }),
    ...objectiveOf(rollback, path),
    ...(timeout === undefined ? {} : { timeoutMs: timeout }),
    ...(tries === undefined ? {} : { tries }),
  };
}

function objectiveOf(rollback: { within: number } | undefined, path: Path): { rollback?: Objective } {
  if (rollback === undefined) return {};
  return { rollback: { withinMs: rollback.within, path: [...path, 'rollback', 'within'] } };
}

/** Of an entry that fits neither form the problems of the form that was meant: `parallel` says which. */
function unfolded(error: z.ZodError, value: unknown): z.ZodError {
  const issues = error.issues.flatMap((issue): z.core.$ZodIssue[] => {
    if (issue.code !== 'invalid_union' || issue.path[0] !== 'steps' || issue.path.length !== 2)
      return [issue];
    const entry = (value as { steps: unknown[] }).steps[issue.path[1] as number];
    const isBlock = entry !== null && typeof entry === 'object' && Object.hasOwn(entry, 'parallel');
    const own = (issue.errors as z.core.$ZodIssue[][])[isBlock ? 1 : 0] ?? [];
    // A block in a block has no `uses`: to say so would only hide why it is refused.
    const nested = own.flatMap(({ path }) =>
      path.at(-1) === 'parallel' ? [path.slice(0, -1).join('/')] : [],
    );
    return own
      .filter(({ path }) => path.at(-1) !== 'uses' || !nested.includes(path.slice(0, -1).join('/')))
      .map((one) => ({ ...one, path: [...issue.path, ...one.path] }));
  });
  return new z.ZodError(issues);
}

function checkName({ name, source }: Runbook, file: string): Problem[] {
  const own = file.slice(file.lastIndexOf('/') + 1);
  const expected = own.replace(/\.ya?ml$/, '');
  if (own === TEXT_FILE || own === ANY_FILE || name === expected) return [];
  const message = `The name is '${name}', expected '${expected}': a runbook has the name of its file.`;
  return [{ ...source.place(['name']), code: 'RunbookInvalid', message, hint: `write  name: ${expected}` }];
}

function checkIds({ steps, blocks, source }: Runbook): Problem[] {
  const entries = [...steps, ...blocks].toSorted(
    (one, other) => placeOf(source, one) - placeOf(source, other),
  );
  return entries.flatMap(({ id, path }, index) => {
    const first = entries.find((entry) => entry.id === id);
    if (first === undefined || first === entries[index]) return [];
    const line = source.place([...first.path, 'id']).line;
    const message = `Step '${id}' stands here a second time, first in line ${line}, expected each id once.`;
    const place = source.place([...path, 'id']);
    return [{ ...place, code: 'RunbookInvalid' as const, message, hint: 'use another id' }];
  });
}

const placeOf = (source: Source, { path }: { path: Path }): number => source.place([...path, 'id']).line;

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

/** Reads what steps that use a runbook take, and notes keys that cannot stand beside them. */
function takeIncludes({ steps, source }: Runbook, found: Collector): void {
  for (const step of steps.filter(({ uses }) => uses === 'runbook')) {
    const parsed = includeSchema.safeParse(step.with);
    if (parsed.success) step.include = parsed.data;
    else {
      const at = { base: [...step.path, 'with'], value: step.with, code: 'RunbookInvalid' as const };
      found.push(problemsOf(parsed.error, source, at));
    }
    const ownRollback = step.rollback !== undefined && step.rollback.path.length === step.path.length + 2;
    const refused = [
      ['timeout', step.timeoutMs !== undefined],
      ['tries', step.tries !== undefined],
      ['rollback', ownRollback],
    ] as const;
    for (const [key] of refused.filter(([, stands]) => stands)) {
      const message = `${key} stands beside uses: runbook, expected it at the steps of that runbook.`;
      found.add([...step.path, key], { message, hint: 'take it away, or write it there', part: 'key' });
    }
  }
}
