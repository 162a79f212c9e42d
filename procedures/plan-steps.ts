/** Each step planned by its kind, and what must hold between the steps of one runbook. */
import type { Collector } from './collector.ts';
import type { Environment } from './environment.ts';
import type { Scope } from './include.ts';
import { procedureOf } from './index.ts';
import { nearest } from './nearest.ts';
import { type Json, type LeftOutStep, type WhenOutput, type PersonWait, isWait } from './plan.ts';
import type { DraftPhase, StepBefore } from './procedure.ts';
import {
  type BadReference,
  type Filled,
  type OutputReference,
  badReference,
  fillParams,
  splitOutput,
  unescapeText,
} from './references.ts';
import type { PlainStep } from './runbook.ts';
import type { Sources } from './sources.ts';
import { listOr, problemsOf, show } from './schema.ts';
import { filledCondition } from './when.ts';
import { type Path, pointerOf } from './yaml.ts';

export type PlannedStep = {
  step: PlainStep;
  /** Where the step stands in the runbook. */
  path: Path;
  drafts: DraftPhase[];
  isPointOfNoReturn: boolean;
  belowPointOfNoReturn: boolean;
};

/** Every step but those left out, also those that cannot be planned (without phases): their problems are noted. */
export function planSteps(
  steps: readonly PlainStep[],
  environment: Environment,
  { leftOut, sources }: { leftOut: readonly LeftOutStep[]; sources: Sources },
  found: Collector,
): PlannedStep[] {
  const before: StepBefore[] = [];
  let below = false;
  return steps.flatMap((step) => {
    if (leftOut.some(({ id }) => id === step.id)) return [];
    const { path } = step;
    const conditions = conditionsOf(step, found);
    const procedure = procedureOf(step.uses);
    const filled = fillParams(step.with, step.scope.values);
    checkReferences(filled.bad, step.scope, found, [...path, 'with']);
    checkOutputs(filled.outputs, [...path, 'with'], step, { steps, leftOut, found });
    for (const { output, path: at } of step.whenOutputs) {
      const reference = {
        path: ['output'],
        step: splitOutput(output).step,
        output: splitOutput(output).name,
      };
      checkOutputs([reference], at ?? [...path, 'when'], step, { steps, leftOut, found });
    }
    refuseInVerbatim(step.with, procedure.verbatim ?? [], path, found);
    const parsed = procedure.params.safeParse(filled.value);
    let drafts: DraftPhase[] = [];
    if (parsed.success) {
      drafts = procedure.plan({
        step: step.id,
        params: parsed.data,
        environment,
        before: [...before],
        belowPointOfNoReturn: below,
        ...(step.timeoutMs === undefined ? {} : { timeoutMs: step.timeoutMs }),
        refuse: ({ field, ...note }) => found.add([...path, 'with', ...field], note),
      });
      before.push({ id: step.id, kind: step.uses, params: parsed.data });
    } else {
      const { source, path: base } = sources.locate([...path, 'with']);
      const at = { base, value: filled.value, code: 'RunbookInvalid' as const };
      const echoes = filled.bad.map((bad) => pointerOf([...base, ...bad.path]));
      found.push(problemsOf(parsed.error, source, at).filter(({ pointer }) => !echoes.includes(pointer)));
    }
    if (drafts.some(({ run }) => isWait(run))) refuseOutputs(filled, path, step.uses, found);
    const planned: PlannedStep = {
      step,
      path,
      drafts: [...conditionPhases(conditions, drafts), ...drafts.map(withPlainText)],
      isPointOfNoReturn: step.uses === 'point-of-no-return',
      belowPointOfNoReturn: below,
    };
    below ||= planned.isPointOfNoReturn;
    return [planned];
  });
}

/** What looks like a reference is one, and names a declared param. */
function checkReferences(
  bad: readonly BadReference[],
  { declared }: Scope,
  found: Collector,
  base: Path,
): void {
  for (const one of bad) found.add([...base, ...one.path], badReference(one, Object.keys(declared)));
}

type Known = { steps: readonly PlainStep[]; leftOut: readonly LeftOutStep[]; found: Collector };

/** A reference names an output of a step above: branches of one block know nothing of each other. */
function checkOutputs(
  outputs: readonly OutputReference[],
  base: Path,
  own: PlainStep,
  { steps, leftOut, found }: Known,
): void {
  const at = (path: Path): Path => [...base, ...path];
  const above = steps
    .slice(0, steps.indexOf(own))
    .filter(({ block, branch }) => block === undefined || block !== own.block || branch === own.branch);
  for (const { path, step, output } of outputs) {
    const named = steps.find(({ id }) => id === step);
    const giver = above.find(({ id }) => id === step);
    const names = giver === undefined ? [] : Object.keys(procedureOf(giver.uses).output.shape);
    const reference = `$(${step}.${output})`;
    // A runbook that is left out takes its steps with it.
    const missing = leftOut.find(({ id }) => id === step || step.startsWith(`${id}.`));
    if (missing !== undefined) {
      const { param, is } = missing.when;
      const message = `${reference} names an output of ${step}, which is left out: it runs where ${param} is ${show(is)}.`;
      const hint = `give this step the same condition:  when: { param: ${param}, is: ${show(is)} }`;
      found.add(at(path), { message, hint });
      continue;
    }
    if (giver !== undefined && names.includes(output)) continue;
    if (giver !== undefined) {
      const near = nearest(output, names);
      const message = `${reference} names no output of ${step} (${giver.uses}), expected ${listOr(names)}.`;
      found.add(at(path), {
        message,
        hint: near === undefined ? 'use one of its outputs' : `write  $(${step}.${near})`,
      });
    } else if (named === undefined) {
      const near = nearest(step, [...above.map(({ id }) => id), 'params']);
      const message = `${reference} names no step of this runbook, expected one that stands above.`;
      found.add(at(path), {
        message,
        hint: near === undefined ? 'use the id of a step above' : `write  $(${near}.${output})`,
      });
    } else {
      const message = `${reference} names a step that does not stand above this one, so it has no outputs yet.`;
      found.add(at(path), { message, hint: `put ${step} above this step` });
    }
  }
}

