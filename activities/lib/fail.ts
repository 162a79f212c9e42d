/** The one way in which an error leaves an activity. */
import { ApplicationFailure } from '@temporalio/common';
import { ERRORS } from '../../procedures/errors.ts';
import type { ErrorType } from '../../procedures/errors.ts';

/**
 * Throws an ApplicationFailure of a known type; whether Temporal may repeat it follows from the type. Written
 * `throw fail(…)` so that the reader sees the end of the path.
 *
 * @param message one sentence: what was found, what was expected, what to do
 * @param cause the error behind it, kept for the log
 */
export function fail(type: ErrorType, message: string, cause?: unknown): never {
  throw ApplicationFailure.create({
    message,
    type,
    nonRetryable: ERRORS[type] !== 'transient',
    ...(cause instanceof Error ? { cause } : {}),
  });
}

/** The type of a failure made by `fail`; undefined for any other error. */
export function failureType(error: unknown): string | undefined {
  return error instanceof ApplicationFailure ? (error.type ?? undefined) : undefined;
}

/** The message of whatever was thrown. An AggregateError of refused connections has an empty one of its own. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ');
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? messageOf(error.cause) : '';
  if (error.message === '') return cause === '' ? error.name : cause;
  return cause === '' || error.message.includes(cause) ? error.message : `${error.message}: ${cause}`;
}
