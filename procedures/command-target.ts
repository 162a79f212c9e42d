/** What an environment file says of a command: the program, its undo and its probe, and what its exits mean. */
import { z } from 'zod';
import type { CommandTarget, SecretRef } from './environment.ts';
import { DAY_MS, MINUTE_MS, SECOND_MS } from './limits.ts';
import { durationSchema, exact, nameSchema } from './schema.ts';
import { ENV_NAME, readReference } from './secret-ref.ts';

/** Parts of one command line, and characters of one part. */
export const ARGUMENTS_MAX = 100;
export const ARGUMENT_LENGTH_MAX = 4_000;

export const argumentSchema = z
  .string('text, in quotes where it could be read as a number')
  .max(ARGUMENT_LENGTH_MAX, `at most ${ARGUMENT_LENGTH_MAX} characters`)
  .refine((text) => !text.includes('\0'), { error: 'The text holds a NUL, which no argument can.' });

/** A program and its arguments. */
export const argumentsSchema = z
  .array(argumentSchema, 'a list of the program and its arguments, as in [/usr/bin/systemctl, restart, app]')
  .min(1, 'at least the program')
  .max(ARGUMENTS_MAX, `at most ${ARGUMENTS_MAX} of them`);

const VALUE_HINT = "write text, or a reference: { env: NAME } or { file: /path }; a number in quotes: '8080'";

/** Text, or a reference to a secret. No message shows what stands here. */
const variableSchema = z.unknown().transform((value, context): string | SecretRef => {
  const refuse = (message: string) => {
    context.addIssue({ code: 'custom', message, params: { hint: VALUE_HINT } });
    return z.NEVER;
  };
  if (typeof value === 'string') {
    const isFit = value.length <= ARGUMENT_LENGTH_MAX && !value.includes('\0');
    return isFit
      ? value
      : refuse(`The value is longer than ${ARGUMENT_LENGTH_MAX} characters, or holds a NUL.`);
  }
  if (value === null || typeof value !== 'object')
    return refuse('The value of a variable is no text, expected text or a reference to a secret.');
  const read = readReference(value);
  return 'problem' in read ? refuse(read.problem) : read;
});

/** The whole environment of a program. */
export const variablesSchema = z
  .record(z.string().regex(ENV_NAME, 'the name of an environment variable'), variableSchema)
  .refine((variables) => Object.keys(variables).length <= 100, {
    error: 'There are more than 100 variables, expected fewer.',
  })
  .default({});

const entry = exact({
  kind: z.literal('command'),
  argv: argumentsSchema,
  undo: argumentsSchema.exactOptional(),
  probe: argumentsSchema.exactOptional(),
  cwd: z
    .string()
    .regex(/^\/[^\0]{0,1000}$/, 'an absolute path')
    .exactOptional(),
  env: variablesSchema,
  exits: z
    .record(
      z
        .string()
        .regex(/^(?:[1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])$/, 'an exit code from 1 to 255; 0 is always pass'),
      z.enum(['pass', 'warn', 'fail', 'inconclusive']),
    )
    .default({}),
  effect: z.enum(['none', 'reversible', 'costly', 'irreversible']).exactOptional(),
  timeout: durationSchema({ ms: SECOND_MS }, { ms: DAY_MS }).default(10 * MINUTE_MS),
  worker: nameSchema.exactOptional(),
});

/** One entry of kind command, its defaults filled in. */
export const commandTargetSchema = entry
  .superRefine((one, context) => {
    const refuse = (path: (string | number)[], message: string, hint: string) =>
      context.addIssue({ code: 'custom', path, message, params: { hint } });
    for (const key of ['argv', 'undo', 'probe'] as const) {
      const program = one[key]?.[0];
      if (program === undefined || program.startsWith('/')) continue;
      if (/^[^/\s]+$/.test(program) && typeof one.env['PATH'] === 'string') continue;
      refuse(
        [key, 0],
        `Program '${program.slice(0, 60)}' has no absolute path, and the command gets no PATH but that of its own env.`,
        'write its absolute path, or a bare name with env: { PATH: … }',
      );
    }
    if (one.undo !== undefined && one.probe === undefined) {
      return refuse(
        ['undo'],
        'The command has an undo and no probe, expected both: what may have happened is looked at first.',
        'add a probe',
      );
    }
    const effect = effectOf(one);
    if ((effect === 'reversible' || effect === 'costly') && one.undo === undefined) {
      refuse(
        ['effect'],
        `The effect is ${effect} and there is no undo, expected undo and probe.`,
        'add both, or write  effect: irreversible',
      );
    }
    if ((effect === 'none' || effect === 'irreversible') && one.undo !== undefined) {
      refuse(
        ['undo'],
        `The effect is ${effect}, so there is nothing to undo.`,
        'take undo away, or write another effect',
      );
    }
    if (effect === 'none' && one.probe !== undefined) {
      refuse(
        ['probe'],
        'The effect is none, so there is nothing to probe.',
        'take probe away, or write another effect',
      );
    }
  })
  .transform(({ timeout, ...one }): CommandTarget => ({ ...one, effect: effectOf(one), timeoutMs: timeout }));

/** What cannot be undone counts as irreversible; what can, as costly: nobody said that it is cheap. */
function effectOf(one: {
  effect?: CommandTarget['effect'];
  undo?: unknown;
  probe?: unknown;
}): CommandTarget['effect'] {
  return one.effect ?? (one.undo !== undefined && one.probe !== undefined ? 'costly' : 'irreversible');
}
