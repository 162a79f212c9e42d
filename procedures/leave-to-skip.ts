/**
 * Leave to skip what guards a run. Who looks away from a gate or a verification lets the effects below it happen, so an
 * operator alone cannot: the people are asked who decide about the greatest effect of the plan. No phase waits for this
 * approval; it is opened when an operator asks to skip.
 */
import { completed, mergeApprovals } from './approval-asked.ts';
import type { Collector } from './collector.ts';
import type { ApprovalAsked, Environment } from './environment.ts';
import type { PlannedEntry } from './entries.ts';
import { greatestEffect, phaseId } from './phases.ts';
import type { Approval, Emergency, Phase } from './plan.ts';
import type { PlannedStep } from './plan-steps.ts';
import { quorumPossibleForAnyone } from './quorum.ts';

type Asked = {
  environment: Environment;
  emergency: Emergency | undefined;
  /** The approvals of steps and blocks. */
  asked: Readonly<Record<string, Approval>>;
};

/** By the id of the phase; nothing where nobody is asked. Notes what nobody could give. */
export function leaveToSkip(
  entries: readonly PlannedEntry[],
  phases: readonly Phase[],
  { environment, emergency, asked }: Asked,
  found: Collector,
): Record<string, Approval> {
  const effect = greatestEffect(phases.map((phase) => phase.effect));
  const least = effect === 'none' ? undefined : environment.approvals.least[effect];
  const line = entries.find(({ steps }) => steps[0]?.isPointOfNoReturn === true);
  const approvals: Record<string, Approval> = {};
  for (const entry of entries) {
    for (const planned of entry.steps) {
      const added = [entry.approval, ...entry.added.map((one) => one.asked)];
      const own = planned.belowPointOfNoReturn ? asked[line?.id ?? ''] : merged(least, added);
      if (own === undefined) continue;
      const quorum = completed(own, environment, emergency);
      for (const id of guardsOf(planned)) {
        const impossible = quorumPossibleForAnyone(`Leave to skip ${id}`, quorum, environment);
        if (impossible !== undefined) {
          const hint = `add people in environment ${environment.environment}, or ask for fewer votes`;
          found.add([...planned.path, 'uses'], { code: 'QuorumImpossible', message: impossible, hint });
        }
        approvals[id] = { ...quorum, covers: [planned.step.id], leading: [], skip: true };
      }
    }
  }
  return approvals;
}

/** Where they name different doors, that of the environment holds. */
function merged(least: ApprovalAsked | undefined, added: readonly (ApprovalAsked | undefined)[]) {
  const where = { covers: [], leading: [] };
  const all = mergeApprovals([least, ...added], where);
  if (all !== 'doors') return all;
  const free = added.map((one) => (one === undefined ? undefined : { ...one, via: 'any' as const }));
  const narrower = mergeApprovals([least, ...free], where);
  return narrower === 'doors' ? undefined : narrower;
}

function guardsOf({ step, drafts }: PlannedStep): string[] {
  return drafts.flatMap(({ name, guards }) => (guards === true ? [phaseId(step.id, name, drafts)] : []));
}
