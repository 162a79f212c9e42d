/** What the way back of a run would take now, and until when it is safe to take it. Pure: the time comes in. */
import type { Plan } from '../procedures/plan.ts';
import { isTerminal } from '../procedures/states.ts';
import { closesAt, isOpen, nextOpening } from '../procedures/windows.ts';
import type { ExpectedPhase, RunDetail } from '../store/types.ts';

/** Times under which the longest of them is taken, and not their p95. */
const SAMPLES_FOR_P95 = 20;

export type RollbackNow = {
  /** Milliseconds that an abort now would take, and how many phases it would undo. */
  undoMs: number;
  phases: number;
  /** Until when an abort is done in time; null while no window and no `notAfter` bounds it. */
  lastSafeAt: string | null;
};

export function rollbackNow(run: RunDetail, plan: Plan): RollbackNow {
  const owed = run.phases.filter(({ isOwed }) => isOwed);
  const undoMs = owed.reduce((sum, phase) => sum + (phase.undoMs ?? 0), 0);
  const isOver = isTerminal(run.state) || run.unwindingAt !== null || isPastNoReturn(run, plan);
  const bound = isOver ? undefined : boundOf(run, plan);
  return {
    undoMs,
    phases: owed.length,
    lastSafeAt: bound === undefined ? null : new Date(bound - undoMs).toISOString(),
  };
}

function isPastNoReturn(run: RunDetail, plan: Plan): boolean {
  return plan.phases.some(
    ({ id, run: call }) =>
      'wait' in call &&
      call.wait === 'point-of-no-return' &&
      run.phases.some(({ phase, state }) => phase === id && state === 'done'),
  );
}

/** The first end of the time that the run has: its own, and those of the windows in which its steps have begun. */
function boundOf(run: RunDetail, plan: Plan): number | undefined {
  const ends = plan.steps.flatMap((step) => {
    const window = plan.windows?.[step.window?.name ?? ''];
    const begun = run.phases.flatMap(({ step: of, startedAt }) =>
      of === step.id && startedAt !== null ? [Date.parse(startedAt)] : [],
    );
    if (window === undefined || begun.length === 0) return [];
    const first = Math.min(...begun);
    // What only looks may have begun before it opened.
    const end = closesAt(window, isOpen(window, first) ? first : nextOpening(window, first));
    return end === undefined ? [] : [end];
  });
  if (run.notAfter !== null) ends.push(Date.parse(run.notAfter));
  return ends.length === 0 ? undefined : Math.min(...ends);
}

/** Of how many past times the undo of a plan is the p95, or the longest; null where a phase of it has no past. */
export function basisOf(expected: readonly ExpectedPhase[]): { samples: number; isP95: boolean } | null {
  const undos = expected.filter(({ undoMs }) => undoMs !== null);
  const samples = Math.min(...undos.map(({ undoSamples }) => undoSamples));
  if (undos.length === 0 || samples === 0) return null;
  return { samples, isP95: samples >= SAMPLES_FOR_P95 };
}
