/** JSON in one form, so that a text and what PostgreSQL's jsonb made of it can be compared. */
import { plainDecimal, trimmedDecimal } from './numbers.ts';

/**
 * The text with its keys sorted, without blanks, its numbers as plain decimals. Undefined where it is no JSON, names a
 * key twice or holds a NUL, which jsonb would not keep.
 */
export function canonicalJson(text: string): string | undefined {
  if (text.includes('\\u0000') || !isShallow(text)) return undefined;
  let members = 0;
  try {
    const parsed: unknown = JSON.parse(text, (_key, value: unknown, context?: { source?: string }) => {
      if (typeof value === 'number') return numberOf(context?.source ?? String(value));
      if (typeof value === 'string') assertWhole(value);
      if (isObject(value)) members += Object.keys(value).map(assertWhole).length;
      return value;
    });
    return members === membersOf(text) ? write(parsed) : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isNumber(value);
}

/** A number stands as an object of its own kind until it is written: a double could not hold every one. */
class Digits {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

function isNumber(value: unknown): value is Digits {
  return value instanceof Digits;
}

/** PostgreSQL takes no half of a pair of surrogates. */
function assertWhole(text: string): void {
  if (!text.isWellFormed()) throw new RangeError('half of a character');
}

/** Nesting that PostgreSQL's parser takes with its usual stack, with room to spare. */
const DEPTH_MAX = 1_000;

/** Whether it nests no deeper than PostgreSQL takes. */
export function isShallow(text: string): boolean {
  let depth = 0;
  let isText = false;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (isText && unit === BACKSLASH) at += 1;
    else if (unit === QUOTE) isText = !isText;
    else if (isText) continue;
    else if (unit === BRACKET || unit === BRACE) depth += 1;
    else if (unit === BRACKET + 2 || unit === BRACE + 2) depth -= 1;
    if (depth > DEPTH_MAX) return false;
  }
  return true;
}

const [QUOTE, BACKSLASH, BRACKET, BRACE, COLON] = [0x22, 0x5c, 0x5b, 0x7b, 0x3a];

/** Digits before and after the point that a numeric of PostgreSQL has at most. */
const WHOLE_DIGITS_MAX = 131_072;
const FRACTION_DIGITS_MAX = 16_383;

function numberOf(source: string): Digits {
  const exponent = Math.abs(Number(/e([+-]?\d+)$/i.exec(source)?.[1] ?? 0));
  if (exponent > WHOLE_DIGITS_MAX) throw new RangeError('a number that PostgreSQL cannot hold');
  const [whole = '', fraction = ''] = plainDecimal(source).replace('-', '').split('.');
  if (whole.length > WHOLE_DIGITS_MAX || fraction.length > FRACTION_DIGITS_MAX)
    throw new RangeError('a number that PostgreSQL cannot hold');
  const plain = trimmedDecimal(plainDecimal(source));
  return new Digits(/[1-9]/.test(plain) ? plain : '0');
}

function write(value: unknown): string {
  if (isNumber(value)) return value.text;
  if (Array.isArray(value)) return `[${value.map(write).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const keys = Object.keys(value).toSorted();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${write(value[key])}`).join(',')}}`;
}

/** How many members its objects name, counted by their colons. */
function membersOf(text: string): number {
  let members = 0;
  let isText = false;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (isText && unit === BACKSLASH) at += 1;
    else if (unit === QUOTE) isText = !isText;
    else if (!isText && unit === COLON) members += 1;
  }
  return members;
}
