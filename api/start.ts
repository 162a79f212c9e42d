/** When a run is to begin: the times of the request, each held against its bounds. */
import { parseInstant, writeInstant } from '../procedures/calendar.ts';
import { DAY_MS, LEASE_WAIT_MS_MAX, MINUTE_MS, START_AHEAD_MS_MAX } from '../procedures/limits.ts';
import { ApiProblem } from './problems.ts';

export type Start = { dueAt?: Date; notAfter?: Date; waitMs?: number };

/** Clocks of people and servers differ: a time that has just passed means now. */
const JUST_NOW_MS = MINUTE_MS;

/** Throws BodyInvalid with the field that cannot be. `at` that has just passed is left out: the run begins at once. */
export function startOf(
  body: { at?: string | undefined; notAfter?: string | undefined; waitMs?: number | undefined },
  now: Date,
): Start {
  const dueMs = instantOf('at', body.at);
  const notAfterMs = instantOf('notAfter', body.notAfter);
  const nowMs = now.getTime();
  if (dueMs !== undefined && dueMs < nowMs - JUST_NOW_MS) {
    throw wrong('at', `at is ${writeInstant(dueMs)}, expected a time to come: leave it out to start now.`);
  }
  if (dueMs !== undefined && dueMs > nowMs + START_AHEAD_MS_MAX) {
    const days = START_AHEAD_MS_MAX / DAY_MS;
    throw wrong('at', `at is ${writeInstant(dueMs)}, expected at most ${days} days from now.`);
  }
  const startsMs = Math.max(dueMs ?? nowMs, nowMs);
  if (notAfterMs !== undefined && notAfterMs <= startsMs) {
    const detail = `notAfter is ${writeInstant(notAfterMs)}, expected a time after the start, ${writeInstant(startsMs)}.`;
    throw wrong('notAfter', detail);
  }
  const isLater = dueMs !== undefined && dueMs > nowMs;
  // With a time of its own and no word on waiting it waits as long as it may begin, within the bound of any wait.
  const waitMs =
    body.waitMs ??
    (isLater && notAfterMs !== undefined ? Math.min(notAfterMs - startsMs, LEASE_WAIT_MS_MAX) : undefined);
  return {
    ...(isLater ? { dueAt: new Date(dueMs) } : {}),
    ...(notAfterMs === undefined ? {} : { notAfter: new Date(notAfterMs) }),
    ...(waitMs === undefined ? {} : { waitMs }),
  };
}

function instantOf(field: 'at' | 'notAfter', text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const at = parseInstant(text);
  if (at !== undefined) return at;
  throw wrong(field, `${field} is '${text}', expected a time such as '2026-11-22T01:00Z'.`);
}

function wrong(field: string, detail: string): ApiProblem {
  return new ApiProblem('BodyInvalid', detail, { errors: [{ pointer: `/${field}`, detail }] });
}
