/**
 * The core of the interpreter: what must be in flight, and what follows from what happened. It knows no Temporal and no
 * clock; its state is JSON and nothing else remembers anything.
 *
 *   wanted(plan, state)        the acts that must be in flight now
 *   apply(plan, state, event)  takes what happened
 *   settle(plan, state, at)    goes as far as possible without the world
 */
import { ASK_MS, SUMMARY_BYTES_MAX } from '../procedures/limits.ts';
import { NEVER_STARTED, NOBODY_KNOWS } from '../procedures/errors.ts';
import { type Direction, type Plan, isWait } from '../procedures/plan.ts';
import { isTerminal } from '../procedures/states.ts';
import { lookAgain, nextCall, remindDesk } from './clocks.ts';
import { hold, stepForward } from './forward.ts';
import { close, gatesOf } from './gates.ts';
import { decide } from './decide.ts';
import { judge } from './judge.ts';
import type { Begun, Counted, OpenApproval, PhaseAnswer, RecordRow } from './messages.ts';
import { isPassing, tryAgain } from './retries.ts';
import {
  CLOSED,
  type CoreState,
  type Moment,
  type PhaseRecord,
  askedOf,
  isOwed,
  movePhase,
  moveRun,
  phaseOf,
  recordOf,
  tellPhase,
  write,
} from './state.ts';
import { giveToDesk, stepUnwind } from './unwind.ts';

export { nextDue } from './clocks.ts';
export { type CoreState, initial } from './state.ts';

/** One thing that must be in flight. The key names it for ever: the same key is the same act. */
export type Act =
  | { key: string; kind: 'begin' }
  | { key: string; kind: 'record'; rows: RecordRow[]; after: number }
  | { key: string; kind: 'open'; input: Omit<OpenApproval, 'run' | 'key'> }
  | { key: string; kind: 'window'; phase: string; window: string }
  | { key: string; kind: 'phase'; phase: string; direction: 'run' | 'probe' | 'undo'; try: number }
  | { key: string; kind: 'print'; target: string; direction: 'before' | 'after'; try: number };

/** How an act ended. `maybe` says that nobody knows: a timeout, a lost worker, a cancellation. */
export type Outcome =
  | { end: 'ok'; answer: PhaseAnswer }
  | { end: 'failed'; type: string; message: string }
  | { end: 'maybe'; message: string };

export type Event =
  | { kind: 'begun'; begun: Begun }
  | { kind: 'recorded'; counted: Counted[] }
  | { kind: 'opened'; step: string; evidence: string; openedAt: number }
  | { kind: 'window'; phase: string; opensAt: number; closesAt: number | null }
  | { kind: 'phase'; phase: string; direction: Direction; try: number; outcome: Outcome }
  | { kind: 'print'; target: string; direction: 'before' | 'after'; try: number; outcome: Outcome };

/** Bound of one settle: each turn moves something, and a plan has at most 500 phases. */
const SETTLE_TURNS_MAX = 10_000;

export function settle(plan: Plan, state: CoreState, now: number, draining = false): void {
  const moment: Moment = { now, draining };
  for (let turn = 0; turn < SETTLE_TURNS_MAX; turn += 1) {
    if (!advance(plan, state, moment)) {
      if (state.recording === 0) state.recording = state.outbox.length;
      if (!isLeaving(state)) for (const record of Object.values(state.phases)) record.handed = record.try;
      return;
    }
  }
  throw new Error('The core does not come to rest: this is a bug.');
}

function advance(plan: Plan, state: CoreState, moment: Moment): boolean {
  if (state.planHash === null || isTerminal(state.run)) return false;
  if (state.run === 'stuck') return remindDesk(state, moment.now);
  if (state.run === 'planned') {
    moveRun(state, 'start', {});
    return true;
  }
  if (state.run === 'unwinding') return stepUnwind(plan, state, moment);
  // Running phases end; nothing new begins, and no clock runs out. An abort still takes the run back.
  if (state.run === 'paused' && state.cause === null) return false;
  return stepForward(plan, state, moment);
}

/** The run has ended and its last row is recorded. */
export function isOver(state: CoreState): boolean {
  return isTerminal(state.run) && state.outbox.length === 0;
}

