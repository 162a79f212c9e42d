/** The one way in which an error leaves an activity. */
import { ApplicationFailure } from '@temporalio/common';
import { isTransient } from '../../procedures/errors.ts';
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
    nonRetryable: !isTransient(type),
    ...(cause instanceof Error ? { cause } : {}),
  });
}

/** The type of a failure made by `fail`; undefined for any other error. */
export function failureType(error: unknown): string | undefined {
  return error instanceof ApplicationFailure ? (error.type ?? undefined) : undefined;
}

/** Causes within causes that are looked at. */
const CAUSES_MAX = 8;

/** Codes of Node and of its fetch (`UND_ERR_…`) for a connection that could not be made or broke. */
const NETWORK_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'ETIMEDOUT',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_SOCKET',
]);

/** What the PostgreSQL driver says of a connection that ended; it gives no code. */
const ENDED_SESSION =
  /^Connection terminated|^Client has encountered a connection error|^timeout expired$|^timeout exceeded when trying to connect$/;

/**
 * SQLSTATEs after which the same work may succeed: connection exceptions (08), a server that is shut down or starts (57P01
 * to 57P03), too many connections, and a transaction that lost against another one (40001, 40P01).
 */
export const PASSING_SQLSTATE = /^(?:08...|57P0[123]|53300|40001|40P01)$/;

/** Whether the error, or one of its causes, is of the network or of a server that is away for a moment. */
export function isPassing(error: unknown, depth = 0): boolean {
  if (!(error instanceof Error) || depth > CAUSES_MAX) return false;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (NETWORK_CODES.has(code) || PASSING_SQLSTATE.test(code) || ENDED_SESSION.test(error.message))
    return true;
  if (error.name === 'NoAnswer') return true;
  const inner = error instanceof AggregateError ? error.errors : [];
  return [...inner, error.cause].some((one) => isPassing(one, depth + 1));
}

/** The message of whatever was thrown. An AggregateError of refused connections has an empty one of its own. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ');
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? messageOf(error.cause) : '';
  if (error.message === '') return cause === '' ? error.name : cause;
  return cause === '' || error.message.includes(cause) ? error.message : `${error.message}: ${cause}`;
}
