/** Params of a runbook: what they may be, and the values that a plan is made with. */
import { z } from 'zod';
import type { Json } from './plan.ts';
import { LATER_MARK, exact, lineSchema, listOr, show } from './schema.ts';
import { DURATION_FORM, parseDuration } from './units.ts';
import { badCharacterAt } from './yaml-guard.ts';

export const PARAM_NAME = /^[a-z][A-Za-z0-9]{0,39}$/;
export const PARAM_NAME_FORM =
  'a name of letters and digits that begins with a small letter, such as release';

const STRING_LENGTH_MAX = 1_000;
const TEXT_LENGTH_MAX = 16_000;
const VERSION = /^v?\d{1,9}(\.\d{1,9}){0,3}([-+][0-9A-Za-z][0-9A-Za-z.-]{0,60})?$/;

const common = {
  description: lineSchema(500).exactOptional().describe('What it means, in one line.'),
  default: z.json().exactOptional().describe('Without a default the param must be given.'),
};
const ofType = <T extends string>(type: T) => exact({ type: z.literal(type), ...common });

export const PARAM_TYPES = [
  'string',
  'text',
  'integer',
  'number',
  'boolean',
  'duration',
  'version',
  'choice',
] as const;
export type ParamType = (typeof PARAM_TYPES)[number];

const secret = z
  .looseObject({ type: z.literal('secret') })
  .superRefine((_, context) => {
    const params = {
      code: 'NotSupported',
      hint: 'name the secret in the environment file, at the target that needs it',
    };
    context.addIssue({
      code: 'custom',
      path: ['type'],
      message: 'Params of type secret come with a later version.',
      params,
    });
  })
  .meta({ [LATER_MARK]: true });

/** One entry of `params`. Without a default the param must be given. */
export const paramSchema = z.discriminatedUnion(
  'type',
  [
    ofType('string'),
    ofType('text'),
    ofType('integer'),
    ofType('number'),
    ofType('boolean'),
    ofType('duration'),
    ofType('version'),
    exact({
      type: z.literal('choice'),
      options: z
        .array(lineSchema(100))
        .min(1, 'at least 1 option')
        .max(100)
        .describe('The values that it may have.'),
      ...common,
    }),
    secret,
  ],
  { error: (issue) => (issue.code === 'invalid_union' ? listOr(PARAM_TYPES) : undefined) },
);

export type ParamDeclaration = {
  type: ParamType;
  description?: string;
  default?: Json;
  /** Of a choice. */
  options?: string[];
};

export type CheckedParam = { value: Json } | { expected: string };

/**
 * The value as the plan holds it, or what was expected. Numbers and booleans may come as their text, since a command
 * line has nothing else.
 */
export function checkParam({ type, options = [] }: ParamDeclaration, value: Json): CheckedParam {
  switch (type) {
    case 'string':
      return isText(value, STRING_LENGTH_MAX) && !/[\r\n]/.test(value)
        ? { value }
        : { expected: `one line of text, at most ${STRING_LENGTH_MAX} characters` };
    case 'text':
      return isText(value, TEXT_LENGTH_MAX)
        ? { value }
        : { expected: `text, at most ${TEXT_LENGTH_MAX} characters` };
    case 'integer': {
      const number = typeof value === 'string' && /^-?\d{1,16}$/.test(value) ? Number(value) : value;
      return Number.isSafeInteger(number) ? { value: plus(number) } : { expected: 'a whole number' };
    }
    case 'number': {
      const number =
        typeof value === 'string' && /^-?\d{1,16}(\.\d{1,16})?$/.test(value) ? Number(value) : value;
      return typeof number === 'number' && Number.isFinite(number)
        ? { value: plus(number) }
        : { expected: 'a number' };
    }
    case 'boolean': {
      if (typeof value === 'boolean') return { value };
      return value === 'true' || value === 'false'
        ? { value: value === 'true' }
        : { expected: 'true or false' };
    }
    case 'duration':
      return typeof value === 'string' && parseDuration(value) !== undefined
        ? { value }
        : { expected: DURATION_FORM };
    case 'version': {
      const expected = "a version such as '1.4.0', in quotes where it could be read as a number";
      return typeof value === 'string' && VERSION.test(value) ? { value } : { expected };
    }
    case 'choice':
      return typeof value === 'string' && options.includes(value) ? { value } : { expected: listOr(options) };
  }
}

/** -0 has no text of its own, so it may not make a plan of its own. */
function plus(number: Json | number): Json {
  return number === 0 ? 0 : number;
}

function isText(value: Json, lengthMax: number): value is string {
  return typeof value === 'string' && value.length <= lengthMax && badCharacterAt(value) < 0;
}

export type GivenParams = {
  values: Record<string, Json>;
  wrong: { param: string; isDeclared: boolean; message: string; hint: string }[];
};

/** The values of all declared params: as given, else their defaults. */
export function takeParams(
  declared: Readonly<Record<string, ParamDeclaration>>,
  given: Readonly<Record<string, Json>>,
): GivenParams {
  const values: Record<string, Json> = {};
  const wrong: GivenParams['wrong'] = [];
  for (const param of Object.keys(given).filter((name) => !Object.hasOwn(declared, name))) {
    const known = Object.keys(declared);
    const message = `The runbook has no param '${param.slice(0, 60)}', expected ${known.length === 0 ? 'none at all' : listOr(known)}.`;
    wrong.push({ param, isDeclared: false, message, hint: 'leave it out' });
  }
  for (const [param, declaration] of Object.entries(declared)) {
    const value = Object.hasOwn(given, param) ? given[param] : declaration.default;
    if (value === undefined) {
      const message = `Param '${param}' is missing, expected ${expectedOf(declaration)}.`;
      wrong.push({ param, isDeclared: true, message, hint: `give ${param}=VALUE` });
      continue;
    }
    const checked = checkParam(declaration, value);
    if ('value' in checked) values[param] = checked.value;
    else {
      const message = `Param '${param}' is ${show(value)}, expected ${checked.expected}.`;
      wrong.push({ param, isDeclared: true, message, hint: `give another value for ${param}` });
    }
  }
  return { values, wrong };
}

function expectedOf(declaration: ParamDeclaration): string {
  const checked = checkParam(declaration, null);
  return 'expected' in checked ? checked.expected : 'a value';
}

export const paramsSchema = z.record(z.string().regex(PARAM_NAME, PARAM_NAME_FORM), paramSchema);
