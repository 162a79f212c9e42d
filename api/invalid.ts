/** What zod says of a request, as sentences for people: which field, what was found there, what to send instead. */
import { escapePointer } from './body.ts';
import { ApiProblem, type ProblemError } from './problems.ts';

/** As zod has it, without what is not looked at here. */
export type Issue = {
  path: PropertyKey[];
  message: string;
  code?: string | undefined;
  keys?: unknown;
  expected?: unknown;
  minimum?: unknown;
  maximum?: unknown;
  origin?: unknown;
  values?: unknown;
};

/** Fields that one answer tells of. */
const ERRORS_MAX = 50;
/** So much of a value is repeated. */
const SHOWN_MAX = 40;
/** How zod's own messages begin; what a schema says itself begins with `expected`. */
const OF_ZOD = /^(?:Invalid|Too (?:small|big)|Unrecognized)/;

/** The problem of a request whose parts do not fit; `found` is what was sent. */
export function invalid(target: string, issues: readonly Issue[], found: unknown): ApiProblem {
  // A field that is missing says more than one that is too many.
  const ordered = issues.toSorted((one, other) => Number(isTooMany(one)) - Number(isTooMany(other)));
  const errors = ordered.flatMap((issue) => errorsOf(target, issue, found)).slice(0, ERRORS_MAX);
  const more = errors.length > 1 ? ` ${errors.length - 1} more: look at errors.` : '';
  const detail = `${errors[0]?.detail ?? 'The request cannot be used: look at /openapi.json.'}${more}`;
  if (target === 'query') return new ApiProblem('BadQuery', detail, { errors });
  if (target === 'header') return new ApiProblem('BadHeader', detail, { errors });
  return new ApiProblem('BodyInvalid', detail, { errors });
}

function isTooMany({ code }: Issue): boolean {
  return code === 'unrecognized_keys';
}

function errorsOf(target: string, issue: Issue, found: unknown): ProblemError[] {
  const pointer = issue.path.map((part) => `/${escapePointer(String(part))}`).join('');
  if (isTooMany(issue) && Array.isArray(issue.keys)) {
    return issue.keys.map((key) => ({
      pointer: `${pointer}/${escapePointer(String(key))}`,
      detail: tooMany(target, [...issue.path, String(key)], issue.message),
    }));
  }
  const name = nameOf(issue.path) || (target === 'query' ? 'The query' : 'The body');
  return [{ pointer, detail: `${name} is ${show(valueAt(found, issue.path))}: send ${wanted(issue)}.` }];
}

function tooMany(target: string, path: readonly PropertyKey[], message: string): string {
  const name = nameOf(path).slice(0, SHOWN_MAX);
  const instead = OF_ZOD.test(message) ? '' : `, or send ${message.replace(/^expected /, '')}`;
  return `${name} is no ${target === 'query' ? 'parameter' : 'field'} here: leave it out${instead}.`;
}

function nameOf(path: readonly PropertyKey[]): string {
  return path.map(String).join('.');
}

function valueAt(found: unknown, path: readonly PropertyKey[]): unknown {
  let value = found;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

function show(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === '') return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value !== 'string') return JSON.stringify(value);
  const shown = value.slice(0, SHOWN_MAX).replace(/\p{Cc}/gu, ' ');
  return `'${shown}${value.length > SHOWN_MAX ? '…' : ''}'`;
}

const TYPES: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'an object',
  record: 'an object',
  array: 'a list',
};

/** What fits, as the object of `send`. */
function wanted(issue: Issue): string {
  if (!OF_ZOD.test(issue.message)) return issue.message.replace(/^expected /, '');
  const { code, expected, minimum, maximum, origin, values } = issue;
  const of = origin === 'string' ? ' characters' : origin === 'array' ? ' entries' : '';
  if (code === 'invalid_type') return TYPES[String(expected)] ?? String(expected);
  if (code === 'too_small')
    return minimum === 1 && of !== '' ? 'some text' : `at least ${String(minimum)}${of}`;
  if (code === 'too_big') return `at most ${String(maximum)}${of}`;
  if (code === 'invalid_value' && Array.isArray(values)) return values.map((one) => show(one)).join(' or ');
  return 'what /openapi.json describes';
}
