/** The entries of a runbook as they are planned: single steps, and blocks of steps beside each other. */
import type { Collector } from './collector.ts';
import type { ApprovalAsked } from './environment.ts';
import type { Added } from './include.ts';
import type { Phase } from './plan.ts';
import type { PlannedStep } from './plan-steps.ts';
import type { Block } from './runbook.ts';
import { listAnd } from './schema.ts';
import type { Path } from './yaml.ts';

export type PlannedEntry = {
  /** Of the step, or of the block. */
  id: string;
  path: Path;
  approval?: ApprovalAsked;
  /** Approvals that steps around it add. */
  added: readonly Added[];
  /** One, or the branches of the block. */
  steps: PlannedStep[];
  isBlock: boolean;
};

export function entriesOf(planned: readonly PlannedStep[], blocks: readonly Block[]): PlannedEntry[] {
  const entries: PlannedEntry[] = [];
  for (const one of planned) {
    const { step } = one;
    const last = entries.at(-1);
    if (step.block !== undefined && last?.id === step.block) {
      last.steps.push(one);
      continue;
    }
    const block = blocks.find(({ id }) => id === step.block);
    const { id, path, approval, added = [] } = block ?? step;
    entries.push({
      id,
      path,
      ...(approval === undefined ? {} : { approval }),
      added,
      steps: [one],
      isBlock: block !== undefined,
    });
  }
  return entries;
}

/** Sets what each phase starts after: the one before it in its step, or the ends of the entry before. */
export function orderPhases(entries: readonly PlannedEntry[], phases: readonly Phase[]): void {
  let ends: string[] = [];
  for (const { steps } of entries) {
    const before = ends;
    const branches = new Map<string, string[]>();
    for (const { step } of steps) {
      // Steps of a runbook that stands in a branch come one after the other.
      const branch = step.branch ?? step.id;
      let after = branches.get(branch) ?? before;
      for (const phase of phases.filter((one) => one.step === step.id)) {
        phase.after = after;
        after = [phase.id];
      }
      branches.set(branch, after);
    }
    ends = [...branches.values()].flat();
  }
}

/** Notes branches that have effects on one target, and kinds that cannot stand beside others. */
export function checkBranches(
  entries: readonly PlannedEntry[],
  phases: readonly Phase[],
  found: Collector,
): void {
  for (const { steps } of entries.filter(({ isBlock }) => isBlock)) {
    const owners = new Map<string, string>();
    for (const { step, path } of steps) {
      if (step.uses === 'point-of-no-return' || step.uses === 'approval') {
        const message = `A step of kind ${step.uses} stands in a parallel block, expected it between the entries of the runbook.`;
        found.add([...path, 'uses'], { message, hint: 'put it below or above the block' });
      }
      const changed = phases.filter((phase) => phase.step === step.id && phase.effect !== 'none');
      const shared = [...new Set(changed.flatMap(({ targets }) => targets))].filter((target) => {
        const owner = owners.get(target);
        const branch = step.branch ?? step.id;
        if (owner === undefined) owners.set(target, branch);
        return owner !== undefined && owner !== branch;
      });
      if (shared.length === 0) continue;
      const message = `${step.branch ?? step.id} and ${owners.get(shared[0] ?? '')} run beside each other and both change ${listAnd(shared)}, expected one of them.`;
      found.add(path, { code: 'ParallelTargets', message, hint: 'write one of them below the block' });
    }
  }
}
