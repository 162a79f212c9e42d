/** The state of the core: JSON and nothing else, so that continue-as-new carries all there is. */
import type {
  Approval,
  Direction,
  Json,
  Phase,
  Plan,
  ProbeAnswer,
  Step,
  Verdict,
} from '../procedures/plan.ts';
import { fingerprintPhase } from '../procedures/plan.ts';
import {
  type PhaseEvent,
  type PhaseState,
  type RunEvent,
  type RunState,
  nextPhase,
  nextRun,
} from '../procedures/states.ts';
import type { Vote } from './approvals.ts';
import type { RecordRow } from './messages.ts';

export type PhaseRecord = {
  state: PhaseState;
  /** The highest try handed out, over all directions. */
  try: number;
  /** Tries of `run` so far; a retry by a person starts again at 0. */
  runs: number;
  /** A try of `run` may have acted: from here on an undo is owed, whatever later tries say. */
  begun: boolean;
  /** What is in flight with `try`; null for nothing. */
  act: Direction | null;
  /** The try that the shell was last told to start: one that it never was told of will never end. */
  handed: number;
  verdict: Verdict | null;
  /** Ended badly and not yet decided upon: `onFail` speaks next. */
  failed: string | null;
  /** The last probe's answer; cleared by each start. */
  answer: ProbeAnswer | null;
  /** Why the last probe gave no answer. */
  probeError: string | null;
  /** Waits for a person: retry, skip or abort; with `toDo`, to do it and say so. */
  held: { why: string; until: number | null; toDo?: true } | null;
  /** An inspection that must be run again before an approval counts. */
  stale: boolean;
  doneAt: number | null;
  /** When a timer phase ends. */
  dueAt: number | null;
  /** Why the phase is on the desk: its undo failed, its probe did not know, or its undo found something changed. */
  desk: 'undo' | 'probe' | 'differs' | 'person' | null;
  /** A person accepted what its undo found changed: its targets count as not verified. */
  accepted: boolean;
  /** Undos or probes in a row that failed for a moment, and when the next one starts. Epoch milliseconds. */
  retries: number;
  againAt: number | null;
};

export type ApprovalRecord = {
  state: 'opening' | 'open' | 'refreshing' | 'granted' | 'rejected' | 'expired' | 'voided';
  /** Digest of what inspect declares invariant; empty until opened. */
  evidence: string;
  /** Grows when votes are voided. */
  round: number;
  /** Grows with each evidence act. */
  opened: number;
  /** Epoch milliseconds. */
  dueAt: number;
  votes: Vote[];
  /** Evidence of earlier rounds: a vote on one of them is told that it was voided. */
  past: string[];
  closedAt: number | null;
  /** When the present round was opened, reminders since, groups called since, and when people are called next. */
  openedAt: number;
  reminders: number;
  escalated: number;
  callAt: number | null;
  /** Since when the present votes are enough: what is inspected after that is not inspected again for them. */
  quorumAt: number | null;
  /** Votes of people who break the glass. */
  glass: Vote[];
  /** What an approval of a skipping is about. */
  about?: { person: string; reason: string; output: Record<string, Json> | null };
};

/** What an activity said of the window before a phase; epoch milliseconds. */
export type WindowRecord = {
  looks: number;
  isLooking: boolean;
  opensAt: number;
  /** Null for never. */
  closesAt: number | null;
  /** When the core must look at it again. */
  dueAt: number | null;
};

export type PrintRecord = {
  before: string | null;
  after: string | null;
  try: number;
  act: 'before' | 'after' | null;
  /** Why the last one could not be taken. */
  failed: string | null;
  differs: boolean;
  /** A person accepted the target as it is: it counts as not verified. */
  accepted: boolean;
  /** Fingerprints after the unwinding that failed for a moment, and when the next one is taken. Epoch milliseconds. */
  retries: number;
  againAt: number | null;
};

export type Cause = {
  kind: 'failed' | 'rejected' | 'expired' | 'aborted' | 'closed' | 'window';
  text: string;
};

/** Why a run unwinds whose workflow the janitor had to open again. */
export const CLOSED = 'The workflow of the run was closed from outside';

export type CoreState = {
  version: 1;
  run: RunState;
  /** Filled by `begun`. */
  planHash: string | null;
  requester: string;
  groups: Record<string, string[]>;
  phases: Record<string, PhaseRecord>;
  /** Phases whose undo is owed, in order of their first start. */
  stack: string[];
  /** By step or block, as `Plan.approvals`. */
  approvals: Record<string, ApprovalRecord>;
  prints: Record<string, PrintRecord>;
  /** By the phase that waits for it. */
  windows: Record<string, WindowRecord>;
  /** When a stuck run calls again, and how often it has. */
  deskRemindAt: number | null;
  deskReminders: number;
  /** Set once: the run leaves its way, by stopping or by unwinding. */
  cause: Cause | null;
  /** While paused nothing starts and the clocks of approvals stand still; epoch milliseconds. */
  pausedAt: number | null;
  /** Past the point of no return. */
  noReturn: boolean;
  /** A failure was skipped: the verdict is at best `warn`. */
  capped: boolean;
  steered: { person: string; kind: string; at: number }[];
  /** Ids of all decisions that were applied: one that is sent again changes nothing. */
  heard: string[];
  /** The highest journal row of a decision that was heard. */
  heardSeq: number;
  /** Since when undos use the rollback objective: the start of the unwinding, or the last resolution. Epoch milliseconds. */
  undoingSince: number | null;
  /** What the desk held when the run last became stuck: a person may resolve all of it, one after the other. */
  desked: string[];
  /** Journal rows to be recorded, and how many of them are on their way. */
  outbox: RecordRow[];
  recording: number;
  rows: number;
};

