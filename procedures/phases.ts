/** From a draft of a kind to a phase of the plan: everything that does not depend on the kind. */
import type { Collector } from './collector.ts';
import type { Environment, Target } from './environment.ts';
import { HEARTBEAT_MS, MINUTE_MS, UNDO_ATTEMPTS } from './limits.ts';
import type { Effect, Fingerprint, Limits, Phase } from './plan.ts';
import type { PlannedStep } from './plan-steps.ts';
import type { DraftPhase } from './procedure.ts';
import { listAnd } from './schema.ts';

/** The pool of targets that name none, and of phases that reach no target. */
export const DEFAULT_POOL = 'default';

const TRIES = 3;
const FINGERPRINT_TIMEOUT_MS = 30 * MINUTE_MS;

/** Targets that lie on one machine, so that only its workers can reach them. */
const FILE_LIKE: readonly Target['kind'][] = ['sqlite', 'migrations'];

const FINGERPRINTED: readonly Target['kind'][] = ['sqlite', 'postgres', 'switch', 'migrations'];

const EFFECTS: readonly Effect[] = ['none', 'reversible', 'costly', 'irreversible'];

export function greatestEffect(effects: readonly Effect[]): Effect {
  return EFFECTS[Math.max(0, ...effects.map((effect) => EFFECTS.indexOf(effect)))] ?? 'none';
}

export function poolOf(target: Target): string {
  return target.worker ?? DEFAULT_POOL;
}

/** Ids, pool, limits; below the point of no return an effect is for good, and has no undo. */
export function finishPhase(
  { step, path, drafts, belowPointOfNoReturn }: PlannedStep,
  draft: DraftPhase,
  environment: Environment,
  found: Collector,
): Phase {
  const { name, title, targets, run, undo, undoTitle, byHand, probe, expected, limits } = draft;
  const { decides, tells, undoWait } = draft;
  const isForGood = belowPointOfNoReturn && draft.effect !== 'none';
  const id = phaseId(step.id, name, drafts);
  const pools = filePools(targets, environment);
  if (pools.size > 1) {
    const pairs = [...pools].map(([pool, target]) => `${target} in ${pool}`);
    const message = `${id} needs ${listAnd(pairs)}, expected files of one worker pool in one phase.`;
    found.add([...path, 'with'], { code: 'PoolsDiffer', message, hint: 'give both targets the same worker' });
  }
  const first = targets[0] === undefined ? undefined : environment.targets[targets[0]];
  return {
    id,
    step: step.id,
    title,
    effect: isForGood ? 'irreversible' : draft.effect,
    targets,
    // Its place is known once the whole runbook is.
    after: [],
    run,
    ...(undo === undefined || isForGood ? {} : { undo }),
    ...(undoWait === undefined || isForGood ? {} : { undoWait }),
    ...(undoTitle === undefined || isForGood ? {} : { undoTitle }),
    ...(byHand === undefined || isForGood ? {} : { byHand }),
    ...(tells === undefined ? {} : { tells }),
    ...(probe === undefined ? {} : { probe }),
    expected: isForGood ? { ...expected, undoMs: 0 } : expected,
    limits: fullLimits({
      ...limits,
      ...(step.timeoutMs === undefined ? {} : { timeoutMs: step.timeoutMs }),
      ...(step.tries === undefined ? {} : { tries: step.tries }),
    }),
    pool: [...pools.keys()][0] ?? (first === undefined ? DEFAULT_POOL : poolOf(first)),
    ...(decides === undefined ? {} : { decides: decides.map((one) => phaseId(step.id, one, drafts)) }),
  };
}

/** `step/phase`, or the step's id where it has one phase. */
export function phaseId(step: string, name: string, drafts: readonly DraftPhase[]): string {
  return drafts.length === 1 ? step : `${step}/${name}`;
}

function filePools(targets: readonly string[], environment: Environment): Map<string, string> {
  const pools = new Map<string, string>();
  for (const name of targets) {
    const target = environment.targets[name];
    if (target !== undefined && FILE_LIKE.includes(target.kind) && !pools.has(poolOf(target))) {
      pools.set(poolOf(target), name);
    }
  }
  return pools;
}

function fullLimits(limits: DraftPhase['limits']): Limits {
  return {
    heartbeatMs: HEARTBEAT_MS,
    tries: TRIES,
    attempts: 1,
    undoAttempts: UNDO_ATTEMPTS,
    resumable: false,
    ...limits,
  };
}

/**
 * Undefined where targets of this kind cannot be compared. The rows of a live target change while the run goes on, so
 * only its STATE is taken.
 */
export function fingerprintOf(
  name: string,
  environment: Environment,
  { isLive }: { isLive: boolean },
): Fingerprint | undefined {
  const target = environment.targets[name];
  if (target === undefined || !FINGERPRINTED.includes(target.kind)) return undefined;
  return {
    target: name,
    pool: poolOf(target),
    call: {
      activity: `fingerprint/${target.kind}`,
      params: { target: name, ...(isLive ? { rows: false } : {}) },
    },
    limits: fullLimits({ timeoutMs: FINGERPRINT_TIMEOUT_MS, attempts: 3, tries: 1 }),
  };
}