export function wanted(plan: Plan, state: CoreState): Act[] {
  if (state.planHash === null) return [{ key: 'begin', kind: 'begin' }];
  const acts: Act[] = [];
  if (state.recording > 0) {
    const rows = state.outbox.slice(0, state.recording);
    acts.push({ key: `record/${rows[0]?.key}`, kind: 'record', rows, after: state.heardSeq });
  }
  const leaving = isLeaving(state);
  for (const [phase, record] of Object.entries(state.phases)) {
    const direction = record.act;
    if (direction === null || direction === 'before' || direction === 'after') continue;
    // A run that leaves its way cancels what goes forward and waits for its end.
    if (leaving && direction !== 'undo') continue;
    acts.push({
      key: `${phase}/${direction}/${record.try}`,
      kind: 'phase',
      phase,
      direction,
      try: record.try,
    });
  }
  for (const [target, print] of Object.entries(state.prints)) {
    if (print.act === null) continue;
    acts.push({
      key: `@${target}/${print.act}/${print.try}`,
      kind: 'print',
      target,
      direction: print.act,
      try: print.try,
    });
  }
  for (const [step, approval] of Object.entries(state.approvals)) {
    if (approval.state === 'opening') acts.push(openAct(plan, state, step));
  }
  for (const [phase, { isLooking, looks }] of Object.entries(state.windows)) {
    const window = phaseOf(plan, phase).waitsFor?.window;
    if (isLooking && window !== undefined)
      acts.push({ key: `window/${phase}/${looks}`, kind: 'window', phase, window });
  }
  return acts;
}

/** The run leaves its way, and what goes forward is being cancelled. */
function isLeaving(state: CoreState): boolean {
  return state.cause !== null && state.run !== 'unwinding' && state.run !== 'stuck';
}

function openAct(plan: Plan, state: CoreState, step: string): Act {
  const approval = state.approvals[step];
  const { leading, from } = askedOf(plan, step);
  return {
    key: `open/${step}/${approval?.opened}`,
    kind: 'open',
    input: {
      plan: state.planHash ?? '',
      step,
      leading,
      round: approval?.round ?? 1,
      opened: approval?.opened ?? 1,
      dueAt: approval?.dueAt ?? 0,
      from,
      ...(approval?.about === undefined ? {} : { about: approval.about }),
    },
  };
}

export function apply(plan: Plan, state: CoreState, event: Event, now: number): void {
  switch (event.kind) {
    case 'begun':
      return begin(plan, state, event.begun, now);
    case 'recorded':
      state.outbox.splice(0, state.recording);
      state.recording = 0;
      for (const counted of event.counted) hear(plan, state, counted, now);
      return;
    case 'opened':
      return opened(plan, state, event);
    case 'window':
      return lookedAt(state, event);
    case 'print':
      return printed(plan, state, event, now);
    case 'phase': {
      const record = recordOf(state, event.phase);
      if (record.act !== event.direction || record.try !== event.try) return;
      if (event.direction === 'run') return ranTo(plan, state, event.phase, record, event.outcome, now);
      if (event.direction === 'probe') return probed(plan, state, event.phase, record, event.outcome, now);
      return undid(plan, state, event.phase, record, event.outcome, now);
    }
  }
}

/** A decision that the journal holds and this workflow has not heard: it is applied now, or the run says why it cannot be. */
function hear(plan: Plan, state: CoreState, { seq, decision }: Counted, now: number): void {
  state.heardSeq = Math.max(state.heardSeq, seq);
  if (state.heard.includes(decision.id)) return;
  const refused = judge(plan, state, decision, now);
  if (refused === undefined) {
    decide(plan, state, decision, now);
    return;
  }
  // If it is sent again, it is answered with the reason.
  const unheard = {
    decision: decision.id,
    kind: decision.kind,
    person: decision.person,
    why: refused.detail,
  };
  write(state, { kind: 'run', state: state.run, body: { unheard } });
}

function begin(plan: Plan, state: CoreState, begun: Begun, now: number): void {
  state.planHash = begun.plan;
  state.requester = begun.requester;
  state.groups = begun.groups;
  if (!begun.reopened) return;
  for (const { seq, decision } of begun.counted ?? []) {
    state.heard.push(decision.id);
    state.heardSeq = Math.max(state.heardSeq, seq);
  }
  for (const [target, print] of Object.entries(state.prints)) {
    print.before = begun.prints[target]?.before ?? null;
    print.try = begun.prints[target]?.try ?? 0;
  }
  for (const known of begun.journal) adopt(plan, state, known);
  if (state.noReturn) return moveRun(state, 'start', {});
  // `begin` has written that row already, before it read the journal.
  state.run = 'unwinding';
  state.undoingSince = now;
  state.cause = { kind: 'closed', text: begun.reopenReason ?? CLOSED };
}

