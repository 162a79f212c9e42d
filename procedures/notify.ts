/**
 * notify: tells somebody outside what the run does: a chat's incoming webhook, or any receiver of JSON over HTTP. It
 * changes nothing, so it asks nobody and has nothing to undo; `countdown check` leaves it out, since what is said cannot
 * be unsaid. The message carries a key that stays the same over tries and attempts, so that a receiver can drop a double.
 */
import { z } from 'zod';
import { MINUTE_MS, SECOND_MS } from './limits.ts';
import type { Json } from './plan.ts';
import { type Procedure, callOf, targetOf } from './procedure.ts';
import { exact, nameSchema } from './schema.ts';

/** Sendings of one try, and the time that one may take. */
const SENDINGS = 4;
const REQUEST_MS = 10 * SECOND_MS;

const TEXT_LENGTH_MAX = 4_000;
const SAYS_MAX = 20;

const params = exact({
  target: nameSchema.describe('Target of kind http that takes a POST of JSON.'),
  text: z
    .string('text')
    .min(1, 'some text')
    .max(TEXT_LENGTH_MAX, `at most ${TEXT_LENGTH_MAX} characters`)
    .describe('What is said, in words.'),
  say: z
    .record(
      z
        .string()
        .regex(/^[A-Za-z][A-Za-z0-9_]{0,39}$/, 'a name of letters, digits and _ that begins with a letter'),
      z.union([z.string().max(1_000, 'at most 1000 characters'), z.number(), z.boolean()], {
        error: 'text, a number, true or false',
      }),
    )
    .refine((one) => Object.keys(one).length <= SAYS_MAX, {
      error: `More than ${SAYS_MAX} values stand in say, expected fewer.`,
    })
    .default({})
    .describe('Values that are sent beside the text, by name, for receivers that read them.'),
});

const output = z.object({
  /** Of the answer. */
  status: z.int(),
  /** How often it was sent in this attempt until it was taken. */
  sendings: z.int(),
});

export const notify: Procedure<typeof params> = {
  kind: 'notify',
  summary: 'tells somebody outside: a chat, or any receiver of JSON over HTTP',
  params,
  output,
  plan(input) {
    const { target, text, say } = input.params;
    if (targetOf(input, ['target'], target, 'http') === undefined) return [];
    const message: Json = { target, step: input.step, text, say, sendings: SENDINGS };
    return [
      {
        name: 'send',
        title: `Tell ${target}`,
        effect: 'none',
        tells: true,
        targets: [target],
        run: callOf('notify', 'send', 'run', message),
        expected: { runMs: SECOND_MS, undoMs: 0 },
        limits: { timeoutMs: SENDINGS * REQUEST_MS + MINUTE_MS },
      },
    ];
  },
};
