/** What the API answers, as far as the command line reads it. */
import type { PhaseState, RunState } from '../procedures/states.ts';

/** Why it may start inside change freezes, and which. */
export type EmergencyWire = { reason: string; freezes: string[] };

export type PlanWire = {
  plan: string;
  runbook: string;
  environment: string;
  params: Record<string, unknown>;
  rollback: { withinMs: number };
  pointOfNoReturn: string | null;
  steps: {
    id: string;
    kind: string;
    effect: string;
    block?: string | null;
    window?: string | null;
    targets: string[];
    undoMs: number;
    approval: { from: Record<string, number>; via: string } | null;
    wait: { wait: string; forMs?: number | undefined; because?: string | undefined } | null;
    phases: { id: string }[];
  }[];
  /** Blocks of parallel steps. */
  blocks?: { id: string; approval: { from: Record<string, number>; via: string } | null }[];
  leftOut: { id: string; kind: string; because: string }[];
  followUps?: { id: string; afterMs: number; plan: string }[];
  emergency?: EmergencyWire | null;
  unverifiable: string[];
  now: {
    person: string;
    takesMs: number;
    undoMs: number;
    undoBasis: { samples: number; isP95: boolean } | null;
    canApprove: Record<string, string[]>;
    leases: HeldWire[];
    leasesNeeded: number;
    changeFreeze: { names: string[]; until: string } | null;
    nextChangeFreeze: { name: string; from: string } | null;
  };
};

export type RunWire = {
  run: number;
  check: boolean;
  runbook: string;
  environment: string;
  plan: string;
  requester: string;
  state: RunState;
  verdict: string | null;
  because: string | null;
  verified: boolean | null;
  notVerified: string[];
  step: string | null;
  /** When it begins; null for at once. */
  dueAt: string | null;
  notAfter: string | null;
  /** Until when it waits for targets that other runs hold. */
  waitUntil: string | null;
  createdAt: string;
  startedAt: string | null;
  endedAt: string | null;
  unwindingAt: string | null;
  unwoundAt: string | null;
  head: { seq: number; hash: string };
};

export type CheckWire = {
  run: number;
  state: string;
  plan: string;
  checked: string[];
  notChecked: { id: string; kind: string; because: string }[];
};

export type PhaseWire = {
  phase: string;
  step: string;
  title: string;
  effect: string;
  state: PhaseState;
  verdict: string | null;
  summary: string | null;
  error: { type: string; message: string } | null;
  try: number;
  waitingFor: string | null;
  progress: Record<string, unknown> | null;
  startedAt: string | null;
  endedAt: string | null;
  /** When its latest attempt began, in whichever direction. */
  actAt?: string | null;
  /** When the worker that is at it was last heard of. */
  newsAt?: string | null;
  undo: string | null;
  wait: string | null;
  expectedMs: number;
};

export type ApprovalWire = {
  step: string;
  state: 'open' | 'granted' | 'rejected' | 'expired' | 'voided';
  evidence: string;
  from: Record<string, number>;
  openedAt: string;
  dueAt: string;
  votes: { person: string; group: string | null; door: string; at: string }[];
  needed: Record<string, number>;
  canApprove: Record<string, string[]>;
};

export type RunDetailWire = RunWire & {
  /** The server's time. */
  at: string;
  /** What a planned run waits for, besides its time. */
  waitingFor: string | null;
  /** The run that this one follows. */
  follows?: { run: number; followUp: string } | null;
  /** Runs of their own that follow once this one has succeeded. */
  followUps?: {
    id: string;
    afterMs: number;
    run: number | null;
    state: string | null;
    dueAt: string | null;
  }[];
  emergency?: EmergencyWire | null;
  rollback: { withinMs: number; undoMs: number; phases: number; lastSafeAt: string | null };
  recovery: { detectMs: number; decideMs: number; executeMs: number; verifyMs: number } | null;
  abort: { allowed: boolean; undoes: number; undoMs: number };
  steps: { id: string; kind: string; effect: string; block?: string | null; phases: string[] }[];
  phases: PhaseWire[];
  approvals: ApprovalWire[];
  decisions: {
    kind: string;
    subject: string | null;
    person: string;
    door: string;
    reason: string | null;
    at: string;
    /** The person stands for everybody who is asked. */
    breakGlass?: boolean;
    /** It had an effect. */
    counted: boolean;
    /** Counted, AlreadyCounted, Accepted, or the code of its refusal; null while its row does not count. */
    result?: string | null;
    /** How far it has come on its way to the run; older APIs do not say it. */
    delivery?: 'stored' | 'journalled' | 'confirmed' | 'refused' | 'too-late';
  }[];
  targets: { target: string; equal: boolean | null }[];
};

export type EvidenceWire = {
  run: RunWire;
  plan: unknown;
  rows: unknown[];
  head: RunWire['head'];
  undoSheet: string | null;
};

export type HeldWire = {
  target: string;
  run: number;
  runbook: string;
  requester: string;
  waits: boolean;
  leftMs: number | null;
  waitsFor: string | null;
};

export type LeaseWire = HeldWire & { environment: string; mode: 'exclusive' | 'shared' };

export type StartedWire = Pick<RunWire, 'run' | 'state' | 'step' | 'requester' | 'dueAt' | 'waitUntil'> & {
  waitingFor: string | null;
};

export type TokenWire = { id: string; person: string; createdAt: string; expiresAt: string };
export type TokenMadeWire = TokenWire & { token: string };

export type DecisionWire = { result: string; detail: string };

export type EventWire = { id: string | null; event: string; data: Record<string, unknown> };
