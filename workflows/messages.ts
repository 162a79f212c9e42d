/** What the doors and the activities say to the workflow `launch`. Types and names only. */
import { defineUpdate } from '@temporalio/workflow';
import type { Direction, Json, Plan, ProbeAnswer, Verdict } from '../procedures/plan.ts';
import type { PhaseState } from '../procedures/states.ts';
import type { CoreState } from './core.ts';

/** The start argument. */
export type LaunchInput = {
  run: number;
  plan: Plan;
  /** Carried over by continue-as-new; from anybody else it is not taken. */
  state?: CoreState;
  /** Events after which the history is cut; `HISTORY_EVENTS_MAX` by default. */
  historyEventsMax?: number;
};

/** All that an activity of a phase is told. What to call, with which limits and faults, the interceptor reads by the run row's plan hash. */
export type Envelope = { run: number; phase: string; direction: Direction; try: number };

/** What the interceptor gives back to the workflow. Outputs stay in PostgreSQL. */
export type PhaseAnswer = {
  verdict: Verdict;
  summary: string;
  seq: number;
  /** sha256 of output and binds; of state and data for a fingerprint. */
  digest: string;
  answer?: ProbeAnswer;
  /** Of a condition that does not hold: the phases that it decides about are left out. */
  leaveOut?: true;
};

export type DecisionKind =
  | 'approve'
  | 'reject'
  | 'abort'
  | 'retry'
  | 'skip'
  | 'done'
  | 'resolve'
  | 'pause'
  | 'resume';

/** A decision row as the door wrote it, before the update was sent. */
export type Decision = {
  id: string;
  run: number;
  kind: DecisionKind;
  /** The step or block that is approved or rejected; the phase that is retried, skipped or resolved; null for abort. */
  subject: string | null;
  person: string;
  /** The person's groups, read by the door at that moment. */
  groups: string[];
  door: 'api' | 'cli' | 'slack' | 'console';
  plan: string;
  evidence: string | null;
  reason: string | null;
  /** For `resolve`: done with evidence, or try the undo again, perhaps with other params. For `done`: the evidence. */
  resolution: { retry: true; params?: Record<string, Json> } | { done: true; evidence: string } | null;
  /** For `skip`: stands for what the phase would have given. */
  output?: Record<string, Json>;
  /** For `approve`: in place of everybody who is asked, together with another person. */
  breakGlass?: true;
};

export type DecisionAnswer = {
  result: 'Counted' | 'AlreadyCounted' | 'Accepted';
  /** One sentence, the same on every door. */
  detail: string;
  votes?: { person: string; group: string | null; door: string; at: number }[];
  needed?: Record<string, number>;
};

export const decisionUpdate = defineUpdate<DecisionAnswer, [Decision]>('decision');

/** Activities that the shell calls for rows that no phase activity writes. */
export type Recorder = {
  /**
   * Checks that the API stored this plan under this run, and tells what the journal knows. Where another execution of the
   * workflow has told of the run already, it was closed from outside: above the point of no return the run is marked as
   * unwinding first.
   */
  begin(input: { run: number; plan: Plan; execution: string }): Promise<Begun>;
  /**
   * Appends rows in order; a row whose key exists already is left alone. Then it
   * journals an abort that has not reached the workflow, and gives back the decisions that the journal holds after row
   * `after`, oldest first, `UNHEARD_MAX` at most: the workflow compares them with those that it has heard.
   */
  record(input: { run: number; rows: RecordRow[]; after: number }): Promise<{ counted: Counted[] }>;
  /** Hashes what the step's leading phases bind, appends the approval row, and returns the digest. */
  openApproval(input: OpenApproval): Promise<{ evidence: string; openedAt: number }>;
  /** When the window is open next, and until when: now, where it is open. Null for always. */
  lookAtWindow(input: { run: number; window: string }): Promise<{ opensAt: number; closesAt: number | null }>;
  /**
   * Journals the decision row of that id, once, and gives back its journal row. Throws ApprovalMissing where no interface wrote it,
   * or wrote it otherwise than the update says.
   */
  countDecision(input: { run: number; told: Decision }): Promise<Counted>;
};

/** A decision that the journal holds. */
export type Counted = { seq: number; decision: Decision };

export type Begun = {
  /** The plan's hash, as the run row has it. */
  plan: string;
  requester: string;
  /** Who can approve by group, without the requester, as the environment file said when the run was asked for. */
  groups: Record<string, string[]>;
  /** Another execution of the workflow has told of the run already. */
  reopened: boolean;
  /** Every phase that is not `pending` in the read model: first those with a run intent, in order of the first one; then the others. */
  journal: JournalPhase[];
  /** Fingerprints by target: the digest of before as the interceptor gave it to the workflow, and the highest try in the journal. */
  prints: Record<string, { before: string | null; try: number }>;
  /** Why the API opened the workflow again, in a sentence; null where it told nothing. */
  reopenReason?: string | null;
  /** Decisions that the journal holds already: one that is sent again is answered and not applied again. */
  counted?: Counted[];
};

export type JournalPhase = {
  phase: string;
  /** As the read model has it. */
  state: PhaseState;
  verdict: Verdict | null;
  /** Whether an intent row of direction `run` exists. */
  started: boolean;
  /** The highest try of any direction; 0 where there is no intent. */
  try: number;
};

export type OpenApproval = {
  run: number;
  plan: string;
  key: string;
  /** What is approved: a step, or a block of parallel steps. */
  step: string;
  /** Phases without an effect, whose `binds` the digest covers. */
  leading: string[];
  round: number;
  /** Grows with each time that the evidence is hashed. */
  opened: number;
  /** Epoch milliseconds. */
  dueAt: number;
  from: Record<string, number>;
  /** What else the approval binds to: why a phase is to be skipped. */
  about?: Json;
};

/** A row that the shell records: what changed, and the new state for the read model. */
export type RecordRow = {
  /** Unique within the run: a retried activity writes it once. */
  key: string;
  kind: 'run' | 'phase' | 'approval';
  phase?: string;
  /** The new state of the run, the phase or the approval. */
  state: string;
  verdict?: Verdict;
  body: { [key: string]: Json };
};
