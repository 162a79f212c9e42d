/**
 * From a runbook to a plan: pure, and touches nothing. Every default is filled in, every timeout and undo fixed, and each
 * target's entry in the environment file is named by its digest.
 *
 *   params ─▶ steps (each kind plans its phases) ─▶ what holds between steps ─▶ approvals ─▶ the plan
 */
import { Collector } from './collector.ts';
import type { Environment } from './environment.ts';
import { type EmergencyAsked, emergencyOf } from './emergency.ts';
import { checkBranches, entriesOf, orderPhases } from './entries.ts';
import { planFollowUps } from './follow-ups.ts';
import { type Runbooks, expand } from './include.ts';
import { leaveToSkip } from './leave-to-skip.ts';
import { PHASES_MAX } from './limits.ts';
import { checkObjectives } from './objectives.ts';
import { finishPhase, fingerprintOf, greatestEffect, poolOf } from './phases.ts';
import { takeParams } from './params.ts';
import { type Json, type Phase, type Plan, type Step } from './plan.ts';
import { type PlannedStep, checkSteps, planSteps } from './plan-steps.ts';
import { placeApprovals } from './place-approvals.ts';
import { checkWindows, placeWindows, windowOf } from './place-windows.ts';
import type { Runbook } from './runbook.ts';
import { joinSources } from './sources.ts';
import { pointerOf } from './yaml.ts';

export type CompileInput = {
  runbook: Runbook;
  environment: Environment;
  /** Params of the run by name. */
  params: Readonly<Record<string, Json>>;
  /** Shipped runbooks, for steps that use one. Default none. */
  runbooks?: Runbooks;
  /** The plan is meant to be started inside a change freeze. */
  emergency?: EmergencyAsked;
  /** sha256 of canonical JSON. */
  digest: (json: Json) => string;
};

/** What one runbook gives: the plan of the run, and those of the runs that follow it. */
export type Compiled = { plan: Plan; followUps: { id: string; afterMs: number; plan: Plan }[] };

/** Throws PlanProblem with everything that is wrong; nothing else is thrown for any runbook, environment and params. */
export function compileAll(input: CompileInput): Compiled {
  const plan = compileOne(input);
  const followUps = planFollowUps(input, plan.params, compileOne);
  if (followUps.length === 0) return { plan, followUps };
  // The digest is that under which each plan is stored.
  const named = followUps.map(({ id, afterMs, plan: own }) => ({ id, afterMs, plan: input.digest(own) }));
  return { plan: { ...plan, followUps: named }, followUps };
}

/** The plan of the run alone; see `compileAll`. */
export function compile(input: CompileInput): Plan {
  return compileAll(input).plan;
}

function compileOne(input: CompileInput): Plan {
  const { runbook, environment } = input;
  const sources = joinSources(runbook.source);
  const found = new Collector(sources);
  const params = takeParams(runbook.params, input.params);
  for (const { param, isDeclared, message, hint } of params.wrong) {
    const path = isDeclared ? ['params', param] : ['params'];
    found.add(path, {
      code: 'ParamsInvalid',
      message,
      hint,
      pointer: pointerOf(['params', param]),
      part: 'key',
    });
  }
  found.finish();

  const { steps, blocks, leftOut, includes } = expand(runbook, params.values, {
    runbooks: input.runbooks ?? (() => undefined),
    sources,
    found,
  });
  if (leftOut.length > 0 && steps.every(({ id }) => leftOut.some((one) => one.id === id))) {
    const message = 'Every step is left out with these params, expected at least one in the plan.';
    found.add(['steps'], { message, hint: 'give other params', part: 'key' });
  }
  const planned = planSteps(steps, environment, { leftOut, sources }, found);
  checkSteps(planned, found);
  checkWindows(planned, environment, found);
  found.finish();

  const phases = planned.flatMap((step) =>
    step.drafts.map((draft) => finishPhase(step, draft, environment, found)),
  );
  if (phases.length > PHASES_MAX) {
    const message = `The runbook has ${phases.length} phases, expected at most ${PHASES_MAX}.`;
    found.add(['steps'], { message, hint: 'write two runbooks', part: 'key' });
  }
  const entries = entriesOf(planned, blocks);
  orderPhases(entries, phases);
  const emergency = emergencyOf(input.emergency, environment, found);
  checkBranches(entries, phases, found);
  checkObjectives(entries, phases, { name: runbook.name, rollback: runbook.rollback, blocks }, found);
  const approvals = placeApprovals(entries, phases, { environment, emergency }, found);
  const skips = leaveToSkip(entries, phases, { environment, emergency, asked: approvals }, found);
  const windows = placeWindows(planned, phases, environment);
  found.finish();
  return {
    ...assemble(input, params.values, planned, phases),
    approvals: { ...approvals, ...skips },
    ...(emergency === undefined ? {} : { emergency }),
    ...(Object.keys(windows).length === 0 ? {} : { windows }),
    ...(leftOut.length === 0 ? {} : { leftOut }),
    ...includesOf(includes, input.digest),
  };
}

function includesOf(includes: Record<string, Runbook>, digest: CompileInput['digest']) {
  const digests = Object.entries(includes).map(([name, { source }]) => [name, digest(source.value)]);
  return digests.length === 0 ? {} : { includes: Object.fromEntries(digests) as Record<string, string> };
}

function assemble(
  { runbook, environment, digest }: CompileInput,
  params: Record<string, Json>,
  planned: readonly PlannedStep[],
  phases: Phase[],
): Omit<Plan, 'approvals'> {
  const reached = unique(phases.flatMap((phase) => phase.targets));
  const changed = unique(phases.flatMap((phase) => (phase.effect === 'none' ? [] : phase.targets)));
  const fingerprints = changed.flatMap(
    (target) => fingerprintOf(target, environment, { isLive: isLive(target, planned) }) ?? [],
  );
  const steps = planned.map((one): Step => {
    const { step } = one;
    const own = phases.filter((phase) => phase.step === step.id);
    return {
      id: step.id,
      kind: step.uses,
      effect: greatestEffect(own.map((phase) => phase.effect)),
      onFail: step.onFail,
      ...(step.block === undefined ? {} : { block: step.block }),
      ...windowOf(one, environment),
      ...(step.rollback === undefined ? {} : { rollback: { withinMs: step.rollback.withinMs } }),
      phases: own.map((phase) => phase.id),
    };
  });
  return {
    version: 1,
    runbook: { name: runbook.name, digest: digest(runbook.source.value) },
    environment: environment.environment,
    params,
    steps,
    phases,
    targets: Object.fromEntries(
      reached.map((name) => {
        const target = environment.targets[name];
        if (target === undefined)
          throw new Error(`A phase reaches target '${name}', which nobody looked up: this is a bug.`);
        return [name, { kind: target.kind, pool: poolOf(target), digest: digest(target) }];
      }),
    ),
    fingerprints,
    unverifiable: changed.filter((name) => !fingerprints.some(({ target }) => target === name)),
    rollback: runbook.rollback,
    leases: Object.fromEntries(
      reached.map((name) => [name, changed.includes(name) ? ('exclusive' as const) : ('shared' as const)]),
    ),
  };
}

/** Whether every phase that changes it leaves it in use. */
function isLive(target: string, planned: readonly PlannedStep[]): boolean {
  return planned
    .flatMap(({ drafts }) => drafts)
    .filter(({ effect, targets }) => effect !== 'none' && targets.includes(target))
    .every(({ live }) => live?.includes(target) === true);
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)].sort();
}
