/**
 * What a phase's activity gets and gives back. Everything around it (lease, fence, approvals, journal, outputs, faults,
 * heartbeats) is the interceptor's, in `around-phase.ts`.
 */
import type { Environment, Target } from '../procedures/environment.ts';
import type { Json, ProbeAnswer, Verdict } from '../procedures/plan.ts';

/** (lease epoch, seq of the intent row), compared in that order. */
export type Fence = { epoch: number; seq: number };

export type Progress = {
  done: number;
  total?: number;
  unit: string;
  /** A short line beside the bar. */
  detail?: string;
};

export type PhaseContext = {
  run: number;
  /** The runbook's name. */
  runbook: string;
  phase: string;
  direction: 'run' | 'probe' | 'undo' | 'before' | 'after';
  try: number;
  fence: Fence;
  /**
   * Outputs by phase id, as outcome rows hold them: of a done phase what its run gave, of an undone one what its undo
   * gave. No entry for a phase that never ended, gave nothing, or was taken back by a person.
   */
  outputs: Record<string, Record<string, Json>>;
  /** For an undo: how the run of the phase failed, where it said so. */
  error?: { type: string; message: string };
  environment: Environment;
  /** The entry of the worker's own copy of the environment file. Throws PreconditionFailed for another kind than asked. */
  target<K extends Target['kind']>(name: string, kind: K): Extract<Target, { kind: K }>;
  /** The value of a secret reference. Throws PreconditionFailed naming the reference, never the value. */
  secret(reference: { env: string } | { file: string }): Promise<string>;
  /** The run's own folder on this worker, created on demand. */
  folder(): Promise<string>;
  signal: AbortSignal;
  /** Stored at most once a second; never journalled. Also throws when the phase is cancelled. */
  progress(progress: Progress): void;
  /** Throws FenceLost where a later attempt of this phase, in any direction, has begun. */
  assertCurrent(): Promise<void>;
  /** Whether somebody paused the run: work of many parts may wait between two of them. False where it cannot be known. */
  isPaused(): Promise<boolean>;
};

export type PhaseResult = {
  verdict: Verdict;
  /** One line, at most 4 KiB. */
  summary: string;
  /** At most 64 KiB; names as in the kind's output schema. */
  output?: Record<string, Json>;
  /** What an approval of the step binds to: what this phase declares invariant. */
  binds?: Record<string, Json>;
  /** The phases that this one decides about are left out. */
  leaveOut?: true;
};

export type ProbeResult = {
  answer: ProbeAnswer;
  summary: string;
  output?: Record<string, Json>;
};

/** STATE and DATA of a target; `data` is null where the kind has none to digest. */
export type FingerprintResult = {
  state: string;
  data: string | null;
  summary: string;
};

export type PhaseRun<P = never> = (params: P, context: PhaseContext) => Promise<PhaseResult>;
export type PhaseProbe<P = never> = (params: P, context: PhaseContext) => Promise<ProbeResult>;
export type FingerprintTake<P = never> = (params: P, context: PhaseContext) => Promise<FingerprintResult>;

/** One phase of a kind: run, probe and undo side by side. An undo has a verdict: `fail` says what could not be found as it was. */
export type PhaseActivities<P = never> = {
  run: PhaseRun<P>;
  probe?: PhaseProbe<P>;
  undo?: PhaseRun<P>;
};
