/** Going forwards: one step of the run's way, of any phase whose predecessors are settled. Each function says whether it moved anything. */
import { ASK_MS } from '../procedures/limits.ts';
import { type Approval, type Phase, type Plan, type Verdict, type Wait, isWait } from '../procedures/plan.ts';
import { stands } from './approvals.ts';
import {
  type ApprovalRecord,
  type CoreState,
  type PhaseRecord,
  askedOf,
  movePhase,
  moveRun,
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
  const open = plan.phases.filter(({ id }) => !isSettled(recordOf(state, id)));
  if (open.length === 0) {
    if (state.outbox.length > 0) return false;
    if (state.run === 'waiting') return go(state);
    moveRun(state, 'succeed', { verdict: runVerdict(state) });
    return true;
  }
  const reached = open.filter((phase) => phase.after.every((id) => isSettled(recordOf(state, id))));
  return reached.some((phase) => stepPhase(plan, state, phase, moment)) || rest(state, reached);
}

function stepPhase(plan: Plan, state: CoreState, phase: Phase, moment: Moment): boolean {
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

/** Nothing moves by itself: a run of which no phase is at work, and that needs people, waits. */
function rest(state: CoreState, reached: readonly Phase[]): boolean {
  if (state.run !== 'running') return false;
  const records = reached.map(({ id }) => recordOf(state, id));
  if (records.some((record) => record.act !== null || record.state === 'running')) return false;
  const held = records.find((record) => record.held !== null);
  if (held !== undefined) {
    moveRun(state, 'wait', { because: held.held?.why ?? null });
    return true;
  }
  const asking = reached.find(
    ({ id, waitsFor }) =>
      recordOf(state, id).state === 'waiting' && state.approvals[waitsFor?.approval ?? '']?.state === 'open',
  );
  if (asking === undefined) return false;
  moveRun(state, 'wait', { step: asking.step });
  return true;
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
  const step = phase.waitsFor?.approval;
  if (step === undefined) return 'open';
  const asked = askedOf(plan, step);
  const approval = state.approvals[step];
  if (recordOf(state, phase.id).state === 'pending' && approval?.state !== 'granted') {
    const dueAt = approval?.dueAt ?? moment.now + asked.expiresMs;
    tellPhase(state, phase.id, 'wait', { waitingFor: 'approval', dueAt });
    return 'moved';
  }
  if (approval === undefined) {
    // Parallel steps are asked about once, when the last of them has come to its first effect.
    if (gatesOf(plan, step).some(({ id }) => recordOf(state, id).state === 'pending')) return 'closed';
    state.approvals[step] = freshApproval(moment.now + asked.expiresMs);
    return 'moved';
  }
  if (approval.state === 'granted') return 'open';
  if (moment.now >= approval.dueAt) {
    close(state, step, approval, 'expired', moment.now);
    state.cause = { kind: 'expired', text: `The approval of ${step} expired` };
    return 'moved';
  }
  switch (approval.state) {
    case 'refreshing':
      if (!asked.leading.every((id) => isSettled(recordOf(state, id)))) return 'closed';
      // The leading phases are settled again: what they found is hashed anew.
      approval.state = 'opening';
      approval.opened += 1;
      return 'moved';
    case 'open':
      return stands(asked.from, approval.votes) ? grant(state, step, asked, approval, moment) : 'closed';
    case 'opening':
    case 'rejected':
    case 'expired':
    case 'voided':
      return 'closed';
  }
}

/** The phases that wait for an approval: the first effect of the step, or of each parallel step of the block. */
export function gatesOf(plan: Plan, step: string): Phase[] {
  return plan.phases.filter(({ waitsFor }) => waitsFor?.approval === step);
}

function freshApproval(dueAt: number): ApprovalRecord {
  return { state: 'opening', evidence: '', round: 1, opened: 1, dueAt, votes: [], past: [], closedAt: null };
}

/** The quorum stands: an inspection that is too old is run again first; another digest will void the votes. */
function grant(
  state: CoreState,
  step: string,
  asked: Approval,
  approval: ApprovalRecord,
  moment: Moment,
): 'moved' {
  const leading = asked.leading.map((id) => recordOf(state, id));
  const isOld = (record: PhaseRecord) => moment.now - (record.doneAt ?? 0) > asked.freshMs;
  if (leading.some((record) => record.state === 'done' && isOld(record))) {
    approval.state = 'refreshing';
    for (const record of leading) record.stale = record.state === 'done';
  } else {
    close(state, step, approval, 'granted', moment.now);
  }
  return 'moved';
}

export function close(
  state: CoreState,
  step: string,
  approval: ApprovalRecord,
  how: 'granted' | 'rejected' | 'expired' | 'voided',
  at: number | null,
): void {
  approval.state = how;
  approval.closedAt = at;
  const { evidence, round, votes } = approval;
  write(state, {
    kind: 'approval',
    state: how,
    body: { step, evidence, round, votes: votes.map((vote) => vote.id) },
  });
}
