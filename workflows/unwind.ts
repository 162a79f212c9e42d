/** Going back: one step of the unwinding. Reverse order of start; one failed undo does not stop the others; then the fingerprints decide. */
import { type Json, type PersonWait, type Phase, type Plan, fingerprintPhase } from '../procedures/plan.ts';
import { dispatch } from './forward.ts';
import { judgeRetry } from './judge.ts';
import { isEarly } from './retries.ts';
import {
  type CoreState,
  type Moment,
  type PhaseRecord,
  desk,
  flying,
  movePhase,
  moveRun,
  openDesk,
  phaseOf,
  recordOf,
  tellPhase,
  write,
} from './state.ts';

export function stepUnwind(plan: Plan, state: CoreState, moment: Moment): boolean {
  if (flying(state)) return false;
  const waiting: Phase[] = [];
  for (const id of state.stack.toReversed()) {
    const phase = phaseOf(plan, id);
    const record = recordOf(state, id);
    if (isTakenBack(record)) continue;
    // What depends on it waits with it; the others go on.
    if (isEarly(record, moment) || waiting.some((one) => isTied(one, phase))) waiting.push(phase);
    else return takeBack(state, phase, record, moment);
  }
  return waiting.length > 0 ? false : compare(plan, state, moment);
}

/** Of one step or at one target: the order of undoing holds between the two. */
function isTied(later: Phase, earlier: Phase): boolean {
  return later.step === earlier.step || later.targets.some((target) => earlier.targets.includes(target));
}

function isTakenBack(record: PhaseRecord): boolean {
  return ['undone', 'undo-failed', 'pending'].includes(record.state) || record.desk === 'person';
}

function takeBack(state: CoreState, phase: Phase, record: PhaseRecord, moment: Moment): boolean {
  if (phase.undoWait !== undefined) return askToTakeBack(state, phase, phase.undoWait);
  if (record.state !== 'maybe' || phase.probe === undefined) return dispatch(state, phase, 'undo', moment);
  switch (record.answer) {
    case null:
      return dispatch(state, phase, 'probe', moment);
    case 'no':
      tellPhase(state, phase.id, 'restore', { summary: 'nothing was left to undo', happened: false }, 'pass');
      return true;
    case 'yes':
    case 'partly':
      return dispatch(state, phase, 'undo', moment);
    case 'unknown':
      record.failed = `its probe could not tell whether it happened${record.probeError === null ? '' : `: ${record.probeError}`}`;
      giveToDesk(state, phase.id, record, 'probe');
      return true;
  }
}

/** A person takes it back; the others do not wait for that. */
function askToTakeBack(state: CoreState, phase: Phase, { instructions }: PersonWait): boolean {
  const record = recordOf(state, phase.id);
  record.desk = 'person';
  record.failed = instructions;
  tellPhase(state, phase.id, 'undo', { summary: instructions, waitingFor: 'a person: resolve' });
  return true;
}

/** What could not be undone waits for a person; the others go on. */
export function giveToDesk(
  state: CoreState,
  phase: string,
  record: PhaseRecord,
  why: 'undo' | 'probe',
): void {
  record.desk = why;
  tellPhase(state, phase, 'fail', { summary: record.failed, waitingFor: 'a person: resolve' });
}

/** The undo stack is empty: every target is fingerprinted again and held against before. */
function compare(plan: Plan, state: CoreState, moment: Moment): boolean {
  if (moment.draining || state.outbox.length > 0) return false;
  if (state.stack.length === 0) {
    // Opened again from outside before it had begun anything: there is nothing to compare.
    moveRun(state, 'stop', { because: state.cause?.text ?? null });
    return true;
  }
  // With something on the desk the comparison would only repeat what is known.
  if (desk(state).length > 0) return stick(state);
  let asked = false;
  let early = false;
  for (const print of Object.values(state.prints)) {
    if (print.before === null || print.after !== null || print.failed !== null || print.accepted) continue;
    if (isEarly(print, moment)) {
      early = true;
      continue;
    }
    print.againAt = null;
    print.try += 1;
    print.act = 'after';
    asked = true;
  }
  if (asked) return true;
  if (early) return false;
  for (const print of Object.values(state.prints)) {
    print.differs = print.after !== null && print.after !== print.before;
  }
  if (desk(state).length > 0) return stick(state);
  restore(plan, state);
  return true;
}

