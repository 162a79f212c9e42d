/** When the end of a history proves that a workflow task keeps failing. Ends as Temporal records them, in seconds. */
import { describe, expect, test } from 'vitest';
import { ASK_SIGNAL, type TaskEvent, lookAtTask } from '../../api/look.ts';

const LIMITS = { attemptsMax: 5, failingMs: 30_000 };
const [UNHANDLED_COMMAND, UNHANDLED_FAILURE, NON_DETERMINISTIC] = [1, 14, 24];

const time = (second: number) => ({ seconds: second, nanos: 0 }) as unknown as TaskEvent['eventTime'];
const event = (second: number, parts: object): TaskEvent =>
  ({ eventId: second, eventTime: time(second), ...parts }) as unknown as TaskEvent;
const completed = (second: number) => event(second, { workflowTaskCompletedEventAttributes: {} });
const timedOut = (second: number) => event(second, { workflowTaskTimedOutEventAttributes: {} });
const asked = (second: number) =>
  event(second, { workflowExecutionSignaledEventAttributes: { signalName: ASK_SIGNAL } });
const failed = (second: number, cause: number, message = 'it broke') =>
  event(second, { workflowTaskFailedEventAttributes: { cause, failure: { message } } });

/** Events in the order in which they happened; the task is pending with its last attempt. */
const look = (attempt: number, triedAt: number, ...events: TaskEvent[]) =>
  lookAtTask({ attempt, scheduledTime: time(triedAt) ?? null }, events.toReversed(), LIMITS);
const since = (second: number, reason = 'it broke') => ({
  since: new Date(second * 1_000).toISOString(),
  reason,
});

describe('a workflow task', () => {
  test.each([
    ['has failed too few times', look(4, 200, completed(1), failed(100, NON_DETERMINISTIC))],
    ['has failed for too short', look(5, 129, completed(1), failed(100, NON_DETERMINISTIC))],
    ['only timed out, for too short', look(5, 129, completed(1), timedOut(100))],
    ['only timed out, too few times', look(4, 200, completed(1), timedOut(100))],
    ['completed after it failed', look(5, 200, failed(100, NON_DETERMINISTIC), completed(101))],
    ['has just been asked', look(9, 200, completed(1), timedOut(100), asked(150), timedOut(160))],
  ])('works if it %s', (_, found) => {
    expect(found).toBe('works');
  });

  test.each([
    [
      'could not be replayed long enough',
      look(5, 130, completed(1), failed(100, NON_DETERMINISTIC)),
      since(100),
    ],
    [
      'could not be replayed after it timed out and was asked',
      look(5, 230, timedOut(100), asked(150), failed(200, NON_DETERMINISTIC)),
      since(200),
    ],
    [
      'failed again for the same reason',
      look(2, 131, failed(100, UNHANDLED_FAILURE), asked(120), failed(130, UNHANDLED_FAILURE)),
      since(100),
    ],
    [
      'failed again after other events',
      look(2, 141, failed(100, NON_DETERMINISTIC), event(120, {}), failed(140, NON_DETERMINISTIC)),
      since(100),
    ],
  ])('fails if it %s', (_, found, expected) => {
    expect(found).toEqual(expected);
  });

  test.each([
    ['only timed out', look(5, 130, completed(1), timedOut(100)), '100'],
    ['failed once in its code', look(5, 130, completed(1), failed(100, UNHANDLED_FAILURE)), '100'],
    [
      'failed in its code, and timed out since',
      look(5, 200, failed(100, UNHANDLED_FAILURE), event(120, {}), timedOut(130)),
      '130',
    ],
    [
      'failed for another reason than before',
      look(5, 200, failed(100, UNHANDLED_FAILURE, 'one'), failed(140, UNHANDLED_FAILURE, 'other')),
      '140',
    ],
    ['failed for a reason that is not its code', look(5, 130, failed(100, UNHANDLED_COMMAND)), '100'],
    [
      'timed out twice as often since it was asked',
      look(10, 300, timedOut(100), asked(150), timedOut(160)),
      '160',
    ],
  ])('is unexplained if it %s', (_, found, last) => {
    expect(found).toEqual({ event: last });
  });

  test('names the error below the failure of an activity, on one line and not endlessly', () => {
    const cause = { message: `what\n  broke ${'x'.repeat(400)}` };
    const wrapped = {
      cause: NON_DETERMINISTIC,
      failure: { message: 'Activity task failed', activityFailureInfo: {}, cause },
    };
    const found = look(5, 130, event(100, { workflowTaskFailedEventAttributes: wrapped }));
    expect(found).toEqual(since(100, `what broke ${'x'.repeat(289)}`));
  });
});
