/** The pieces that every schema here is made of, and how what zod finds becomes a problem with a place and a sentence. */
import { z } from 'zod';
import { nearest } from './nearest.ts';
import type { Problem, ProblemCode } from './problem.ts';
import { DURATION_FORM, DURATION_PATTERN, parseDuration, writeDuration } from './units.ts';
import { type Path, type Source, pointerOf } from './yaml.ts';

/** Steps, targets, people, groups, environments and runbooks are named so. */
export const NAME = /^[a-z][a-z0-9-]{0,39}$/;
export const NAME_FORM =
  'a name of small letters, digits and hyphens that begins with a letter, at most 40 long';

export const nameSchema = z.string().regex(NAME, NAME_FORM);

/** Marks what a later version takes: it stands in no JSON Schema, so that editors do not offer it. */
export const LATER_MARK = 'x-later';

/** One line of text. */
export const lineSchema = (lengthMax: number) =>
  z
    .string()
    .min(1, 'some text')
    .max(lengthMax, `at most ${lengthMax} characters`)
    .refine((text) => !/[\r\n]/.test(text), { error: 'The text has more than one line, expected one.' });

/** A duration in words; milliseconds after parsing. */
export function durationSchema(least: { ms: number }, most: { ms: number }) {
  const read = z.string(DURATION_FORM).transform((text, context) => {
    const ms = parseDuration(text);
    if (ms !== undefined && ms >= least.ms && ms <= most.ms) return ms;
    const range = ` from ${writeDuration(least.ms)} to ${writeDuration(most.ms)}`;
    const params = { expected: DURATION_FORM + (ms === undefined ? '' : range) };
    context.addIssue({ code: 'custom', message: '', params });
    return z.NEVER;
  });
  return read.meta({ pattern: DURATION_PATTERN });
}

/**
 * An object with these keys and no others. An unknown key names the nearest known one; a key whose schema is `later()`
 * is known, but not suggested.
 */
export function exact<S extends z.ZodRawShape>(shape: S): z.ZodObject<S, z.core.$strict> {
  const known = Object.keys(shape).filter((key) => !LATER.has(shape[key] as object));
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? JSON.stringify(known) : undefined),
  });
}

const LATER = new WeakSet<object>();

/** A key that a later version will take. Refused with NotSupported and a sentence that says what to do instead. */
export function later(message: string, hint: string) {
  return refusedKey({ code: 'NotSupported', message, hint });
}

/** A key that people try and that means something else here. */
export function refusedKey({ code, message, hint }: { code?: ProblemCode; message: string; hint: string }) {
  const params = { hint, part: 'key', ...(code === undefined ? {} : { code }) };
  const schema = z
    .unknown()
    .superRefine((value, context) => {
      if (value !== undefined) context.addIssue({ code: 'custom', message, params });
    })
    .optional()
    .meta({ [LATER_MARK]: true });
  LATER.add(schema);
  return schema;
}

/** What a custom issue may carry. */
type IssueParams = { code?: ProblemCode; hint?: string; expected?: string; part?: 'key' | 'value' };

/** Every issue as a problem. `base` is where the checked value stands in the source. */
export function problemsOf(
  error: z.ZodError,
  source: Source,
  at: { base: Path; value: unknown; code: ProblemCode },
): Problem[] {
  return error.issues.flatMap((issue) => {
    const path = [...at.base, ...issue.path.map((key) => (typeof key === 'symbol' ? String(key) : key))];
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => unknownKey(source, at.code, [...path, key], JSON.parse(issue.message)));
    }
    const found = valueAt(at.value, issue.path);
    const params: IssueParams = issue.code === 'custom' ? (issue.params ?? {}) : {};
    const part = issue.code === 'invalid_key' ? 'key' : params.part;
    const { message, hint } = sentence(issue, path, found, params);
    const place = source.place(path, part);
    return [{ ...place, code: params.code ?? at.code, message, ...(hint === undefined ? {} : { hint }) }];
  });
}

