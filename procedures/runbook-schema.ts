/** What a runbook may say, key by key. What only the whole shows (ids, references, conditions) is checked after it. */
import { z } from 'zod';
import { approvalSchema } from './approval-asked.ts';
import { LATER_KINDS, PROCEDURE_NAMES, isProcedureName } from './index.ts';
import {
  DAY_MS,
  FOLLOW_UPS_MAX,
  FOLLOW_UP_AFTER_MS_MAX,
  ROLLBACK_WITHIN_MS,
  SECOND_MS,
  STEPS_MAX,
} from './limits.ts';
import { nearest } from './nearest.ts';
import { paramsSchema } from './params.ts';
import { durationSchema, exact, lineSchema, listOr, nameSchema, refusedKey, show } from './schema.ts';
import { whenSchema } from './when.ts';

const TRIES_MAX = 10;
/** Steps beside each other in one block. */
const BRANCHES_MAX = 10;

/** What may stand after `uses`. */
const USABLE: readonly string[] = [...PROCEDURE_NAMES, 'runbook'].toSorted();

/** What `with` takes where a step uses another runbook. */
export const includeSchema = exact({
  runbook: nameSchema.describe('The name of a shipped runbook.'),
  params: z.record(z.string(), z.json()).default({}).describe('Its params by name.'),
});

const kindSchema = z
  .string('a kind of step')
  .superRefine((kind, context) => {
    if (isProcedureName(kind) || kind === 'runbook') return;
    if (LATER_KINDS.includes(kind)) {
      const message = `Steps of kind ${kind} come with a later version, expected ${listOr(USABLE)}.`;
      const params = { code: 'NotSupported', hint: 'take the step away' };
      return context.addIssue({ code: 'custom', message, params });
    }
    const near = nearest(kind, USABLE);
    const message = `There is no kind ${show(kind)}, expected ${listOr(USABLE)}.`;
    context.addIssue({
      code: 'custom',
      message,
      params: near === undefined ? {} : { hint: `write ${near}` },
    });
  })
  .meta({ enum: USABLE });

const idSchema = nameSchema
  .refine((id) => id !== 'params', {
    error: "A step cannot be named 'params', since $(params.x) is a param.",
    params: { hint: 'use another id' },
  })
  .describe('Unique in the runbook; outputs are named by it, as in $(id.output).');

const approvalOfStep = approvalSchema
  .exactOptional()
  .describe('Who must give leave before the first effect; the environment says what is asked at least.');
const windowOfStep = nameSchema
  .exactOptional()
  .describe('A window of the environment: the first effect waits until it is open.');
const rollbackOfStep = exact({
  within: durationSchema({ ms: SECOND_MS }, { ms: 7 * DAY_MS }).describe('A duration.'),
})
  .exactOptional()
  .describe('The time in which it must be able to be taken back; at most that of the runbook.');

/** A step's keys in the order in which people write them. In a block `approval` and `parallel` are refused. */
const stepKeys = <A extends z.ZodType, P extends z.ZodType>({
  approval,
  parallel,
}: {
  approval: A;
  parallel: P;
}) => ({
  id: idSchema,
  uses: kindSchema.describe('The kind of step.'),
  with: z.record(z.string(), z.json()).default({}).describe('What the kind takes.'),
  when: whenSchema.exactOptional(),
  approval,
  onFail: z
    .enum(['unwind', 'ask'])
    .default('unwind')
    .describe('What follows a failure: unwind, or ask a person for 30m and then unwind.'),
  timeout: durationSchema({ ms: SECOND_MS }, { ms: DAY_MS })
    .exactOptional()
    .describe('Time for one attempt of each of its phases, 1s to 24h. Default the kind’s own.'),
  tries: z
    .int()
    .min(1)
    .max(TRIES_MAX)
    .exactOptional()
    .describe('Tries of each of its phases, with a probe between them. Default the kind’s own, 3.'),
  window: windowOfStep,
  rollback: rollbackOfStep,
  parallel,
});

const stepSchema = exact(stepKeys({ approval: approvalOfStep, parallel: z.never().exactOptional() }));

const followUpSchema = exact({
  ...stepKeys({
    approval: approvalOfStep,
    parallel: refusedKey({
      message: 'parallel stands in a followUp, expected one step that uses a kind.',
      hint: 'put the block into a runbook, and write  uses: runbook',
    }),
  }),
  after: durationSchema({ ms: SECOND_MS }, { ms: FOLLOW_UP_AFTER_MS_MAX }).describe(
    'Time from the end of a run that succeeded, at most 90d; not less than the environment’s retention.least.',
  ),
});

const branchSchema = exact(
  stepKeys({
    approval: refusedKey({
      message: 'A branch asks for no approval of its own, expected one approval of the whole block.',
      hint: 'write it beside parallel',
    }),
    parallel: refusedKey({
      message: 'parallel stands inside parallel, expected steps that use a kind.',
      hint: 'put its steps into the block around it',
    }),
  }),
);

const blockSchema = exact({
  id: idSchema,
  parallel: z
    .array(branchSchema, 'a list of steps')
    .min(2, 'at least 2 steps')
    .max(BRANCHES_MAX, `at most ${BRANCHES_MAX} steps`)
    .describe('Steps beside each other. The next entry begins when all of them have ended.'),
  when: whenSchema.exactOptional(),
  approval: approvalOfStep,
  window: windowOfStep,
  rollback: rollbackOfStep,
  uses: refusedKey({
    message: 'The entry has uses and parallel, expected one of the two.',
    hint: 'put the step that uses it into parallel, or above',
  }),
});

/** Exactly one of `uses` and `parallel`; which of the two says which keys there are. */
const entrySchema = z.union([stepSchema, blockSchema]);

/** The file, key by key. What only the whole shows (ids, references) is checked after it. */
export const runbookSchema = exact({
  name: nameSchema.describe('The name of the file, without .yaml.'),
  description: lineSchema(500).exactOptional().describe('One line for lists of runbooks.'),
  params: paramsSchema.default({}).describe('What a run is given; used as $(params.name).'),
  rollback: exact({
    within: durationSchema({ ms: SECOND_MS }, { ms: 7 * DAY_MS })
      .default(ROLLBACK_WITHIN_MS)
      .describe('The time that a whole unwinding may take. Default 1h.'),
  })
    .default({ within: ROLLBACK_WITHIN_MS })
    .describe('The rollback objective.'),
  steps: z
    .array(entrySchema, 'a list of steps')
    .min(1, 'at least 1 step')
    .max(STEPS_MAX, `at most ${STEPS_MAX} steps`)
    .describe('What is done, in the order written.'),
  followUp: z
    .array(followUpSchema, 'a list of steps with after')
    .min(1, 'at least 1 step')
    .max(FOLLOW_UPS_MAX, `at most ${FOLLOW_UPS_MAX} steps`)
    .exactOptional()
    .describe('What happens days later: each a run of its own, planned now and asked about then.'),
});

export type Entry = z.output<typeof entrySchema>;
export type Single = z.output<typeof stepSchema> | z.output<typeof branchSchema>;