/** Code of another language takes no text from elsewhere: it would be read as code. */
function refuseInVerbatim(given: Json, fields: readonly string[], path: Path, found: Collector): void {
  if (given === null || typeof given !== 'object' || Array.isArray(given)) return;
  for (const field of fields) {
    const text = given[field];
    if (typeof text !== 'string' || !text.includes('$(')) continue;
    const message = `$( stands in ${field}, expected a text in which nothing is filled in.`;
    found.add([...path, 'with', field], { message, hint: 'write $1 there, and the reference under values' });
  }
}

/** A step that only waits calls nothing, so nobody would fill in what another step found. */
function refuseOutputs(filled: Filled, path: Path, kind: string, found: Collector): void {
  for (const { path: field, step, output } of filled.outputs) {
    const message = `$(${step}.${output}) cannot stand in a step of kind ${kind}, expected plain text or params.`;
    found.add([...path, 'with', ...field], { message, hint: 'write it in words' });
  }
}

function conditionsOf({ whenOutputs, path, scope }: PlainStep, found: Collector): WhenOutput[] {
  return whenOutputs.flatMap((condition) => {
    const filled = filledCondition(condition, (condition.scope ?? scope).values);
    if (!('message' in filled)) return [filled];
    found.add(condition.path ?? [...path, 'when'], {
      message: filled.message,
      hint: 'write  above: 10  or  above: $(params.NAME)',
    });
    return [];
  });
}

const CONDITION_MS = 10_000;

/** The phase that looks at what earlier steps found, and leaves the others of the step out where it should. */
function conditionPhases(whenOutputs: readonly WhenOutput[], drafts: readonly DraftPhase[]): DraftPhase[] {
  if (whenOutputs.length === 0 || drafts.length === 0) return [];
  return [
    {
      name: CONDITION_PHASE,
      title: `look whether ${whenOutputs.map(({ output, words }) => `${output} is ${words}`).join(' and ')}`,
      effect: 'none',
      targets: [],
      run: {
        activity: 'when/when/run',
        params: {
          conditions: whenOutputs.map(({ output, words }) => ({ output, words, value: `$(${output})` })),
        },
      },
      expected: { runMs: 10, undoMs: 0 },
      limits: { timeoutMs: CONDITION_MS, attempts: TRIES_OF_CONDITION },
      decides: drafts.map(({ name }) => name),
    },
  ];
}

/** The name of the phase that decides about its step. */
const CONDITION_PHASE = 'when';
const TRIES_OF_CONDITION = 3;

function withPlainText(draft: DraftPhase): DraftPhase {
  const { run, undoWait } = draft;
  if (!isWait(run)) return draft;
  if (run.wait === 'point-of-no-return')
    return { ...draft, run: { ...run, because: unescapeText(run.because) } };
  if (run.wait !== 'person') return draft;
  return {
    ...draft,
    run: plainWait(run),
    ...(undoWait === undefined ? {} : { undoWait: plainWait(undoWait) }),
  };
}

function plainWait(wait: PersonWait): PersonWait {
  return { ...wait, instructions: unescapeText(wait.instructions) };
}

/** One point of no return; above it nothing irreversible, and every effect with its undo and its probe. */
export function checkSteps(planned: readonly PlannedStep[], found: Collector): void {
  const lines = planned.filter(({ isPointOfNoReturn }) => isPointOfNoReturn);
  for (const { path } of lines.slice(1)) {
    const message = `A second point of no return stands here, expected one: ${lines[0]?.step.id} is above it.`;
    found.add([...path, 'uses'], { code: 'PointOfNoReturn', message, hint: 'take this step away' });
  }
  for (const { step, path, drafts, belowPointOfNoReturn, isPointOfNoReturn } of planned) {
    if (belowPointOfNoReturn || isPointOfNoReturn) continue;
    if (lines.length === 0 && drafts.some(({ endsAtNoReturn }) => endsAtNoReturn === true)) {
      const message = `${step.id} keeps what is written for the way back, and nothing ends that, expected a point of no return below it.`;
      const hint = 'end the runbook with  { id: keep, uses: point-of-no-return, with: { because: … } }';
      found.add([...path, 'uses'], { code: 'PointOfNoReturn', message, hint });
    }
    for (const draft of drafts) checkDraft(draft, `${step.id}/${draft.name}`, [...path, 'uses'], found);
  }
}

function checkDraft(draft: DraftPhase, id: string, path: Path, found: Collector): void {
  if (draft.effect === 'none') return;
  const hint = 'put a point-of-no-return step above it';
  if (draft.effect === 'irreversible') {
    const message = `${id} cannot be undone, expected a point of no return above it.`;
    found.add(path, { code: 'PointOfNoReturn', message, hint });
  } else if (draft.undoWait === undefined && (draft.undo === undefined || draft.probe === undefined)) {
    const missing = draft.undo === undefined ? 'undo' : 'probe';
    const message = `${id} has an effect and no ${missing}, expected undo and probe above a point of no return.`;
    found.add(path, { code: 'PointOfNoReturn', message, hint });
  }
}
