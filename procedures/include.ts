/**
 * `uses: runbook`: the steps of a shipped runbook join the plan under the id of the step that uses it, as `prepare.hold`.
 * There is one undo stack and one point of no return in all; what is inherited is added to each step. What comes out is a
 * runbook without such steps, each step with the params of the runbook that it was written in.
 */
import type { Collector } from './collector.ts';
import type { ApprovalAsked } from './environment.ts';
import { STEPS_MAX } from './limits.ts';
import { type GivenParams, type ParamDeclaration, takeParams } from './params.ts';
import type { Json, LeftOutStep } from './plan.ts';
import { PlanProblem } from './problem.ts';
import { badReference, fillParams, prefixReferences, unescapeAll } from './references.ts';
import type { Block, PlacedStep, PlainStep, Runbook, RunbookStep } from './runbook.ts';
import type { Sources } from './sources.ts';
import { failingCondition } from './when.ts';
import type { Path } from './yaml.ts';

/** A shipped runbook by its name; undefined where there is none. Throws PlanProblem for one that cannot be read. */
export type Runbooks = (name: string) => Runbook | undefined;

/** Params of the runbook in which a step is written. */
export type Scope = {
  values: Readonly<Record<string, Json>>;
  declared: Readonly<Record<string, ParamDeclaration>>;
};

/** An approval that a step with `uses: runbook` adds, and where it stands. */
export type Added = { asked: ApprovalAsked; path: Path };

/** One runbook on the way down: the first is that of the plan. */
type Level = {
  runbook: Runbook;
  scope: Scope;
  /** Before its ids: empty, or `prepare.`. */
  prefix: string;
  /** Before its paths. */
  base: Path;
  /** Names from the plan's runbook down to this one. */
  chain: readonly string[];
  /** The step that uses it, with what that one inherits itself. */
  above?: Inherited;
};

type Inherited = Pick<
  PlacedStep,
  'added' | 'window' | 'onFail' | 'whenOutputs' | 'block' | 'branch' | 'rollback'
>;

export type Expanded = {
  steps: PlainStep[];
  blocks: Block[];
  leftOut: LeftOutStep[];
  /** The included runbooks by name. */
  includes: Record<string, Runbook>;
};

/** Runbooks inside each other, that of the plan not counted. */
export const LEVELS_MAX = 4;

/** Throws PlanProblem at once where there are too many steps; notes everything else. */
export function expand(
  runbook: Runbook,
  values: Record<string, Json>,
  { runbooks, sources, found }: { runbooks: Runbooks; sources: Sources; found: Collector },
): Expanded {
  const out: Expanded = { steps: [], blocks: [], leftOut: [], includes: {} };
  let opened = 0;

  const walk = (level: Level): void => {
    for (const block of level.runbook.blocks) out.blocks.push(placedBlock(block, level));
    for (const step of level.runbook.steps) {
      const failing = failingCondition(step, level.scope);
      if (failing !== undefined) {
        const value = level.prefix === '' ? {} : { value: level.scope.values[failing.param] ?? null };
        out.leftOut.push({ id: level.prefix + step.id, kind: step.uses, when: failing, ...value });
      }
      if (step.include === undefined || failing === undefined) add(step, level);
    }
  };

  const add = (step: RunbookStep, level: Level): void => {
    const placed = placedStep(step, level);
    const { uses } = placed;
    if (uses !== 'runbook') out.steps.push({ ...placed, uses });
    else {
      opened += 1;
      const inner = open(placed, level);
      if (inner !== undefined) walk(inner);
    }
    if (out.steps.length <= STEPS_MAX && opened <= STEPS_MAX) return;
    const message = `With the runbooks that it uses the runbook has more than ${STEPS_MAX} steps, expected at most ${STEPS_MAX}.`;
    found.add(placed.path, { message, hint: 'write two runbooks' });
    found.finish();
  };

  const open = (step: PlacedStep, level: Level): Level | undefined => {
    const { runbook: name, params } = step.include ?? { runbook: '', params: {} };
    const at = [...step.path, 'with', 'runbook'];
    const chain = [...level.chain, name];
    if (level.chain.includes(name)) {
      const message = `Runbook '${name}' uses itself: ${chain.join(' → ')}.`;
      found.add(at, { message, hint: 'take the step away from one of them' });
      return undefined;
    }
    if (chain.length > LEVELS_MAX + 1) {
      const message = `Runbooks stand inside each other ${chain.length - 1} levels deep, expected at most ${LEVELS_MAX}: ${chain.join(' → ')}.`;
      found.add(at, { message, hint: 'write its steps into the one that uses it' });
      return undefined;
    }
    const inner = readInner(name, at);
    if (inner === undefined) return undefined;
    const [followUp] = inner.followUps;
    if (followUp !== undefined) {
      const message = `Runbook '${name}' has the followUp ${followUp.step.id}, expected one without: it stands in the runbook that is planned.`;
      found.add(at, { message, hint: 'write the followUp beside steps here' });
      return undefined;
    }
    if (step.block !== undefined && !fitsInBranch(inner, step, found)) return undefined;
    out.includes[name] = inner;
    const given = paramsOf(inner, params, [...step.path, 'with', 'params'], level.scope);
    if (given === undefined) return undefined;
    const base = sources.include(inner.source);
    const scope = { values: given, declared: inner.params };
    return { runbook: inner, scope, prefix: `${step.id}.`, base, chain, above: step };
  };

  const readInner = (name: string, at: Path): Runbook | undefined => {
    try {
      const inner = runbooks(name);
      if (inner !== undefined) return inner;
      const message = `There is no runbook '${name}', expected one that is shipped.`;
      found.add(at, { message, hint: 'use the name of a file beside this one, without .yaml' });
    } catch (error) {
      if (!(error instanceof PlanProblem)) throw error;
      found.push(error.problems);
    }
    return undefined;
  };

  const paramsOf = (inner: Runbook, given: Record<string, Json>, at: Path, scope: Scope) => {
    const filled = fillParams(given, scope.values);
    const known = Object.keys(scope.declared);
    for (const one of filled.bad) found.add([...at, ...one.path], badReference(one, known));
    for (const { path, step, output } of filled.outputs) {
      const message = `$(${step}.${output}) cannot be a param of a runbook, expected plain text or params: the plan is made before any step has run.`;
      found.add([...at, ...path], { message, hint: 'write a value' });
    }
    if (filled.bad.length > 0 || filled.outputs.length > 0) return undefined;
    const taken = takeParams(inner.params, unescapeAll(filled.value) as Record<string, Json>);
    for (const one of taken.wrong) noteWrong(one, inner, at);
    return taken.wrong.length > 0 ? undefined : taken.values;
  };

  const noteWrong = (
    { param, isDeclared, message, hint }: GivenParams['wrong'][number],
    { name }: Runbook,
    at: Path,
  ): void => {
    const part = isDeclared ? 'value' : 'key';
    found.add([...at, param], { message: `Runbook '${name}': ${message}`, hint, part });
  };

  walk({
    runbook,
    scope: { values, declared: runbook.params },
    prefix: '',
    base: [],
    chain: [runbook.name],
  });
  return out;
}

