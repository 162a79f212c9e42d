/** How an attempt ends badly: the failure that Temporal hears, and what its outcome row says. */
import type { Info } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { isTransient, isTriedAgain } from '../procedures/errors.ts';
import { SUMMARY_BYTES_MAX } from '../procedures/limits.ts';
import type { Direction } from '../procedures/plan.ts';
import type { Scrubber } from '../store/scrub.ts';
import type { StoredOutcome } from '../store/types.ts';
import { isPassing, messageOf } from './lib/fail.ts';

/** How an attempt ends that lost its worker or its journal at work. Forwards its effect is unknown; anything else can be repeated. */
export function lostType(direction: Direction): 'OutcomeLost' | 'Unreachable' {
  return direction === 'run' ? 'OutcomeLost' : 'Unreachable';
}

/** A failure of this type; whether Temporal may repeat it follows from the type. */
export function failureOf(type: string, message: string): ApplicationFailure {
  return ApplicationFailure.create({ type, message, nonRetryable: !isTransient(type) });
}

/**
 * Of an error only type and message leave the activity: causes and traces, which may quote anything, are for the log.
 * An error that no code foresaw is final (`PhaseFailed`), unless a connection failed (`Unreachable`).
 */
export function asFailure(
  error: unknown,
  scrubber: Scrubber,
  targets: readonly string[] = [],
): ApplicationFailure {
  if (error instanceof ApplicationFailure)
    return failureOf(error.type ?? 'PhaseFailed', scrubber.text(error.message));
  if (!isPassing(error)) return failureOf('PhaseFailed', scrubber.text(messageOf(error)));
  const names = targets.map((name) => `'${name}'`).join(', ');
  const work = names === '' ? 'The work' : `The work on ${names}`;
  const message = `${work} was interrupted (${messageOf(error)}). Check that the server runs and that this worker can reach it.`;
  return failureOf('Unreachable', scrubber.text(message));
}

type Attempt = Pick<Info, 'attempt' | 'retryPolicy' | 'scheduledTimestampMs' | 'scheduleToCloseTimeoutMs'>;

/** What the outcome row of a failed attempt says; with `again` where Temporal starts another one within the same try. */
export function failedOutcome(
  failure: ApplicationFailure,
  info: Attempt,
  now: number,
): Omit<StoredOutcome, 'seq'> {
  const type = failure.type ?? 'PhaseFailed';
  const message = failure.message.slice(0, SUMMARY_BYTES_MAX / 4);
  const failed = { result: 'failed', verdict: 'error', error: { type, message } } as const;
  const bounds = boundsOf(info, now);
  if (!isTriedAgain({ type, ...bounds })) return { ...failed, summary: message };
  const { attempt, attemptsMax } = bounds;
  const count = attemptsMax === 0 ? `${attempt}` : `${attempt} of ${attemptsMax}`;
  return { ...failed, summary: `Attempt ${count} failed and is tried again: ${message}`, again: true };
}

/** Temporal's defaults for what a retry policy leaves out. */
const PAUSE_MS = 1_000;
const PAUSE_GROWTH = 2;
const PAUSE_MS_MAX = 100 * PAUSE_MS;

/** Within what Temporal starts the next attempt. Without a policy it tries without a bound. */
function boundsOf(
  { attempt, retryPolicy = {}, scheduledTimestampMs, scheduleToCloseTimeoutMs }: Attempt,
  now: number,
) {
  const growth = (retryPolicy.backoffCoefficient ?? PAUSE_GROWTH) ** (attempt - 1);
  return {
    attempt,
    attemptsMax: retryPolicy.maximumAttempts ?? 0,
    pauseMs: Math.min(
      ms(retryPolicy.initialInterval, PAUSE_MS) * growth,
      ms(retryPolicy.maximumInterval, PAUSE_MS_MAX),
    ),
    leftMs: scheduleToCloseTimeoutMs > 0 ? scheduledTimestampMs + scheduleToCloseTimeoutMs - now : Infinity,
  };
}

function ms(value: unknown, otherwise: number): number {
  return typeof value === 'number' ? value : otherwise;
}
