/**
 * The plan: a runbook made exact for one environment. It is plain data, its name is the sha256 of its canonical JSON
 * (RFC 8785), and the workflow interprets it without looking anything up.
 *
 *   Runbook + Environment + params ──compile──▶ Plan { steps, phases, targets, fingerprints, rollback }
 */

import type { Window } from './windows.ts';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What a phase leaves in the world: nothing · something cheap to take back · something dear to take back · something for good. */
export type Effect = 'none' | 'reversible' | 'costly' | 'irreversible';

/** What was found. `inconclusive` and `error` block like `fail`: no data is never a pass. */
export type Verdict = 'pass' | 'warn' | 'fail' | 'inconclusive' | 'error';

/** What a probe says of an effect that may have happened. */
export type ProbeAnswer = 'no' | 'yes' | 'partly' | 'unknown';

/** The three ways of one phase, and the two moments at which a target is fingerprinted. */
export type Direction = 'run' | 'probe' | 'undo' | 'before' | 'after';

/** One activity call. Params hold target names, `$(step.output)` references and values, never addresses or secrets. */
export type Call = { activity: string; params: Json };

/** A phase that waits in the interpreter itself and calls no activity. */
export type Wait = { wait: 'approval' } | { wait: 'timer'; forMs: number } | PersonWait | PointOfNoReturn;

/** Past it nothing is taken back. */
export type PointOfNoReturn = { wait: 'point-of-no-return'; because: string };

/** An undo for people, in whole sentences: what to do, and what is seen once it is done. */
export type ByHand = { how: string; seen: string };

/** A person does it and says so. */
export type PersonWait = { wait: 'person'; instructions: string; evidence: 'required' | 'optional' };

/** Leave for the effects of a step: how many of which group, for how long, and what closes it. */
export type Approval = {
  /** Votes needed from each group. A person counts once, for one group. */
  from: Record<string, number>;
  /** Milliseconds from asking to closing. Closing never approves. */
  expiresMs: number;
  via: 'any' | 'slack' | 'api';
  /** Milliseconds between reminders. */
  remindEveryMs: number;
  /** An inspection older than this when the quorum stands is run again; another digest voids the votes. */
  freshMs: number;
  /**
   * The steps that this approval covers: its own, those of its block, and every step below a point of no return; in an emergency
   * also those below it that ask nobody themselves.
   */
  covers: string[];
  /** Phases without an effect before the first one with: the approval binds to what they declare invariant. */
  leading: string[];
  /** Whether who approves must say why. Default optional; who rejects always must. */
  comment?: 'required';
  /** Groups that are called when nobody has decided, each on its own clock. It never changes who may approve. */
  escalate?: { afterMs: number; to: string }[];
  /** Two people and a reason may stand for everybody; the run stays marked. */
  breakGlass?: true;
  /** Asked only where an operator wants this phase to be skipped. */
  skip?: true;
};

export type Limits = {
  /** Milliseconds that one attempt may take. */
  timeoutMs: number;
  /** Milliseconds without a heartbeat after which the attempt counts as lost. */
  heartbeatMs: number;
  /** Tries of the core, with a probe between them. */
  tries: number;
  /** Attempts of Temporal within one try; above 1 only where the run is idempotent or has its own checkpoints. */
  attempts: number;
  /** Attempts of the undo before the phase goes to the desk. */
  undoAttempts: number;
  /** The run goes on from its own checkpoint, so after `partly` it may simply be tried again. */
  resumable: boolean;
};

