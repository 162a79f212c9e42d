/** Going forwards: one step of the run's way, from the first phase that is not settled. Each function says whether it moved anything. */
import { ASK_MS } from '../procedures/limits.ts';
import { type Phase, type Plan, type Verdict, type Wait, isWait } from '../procedures/plan.ts';
import { stands } from './approvals.ts';
import {
  type ApprovalRecord,
  type CoreState,
  type PhaseRecord,
  movePhase,
  moveRun,
  phaseOf,
  recordOf,
  stepOf,
  tellPhase,
  write,
} from './state.ts';

/** What `settle` knows of the moment: the time, and whether nothing new may start. */
export type Moment = { now: number; draining: boolean };

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
  if (state.cause !== null) return leave(state);
  const phase = plan.phases.find((one) => !isSettled(recordOf(state, one.id)));
  if (phase === undefined) {
    if (state.outbox.length > 0) return false;
    if (state.run === 'waiting') return go(state);
    moveRun(state, 'succeed', { verdict: runVerdict(state) });
    return true;
  }
  const record = recordOf(state, phase.id);
  if (record.act !== null) return false;
  if (record.held !== null) return stepHeld(state, phase, record, moment);
  if (record.failed !== null) return fail(plan, state, phase, record.failed, moment);
  switch (record.state) {
    case 'pending':
    case 'waiting':
    case 'undone':
      switch (approve(plan, state, phase, moment)) {
        case 'moved':
          return true;
        case 'closed':
          return false;
        case 'open':
          return start(state, phase, moment);
      }
    case 'done':
      // A stale inspection is the only thing unsettled about a done phase.
      return start(state, phase, moment);
    case 'running':
      return finishTimer(state, phase, record, moment);
    case 'maybe':
      return stepMaybe(state, phase, record, moment);
    case 'skipped':
    case 'undoing':
    case 'undo-failed':
      return false;
  }
}

function isSettled(record: PhaseRecord): boolean {
  return (record.state === 'done' && record.failed === null && !record.stale) || record.state === 'skipped';
}

function go(state: CoreState): boolean {
  moveRun(state, 'go');
  return true;
}

