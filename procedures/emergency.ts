/**
 * The emergency path through a change freeze: a plan made for it says why and for which freezes, and asks at least whom
 * they name. Whether a freeze holds is for the moment in which the run is asked for; a plan knows no time.
 */
import type { ChangeFreeze } from './calendar.ts';
import type { Collector } from './collector.ts';
import type { Environment } from './environment.ts';
import { nearest } from './nearest.ts';
import { greaterCounts } from './approval-asked.ts';
import type { Emergency } from './plan.ts';
import { listOr } from './schema.ts';

/** What a person asks for: the change freeze by its name, and why it cannot wait. */
export type EmergencyAsked = { reason: string; freeze: string };

const REASON_LENGTH_MIN = 10;
const REASON_LENGTH_MAX = 500;

/**
 * The freezes that the plan may be started in: those of the name, and those with an emergency path that share a moment with
 * one of them. Notes what cannot stand, and is undefined then and where none is asked for.
 */
export function emergencyOf(
  asked: EmergencyAsked | undefined,
  { environment, changeFreezes = [] }: Environment,
  found: Collector,
): Emergency | undefined {
  if (asked === undefined) return undefined;
  const note = (key: string, message: string, hint: string) => {
    found.add([], { code: 'ParamsInvalid', pointer: `/emergency/${key}`, message, hint, part: 'key' });
    return undefined;
  };
  const reason = asked.reason.trim();
  if (reason.length < REASON_LENGTH_MIN || reason.length > REASON_LENGTH_MAX) {
    const message = `The reason of the emergency has ${reason.length} characters, expected ${REASON_LENGTH_MIN} to ${REASON_LENGTH_MAX}.`;
    return note('reason', message, 'say why it cannot wait; everybody who is asked reads it');
  }
  const named = changeFreezes.filter(({ name }) => name === asked.freeze);
  if (named.length === 0) {
    const known = [...new Set(changeFreezes.map(({ name }) => name))];
    const near = nearest(asked.freeze, known);
    const message = `Environment ${environment} has no change freeze '${asked.freeze}', expected ${listOr(known)}.`;
    return note('freeze', message, near === undefined ? 'name one of the environment' : `write ${near}`);
  }
  if (named.some(({ emergency }) => emergency === undefined)) {
    const message = `Change freeze '${asked.freeze}' has no emergency path, expected one in environment ${environment}.`;
    return note('freeze', message, 'wait until it is over: nothing starts inside it');
  }
  const meant = changeFreezes.filter(
    (freeze) => freeze.emergency !== undefined && named.some((one) => sharesAMoment(one, freeze)),
  );
  return {
    reason,
    freezes: [...new Set(meant.map(({ name }) => name))].toSorted(),
    from: greaterCounts(meant.map(({ emergency }) => emergency?.from ?? {})),
  };
}

function sharesAMoment(one: ChangeFreeze, other: ChangeFreeze): boolean {
  return one.fromMs < other.toMs && other.fromMs < one.toMs;
}