export type Phase = {
  /** `step/phase`, or the step's id where the step has one phase. */
  id: string;
  step: string;
  title: string;
  effect: Effect;
  targets: string[];
  run: Call | Wait;
  undo?: Call;
  /** A person takes it back and says so; no probe can look. */
  undoWait?: PersonWait;
  /** The undo in words, for the undo sheet. */
  undoTitle?: string;
  /** The same by hand. */
  byHand?: ByHand;
  /** It tells somebody outside: a check of the plan leaves it out. */
  tells?: true;
  probe?: Call;
  /** Milliseconds that run and undo are expected to take while no history is known. */
  expected: { runMs: number; undoMs: number };
  limits: Limits;
  /** The worker pool that can reach the targets; task queue `countdown-POOL`. */
  pool: string;
  /** Ids of the phases that must be done or skipped before it starts. */
  after: string[];
  /** The approval of this name in `Plan.approvals`; the window of this name in `Plan.windows`, which must be open. */
  waitsFor?: { approval?: string; window?: string };
  /** Phases that are left out where its answer says so: those of its step. */
  decides?: string[];
};

export type Step = {
  id: string;
  kind: string;
  effect: Effect;
  onFail: 'unwind' | 'ask';
  /** The block of parallel steps in which it is a branch. */
  block?: string;
  /** Hours in which it may start, and what happens to it when they end. */
  window?: { name: string; midRun: 'finish' | 'hold' | 'unwind' };
  /** Milliseconds in which the step alone must be able to be taken back, where it has an objective of its own. */
  rollback?: { withinMs: number };
  /** Ids of the step's phases in the order in which they happen. */
  phases: string[];
};

/** A step that is not in the plan, since its condition does not hold for the params. */
export type LeftOutStep = {
  id: string;
  kind: string;
  when: When;
  /** Of the param, where it is one of an included runbook. */
  value?: Json;
};

/** A condition on a param: the step is in the plan where the param has this value. */
export type When = { param: string; is: Json };

/** A condition on what an earlier step found, in words of an expectation: an activity decides while the run goes on. */
export type WhenOutput = { output: string; words: string };

export type PlannedTarget = {
  kind: string;
  pool: string;
  /** sha256 of the canonical JSON of the environment file's parsed entry, references unresolved. */
  digest: string;
};

export type Fingerprint = { target: string; pool: string; call: Call; limits: Limits };

/** A plan that may be started inside change freezes: why, inside which, and whom it asks at least. */
export type Emergency = { reason: string; freezes: string[]; from: Record<string, number> };

/** `afterMs` is counted from the end of a run that succeeded. */
export type FollowUp = { id: string; afterMs: number; plan: string };

export type Plan = {
  version: 1;
  /** A check of a plan: only what can be looked at without changing anything. */
  check?: true;
  runbook: { name: string; digest: string };
  /** Digests of the runbooks that it uses, by name; missing where there is none. */
  includes?: Record<string, string>;
  environment: string;
  params: Record<string, Json>;
  steps: Step[];
  /** Steps whose condition does not hold for the params; missing where there is none. */
  leftOut?: LeftOutStep[];
  phases: Phase[];
  /** By what is approved: the id of a step, or that of a block of parallel steps. */
  approvals: Record<string, Approval>;
  /** The windows of the environment that steps wait for. */
  windows?: Record<string, Window>;
  /** Runs of their own that are due some time after this one has succeeded, each by the hash of its plan. */
  followUps?: FollowUp[];
  /** Missing where it is not made for an emergency: it starts inside no change freeze then. */
  emergency?: Emergency;
  targets: Record<string, PlannedTarget>;
  /** Taken before the first effect and again after unwinding. */
  fingerprints: Fingerprint[];
  /** Targets with an effect that no fingerprint can be taken of; a rollback says `not verified` of them. */
  unverifiable: string[];
  rollback: { withinMs: number };
  /** How each target is held: `exclusive` where a phase, undo or fingerprinted source needs it. */
  leases: Record<string, 'exclusive' | 'shared'>;
};

export function isWait(run: Call | Wait): run is Wait {
  return 'wait' in run;
}

/** The pseudo phase under which the fingerprint of a target is journalled. */
export function fingerprintPhase(target: string): string {
  return `@${target}`;
}
