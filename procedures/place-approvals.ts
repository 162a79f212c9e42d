/**
 * Which phases wait for people. A step asks once, before its first effect, for the greater of what its environment asks
 * at least and what the runbook adds. A point of no return asks for itself and for every step below it.
 */
import { mergeApprovals } from './approval-asked.ts';
import type { Collector } from './collector.ts';
import type { ApprovalAsked, Environment } from './environment.ts';
import { nearest } from './nearest.ts';
import { greatestEffect } from './phases.ts';
import { type Phase, isWait } from './plan.ts';
import type { PlannedStep } from './plan-steps.ts';
import { quorumPossibleForAnyone } from './quorum.ts';
import { listOr } from './schema.ts';
import type { Path } from './yaml.ts';

/** Sets `waitsFor` of the phases that wait; notes approvals that cannot stand or can never be given. */
export function placeApprovals(
  planned: readonly PlannedStep[],
  phases: readonly Phase[],
  environment: Environment,
  found: Collector,
): void {
  for (const [index, one] of planned.entries()) {
    const own = phases.filter((phase) => phase.step === one.step.id);
    if (!mayAsk(one, own, found)) continue;
    const least = leastOf(own, environment);
    if (!groupsKnown(one, environment, found)) continue;
    const covers = one.isPointOfNoReturn
      ? planned.slice(index + 1).map(({ step }) => step.id)
      : [one.step.id];
    const approval = mergeApprovals(least, one.step.approval, covers);
    if (approval === 'doors') {
      const message = `The runbook asks via ${one.step.approval?.via} and the environment via ${least?.via}, expected one door.`;
      found.add([...one.path, 'approval', 'via'], { message, hint: 'take via away' });
      continue;
    }
    if (approval === undefined) {
      if (one.isPointOfNoReturn) refuseUnasked(one.path, environment, found);
      continue;
    }
    const impossible = quorumPossibleForAnyone(one.step.id, approval, environment);
    if (impossible !== undefined) {
      const hint = `add people in environment ${environment.environment}, or ask for fewer votes`;
      found.add([...one.path, 'approval'], { code: 'QuorumImpossible', message: impossible, hint });
    }
    const waiting = own.find(
      ({ effect, run }) => effect !== 'none' || (isWait(run) && run.wait === 'approval'),
    );
    if (waiting !== undefined) waiting.waitsFor = { approval };
  }
}

/** Whether the step may ask at all. A step below the point of no return is covered by its approval. */
function mayAsk(
  { step, path, belowPointOfNoReturn }: PlannedStep,
  own: readonly Phase[],
  found: Collector,
): boolean {
  const at: Path = [...path, 'approval'];
  if (belowPointOfNoReturn) {
    if (step.approval !== undefined || step.uses === 'approval') {
      const message = `Step '${step.id}' asks for an approval below the point of no return, whose approval covers it already.`;
      found.add(at, {
        code: 'PointOfNoReturn',
        message,
        hint: 'add the votes to the point of no return',
        part: 'key',
      });
    }
    return false;
  }
  if (step.uses === 'approval' && step.approval === undefined) {
    const message = `Step '${step.id}' waits for an approval and asks nobody, expected a count for each group.`;
    found.add(path, { message, hint: 'write  approval: { from: { sre: 1 } }  beside uses' });
    return false;
  }
  const changes = own.some(({ effect }) => effect !== 'none');
  if (!changes && step.approval !== undefined && step.uses !== 'approval') {
    const message = `Step '${step.id}' changes nothing, so there is nothing to approve.`;
    found.add(at, {
      message,
      hint: 'take approval away, or put a step above it that uses approval',
      part: 'key',
    });
    return false;
  }
  return changes || step.uses === 'approval';
}

function leastOf(own: readonly Phase[], environment: Environment): ApprovalAsked | undefined {
  const effect = greatestEffect(own.map((phase) => phase.effect));
  return effect === 'none' ? undefined : environment.approvals.least[effect];
}

function groupsKnown({ step, path }: PlannedStep, environment: Environment, found: Collector): boolean {
  const known = Object.keys(environment.groups);
  const unknown = Object.keys(step.approval?.from ?? {}).filter((group) => !known.includes(group));
  for (const group of unknown) {
    const near = nearest(group, known);
    found.add([...path, 'approval', 'from', group], {
      message: `Environment ${environment.environment} has no group '${group}', expected ${listOr(known)}.`,
      hint: near === undefined ? 'ask a group that the environment names' : `write ${near}`,
      part: 'key',
    });
  }
  return unknown.length === 0;
}

function refuseUnasked(path: Path, environment: Environment, found: Collector): void {
  found.add(path, {
    code: 'PointOfNoReturn',
    message: `The point of no return asks nobody, expected an approval here or approvals.least.irreversible in environment ${environment.environment}.`,
    hint: 'write  approval: { from: { owner: 1 } }  beside uses',
  });
}
