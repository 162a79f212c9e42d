/** Change freezes, looked at where a run starts and nowhere else; and the emergencies that are let through. */
import { type ChangeFreeze, freezeAt, writeInstant } from '../procedures/calendar.ts';
import type { EmergencyAsked } from '../procedures/emergency.ts';
import type { Environment } from '../procedures/environment.ts';
import type { Emergency } from '../procedures/plan.ts';
import { listAnd } from '../procedures/schema.ts';
import { ApiProblem } from './problems.ts';

export type Frozen = {
  untilMs: number;
  detail: string;
  /** What to do. */
  hint: string;
};

/**
 * The change freeze in which a run would start at this time; undefined outside one. A plan for an emergency is held by those
 * that it is not meant for, and by one that asks more people by now than the plan does.
 */
export function frozenAt(
  environment: Environment,
  at: Date,
  emergency: Emergency | undefined,
): Frozen | undefined {
  const holding = (environment.changeFreezes ?? []).filter((one) => !letsThrough(one, emergency));
  const freeze = freezeAt(holding, at.getTime());
  if (freeze === undefined) return undefined;
  const { untilMs, names } = freeze;
  const meant =
    emergency === undefined
      ? ''
      : ` The emergency of this plan is for ${listAnd(emergency.freezes)} as it was when the plan was made.`;
  const detail = `No run starts in ${environment.environment} until ${writeInstant(untilMs)} (${names.join(', ')}).${meant} Rollbacks go on.`;
  const hasPath = holding.filter((one) => holdsAt(one, at)).every((one) => one.emergency !== undefined);
  const hint = hasPath
    ? "start it after that; in an emergency plan it anew: countdown plan RUNBOOK --emergency 'why it cannot wait'"
    : 'start it after that';
  return { untilMs, detail, hint };
}

function letsThrough({ name, emergency: path }: ChangeFreeze, emergency: Emergency | undefined): boolean {
  if (path === undefined || emergency === undefined || !emergency.freezes.includes(name)) return false;
  return Object.entries(path.from).every(([group, votes]) => (emergency.from[group] ?? 0) >= votes);
}

function holdsAt({ fromMs, toMs }: ChangeFreeze, at: Date): boolean {
  return fromMs <= at.getTime() && at.getTime() < toMs;
}

/** The emergency that is asked for, by default in the change freeze that holds at this time. Throws ParamsInvalid where that is not one. */
export function emergencyMeant(
  environment: Environment,
  asked: { reason: string; freeze?: string | undefined },
  at: Date,
): EmergencyAsked {
  const { reason, freeze } = asked;
  if (freeze !== undefined) return { reason, freeze };
  const holding = (environment.changeFreezes ?? []).filter((one) => holdsAt(one, at));
  const [name, ...more] = new Set(holding.map((one) => one.name));
  if (name !== undefined && more.length === 0) return { reason, freeze: name };
  const found = name === undefined ? 'No change freeze holds' : `${listAnd([name, ...more])} hold`;
  throw new ApiProblem(
    'ParamsInvalid',
    `${found} in ${environment.environment} now, expected one, or the name of the one that is meant.`,
    {
      errors: [{ pointer: '/emergency/freeze', detail: 'found none' }],
      members: { hint: 'name the change freeze: --freeze NAME' },
    },
  );
}
