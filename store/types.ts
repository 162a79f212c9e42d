/**
 * What the store gives to the worker and to the API: one type a side, so that each gets its own database role and
 * nothing more. PostgreSQL is behind both; the journal moves only through the function `countdown.append`.
 */
import type { RefusalStored, Unanswered } from './decisions.ts';
import type { Facts } from './facts.ts';
import type { StoreMetrics } from './metrics.ts';
import type { Undoing } from './undoing.ts';
import type { Direction, Json, Plan, Verdict } from '../procedures/plan.ts';
import type { PhaseState, RunState } from '../procedures/states.ts';
import type { Begun, Decision, Counted, DecisionKind, RecordRow } from '../workflows/messages.ts';

export type JournalKind =
  | 'asked'
  | 'run'
  | 'phase'
  | 'approval'
  | 'decision'
  | 'intent'
  | 'outcome'
  | 'refused'
  | 'token';

/** The intent of one Temporal attempt. */
export type IntentRow = {
  run: number;
  phase: string;
  direction: Direction;
  try: number;
  attempt: number;
  /** When the window ends to which the phase is bound: it and the whole undo must fit until then. Default never. */
  until?: Date;
};

/** Why the journal refuses a row. */
export type Refusal =
  /** The run is closed. */
  | 'RunClosed'
  /** A lease of the run is not held with the run's epoch any more. */
  | 'LeaseLost'
  /** A later attempt of this phase, in any direction, has an intent row. */
  | 'Superseded'
  /** Forwards, an earlier phase of the plan is neither done nor skipped. */
  | 'OutOfOrder'
  /** Undoing everything so far and this phase, or the phase with that undo, would not fit its time. */
  | 'ObjectiveExceeded'
  /** There is no such run, or the phase is not in its plan. */
  | 'PlanUnknown';

export type StoredOutcome = {
  seq: number;
  result: 'ok' | 'failed';
  verdict: Verdict;
  summary: string;
  output?: Record<string, Json>;
  binds?: Record<string, Json>;
  answer?: 'no' | 'yes' | 'partly' | 'unknown';
  leaveOut?: true;
  /** Fingerprints. */
  print?: { state: string; data: string | null };
  /** Where result is failed. */
  error?: { type: string; message: string };
  /** The attempt failed and Temporal starts another one: this row ends neither its try nor its phase. */
  again?: true;
};

export type Intent =
  | {
      seq: number;
      epoch: number;
      /** Outputs of done phases by phase id; read with the intent to save a round trip. */
      outputs: Record<string, Record<string, Json>>;
    }
  /** This try ended already; its answer was lost on the way. The effect must not run again. */
  | { stored: StoredOutcome }
  | { refused: Refusal; detail: string };

export type OutcomeRow = Omit<StoredOutcome, 'seq'> & {
  run: number;
  phase: string;
  direction: Direction;
  try: number;
  attempt: number;
  /** The seq of the intent row that this outcome answers. */
  intent: number;
  /** The phase's new state for the read model; null leaves it (probes, fingerprints). */
  state: PhaseState | null;
};

export type RunRow = {
  run: number;
  plan: Plan;
  planHash: string;
  environment: string;
  requester: string;
  /** The phase that fails after its effect; null for none. */
  failAt: string | null;
  epoch: number;
};

export type JournalRow = {
  run: number;
  seq: number;
  at: string;
  kind: JournalKind;
  phase: string | null;
  direction: Direction | null;
  try: number | null;
  attempt: number | null;
  actor: string;
  /** The RFC 8785 text that was hashed is derived from it; see `verifyChain`. */
  body: Record<string, Json>;
  prev: string;
  hash: string;
};

