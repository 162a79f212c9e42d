/**
 * A check of a plan: what can be looked at before anything is changed, as a plan of its own. Of each step the first phases
 * are kept, up to the first one that has an effect, waits, tells somebody, or needs what a check does not have. A check
 * asks nobody, waits for nothing and holds no target against others who look.
 *
 *   kept      effect none, a call, every reference to a step that is kept whole, no target that a step above changes
 *   not kept  named with its reason where a step keeps nothing
 */
import { MINUTE_MS } from './limits.ts';
import { type Json, type Phase, type Plan, type Step, isWait } from './plan.ts';
import { REFERENCE_PATTERN } from './references.ts';
import { listAnd } from './schema.ts';
import { writeDuration } from './units.ts';

/** A look that takes longer than this is none that people wait for: a watch of a day, say. */
export const CHECK_PHASE_MS_MAX = 5 * MINUTE_MS;

export type NotChecked = { id: string; kind: string; because: string };

export type CheckPlan = {
  /** Without a phase where nothing can be looked at. */
  plan: Plan;
  /** Steps that keep nothing, and why. */
  notChecked: NotChecked[];
};

/** Pure; the plan is left as it is, and the check's phases are those of the plan, with other neighbours. */
export function checkPlan(plan: Plan): CheckPlan {
  const kept: Phase[] = [];
  const notChecked: NotChecked[] = [];
  const changedBy = new Map<string, string>();
  const whole = new Set<string>();
  for (const step of plan.steps) {
    const own = plan.phases.filter((phase) => phase.step === step.id);
    const { prefix, because } = prefixOf(step, own, { changedBy, whole });
    kept.push(...prefix);
    if (prefix.length === own.length) whole.add(step.id);
    if (prefix.length === 0) notChecked.push({ id: step.id, kind: step.kind, because });
    for (const { effect, targets } of own) {
      if (effect === 'none') continue;
      for (const target of targets) if (!changedBy.has(target)) changedBy.set(target, step.id);
    }
  }
  return { plan: planOf(plan, kept), notChecked };
}

type Above = { changedBy: ReadonlyMap<string, string>; whole: ReadonlySet<string> };

/** The phases of a step that are kept, and why it is not the next one too. */
function prefixOf(step: Step, own: readonly Phase[], above: Above): { prefix: Phase[]; because: string } {
  let because = '';
  const end = own.findIndex((phase) => {
    because = whyNot(phase, step, above) ?? '';
    return because !== '';
  });
  const prefix = end < 0 ? [...own] : own.slice(0, end);
  // A condition alone looks at nothing.
  return prefix.every(({ decides }) => decides !== undefined) ? { prefix: [], because } : { prefix, because };
}

function whyNot(phase: Phase, step: Step, { changedBy, whole }: Above): string | undefined {
  const { run, effect, targets, tells, expected } = phase;
  if (isWait(run)) return WAITS[run.wait];
  if (effect !== 'none') return `it begins with its change: ${phase.title}`;
  if (tells === true) return 'what is said cannot be unsaid';
  const missing = referencesOf(run.params).filter((one) => one !== step.id && !whole.has(one));
  if (missing.length > 0) return `it needs what ${listAnd([...new Set(missing)])} would give`;
  const changed = targets.find((target) => changedBy.has(target));
  if (changed !== undefined) return `it looks at ${changed}, which ${changedBy.get(changed)} changes before`;
  if (expected.runMs > CHECK_PHASE_MS_MAX) return `it takes ${writeDuration(expected.runMs)}`;
  return undefined;
}

const WAITS = {
  approval: 'it asks people',
  timer: 'it only waits',
  person: 'a person does it',
  'point-of-no-return': 'it is the point of no return',
} as const;

const REFERENCE = new RegExp(`(?<!\\$)\\$\\(${REFERENCE_PATTERN}\\)`, 'g');

/** Ids of the steps whose outputs stand in a value. */
function referencesOf(value: Json): string[] {
  if (Array.isArray(value)) return value.flatMap(referencesOf);
  if (value !== null && typeof value === 'object') return Object.values(value).flatMap(referencesOf);
  if (typeof value !== 'string') return [];
  return [...value.matchAll(REFERENCE)].map(([, step = '']) => step);
}

/** Named field by field: what a plan may hold besides is about effects, and a check has none. */
function planOf(plan: Plan, kept: readonly Phase[]): Plan {
  const ids = new Set(kept.map(({ id }) => id));
  const reached = [...new Set(kept.flatMap(({ targets }) => targets))].toSorted();
  return {
    version: plan.version,
    check: true,
    runbook: plan.runbook,
    environment: plan.environment,
    params: plan.params,
    steps: plan.steps.flatMap((step): Step[] => {
      const phases = step.phases.filter((id) => ids.has(id));
      const { id, kind, block } = step;
      if (phases.length === 0) return [];
      return [
        { id, kind, effect: 'none', onFail: 'unwind', ...(block === undefined ? {} : { block }), phases },
      ];
    }),
    ...(plan.leftOut === undefined ? {} : { leftOut: plan.leftOut }),
    phases: kept.map((phase) => {
      const { waitsFor: _asksNobody, decides, ...rest } = phase;
      const about = decides?.filter((id) => ids.has(id));
      return {
        ...rest,
        after: keptBefore(phase, plan, ids),
        ...(about === undefined ? {} : { decides: about }),
      };
    }),
    approvals: {},
    targets: Object.fromEntries(
      reached.flatMap((name) => {
        const target = plan.targets[name];
        return target === undefined ? [] : [[name, target]];
      }),
    ),
    fingerprints: [],
    unverifiable: [],
    rollback: plan.rollback,
    leases: Object.fromEntries(reached.map((name) => [name, 'shared' as const])),
  };
}

/** The kept phases after which it starts: where one before it is left out, those that stood before that one. */
function keptBefore(phase: Phase, plan: Plan, ids: ReadonlySet<string>): string[] {
  const found = new Set<string>();
  const seen = new Set<string>();
  const look = (after: readonly string[]) => {
    for (const id of after) {
      if (seen.has(id)) continue;
      seen.add(id);
      if (ids.has(id)) found.add(id);
      else look(plan.phases.find((one) => one.id === id)?.after ?? []);
    }
  };
  look(phase.after);
  return plan.phases.map(({ id }) => id).filter((id) => found.has(id));
}