/** The run leaves its way: once what is in flight has ended it stops, or unwinds where something was begun. */
function leave(state: CoreState): boolean {
  if (Object.values(state.phases).some((record) => record.act !== null)) return false;
  if (Object.values(state.prints).some((print) => print.act !== null)) return false;
  const because = state.cause?.text ?? 'no reason was given';
  for (const [phase, approval] of Object.entries(state.approvals)) {
    if (['opening', 'open', 'refreshing'].includes(approval.state))
      close(state, phase, approval, 'voided', null);
  }
  for (const [phase, record] of Object.entries(state.phases)) {
    record.held = null;
    record.stale = false;
    const waits = record.state === 'waiting' || record.dueAt !== null;
    record.dueAt = null;
    if (waits) tellPhase(state, phase, 'withdraw', { summary: null });
  }
  if (state.stack.length === 0) moveRun(state, 'stop', { because, verdict: runVerdict(state) });
  else moveRun(state, 'unwind', { because, verdict: runVerdict(state) });
  return true;
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

function hold(state: CoreState, phase: Phase, why: string, until: number | null): boolean {
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
  if (state.run === 'running') moveRun(state, 'wait', { because: why });
  return true;
}

function stepHeld(state: CoreState, phase: Phase, record: PhaseRecord, moment: Moment): boolean {
  const until = record.held?.until ?? null;
  if (until === null || moment.now < until) return false;
  state.cause = { kind: 'failed', text: `${record.held?.why ?? phase.id}. Nobody answered in time` };
  return true;
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
      if (phase.limits.resumable || phase.undo === undefined) return again(state, phase, record, moment);
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
  if (isWait(phase.run)) return wait(state, phase, phase.run, moment);
  if (!mayStart(state, moment)) return false;
  // Below the point of no return nothing will be compared.
  if (phase.effect !== 'none' && !state.noReturn && !fingerprinted(state)) return takeBefore(state);
  const record = recordOf(state, phase.id);
  record.stale = false;
  record.answer = null;
  record.verdict = null;
  record.runs += 1;
  movePhase(state, phase.id, 'start');
  if (phase.undo !== undefined && !state.stack.includes(phase.id)) state.stack.push(phase.id);
  send(record, 'run');
  return true;
}

function wait(state: CoreState, phase: Phase, run: Wait, moment: Moment): boolean {
  const record = recordOf(state, phase.id);
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
  if (direction === 'undo') movePhase(state, phase.id, 'undo');
  send(recordOf(state, phase.id), direction);
  return true;
}

/** The gate before a phase that needs an approval: open, closed, or moved just now. */
function approve(plan: Plan, state: CoreState, phase: Phase, moment: Moment): 'open' | 'closed' | 'moved' {
  const asked = phase.waitsFor?.approval;
  if (asked === undefined) return 'open';
  const approval = state.approvals[phase.id];
  if (approval === undefined) {
    const dueAt = moment.now + asked.expiresMs;
    state.approvals[phase.id] = freshApproval(dueAt);
    tellPhase(state, phase.id, 'wait', { waitingFor: 'approval', dueAt });
    return 'moved';
  }
  if (approval.state === 'granted') return 'open';
  if (moment.now >= approval.dueAt) {
    close(state, phase.id, approval, 'expired', moment.now);
    state.cause = { kind: 'expired', text: `The approval of ${phase.step} expired` };
    return 'moved';
  }
  switch (approval.state) {
    case 'refreshing':
      // The leading phases are settled again: what they found is hashed anew.
      approval.state = 'opening';
      approval.opened += 1;
      return 'moved';
    case 'open':
      return stands(asked.from, approval.votes)
        ? grant(plan, state, phase, approval, asked.freshMs, moment)
        : waitForVotes(state, phase);
    case 'opening':
    case 'rejected':
    case 'expired':
    case 'voided':
      return 'closed';
  }
}

function freshApproval(dueAt: number): ApprovalRecord {
  return { state: 'opening', evidence: '', round: 1, opened: 1, dueAt, votes: [], past: [], closedAt: null };
}

function waitForVotes(state: CoreState, phase: Phase): 'closed' | 'moved' {
  if (state.run !== 'running') return 'closed';
  moveRun(state, 'wait', { step: phase.step });
  return 'moved';
}

/** The quorum stands: an inspection that is too old is run again first; another digest will void the votes. */
function grant(
  plan: Plan,
  state: CoreState,
  phase: Phase,
  approval: ApprovalRecord,
  freshMs: number,
  moment: Moment,
): 'moved' {
  const leading = leadingPhases(plan, phase).map((id) => recordOf(state, id));
  if (leading.some((record) => record.state === 'done' && moment.now - (record.doneAt ?? 0) > freshMs)) {
    approval.state = 'refreshing';
    for (const record of leading) record.stale = record.state === 'done';
  } else {
    close(state, phase.id, approval, 'granted', moment.now);
  }
  return 'moved';
}

export function leadingPhases(plan: Plan, phase: Phase): string[] {
  const ids = stepOf(plan, phase.step).phases;
  return ids
    .slice(0, ids.indexOf(phase.id))
    .filter((id) => phaseOf(plan, id).effect === 'none' && !isWait(phaseOf(plan, id).run));
}

export function close(
  state: CoreState,
  phase: string,
  approval: ApprovalRecord,
  how: 'granted' | 'rejected' | 'expired' | 'voided',
  at: number | null,
): void {
  approval.state = how;
  approval.closedAt = at;
  write(state, {
    kind: 'approval',
    phase,
    state: how,
    body: {
      evidence: approval.evidence,
      round: approval.round,
      votes: approval.votes.map((vote) => vote.id),
    },
  });
}
