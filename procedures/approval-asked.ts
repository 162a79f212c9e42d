/** What an approval asks, as runbooks and environment files write it, and how the two are put together. */
import { z } from 'zod';
import type { ApprovalAsked, Environment } from './environment.ts';
import {
  APPROVAL_EXPIRES_MS,
  APPROVAL_EXPIRES_MS_MAX,
  APPROVAL_REMIND_MS,
  INSPECT_FRESH_MS,
  MINUTE_MS,
  SECOND_MS,
} from './limits.ts';
import type { Approval, Emergency } from './plan.ts';
import { durationSchema, exact, nameSchema, refusedKey } from './schema.ts';

/** Votes that one group can be asked for. */
const VOTES_A_GROUP_MAX = 20;

/** Votes that each group must give. */
export const fromSchema = z
  .record(nameSchema, z.int('a count, such as 1').min(1, 'at least 1').max(VOTES_A_GROUP_MAX), {
    error: (issue) =>
      issue.code === 'invalid_type' ? 'a count for each group, as in { sre: 1, owner: 1 }' : undefined,
  })
  .refine((from) => Object.keys(from).length > 0, {
    error: 'from is empty, expected a count for each group.',
    params: { hint: 'write  from: { sre: 1, owner: 1 }' },
  })
  .meta({ minProperties: 1 });

export const approvalSchema = exact({
  from: fromSchema.describe('Votes that each group must give; a person counts once.'),
  via: z
    .enum(['any', 'slack', 'api'])
    .exactOptional()
    .describe('The door through which people may vote. Default any.'),
  expires: durationSchema({ ms: SECOND_MS }, { ms: APPROVAL_EXPIRES_MS_MAX })
    .exactOptional()
    .describe('Closes the approval, and approves nothing. Default 4h, at most 24h.'),
  remindEvery: durationSchema({ ms: MINUTE_MS }, { ms: APPROVAL_EXPIRES_MS_MAX })
    .exactOptional()
    .describe('Time between two reminders. Default 30m.'),
  comment: z
    .enum(['optional', 'required'])
    .exactOptional()
    .describe('Whether who approves must say why; who rejects always must. Default optional.'),
  atLeast: refusedKey({
    message: 'atLeast is not how votes are counted, expected a count for each group under from.',
    hint: 'write  from: { sre: 1, owner: 1 }',
  }),
})
  .transform(({ from, via, expires, remindEvery, comment }): ApprovalAsked => ({
    from,
    ...(via === undefined ? {} : { via }),
    ...(expires === undefined ? {} : { expiresMs: expires }),
    ...(remindEvery === undefined ? {} : { remindEveryMs: remindEvery }),
    ...(comment === undefined ? {} : { comment }),
  }))
  .describe('Who must give leave.');

/**
 * The least that the environment asks and what runbooks add: of each group the greater count, of the times the
 * shorter, of the doors the narrower, and a comment where one asks for it. `doors` where the two name different doors, so that nobody could answer.
 */
export function mergeApprovals(
  all: readonly (ApprovalAsked | undefined)[],
  where: Pick<Approval, 'covers' | 'leading'>,
): Approval | 'doors' | undefined {
  const asked = all.filter((one) => one !== undefined);
  if (asked.length === 0) return undefined;
  const doors = new Set(asked.map(({ via }) => via ?? 'any').filter((via) => via !== 'any'));
  if (doors.size > 1) return 'doors';
  return {
    from: greaterCounts(asked.map((one) => one.from)),
    expiresMs: Math.min(
      ...asked.map(({ expiresMs }) => expiresMs ?? Infinity),
      asked.some(hasExpiry) ? Infinity : APPROVAL_EXPIRES_MS,
    ),
    via: [...doors][0] ?? 'any',
    remindEveryMs: Math.min(
      ...asked.map(({ remindEveryMs }) => remindEveryMs ?? Infinity),
      asked.some(hasReminder) ? Infinity : APPROVAL_REMIND_MS,
    ),
    freshMs: INSPECT_FRESH_MS,
    ...(asked.some(({ comment }) => comment === 'required') ? { comment: 'required' } : {}),
    ...where,
  };
}

/** Of each group the greater count. */
export function greaterCounts(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const from: Record<string, number> = {};
  for (const [group, count] of all.flatMap((one) => Object.entries(one))) {
    from[group] = Math.max(from[group] ?? 0, count);
  }
  return from;
}

/** With what the environment and an emergency add to every approval. */
export function completed(
  approval: Approval,
  { approvals: { escalate, breakGlass } }: Environment,
  emergency: Emergency | undefined,
): Approval {
  return {
    ...approval,
    ...(emergency === undefined ? {} : { from: greaterCounts([approval.from, emergency.from]) }),
    ...(escalate === undefined ? {} : { escalate }),
    ...(breakGlass === undefined ? {} : { breakGlass }),
  };
}

const hasExpiry = (asked: ApprovalAsked) => asked.expiresMs !== undefined;
const hasReminder = (asked: ApprovalAsked) => asked.remindEveryMs !== undefined;
