/** JSON in one form, so that a text and what PostgreSQL's jsonb made of it can be compared. */
import { plainDecimal, trimmedDecimal } from './numbers.ts';

/**
 * The text with its keys sorted, without blanks, its numbers as plain decimals. Undefined where it is no JSON, names a
 * key twice or holds a NUL, which jsonb would not keep.
 */
export function canonicalJson(text: string): string | undefined {
  if (text.includes('\\u0000')) return undefined;
  let members = 0;
  try {
    const parsed: unknown = JSON.parse(text, (_key, value: unknown, context?: { source?: string }) => {
      if (typeof value === 'number') return numberOf(context?.source ?? String(value));
      if (isObject(value)) members += Object.keys(value).length;
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

function numberOf(source: string): Digits {
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
  return text.replace(/"(?:[^"\\]|\\.)*"/g, '').split(':').length - 1;
}
