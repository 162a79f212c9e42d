/** Going forwards: one step of the run's way, of any phase whose predecessors are settled. Each function says whether it moved anything. */
import { ASK_MS } from '../procedures/limits.ts';
import {
  type Json,
  type PersonWait,
  type Phase,
  type Plan,
  type Verdict,
  type Wait,
  isWait,
} from '../procedures/plan.ts';
import { call, outOfWindow, passWindow } from './clocks.ts';
import { approve, close, gatesOf, isGiven, refresh } from './gates.ts';
import { isEarly } from './retries.ts';
import {
  type CoreState,
  type Moment,
  type PhaseRecord,
  askedOf,
  isOwed,
  isSettled,
  movePhase,
  moveRun,
  phaseOf,
  recordOf,
  stepOf,
  tellPhase,
  write,
} from './state.ts';

const WORSE: readonly Verdict[] = ['pass', 'warn', 'inconclusive', 'fail', 'error'];

/** The worst verdict of all phases; `warn` at best where a failure was skipped. */
export function runVerdict(state: CoreState): Verdict {
  const verdicts = Object.values(state.phases).flatMap((record) =>
    record.verdict === null || record.state === 'skipped' ? [] : [record.verdict],
  );
  if (state.capped) verdicts.push('warn');
  return verdicts.reduce<Verdict>(
    (worst, verdict) => (WORSE.indexOf(verdict) > WORSE.indexOf(worst) ? verdict : worst),
    'pass',
  );
}

/** Nothing new may start: the journal is behind, or the history is about to be cut. */
function mayStart(state: CoreState, moment: Moment): boolean {
  return !moment.draining && state.outbox.length === 0;
}

export function stepForward(plan: Plan, state: CoreState, moment: Moment): boolean {
  if (state.cause !== null) return leave(plan, state, moment);
  const late = outOfWindow(plan, state, moment.now);
  if (late !== undefined) {
    state.cause = { kind: 'window', text: `The window of ${late} closed before it had ended` };
    return true;
  }
  const reached = reachedPhases(plan, state);
  if (reached.length === 0) {
    if (state.outbox.length > 0) return false;
    if (state.run === 'waiting') return go(state);
    moveRun(state, 'succeed', { verdict: runVerdict(state) });
    return true;
  }
  return reached.some((phase) => stepPhase(plan, state, phase, moment)) || rest(state, reached, moment);
}

/** Phases that are not settled, and before which everything is, near and far. */
function reachedPhases(plan: Plan, state: CoreState): Phase[] {
  const behind = new Set<string>();
  // In the order of the plan whatever stands before a phase comes before it.
  return plan.phases.filter(({ id, after }) => {
    const isOpen = !isSettled(recordOf(state, id));
    const isBehind = after.some((one) => behind.has(one));
    if (isOpen || isBehind) behind.add(id);
    return isOpen && !isBehind;
  });
}

function stepPhase(plan: Plan, state: CoreState, phase: Phase, moment: Moment): boolean {
  const record = recordOf(state, phase.id);
  if (record.act !== null) return false;
  if (record.held !== null) return stepHeld(plan, state, phase, record, moment);
  if (record.failed !== null) return fail(plan, state, phase, record.failed, moment);
  switch (record.state) {
    case 'pending':
    case 'waiting':
    case 'undone':
      // What was taken back on the way forwards is begun anew only while it has tries left.
      if (record.runs >= phase.limits.tries) {
        record.failed = `it was lost in ${record.runs} of ${phase.limits.tries} tries`;
        record.verdict ??= 'error';
        return true;
      }
      switch (approve(plan, state, phase, moment)) {
        case 'moved':
          return true;
        case 'closed':
          return false;
        case 'open':
          return startInWindow(plan, state, phase, moment);
      }
    case 'done':
      // A stale inspection is the only thing unsettled about a done phase.
      return start(state, phase, moment);
    case 'running':
      return finishTimer(state, phase, record, moment);
    case 'maybe':
      return stepMaybe(state, phase, record, moment);
    case 'undoing':
      // Half of it happened, and its undo failed for a moment: it is tried again before anything else.
      return isEarly(record, moment) ? false : dispatch(state, phase, 'undo', moment);
    case 'skipped':
    case 'undo-failed':
      return false;
  }
}