/** The worker's side: database role `countdown_worker`. */
export type WorkerStore = {
  /**
   * The run with its plan, read by the run row's plan hash; undefined where the API stored none. All of it is fixed when
   * the run is made, so a store reads each run once.
   */
  loadRun(run: number): Promise<RunRow | undefined>;
  intent(row: IntentRow): Promise<Intent>;
  outcome(row: OutcomeRow): Promise<{ seq: number } | { refused: Refusal; detail: string }>;
  /** Whether no later intent of this phase exists than the given one, and the run is open. */
  isCurrent(row: { run: number; phase: string; seq: number }): Promise<boolean>;
  /** Whether somebody paused the run. */
  isPaused(run: number): Promise<boolean>;
  /** `binds` of the last good run outcome of each of the phases. */
  binds(run: number, phases: string[]): Promise<Record<string, Record<string, Json>>>;
  /** What the journal knows, for `Recorder.begin`. `groups` and requester come from the run row. */
  begun(run: number, execution: string): Promise<Begun>;
  /** Appends rows in order in one transaction; a row whose key exists in this run is left alone. The read model moves with them. */
  record(run: number, rows: RecordRow[]): Promise<void>;
  decision(run: number, id: string): Promise<Decision | undefined>;
  /** Journals a decision row once, by id. */
  countDecision(run: number, id: string): Promise<number>;
  /** The oldest abort that an interface stored and the workflow of a run that goes forwards has not heard. */
  unheardAbort(run: number): Promise<string | undefined>;
  /** Decisions that the journal holds after row `after`, oldest first; bounded by `DECISIONS_MAX` and `UNHEARD_MAX`. */
  counted(run: number, after: number): Promise<Counted[]>;
  /** Approving decision rows of this approval that are journalled, and everybody who steered the run. */
  votes(
    run: number,
    step: string,
  ): Promise<{ evidence: string | null; approvals: Decision[]; steered: string[] }>;
  /** What the journal proves; outcomes of these phases alone. */
  facts(run: number, phases: string[]): Promise<Facts>;
  undoing(run: number, phase: string): Promise<Undoing>;
  /** Replaces the phase's progress; a side table, never journalled. */
  saveProgress(row: { run: number; phase: string; progress: Record<string, Json> }): Promise<void>;
};

export type PhaseView = {
  phase: string;
  step: string;
  title: string;
  effect: string;
  state: PhaseState;
  verdict: Verdict | null;
  summary: string | null;
  error: { type: string; message: string } | null;
  try: number;
  waitingFor: string | null;
  progress: Record<string, Json> | null;
  startedAt: string | null;
  endedAt: string | null;
  /** When its latest intent of any direction was written. */
  actAt: string | null;
  /** When the worker that is at it was last heard of: its latest intent, or its latest progress. */
  newsAt: string | null;
  /** What it is expected to take, fixed when the run was made; `undoMs` null where it has no undo. */
  runMs: number;
  undoMs: number | null;
  /** Whether an abort now would take it back. */
  isOwed: boolean;
};

/** What the past, or else the plan, says of a phase; `undoMs` null where it has no undo. */
export type ExpectedPhase = {
  phase: string;
  runMs: number;
  undoMs: number | null;
  /** Times of which `undoMs` is the p95 (from 20 on) or the longest; 0 where the plan declares it. */
  undoSamples: number;
};

/** Where the time of a rollback went. */
export type Recovery = {
  /** From the start of the phase that broke to its failure; 0 where a person ended the run. */
  detectMs: number;
  /** From there to the unwinding: what people took to decide. */
  decideMs: number;
  /** To the end of the last undo. */
  executeMs: number;
  /** To the end of the comparison with before. */
  verifyMs: number;
};

export type ApprovalView = {
  /** The step, or the block of parallel steps, that is approved. */
  step: string;
  state: 'open' | 'granted' | 'rejected' | 'expired' | 'voided';
  evidence: string;
  round: number;
  from: Record<string, number>;
  openedAt: string;
  dueAt: string;
};

export type RunView = {
  run: number;
  /** Its plan is a check: it looks, and changes nothing. */
  check: boolean;
  runbook: string;
  environment: string;
  plan: string;
  requester: string;
  state: RunState;
  verdict: Verdict | null;
  /** Why the run did not succeed, in one sentence. */
  because: string | null;
  /** After a rollback: true where every target came back equal; the names of those that could not be compared. */
  verified: boolean | null;
  notVerified: string[];
  step: string | null;
  failAt: string | null;
  /** It does not begin later, and begins no effect that could not end and be taken back until then; null for never. */
  notAfter: string | null;
  /** It begins then and not before; null for at once. */
  dueAt: string | null;
  /** Until when it waits for targets that others hold, once it is due; null where it does not. */
  waitUntil: string | null;
  /** Whether it begins only once enough people have said that they are there, and who has. */
  readyCheck: boolean;
  ready: string[];
  /** Whether it holds its leases: a run that waits for its time or for a target does not. */
  isAdmitted: boolean;
  createdAt: string;
  startedAt: string | null;
  endedAt: string | null;
  /** When unwinding began and ended; null where it did not. */
  unwindingAt: string | null;
  unwoundAt: string | null;
  head: { seq: number; hash: string };
};

