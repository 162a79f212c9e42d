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
  Unreachable: 'transient',
  FenceLost: 'fence',
  /** The effect may stand, and its outcome row could not be written. */
  OutcomeLost: 'fence',
} as const satisfies Record<string, ErrorClass>;

export type ErrorType = keyof typeof ERRORS;

/** Types that Temporal's own retry must not repeat. */
export const NON_RETRYABLE: string[] = Object.entries(ERRORS)
  .filter(([, errorClass]) => errorClass !== 'transient')
  .map(([type]) => type);

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

/** Types after which nobody knows what stands: the phase is `maybe`, and its probe is asked. */
export const NOBODY_KNOWS: readonly string[] = ['FenceLost', 'OutcomeLost'];