function unknownKey(source: Source, code: ProblemCode, path: Path, known: string[]): Problem {
  const key = String(path.at(-1));
  const near = nearest(key, known);
  const owner = path.length > 1 ? ` in ${wordsOf(path.slice(0, -1))}` : '';
  return {
    ...source.place(path, 'key'),
    code,
    message: `'${cut(key)}' is not a key${owner}, expected ${listOr(known)}.`,
    hint: near === undefined ? `take it away, or use one of ${known.join(', ')}` : `write ${near}`,
  };
}

function sentence(
  issue: z.core.$ZodIssue,
  path: Path,
  found: unknown,
  params: IssueParams,
): { message: string; hint?: string | undefined } {
  const where = wordsOf(path);
  const { hint } = params;
  if (issue.code === 'custom' && params.expected === undefined) return { message: issue.message, hint };
  const expected = params.expected ?? expectedOf(issue);
  if (found === undefined)
    return { message: `${where} is missing, expected ${expected}.`, hint: hint ?? `add ${path.at(-1)}` };
  if (issue.code === 'invalid_key') {
    const key = String(path.at(-1));
    return {
      message: `'${cut(key)}' cannot be a name, expected ${expected}.`,
      hint: hint ?? 'use another name',
    };
  }
  const near = typeof found === 'string' ? nearest(found, valuesOf(issue)) : undefined;
  return {
    message: `${where} is ${show(found)}, expected ${expected}.`,
    hint: hint ?? (near === undefined ? undefined : `write ${near}`),
  };
}

const TYPES: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'entries of key and value',
  record: 'entries of key and value',
  array: 'a list',
};

/** The part of the sentence after `expected`. Formats and sizes say it themselves where their schema has words of its own. */
function expectedOf(issue: z.core.$ZodIssue): string {
  const isOwn = !/^(Invalid|Too|Unrecognized)/.test(issue.message);
  if (isOwn && issue.message !== '') return issue.message;
  switch (issue.code) {
    case 'invalid_type':
      return TYPES[issue.expected] ?? issue.expected;
    case 'invalid_value':
    case 'invalid_union':
      return listOr(valuesOf(issue));
    case 'too_small':
      return `at least ${issue.minimum}${unitOf(issue.origin)}`;
    case 'too_big':
      return `at most ${issue.maximum}${unitOf(issue.origin)}`;
    case 'invalid_key':
      return issue.issues[0]?.message ?? NAME_FORM;
    default:
      return 'another value';
  }
}

function valuesOf(issue: z.core.$ZodIssue): string[] {
  if (issue.code === 'invalid_value') return issue.values.map(String);
  if (issue.code === 'invalid_union' && 'options' in issue) return (issue.options as unknown[]).map(String);
  return [];
}

function unitOf(origin: string): string {
  if (origin === 'string') return ' characters';
  return origin === 'array' || origin === 'object' || origin === 'record' ? ' entries' : '';
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value;
  for (const key of path) {
    if (at === null || typeof at !== 'object' || !Object.hasOwn(at, key)) return undefined;
    at = (at as Record<PropertyKey, unknown>)[key];
  }
  return at;
}

/** `steps[2].with.target`, or `the file` for nothing at all. */
export function wordsOf(path: Path): string {
  const words = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${key}`)).join('');
  return words === '' ? 'the file' : words.replace(/^\./, '');
}

/** A value as a message shows it: short, and never a whole list. */
export function show(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'entries of key and value';
  return typeof value === 'string' ? `'${cut(value)}'` : JSON.stringify(value);
}

const SHOWN_MAX = 60;

function cut(text: string): string {
  const line = text.replace(/\s+/g, ' ');
  return line.length > SHOWN_MAX ? `${line.slice(0, SHOWN_MAX)}…` : line;
}

/** `a`, `a or b`, `a, b or c`. */
export function listOr(words: readonly string[]): string {
  if (words.length < 2) return words[0] ?? 'nothing';
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

/** `a`, `a and b`, `a, b and c`. */
export function listAnd(words: readonly string[]): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

export { pointerOf };