/** What the journal knows of a phase. Whatever was on its way is `maybe`. */
function adopt(plan: Plan, state: CoreState, known: Begun['journal'][number]): void {
  const phase = phaseOf(plan, known.phase);
  const record = recordOf(state, known.phase);
  record.try = known.try;
  if (isWait(phase.run)) {
    if (known.state === 'done' || known.state === 'skipped') record.state = known.state;
    if (phase.run.wait === 'person' && isOwed(phase) && !['pending', 'waiting'].includes(known.state)) {
      record.state = ['done', 'skipped', 'undone'].includes(known.state) ? known.state : 'maybe';
      record.begun = true;
      if (!state.noReturn) state.stack.push(known.phase);
    }
    if (known.state === 'done' && phase.run.wait === 'point-of-no-return') {
      state.noReturn = true;
      state.stack = [];
    }
    return;
  }
  if (!known.started) {
    if (known.state === 'skipped') record.state = 'skipped';
    return;
  }
  record.state =
    known.state === 'done' || known.state === 'skipped' || known.state === 'undone' ? known.state : 'maybe';
  record.runs = 1;
  record.begun = true;
  record.doneAt = 0;
  record.verdict = known.verdict;
  if (record.state === 'done' && known.verdict !== 'pass' && known.verdict !== 'warn') {
    record.failed = `it had ended with verdict ${known.verdict ?? 'unknown'}`;
  }
  if (isOwed(phase) && !state.noReturn) state.stack.push(known.phase);
}

function opened(
  plan: Plan,
  state: CoreState,
  { step, evidence, openedAt }: Extract<Event, { kind: 'opened' }>,
): void {
  const approval = state.approvals[step];
  if (approval?.state !== 'opening') return;
  if (approval.evidence !== '' && approval.evidence !== evidence) {
    approval.past.push(approval.evidence);
    approval.votes = [];
    approval.glass = [];
    approval.quorumAt = null;
    approval.round += 1;
    write(state, {
      kind: 'approval',
      state: 'open',
      body: { step, evidence, round: approval.round, voided: true },
    });
  }
  if (approval.evidence !== evidence) {
    approval.openedAt = openedAt;
    approval.reminders = 0;
    approval.escalated = 0;
  }
  approval.evidence = evidence;
  approval.state = 'open';
  approval.callAt = nextCall(askedOf(plan, step), approval);
}

function lookedAt(state: CoreState, event: Extract<Event, { kind: 'window' }>): void {
  const window = state.windows[event.phase];
  if (window?.isLooking !== true) return;
  window.isLooking = false;
  window.opensAt = event.opensAt;
  window.closesAt = event.closesAt;
}

function ranTo(
  plan: Plan,
  state: CoreState,
  phase: string,
  record: PhaseRecord,
  outcome: Outcome,
  now: number,
): void {
  const effect = phaseOf(plan, phase).effect;
  if (outcome.end === 'failed' && outcome.type === 'NotStarted' && !isLeaving(state)) {
    // The journal was out before anything began: the same thing again, and no try is counted.
    record.try += 1;
    return;
  }
  record.act = null;
  const neverStarted = outcome.end === 'failed' && NEVER_STARTED.includes(outcome.type) && !record.begun;
  if (!neverStarted) record.begun = true;
  if (outcome.end === 'ok') {
    const { verdict, summary } = outcome.answer;
    movePhase(state, phase, 'finish');
    record.verdict = verdict;
    record.doneAt = now;
    if (verdict !== 'pass' && verdict !== 'warn') record.failed = cut(summary);
    else if (outcome.answer.leaveOut === true) leaveOut(plan, state, phase, cut(summary));
    return;
  }
  if (outcome.end === 'failed' && !NOBODY_KNOWS.includes(outcome.type)) {
    record.failed = cut(outcome.message);
    if (neverStarted) {
      withdraw(state, phase, record);
      return notYet(plan, state, phase, { type: outcome.type, message: record.failed ?? '', now });
    }
    record.verdict = 'error';
    if (effect === 'none') {
      record.doneAt = now;
      return tellPhase(state, phase, 'finish', { summary: record.failed, type: outcome.type }, 'error');
    }
    return tellPhase(state, phase, 'lose', { summary: record.failed, type: outcome.type }, 'error');
  }
  if (effect === 'none' && state.cause !== null) {
    return tellPhase(state, phase, 'withdraw', { summary: 'cut short; it has no effect' });
  }
  tellPhase(state, phase, 'lose', { summary: cut(outcome.message) });
}