function stick(state: CoreState): boolean {
  const waiting = desk(state);
  state.desked = waiting.map(({ subject }) => subject);
  state.deskRemindAt = null;
  state.deskReminders = 0;
  moveRun(state, 'stick', {
    because: state.cause?.text ?? null,
    desk: waiting.map(({ subject, why }) => ({ subject, why })),
  });
  return true;
}

function restore(plan: Plan, state: CoreState): void {
  const touched = new Set(state.stack.flatMap((id) => phaseOf(plan, id).targets));
  const notVerified = [
    ...Object.entries(state.prints)
      .filter(([, print]) => print.accepted || print.failed !== null || print.before === null)
      .map(([target]) => target),
    ...plan.unverifiable.filter((target) => touched.has(target)),
    ...plan.phases.filter((phase) => recordOf(state, phase.id).accepted).flatMap((phase) => phase.targets),
    // What a person took back, and no target shows, is a person's word alone.
    ...plan.phases
      .filter(
        ({ id, undoWait, targets }) =>
          undoWait !== undefined && targets.length === 0 && state.stack.includes(id),
      )
      .map(({ step }) => step),
  ];
  moveRun(state, 'restore', {
    because: state.cause?.text ?? null,
    verified: notVerified.length === 0,
    notVerified: [...new Set(notVerified)].sort(),
  });
}

type Resolution = { retry: true; params?: Record<string, Json> } | { done: true; evidence: string };

/** A person speaks for something on the desk, or for all of it: try again, or done by hand with evidence. */
export function resolve(state: CoreState, subject: string | null, resolution: Resolution, now: number): void {
  const subjects =
    subject === null ? openDesk(state).filter((one) => judgeRetry(state, one) === undefined) : [subject];
  for (const one of subjects) resolveOne(state, one, resolution);
  state.desked = state.desked.filter((one) => !subjects.includes(one));
  state.undoingSince = now;
  // Whatever a person did by hand, the targets are compared again.
  for (const print of Object.values(state.prints)) {
    print.after = null;
    print.failed = null;
    print.differs = false;
    print.retries = 0;
    print.againAt = null;
  }
  if (state.run === 'stuck') moveRun(state, 'resolve', { because: state.cause?.text ?? null });
}

function resolveOne(state: CoreState, subject: string, resolution: Resolution): void {
  const target = Object.keys(state.prints).find((name) => fingerprintPhase(name) === subject);
  if (target === undefined) return resolvePhase(state, subject, resolution);
  const print = state.prints[target];
  if (print !== undefined && 'done' in resolution) print.accepted = true;
}

function resolvePhase(state: CoreState, phase: string, resolution: Resolution): void {
  const record = recordOf(state, phase);
  if ('done' in resolution) {
    if (record.desk === 'differs') record.accepted = true;
    if (record.state === 'undo-failed' || record.state === 'undoing') {
      tellPhase(state, phase, 'restore', { summary: `done by hand: ${resolution.evidence}` }, 'pass');
    } else {
      write(state, {
        kind: 'phase',
        phase,
        state: record.state,
        body: { summary: `accepted: ${resolution.evidence}` },
      });
    }
  } else if (record.state === 'undo-failed') {
    // Back to `maybe`, so that the probe looks again before the undo is tried again.
    movePhase(state, phase, 'lose');
    record.answer = null;
  }
  record.desk = null;
  record.failed = null;
  record.retries = 0;
  record.againAt = null;
}
