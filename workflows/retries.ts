/**
 * What failed for a moment on the way back is tried again before a person is asked: undos, their probes, and the fingerprints
 * after them, until a share of the rollback objective is used. Pure.
 */
import { NOBODY_KNOWS, isTransient } from '../procedures/errors.ts';
import { UNDO_RETRY_MS_FIRST, UNDO_RETRY_MS_MAX, UNDO_RETRY_SHARE } from '../procedures/limits.ts';
import type { Plan } from '../procedures/plan.ts';
import { clock } from './approvals.ts';
import type { Outcome } from './core.ts';
import type { CoreState, Moment, PhaseRecord, PrintRecord } from './state.ts';

type Retried = Pick<PhaseRecord | PrintRecord, 'retries' | 'againAt'>;

/** Waits for its next try. */
export function isEarly({ againAt }: Retried, { now }: Moment): boolean {
  return againAt !== null && now < againAt;
}

/** No answer, a worker that was lost, a target that was away: the same call may succeed a moment later. */
export function isPassing(outcome: Outcome): boolean {
  if (outcome.end !== 'failed') return outcome.end === 'maybe';
  return isTransient(outcome.type) || NOBODY_KNOWS.includes(outcome.type);
}

/** Sets when the next try starts, and says so in words. Undefined where the share of the objective is used up. */
export function tryAgain(plan: Plan, state: CoreState, record: Retried, now: number): string | undefined {
  state.undoingSince ??= now;
  const until = state.undoingSince + plan.rollback.withinMs * UNDO_RETRY_SHARE;
  const pauseMs = Math.min(UNDO_RETRY_MS_FIRST * 2 ** Math.min(record.retries, 10), UNDO_RETRY_MS_MAX);
  if (now + pauseMs > until) return undefined;
  record.retries += 1;
  record.againAt = now + pauseMs;
  return `trying again in ${Math.round(pauseMs / 1_000)}s, until ${clock(until)}`;
}