/** The condition does not hold: what it decides about is skipped, and what nobody waits for any more is asked no longer. */
function leaveOut(plan: Plan, state: CoreState, phase: string, why: string): void {
  // What was left out once stays so, also where the condition is looked at again.
  const left = (phaseOf(plan, phase).decides ?? []).filter((id) => recordOf(state, id).state !== 'skipped');
  for (const id of left) tellPhase(state, id, 'skip', { summary: `left out: ${why}` });
  for (const [step, approval] of Object.entries(state.approvals)) {
    const isAsked = ['opening', 'open', 'refreshing'].includes(approval.state);
    const gates = gatesOf(plan, step);
    if (isAsked && gates.every(({ id }) => recordOf(state, id).state === 'skipped'))
      close(state, step, approval, 'voided', null);
  }
}

/** Refusals that are no failure: a window is looked at again, and what does not fit the objective is for a person. */
function notYet(
  plan: Plan,
  state: CoreState,
  phase: string,
  { type, message, now }: { type: string; message: string; now: number },
): void {
  const record = recordOf(state, phase);
  const window = state.windows[phase];
  if (type === 'WindowClosed' && window !== undefined) {
    record.failed = null;
    lookAgain(window);
  } else if (type === 'ObjectiveExceeded') {
    record.failed = null;
    hold(state, phaseOf(plan, phase), message, now + ASK_MS);
  }
}

/** Refused before its intent row: nothing was started, and no undo is owed. */
function withdraw(state: CoreState, phase: string, record: PhaseRecord): void {
  state.stack = state.stack.filter((id) => id !== phase);
  record.runs = 0;
  tellPhase(state, phase, 'withdraw', { summary: record.failed });
}

function probed(
  plan: Plan,
  state: CoreState,
  phase: string,
  record: PhaseRecord,
  outcome: Outcome,
  now: number,
): void {
  // A probe that was cut short on the way out is asked again by the unwinding.
  const leaving = isLeaving(state);
  if (outcome.end === 'failed' && outcome.type === 'NotStarted' && !leaving) {
    record.try += 1;
    return;
  }
  record.act = null;
  record.probeError = outcome.end === 'ok' ? null : cut(outcome.message);
  if (outcome.end === 'ok') {
    record.answer = outcome.answer.answer ?? 'unknown';
    return;
  }
  record.answer = leaving ? null : 'unknown';
  if (state.run !== 'unwinding') return;
  const again = isPassing(outcome) ? tryAgain(plan, state, record, now) : undefined;
  if (again === undefined) return;
  record.answer = null;
  tellAgain(
    state,
    phase,
    record,
    `its probe could not tell whether it happened: ${record.probeError}; ${again}`,
  );
}

function undid(
  plan: Plan,
  state: CoreState,
  phase: string,
  record: PhaseRecord,
  outcome: Outcome,
  now: number,
): void {
  if (outcome.end === 'failed' && outcome.type === 'NotStarted') {
    record.try += 1;
    return;
  }
  record.act = null;
  if (outcome.end !== 'ok') {
    record.failed = cut(outcome.message);
    const again = isPassing(outcome) ? tryAgain(plan, state, record, now) : undefined;
    if (again === undefined) return giveToDesk(state, phase, record, 'undo');
    return tellAgain(state, phase, record, `${record.failed}; ${again}`);
  }
  record.retries = 0;
  // An undo on the way forwards has used nothing of the next one's time.
  if (state.run !== 'unwinding') state.undoingSince = null;
  movePhase(state, phase, 'restore');
  const { verdict, summary } = outcome.answer;
  if (verdict !== 'pass' && verdict !== 'warn') {
    record.failed = cut(summary);
    record.desk = 'differs';
  }
}

/** The tree says that it failed for a moment, and when it is tried again. */
function tellAgain(state: CoreState, phase: string, record: PhaseRecord, summary: string): void {
  write(state, { kind: 'phase', phase, state: record.state, body: { summary, againAt: record.againAt } });
  record.failed = null;
}

function printed(plan: Plan, state: CoreState, event: Extract<Event, { kind: 'print' }>, now: number): void {
  const print = state.prints[event.target];
  if (print === undefined || print.act !== event.direction || print.try !== event.try) return;
  const { outcome } = event;
  if (outcome.end === 'failed' && outcome.type === 'NotStarted') {
    print.try += 1;
    return;
  }
  print.act = null;
  if (outcome.end === 'ok') {
    print[event.direction] = outcome.answer.digest;
    return;
  }
  // Before the first effect a target that is away ends the run; after the last undo it must be compared if it can be.
  const isWorthIt = event.direction === 'after' && isPassing(outcome);
  if (!isWorthIt || tryAgain(plan, state, print, now) === undefined) print.failed = cut(outcome.message);
}

/** State stays small: what is longer stands in the journal. */
function cut(text: string): string {
  const bound = SUMMARY_BYTES_MAX / 16;
  return text.length <= bound ? text : `${text.slice(0, bound)}…`;
}