/** Nothing that the approval gives leave for has begun. */
function isUntouched(plan: Plan, state: CoreState, step: string): boolean {
  return gatesOf(plan, step).every(({ id }) => recordOf(state, id).runs === 0 && !recordOf(state, id).begun);
}

function isAtWork({ act, state, held, againAt }: PhaseRecord): boolean {
  return act !== null || againAt !== null || (state === 'running' && held === null);
}

/** Nothing moves by itself: a run of which no phase is at work, and that needs people, waits. */
function rest(state: CoreState, reached: readonly Phase[], moment: Moment): boolean {
  // Something may be ready that must not start at this moment.
  if (state.run !== 'running' || !mayStart(state, moment)) return false;
  const records = reached.map(({ id }) => recordOf(state, id));
  if (records.some(isAtWork)) return false;
  const held = records.find((record) => record.held !== null);
  if (held !== undefined) {
    moveRun(state, 'wait', { because: held.held?.why ?? null });
    return true;
  }
  const asking = reached.find(({ id, waitsFor }) => {
    const isAsked = state.approvals[waitsFor?.approval ?? '']?.state === 'open';
    const waitsForWindow = (state.windows[id]?.dueAt ?? null) !== null;
    return recordOf(state, id).state === 'waiting' && (isAsked || waitsForWindow);
  });
  if (asking === undefined) return false;
  moveRun(state, 'wait', { step: asking.step });
  return true;
}

/** People may have approved long before the window opened: what they saw is looked at again where it is too old. */
function startInWindow(plan: Plan, state: CoreState, phase: Phase, moment: Moment): boolean {
  const passed = passWindow(plan, state, phase, moment.now);
  if (passed !== 'open') return passed === 'moved';
  const step = phase.waitsFor?.approval;
  const approval = state.approvals[step ?? ''];
  const isWindowed = phase.waitsFor?.window !== undefined;
  if (step !== undefined && isWindowed && approval?.state === 'granted' && isUntouched(plan, state, step)) {
    const asked = askedOf(plan, step);
    if (refresh(state, asked, approval, moment)) {
      approval.closedAt = null;
      approval.quorumAt = null;
      approval.dueAt = moment.now + asked.expiresMs;
      return true;
    }
  }
  return start(state, phase, moment);
}

function go(state: CoreState): boolean {
  moveRun(state, 'go');
  return true;
}

/** The run leaves its way: once what is in flight has ended it stops, or unwinds where something was begun. */
function leave(plan: Plan, state: CoreState, moment: Moment): boolean {
  if (dropUnsent(plan, state)) return true;
  if (Object.values(state.phases).some((record) => record.act !== null)) return false;
  if (Object.values(state.prints).some((print) => print.act !== null)) return false;
  const because = state.cause?.text ?? 'no reason was given';
  for (const [step, approval] of Object.entries(state.approvals)) {
    if (['opening', 'open', 'refreshing'].includes(approval.state))
      close(state, step, approval, 'voided', null);
  }
  for (const [phase, record] of Object.entries(state.phases)) {
    record.held = null;
    record.stale = false;
    const waits = record.state === 'waiting' || record.dueAt !== null;
    record.dueAt = null;
    if (waits) tellPhase(state, phase, 'withdraw', { summary: null });
    else if (record.state === 'running') letGo(phaseOf(plan, phase), state);
  }
  // What was well until people ended it is no pass: the run came to no verdict.
  const verdict = runVerdict(state);
  const found = verdict === 'pass' || verdict === 'warn' ? {} : { verdict };
  if (state.stack.length > 0) state.undoingSince = moment.now;
  moveRun(state, state.stack.length === 0 ? 'stop' : 'unwind', { because, ...found });
  return true;
}

/** What was to start in the very moment in which the run left its way was never started. */
function dropUnsent(plan: Plan, state: CoreState): boolean {
  let moved = false;
  for (const [id, record] of Object.entries(state.phases)) {
    if (record.act === null || record.act === 'undo' || record.handed === record.try) continue;
    const { act } = record;
    record.act = null;
    moved = true;
    if (act !== 'run') continue;
    if (!record.begun) state.stack = state.stack.filter((one) => one !== id);
    const isMaybe = record.begun && phaseOf(plan, id).effect !== 'none';
    tellPhase(state, id, isMaybe ? 'lose' : 'withdraw', { summary: null });
  }
  return moved;
}