export function initial(plan: Plan): CoreState {
  const phases: Record<string, PhaseRecord> = {};
  for (const phase of plan.phases) phases[phase.id] = freshPhase();
  const prints: Record<string, PrintRecord> = {};
  for (const { target } of plan.fingerprints) {
    prints[target] = {
      before: null,
      after: null,
      try: 0,
      act: null,
      failed: null,
      differs: false,
      accepted: false,
      retries: 0,
      againAt: null,
    };
  }
  return {
    version: 1,
    run: 'planned',
    planHash: null,
    requester: '',
    groups: {},
    phases,
    stack: [],
    approvals: {},
    prints,
    windows: {},
    deskRemindAt: null,
    deskReminders: 0,
    cause: null,
    pausedAt: null,
    noReturn: false,
    capped: false,
    steered: [],
    heard: [],
    heardSeq: 0,
    undoingSince: null,
    desked: [],
    outbox: [],
    recording: 0,
    rows: 0,
  };
}

function freshPhase(): PhaseRecord {
  return {
    state: 'pending',
    try: 0,
    runs: 0,
    begun: false,
    act: null,
    handed: 0,
    verdict: null,
    failed: null,
    answer: null,
    probeError: null,
    held: null,
    stale: false,
    doneAt: null,
    dueAt: null,
    desk: null,
    accepted: false,
    retries: 0,
    againAt: null,
  };
}

/** What `settle` knows of the moment: the time, and whether nothing new may start. */
export type Moment = { now: number; draining: boolean };

export function isSettled(record: PhaseRecord): boolean {
  return (record.state === 'done' && record.failed === null && !record.stale) || record.state === 'skipped';
}

export function recordOf(state: CoreState, phase: string): PhaseRecord {
  const record = state.phases[phase];
  if (record === undefined) throw new Error(`The plan has no phase '${phase}'.`);
  return record;
}

export function phaseOf(plan: Plan, id: string): Phase {
  const phase = plan.phases.find((one) => one.id === id);
  if (phase === undefined) throw new Error(`The plan has no phase '${id}'.`);
  return phase;
}

export function askedOf(plan: Plan, step: string): Approval {
  const asked = plan.approvals[step];
  if (asked === undefined) throw new Error(`The plan asks for no approval of '${step}'.`);
  return asked;
}

export function stepOf(plan: Plan, id: string): Step {
  const step = plan.steps.find((one) => one.id === id);
  if (step === undefined) throw new Error(`The plan has no step '${id}'.`);
  return step;
}

/** Whether something must be taken back once the phase has begun. */
export function isOwed({ undo, undoWait }: Phase): boolean {
  return undo !== undefined || undoWait !== undefined;
}

/** Appends a row to the outbox; the shell records it before anything new is started. */
export function write(state: CoreState, row: Omit<RecordRow, 'key'>): void {
  state.rows += 1;
  state.outbox.push({ ...row, key: `row/${state.rows}` });
}

export function moveRun(state: CoreState, event: RunEvent, body: { [key: string]: Json } = {}): void {
  state.run = nextRun(state.run, event);
  write(state, { kind: 'run', state: state.run, body });
}

/** Moves a phase without a row: the interceptor writes one. */
export function movePhase(state: CoreState, phase: string, event: PhaseEvent): void {
  const record = recordOf(state, phase);
  record.state = nextPhase(record.state, event);
}

/** Moves a phase of which no activity tells. */
export function tellPhase(
  state: CoreState,
  phase: string,
  event: PhaseEvent,
  body: { [key: string]: Json },
  verdict?: Verdict,
): void {
  movePhase(state, phase, event);
  write(state, {
    kind: 'phase',
    phase,
    state: recordOf(state, phase).state,
    ...(verdict === undefined ? {} : { verdict }),
    body,
  });
}

/** Phases, in the order in which they are undone, and targets that need a person before the run can be called rolled back. */
export function desk(state: CoreState): { subject: string; why: string }[] {
  const order = [...state.stack.toReversed(), ...Object.keys(state.phases)];
  const phases = [...new Set(order)]
    .map((subject) => ({ subject, record: recordOf(state, subject) }))
    .filter(({ record }) => record.desk !== null)
    .map(({ subject, record }) => ({ subject, why: record.failed ?? 'its undo failed' }));
  const targets = Object.entries(state.prints)
    .filter(([, print]) => print.differs && !print.accepted)
    .map(([target]) => ({ subject: fingerprintPhase(target), why: `${target} is not as it was before` }));
  return [...phases, ...targets];
}

/**
 * What a person may resolve now, in order of undoing. Between two resolutions the run unwinds, and the rest of the desk on which it
 * was stuck waits in line.
 */
export function openDesk(state: CoreState): string[] {
  if (state.run === 'stuck') return desk(state).map(({ subject }) => subject);
  if (state.run !== 'unwinding') return [];
  return state.desked.filter((subject) => state.phases[subject]?.desk !== null);
}

/** Whether anything of the phases or fingerprints is in flight. */
export function flying(state: CoreState): boolean {
  return (
    Object.values(state.phases).some((record) => record.act !== null) ||
    Object.values(state.prints).some((print) => print.act !== null)
  );
}
