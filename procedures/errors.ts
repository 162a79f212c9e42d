/**
 * The error types that leave a workflow or an activity, and what each means for the phase. Retryable or not is decided
 * here, not at the throw. No zod and no node: workflows import it.
 *
 *   precondition  nothing was started; follows onFail
 *   failure       the code itself said no, perhaps half-way; probed, then undone
 *   transient     Temporal may try again within the same try
 *   fence         the result does not count: a later attempt has taken over, or nobody could write it down
 */

export type ErrorClass = 'precondition' | 'failure' | 'transient' | 'fence';

export const ERRORS = {
  /** The journal could not be written: nothing was started and the phase is dispatched again. */
  NotStarted: 'precondition',
  TargetDiffers: 'precondition',
  ApprovalMissing: 'precondition',
  LeaseLost: 'precondition',
  PlanUnknown: 'precondition',
  /** Forwards, an earlier phase of the plan is neither done nor skipped. */
  OutOfOrder: 'precondition',
  /** With this phase the way back would take longer than it may. */
  ObjectiveExceeded: 'precondition',
  /** The window in which the phase may start is not open. */
  WindowClosed: 'precondition',
  /** What the phase needs is not there; nothing was changed. */
  PreconditionFailed: 'precondition',
  VerificationFailed: 'failure',
  InjectedFault: 'failure',
  PhaseFailed: 'failure',
  UndoFailed: 'failure',
  NotSupported: 'failure',
  /** A connection failed: the same attempt again may succeed. */
  Unreachable: 'transient',
  FenceLost: 'fence',
  /** The effect may exist, and its outcome row could not be written. */
  OutcomeLost: 'fence',
} as const satisfies Record<string, ErrorClass>;

export type ErrorType = keyof typeof ERRORS;

/** Whether the same attempt again may succeed. An unknown type is final. */
export function isTransient(type: string): boolean {
  return Object.hasOwn(ERRORS, type) && ERRORS[type as ErrorType] === 'transient';
}

/** Types that Temporal's own retry must not repeat. */
export const NON_RETRYABLE: string[] = Object.keys(ERRORS).filter((type) => !isTransient(type));

/**
 * Whether Temporal starts another attempt of an activity after one that ended with this error type. `attemptsMax` is
 * `maximumAttempts` of its retry policy, 0 for no bound; `pauseMs` is the pause before the next attempt, and `leftMs` what
 * is left of its time with all its attempts.
 */
export function isTriedAgain(end: {
  type: string;
  attempt: number;
  attemptsMax: number;
  pauseMs: number;
  leftMs: number;
}): boolean {
  if (!isTransient(end.type) || end.pauseMs >= end.leftMs) return false;
  return end.attemptsMax === 0 || end.attempt < end.attemptsMax;
}

/** Types thrown by the interceptor before the intent row: the phase was not started and leaves no undo. */
export const NEVER_STARTED: readonly string[] = [
  'NotStarted',
  'TargetDiffers',
  'ApprovalMissing',
  'LeaseLost',
  'PlanUnknown',
  'OutOfOrder',
  'ObjectiveExceeded',
  'WindowClosed',
];

/** Types after which it is unknown whether the effect exists: the phase is `maybe`, and its probe is asked. */
export const NOBODY_KNOWS: readonly string[] = ['FenceLost', 'OutcomeLost'];