/** Somebody may have done it, and has not said so. */
function letGo(phase: Phase, state: CoreState): void {
  const summary = 'nobody said that it was done';
  tellPhase(state, phase.id, isOwed(phase) ? 'lose' : 'withdraw', { summary });
}

/** A failure follows `onFail`; past the point of no return a person is asked. */
function fail(plan: Plan, state: CoreState, phase: Phase, why: string, moment: Moment): boolean {
  const text = `${phase.id}: ${why}`;
  if (state.noReturn) return hold(state, phase, text, null);
  // An undo that failed on the way forwards is for the desk, and only an unwinding run has one.
  if (recordOf(state, phase.id).desk !== null) {
    state.cause = { kind: 'failed', text };
    return true;
  }
  if (stepOf(plan, phase.step).onFail === 'ask') return hold(state, phase, text, moment.now + ASK_MS);
  state.cause = { kind: 'failed', text };
  return true;
}

export function hold(state: CoreState, phase: Phase, why: string, until: number | null): boolean {
  const record = recordOf(state, phase.id);
  record.held = { why, until };
  const choices = state.noReturn ? 'retry or skip' : 'retry, skip or abort';
  write(state, {
    kind: 'phase',
    phase: phase.id,
    state: record.state,
    ...(record.verdict === null ? {} : { verdict: record.verdict }),
    body: { waitingFor: `a person: ${choices}`, summary: why, until },
  });
  return true;
}

function stepHeld(plan: Plan, state: CoreState, phase: Phase, record: PhaseRecord, moment: Moment): boolean {
  if (stepSkip(plan, state, phase, moment)) return true;
  const until = record.held?.until ?? null;
  if (until === null || moment.now < until) return false;
  state.cause = { kind: 'failed', text: `${record.held?.why ?? phase.id}. Nobody answered in time` };
  return true;
}

/** An operator asked for leave to skip the phase: it is given, or its time runs out and the phase waits on. */
function stepSkip(plan: Plan, state: CoreState, phase: Phase, { now }: Moment): boolean {
  const approval = state.approvals[phase.id];
  const asked = plan.approvals[phase.id];
  if (approval?.state !== 'open' || asked?.skip !== true) return false;
  if (now >= approval.dueAt) {
    close(state, phase.id, approval, 'expired', now);
    return true;
  }
  if (!isGiven(asked, approval)) return call(state, phase.id, asked, approval, now);
  close(state, phase.id, approval, 'granted', now);
  const { person = '', reason = '', output = null } = approval.about ?? {};
  skipPhase(state, phase.id, { person, reason, output });
  return true;
}

/** Leaves out a phase that waits for a person. A failure is skipped: the verdict is at best warn. */
export function skipPhase(
  state: CoreState,
  phase: string,
  { person, reason, output }: { person: string; reason: string; output: Record<string, Json> | null },
): void {
  const record = recordOf(state, phase);
  record.held = null;
  record.failed = null;
  record.stale = false;
  state.capped = true;
  tellPhase(state, phase, 'skip', {
    summary: `skipped by ${person}: ${reason}`,
    skippedBy: person,
    ...(output === null ? {} : { output }),
  });
}

/** After a lost try the probe's answer decides; without an effect there is nothing to ask, and the next try starts. */
function stepMaybe(state: CoreState, phase: Phase, record: PhaseRecord, moment: Moment): boolean {
  if (phase.effect === 'none' && phase.probe === undefined) return again(state, phase, record, moment);
  if (phase.probe === undefined)
    return hold(state, phase, `${phase.id} may have happened, and it has no probe`, null);
  switch (record.answer) {
    case null:
      return dispatch(state, phase, 'probe', moment);
    case 'no':
      return again(state, phase, record, moment);
    case 'yes':
      record.verdict = 'pass';
      record.doneAt = moment.now;
      tellPhase(state, phase.id, 'finish', { summary: 'the probe found it done' }, 'pass');
      return true;
    case 'partly':
      if (phase.limits.resumable) return again(state, phase, record, moment);
      if (phase.undo === undefined) {
        const text = `${phase.id} has happened in part, and can be neither continued nor taken back by itself`;
        return hold(state, phase, text, null);
      }
      return dispatch(state, phase, 'undo', moment);
    case 'unknown':
      return hold(state, phase, `${phase.id} may have happened, and its probe could not tell`, null);
  }
}