function placedBlock(block: Block, { prefix, base, above }: Level): Block {
  return {
    ...block,
    id: prefix + block.id,
    path: [...base, ...block.path],
    ...(above?.added === undefined ? {} : { added: above.added }),
    ...(block.rollback === undefined
      ? {}
      : { rollback: { ...block.rollback, path: [...base, ...block.rollback.path] } }),
  };
}

/** The step with the ids, paths and references of the whole plan, and what it inherits. */
function placedStep(step: RunbookStep, { scope, prefix, base, above }: Level): PlacedStep {
  const at = <T extends { path: Path }>(one: T): T => ({ ...one, path: [...base, ...one.path] });
  const id = prefix + step.id;
  const window = step.window === undefined ? above?.window : at(step.window);
  const rollback = step.rollback === undefined ? above?.rollback : at(step.rollback);
  const isBlocks = step.block !== undefined;
  const block = isBlocks ? prefix + step.block : above?.block;
  const branch = isBlocks ? id : above?.branch;
  const own = step.include !== undefined && step.approval !== undefined;
  const added = [
    ...(above?.added ?? []),
    ...(own && step.approval !== undefined
      ? [{ asked: step.approval, path: [...base, ...step.path, 'approval'] }]
      : []),
  ];
  const whenOutputs = step.whenOutputs.map((one) => ({
    ...one,
    output: prefix + one.output,
    path: [...base, ...step.path, 'when'],
    // A condition that steps of an included runbook inherit knows the params of where it is written.
    scope,
  }));
  const { window: _window, rollback: _rollback, block: _block, ...rest } = step;
  return {
    ...rest,
    id,
    path: [...base, ...step.path],
    with: prefix === '' ? step.with : (prefixReferences(step.with, prefix) as RunbookStep['with']),
    whenOutputs: [...(above?.whenOutputs ?? []), ...whenOutputs],
    onFail: above?.onFail === 'ask' ? 'ask' : step.onFail,
    scope,
    ...(window === undefined ? {} : { window }),
    ...(rollback === undefined ? {} : { rollback }),
    ...(block === undefined || branch === undefined ? {} : { block, branch }),
    ...(added.length === 0 ? {} : { added }),
  };
}

/** What runs beside others is asked about once, and has no line of its own. */
function fitsInBranch({ name, steps, blocks }: Runbook, step: PlacedStep, found: Collector): boolean {
  const asks = steps.find(({ uses, approval }) => uses === 'approval' || approval !== undefined);
  const line = steps.find(({ uses }) => uses === 'point-of-no-return');
  const decides = steps.find(({ whenOutputs }) => whenOutputs.length > 0);
  const wrong =
    blocks[0] !== undefined
      ? `a parallel block (${blocks[0].id})`
      : line !== undefined
        ? `a point of no return (${line.id})`
        : asks !== undefined
          ? `an approval (${asks.id})`
          : decides !== undefined
            ? `a condition on an output (${decides.id})`
            : undefined;
  if (wrong === undefined) return true;
  const message = `Runbook '${name}' has ${wrong} and stands in a parallel block, expected one without.`;
  found.add([...step.path, 'with', 'runbook'], { message, hint: 'put the step below or above the block' });
  return false;
}