/** How far a decision has come on its way to the run. */
export type Delivery =
  /** Written by the API; the run has not taken it. It is sent again. */
  | 'stored'
  /** Its row counts; the run has not confirmed that it heard it. It is sent again. */
  | 'journalled'
  /** The run has heard it. */
  | 'confirmed'
  /** The run refused it. */
  | 'refused'
  /** The run ended without it. */
  | 'too-late';

export type RunDetail = RunView & {
  /** What it follows; null for a run that somebody asked for. */
  follows: Follows | null;
  /** Runs that follow it, as far as they are made. */
  followUps: { followUp: string; run: number; state: RunState; dueAt: string | null }[];
  phases: PhaseView[];
  approvals: ApprovalView[];
  /** `counted` is whether its row is journalled; `refused` is the code with which the workflow refused it. */
  decisions: (Decision & { at: string; counted: boolean; refused: string | null; delivery: Delivery })[];
  targets: { target: string; before: string | null; after: string | null; equal: boolean | null }[];
};

export type NewRun = {
  plan: string;
  requester: string;
  groups: Record<string, string[]>;
  failAt: string | null;
  idempotency: IdempotencyKey | null;
  /** When the run begins; at once where it is left out. */
  dueAt?: Date;
  /** It does not begin later. */
  notAfter?: Date;
  /** Milliseconds for which it waits for targets that others hold, once it is due; left out it is refused instead. */
  waitMs?: number;
  /** It begins only once enough people are there to approve it; `waitMs` bounds that too. */
  readyCheck?: boolean;
  /** What time it is; the database's by default. */
  now?: Date;
  /** The run that it follows, and as which follow-up of its plan. Made once, however often it is asked for. */
  follows?: Follows;
};

/** A run that follows another, days after that has succeeded. */
export type Follows = { run: number; followUp: string };

/** A run that has succeeded, and what its plan says is to follow. */
export type Awaited = {
  run: number;
  environment: string;
  requester: string;
  endedAt: string;
  followUp: string;
  afterMs: number;
  plan: string;
};

export type IdempotencyKey = { key: string; person: string; bodyHash: string };

/** Who stands in the way of a run: who holds the target, or has waited for it for longer. */
export type Blocker = { target: string; run: number; waits: boolean };

export type CreatedRun =
  /** `isAdmitted`: it holds its leases and can begin. */
  | { run: number; created: boolean; isAdmitted: boolean }
  | { refused: 'TargetLeased'; blocker: Blocker }
  /** One key with two bodies. */
  | { refused: 'KeyReused' }
  | { refused: 'PlanUnknown' };

/** What came of giving a run its leases; `over` where it has them, or has ended. */
export type Admission = { answer: 'admitted' | 'early' | 'over' } | { answer: 'leased'; blocker: Blocker };

type OpenPart = 'run' | 'state' | 'environment' | 'requester' | 'createdAt' | 'isAdmitted';
type WaitPart = 'readyCheck' | 'ready' | 'dueAt' | 'waitUntil' | 'notAfter';
export type OpenRun = Pick<RunView, OpenPart | WaitPart> & { planHash: string };

export type LeaseRow = {
  environment: string;
  target: string;
  mode: 'exclusive' | 'shared';
  run: number;
};

export type TokenRow = { id: string; person: string; createdAt: string; expiresAt: string };

/** Who made or revoked a token, and the environments in whose chains that is written down. */
export type TokenAudit = { actor: string; door: string; environments: readonly string[] };

/** `before` is the seq of the last row of the page before; `run` leaves those that name it. */
export type RefusedPage = { environment: string; run?: number; before?: number; limit: number };

