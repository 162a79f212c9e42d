/** The runbook: a YAML file that says what to do. Read from top to bottom, without jumps, loops or scripts. */
import { z } from 'zod';
import { Collector } from './collector.ts';
import type { ApprovalAsked } from './environment.ts';
import type { Added, Scope } from './include.ts';
import type { ProcedureName } from './index.ts';
import type { Objective } from './objectives.ts';
import { type ParamDeclaration, checkParam } from './params.ts';
import type { Json, When, WhenOutput } from './plan.ts';
import { PlanProblem, type Problem } from './problem.ts';
import { type Entry, type Single, includeSchema, runbookSchema } from './runbook-schema.ts';
import { problemsOf, show } from './schema.ts';
import { checkConditions, splitConditions } from './when.ts';
import { type Path, type Source, readYaml } from './yaml.ts';

/** What stands for the file of a text that has none, as a request brings it; its `name` is free. */
export const TEXT_FILE = 'your text';
/** A file of this name says nothing of what is in it: its `name` is free, too. */
const ANY_FILE = 'runbook.yaml';

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
  whenOutputs: (WhenOutput & { path?: Path; scope?: Scope })[];
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
  /** Each becomes a plan of its own. */
  followUps: { afterMs: number; step: RunbookStep }[];
  /** The text with the place of everything in it, for the problems that only an environment shows. */
  source: Source;
};

/** The runbook that the text describes, every default filled in. Throws PlanProblem with all that is wrong. */
export function parseRunbook(text: string, file: string): Runbook {
  const source = readYaml(text, file);
  const parsed = runbookSchema.safeParse(source.value);
  if (!parsed.success) {
    const at = { base: [], value: source.value, code: 'RunbookInvalid' as const };
    throw new PlanProblem(problemsOf(unfolded(parsed.error, source.value), source, at));
  }
  const { name, description, params, rollback, steps, followUp = [] } = parsed.data;
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
    followUps: followUp.map(({ after, ...step }, index) => ({
      afterMs: after,
      step: stepOf(step, ['followUp', index]),
    })),
    source,
  };
  const found = new Collector(source);
  found.push([...checkName(runbook, file), ...checkIds(runbook), ...checkDefaults(runbook)]);
  const all = { ...runbook, steps: [...runbook.steps, ...runbook.followUps.map(({ step }) => step)] };
  checkConditions(all, found);
  takeIncludes(all, found);
  found.finish();
  return runbook;
}

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

function stepOf(entry: Single, path: Path): RunbookStep {
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

function checkIds({ steps, blocks, followUps, source }: Runbook): Problem[] {
  const entries = [...steps, ...blocks, ...followUps.map(({ step }) => step)].toSorted(
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
