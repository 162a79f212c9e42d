/** Which errors pass, what Temporal does with each, and what leaves an attempt. */
import { createServer } from 'node:net';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { DatabaseError } from 'pg';
import { describe, expect, test } from 'vitest';
import { asFailure, failedOutcome } from '../../activities/attempt-end.ts';
import { request } from '../../activities/lib/http.ts';
import { fail, isPassing } from '../../activities/lib/fail.ts';
import { ERRORS, NON_RETRYABLE, isTransient, isTriedAgain } from '../../procedures/errors.ts';
import { makeScrubber } from '../../store/scrub.ts';

const withCode = (code: string, message = 'it broke') => Object.assign(new Error(message), { code });

const serverError = (code: string) => {
  const error = new DatabaseError('the server said so', 1, 'error');
  error.code = code;
  return error;
};

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** A port of this machine on which nothing listens. */
async function deadPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' ? (address?.port ?? 1) : 1;
}

describe('an error of the network, or of a server that is away for a moment, passes', () => {
  test.each([
    'ECONNREFUSED',
    'ECONNRESET',
    'ETIMEDOUT',
    'EPIPE',
    'ENOTFOUND',
    'EAI_AGAIN',
    'EHOSTUNREACH',
    'UND_ERR_CONNECT_TIMEOUT',
    'UND_ERR_SOCKET',
  ])('with the code %s, and also as the cause of another one', (code) => {
    expect(isPassing(withCode(code))).toBe(true);
    expect(isPassing(new TypeError('fetch failed', { cause: withCode(code) }))).toBe(true);
    expect(isPassing(new AggregateError([withCode(code), withCode(code)]))).toBe(true);
  });

  test.each(['08006', '08001', '57P01', '57P02', '57P03', '53300', '40001', '40P01'])(
    'with the SQLSTATE %s',
    (code) => expect(isPassing(serverError(code))).toBe(true),
  );

  test.each([
    'Connection terminated unexpectedly',
    'Connection terminated due to connection timeout',
    'Client has encountered a connection error and is not queryable',
    'timeout exceeded when trying to connect',
  ])('when the PostgreSQL driver says: %s', (message) => {
    expect(isPassing(new Error(message))).toBe(true);
  });

  test('when it is what fetch really gives for a port on which nothing listens', async () => {
    const url = `http://127.0.0.1:${await deadPort()}/`;
    expect(isPassing(await errorOf(fetch(url)))).toBe(true);
    const { signal } = new AbortController();
    expect(isPassing(await errorOf(request({ method: 'GET', url, signal })))).toBe(true);
  });
});

test.each([
  ['a bug', new TypeError('x is not a function')],
  ['an unknown file', withCode('ENOENT')],
  ['a violated constraint', serverError('23505')],
  ['an error of a statement', serverError('42P01')],
  ['a text', 'ECONNREFUSED'],
  ['nothing', undefined],
])('%s does not pass', (_, error) => {
  expect(isPassing(error)).toBe(false);
});

test('causes that go round in a circle come to an end', () => {
  const error = new Error('round');
  error.cause = error;
  expect(isPassing(error)).toBe(false);
});

describe('whether Temporal tries again', () => {
  const first = { attempt: 1, attemptsMax: 3, pauseMs: 200, leftMs: Infinity };

  test('is said by one table, for the interceptor, for the throw and for the policy of the workflow', () => {
    for (const type of Object.keys(ERRORS) as (keyof typeof ERRORS)[]) {
      const thrown = (() => {
        try {
          return fail(type, 'x');
        } catch (error) {
          return error as ApplicationFailure;
        }
      })();
      const again = isTriedAgain({ type, ...first });
      expect([type, again]).toEqual([type, type === 'Unreachable']);
      expect([type, NON_RETRYABLE.includes(type)]).toEqual([type, !again]);
      expect([type, thrown.nonRetryable]).toEqual([type, !again]);
      const left = asFailure(ApplicationFailure.create({ type, message: 'x' }), makeScrubber());
      expect([type, left.nonRetryable]).toEqual([type, !again]);
    }
    expect(isTransient('Whatever')).toBe(false);
    expect(isTransient('toString')).toBe(false);
  });

  test.each([
    ['before the last attempt', { ...first, attempt: 2 }, true],
    ['after the last attempt', { ...first, attempt: 3 }, false],
    ['without a bound of attempts', { ...first, attempt: 99, attemptsMax: 0 }, true],
    ['with time for the pause', { ...first, pauseMs: 200, leftMs: 201 }, true],
    ['without time for the pause', { ...first, pauseMs: 200, leftMs: 200 }, false],
  ])('depends on the policy: %s', (_, bounds, again) => {
    expect(isTriedAgain({ type: 'Unreachable', ...bounds })).toBe(again);
  });

  test('is told in the outcome, from what Temporal says of the attempt', () => {
    const failure = ApplicationFailure.create({ type: 'Unreachable', message: 'refused' });
    const info = {
      attempt: 2,
      retryPolicy: {
        maximumAttempts: 5,
        initialInterval: 200,
        backoffCoefficient: 2,
        maximumInterval: 10_000,
      },
      scheduledTimestampMs: 1_000,
      scheduleToCloseTimeoutMs: 0,
    };
    expect(failedOutcome(failure, info, 5_000)).toEqual({
      result: 'failed',
      verdict: 'error',
      summary: 'Attempt 2 of 5 failed and is tried again: refused',
      error: { type: 'Unreachable', message: 'refused' },
      again: true,
    });
    // The next pause is 400 ms.
    expect(failedOutcome(failure, { ...info, scheduleToCloseTimeoutMs: 4_401 }, 5_000)).toHaveProperty(
      'again',
    );
    expect(failedOutcome(failure, { ...info, scheduleToCloseTimeoutMs: 4_400 }, 5_000)).toEqual({
      result: 'failed',
      verdict: 'error',
      summary: 'refused',
      error: { type: 'Unreachable', message: 'refused' },
    });
    const unbounded = { attempt: 7, scheduledTimestampMs: 0, scheduleToCloseTimeoutMs: 0 };
    expect(failedOutcome(failure, unbounded, 0).summary).toBe('Attempt 7 failed and is tried again: refused');
  });
});

describe('what leaves an attempt', () => {
  const scrubber = makeScrubber(['hunter2-secret']);

  test('names the targets of a connection that failed, and no secret', () => {
    const error = withCode('ECONNREFUSED', 'connect ECONNREFUSED db:5432 (postgres://u:hunter2-secret@db)');
    const failure = asFailure(error, scrubber, ['db', 'mode']);
    expect(failure).toMatchObject({ type: 'Unreachable', nonRetryable: false });
    expect(failure.message).toMatch(
      /^The work on 'db', 'mode' was interrupted \(connect ECONNREFUSED db:5432/,
    );
    expect(failure.message).not.toContain('hunter2');
    expect(failure.cause).toBeUndefined();
  });

  test.each([
    ['an unforeseen error', new Error('a bug of hunter2-secret')],
    ['a cancellation that Temporal did not ask for', new CancelledFailure('a bug of hunter2-secret')],
  ])('is final for %s', (_, error) => {
    expect(asFailure(error, scrubber)).toMatchObject({ type: 'PhaseFailed', nonRetryable: true });
    expect(asFailure(error, scrubber).message).not.toContain('hunter2');
  });
});