function again(state: CoreState, phase: Phase, record: PhaseRecord, moment: Moment): boolean {
  if (record.runs < phase.limits.tries) return start(state, phase, moment);
  record.failed = `it was lost in ${record.runs} of ${phase.limits.tries} tries`;
  record.verdict ??= 'error';
  return true;
}

/** Fingerprints before the first effect, then the phase itself. Its undo is owed from here on. */
function start(state: CoreState, phase: Phase, moment: Moment): boolean {
  if (state.run === 'waiting') return go(state);
  if (isWait(phase.run) && phase.run.wait !== 'person') return wait(state, phase, phase.run, moment);
  if (!mayStart(state, moment)) return false;
  // Below the point of no return nothing will be compared.
  if (phase.effect !== 'none' && !state.noReturn && !fingerprinted(state)) return takeBefore(state);
  const record = recordOf(state, phase.id);
  record.stale = false;
  record.answer = null;
  record.verdict = null;
  record.runs += 1;
  if (isOwed(phase) && !state.stack.includes(phase.id)) state.stack.push(phase.id);
  if (isWait(phase.run) && phase.run.wait === 'person') return askPerson(state, phase, phase.run);
  movePhase(state, phase.id, 'start');
  send(record, 'run');
  return true;
}

/** From here on somebody may be at it. */
function askPerson(state: CoreState, phase: Phase, run: PersonWait): boolean {
  const record = recordOf(state, phase.id);
  record.begun = true;
  record.held = { why: run.instructions, until: null, toDo: true };
  tellPhase(state, phase.id, 'start', { waitingFor: 'a person: done', summary: run.instructions });
  return true;
}

function wait(state: CoreState, phase: Phase, run: Exclude<Wait, PersonWait>, moment: Moment): boolean {
  const record = recordOf(state, phase.id);
  // What was granted is recorded first: with that the run hears of an abort that has not reached it.
  if (run.wait === 'point-of-no-return' && !mayStart(state, moment)) return false;
  if (run.wait === 'timer') {
    record.dueAt = moment.now + run.forMs;
    tellPhase(state, phase.id, 'start', { waitingFor: 'time', dueAt: record.dueAt });
    return true;
  }
  record.verdict = 'pass';
  record.doneAt = moment.now;
  if (run.wait === 'point-of-no-return') {
    state.noReturn = true;
    state.stack = [];
  }
  const summary = run.wait === 'approval' ? 'approved' : `past it: ${run.because}`;
  tellPhase(state, phase.id, 'finish', { summary }, 'pass');
  return true;
}

function finishTimer(state: CoreState, phase: Phase, record: PhaseRecord, moment: Moment): boolean {
  if (record.dueAt === null || moment.now < record.dueAt) return false;
  record.dueAt = null;
  record.verdict = 'pass';
  record.doneAt = moment.now;
  tellPhase(state, phase.id, 'finish', { summary: 'the time has passed' }, 'pass');
  return true;
}

function fingerprinted(state: CoreState): boolean {
  return Object.values(state.prints).every((print) => print.before !== null);
}

function takeBefore(state: CoreState): boolean {
  let moved = false;
  for (const [target, print] of Object.entries(state.prints)) {
    if (print.failed !== null) {
      state.cause = { kind: 'failed', text: `${target} could not be fingerprinted: ${print.failed}` };
      return true;
    }
    if (print.before !== null || print.act !== null) continue;
    print.try += 1;
    print.act = 'before';
    moved = true;
  }
  return moved;
}

/** Puts one activity of the phase in flight. */
export function send(record: PhaseRecord, direction: 'run' | 'probe' | 'undo'): void {
  record.try += 1;
  record.act = direction;
}

export function dispatch(
  state: CoreState,
  phase: Phase,
  direction: 'probe' | 'undo',
  moment: Moment,
): boolean {
  if (!mayStart(state, moment)) return false;
  const record = recordOf(state, phase.id);
  // An undo that failed for a moment is under way still.
  if (direction === 'undo' && record.state !== 'undoing') movePhase(state, phase.id, 'undo');
  record.againAt = null;
  send(recordOf(state, phase.id), direction);
  return true;
}