/** The API's side: database role `countdown_api`. */
export type ApiStore = {
  savePlan(row: { hash: string; plan: Plan; person: string }): Promise<void>;
  plan(hash: string): Promise<Plan | undefined>;
  /** A plan by its first digits (at least 12); undefined where none or more than one begins so. */
  planByPrefix(prefix: string): Promise<{ hash: string; plan: Plan } | undefined>;
  /** Run row, all leases, phases of the read model and journal row 1 in one transaction. */
  createRun(row: NewRun): Promise<CreatedRun>;
  run(run: number): Promise<RunDetail | undefined>;
  /** Undefined where the run was not rolled back. */
  recovery(run: number): Promise<Recovery | undefined>;
  /** What each phase of a stored plan is expected to take, by its hash. */
  expected(plan: string): Promise<ExpectedPhase[]>;
  runs(page: { limit: number; before?: number }): Promise<RunView[]>;
  /** Journal rows after `seq`, oldest first. */
  journal(run: number, page: { after: number; limit: number }): Promise<JournalRow[]>;
  /** Inserted and committed before the update is sent. */
  insertDecision(decision: Decision): Promise<void>;
  /** The update of the decision completed: the run has heard it, and it is not sent again. */
  answerDecision(row: { run: number; id: string }): Promise<void>;
  /** The workflow refused it: it is never sent again, so an early answer cannot count later. A journalled row still counts. */
  refuseDecision(row: { run: number; id: string; code: string }): Promise<RefusalStored>;
  /**
   * Decisions that their run has neither answered nor refused, of open runs, older than `olderMs`: aborts first, then
   * oldest first.
   */
  unanswered(olderMs: number, limit: number, which?: Unanswered): Promise<Decision[]>;
  /** Stores why the workflow of an open run is opened again, before the new one starts; 500 characters are kept. */
  tellReopened(run: number, reason: string): Promise<void>;
  /** A refused attempt, in the environment's own chain (run 0). */
  refused(row: {
    environment: string;
    person: string | null;
    door: string;
    run: number | null;
    code: string;
    detail: string;
  }): Promise<void>;
  /** Refused attempts of an environment, newest first. */
  refusals(page: RefusedPage): Promise<JournalRow[]>;
  insertToken(row: { hash: string; person: string; expiresAt: Date }): Promise<TokenRow>;
  /** By sha256 of the token; undefined where unknown, expired or revoked. */
  token(hash: string): Promise<TokenRow | undefined>;
  /** Stores a token and writes it down where its person is named, in one transaction. */
  issueToken(row: { hash: string; person: string; expiresAt: Date }, audit: TokenAudit): Promise<TokenRow>;
  /** Tokens that have neither expired nor been revoked, newest first. */
  tokens(page: { limit: number; before?: string }): Promise<TokenRow[]>;
  /** One of them by its id. */
  tokenById(id: string): Promise<TokenRow | undefined>;
  /** False where there is none, or it is revoked already. With `audit` it is written down. */
  revokeToken(id: string, audit?: TokenAudit): Promise<boolean>;
  /** What the tables say in numbers. */
  metrics(): Promise<StoreMetrics>;
  /** For the janitor: `planned` runs, and open runs. */
  openRuns(): Promise<OpenRun[]>;
  /** Follow-ups of runs that have succeeded, which have no run yet. */
  awaitedFollowUps(limit: number): Promise<Awaited[]>;
  /** The run that this key made before, or that it was used with another body; undefined where it is new. */
  replay(key: IdempotencyKey): Promise<{ run: number } | { refused: 'KeyReused' } | undefined>;
  /** Gives a run that is due all its leases and an epoch, or none of them. */
  admit(run: number, now: Date): Promise<Admission>;
  /** What stands in the way of a run that waits; undefined for nothing. */
  blocker(run: number, now: Date): Promise<Blocker | undefined>;
  /** What would stand in the way of a run of this stored plan. */
  blockerOfPlan(plan: string, now: Date): Promise<Blocker | undefined>;
  /**
   * Ends a run that waits for its time or for a target. `decision` is the id of the abort that asks for it, null where
   * its time is over. False where it began or ended meanwhile.
   */
  stopPlanned(row: { run: number; because: string; decision: string | null }): Promise<boolean>;
  /** Somebody is there to approve a run that waits for it. False where nobody is asked (any more). */
  sayReady(row: { run: number; person: string; door: string }): Promise<boolean>;
  /** Leases that are held, by environment and target. */
  leases(): Promise<LeaseRow[]>;
  /** Calls back with the run's number whenever its journal grows; ends with the signal. Reconnects by itself. */
  listen(onRow: (run: number) => void, signal: AbortSignal): Promise<void>;
  ready(): Promise<void>;
};

/** Who steers a run cannot approve on it. */
export const STEERING: readonly DecisionKind[] = [
  'abort',
  'retry',
  'skip',
  'done',
  'resolve',
  'pause',
  'resume',
];
