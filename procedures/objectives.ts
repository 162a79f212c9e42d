/**
 * Rollback objectives: the time in which a step, a block or the whole run must be able to be taken back. What the phases
 * declare must fit, or no plan is made; what the past says is looked at before each phase of a run.
 */
import type { Collector } from './collector.ts';
import type { PlannedEntry } from './entries.ts';
import type { Phase } from './plan.ts';
import type { Runbook } from './runbook.ts';
import { writeDuration } from './units.ts';
import type { Path } from './yaml.ts';

/** What is written at a step or a block, and where. */
export type Objective = { withinMs: number; path: Path };

/** Notes objectives that are longer than the one around them, and undos that do not fit in theirs. */
export function checkObjectives(
  entries: readonly PlannedEntry[],
  phases: readonly Phase[],
  runbook: Pick<Runbook, 'name' | 'rollback' | 'blocks'>,
  found: Collector,
): void {
  const whole: Objective = { withinMs: runbook.rollback.withinMs, path: ['rollback', 'within'] };
  checkFit(`run of ${runbook.name}`, whole, phases, found);
  for (const entry of entries) {
    const block = runbook.blocks.find(({ id }) => entry.isBlock && id === entry.id)?.rollback;
    const own = entry.steps.flatMap(({ step }) => phases.filter((phase) => phase.step === step.id));
    if (block !== undefined) {
      checkLength(block, whole.withinMs, 'the runbook', found);
      checkFit(`block ${entry.id}`, block, own, found);
    }
    for (const { step } of entry.steps) {
      if (step.rollback === undefined) continue;
      if (block === undefined) checkLength(step.rollback, whole.withinMs, 'the runbook', found);
      else checkLength(step.rollback, block.withinMs, `block ${entry.id}`, found);
      const ofStep = own.filter((phase) => phase.step === step.id);
      checkFit(`step ${step.id}`, step.rollback, ofStep, found);
    }
  }
}

function checkLength({ withinMs, path }: Objective, mostMs: number, owner: string, found: Collector): void {
  if (withinMs <= mostMs) return;
  const most = writeDuration(mostMs);
  const message = `The rollback objective is ${writeDuration(withinMs)}, expected at most the ${most} of ${owner}.`;
  found.add(path, { message, hint: `write at most ${most}, or give ${owner} more` });
}

function checkFit(
  what: string,
  { withinMs, path }: Objective,
  phases: readonly Phase[],
  found: Collector,
): void {
  const owed = phases.filter(({ undo, undoWait }) => undo !== undefined || undoWait !== undefined);
  const undoMs = owed.reduce((sum, { expected }) => sum + expected.undoMs, 0);
  if (undoMs <= withinMs) return;
  const needed = writeDuration(undoMs);
  const message = `To take the ${what} back takes about ${needed}, expected within ${writeDuration(withinMs)}.`;
  found.add(path, { message, hint: `write  rollback: { within: ${needed} }  or more, or leave steps out` });
}
