/**
 * Expectations in words: `at least 95`, `at most 2`, `above 60%`, `below 200ms`; a bare value means equal. Parsed when the
 * plan is made, compared when a value was found. Numbers are compared exactly, as decimals. No data is never a pass.
 *
 *   unit in the words   the found value
 *   none                a number
 *   %                   a number of percent: 62.5, or the text 62.5%
 *   ms s m h d          a number of milliseconds, or a text with its unit: 150ms, 1.5s
 */
import { z } from 'zod';
import type { Json } from './plan.ts';
import { REFERENCE_PATTERN } from './references.ts';
import { show } from './schema.ts';
import { parseDuration } from './units.ts';

export type Comparison = 'at least' | 'at most' | 'above' | 'below' | 'equal';

/** `words` is what was written, for people. `amount` is a decimal number as text: percent, or milliseconds, where a unit is asked. */
export type Expectation =
  | { words: string; is: Comparison; amount: string; unit: 'none' | 'percent' | 'duration' }
  | { words: string; is: 'equal'; value: string | boolean };

/** Words that hold an output of a step: they can be parsed once the output is there, and not before. */
export type LateExpectation = { words: string };

/** For error messages. */
export const EXPECTATION_FORM =
  "'at least 95', 'at most 2', 'above 60%', 'below 200ms', or a bare value that must be equal";

const TEXT_LENGTH_MAX = 1_000;
const COMPARED = /^(at least|at most|above|below)\s+(\S.*)$/;
/** What people write elsewhere. As a bare value it would be compared as text, and never be met. */
const OTHER_WORDS =
  /^(?:[<>=!≤≥]|(?:at least|at most|above|below|over|under|more than|less than|greater than|not|min|max|minimum|maximum|exactly|equals?|between)(?:\b|$))/i;
const LOOKS_NUMERIC = /^[-+]?[\d.,_' ]*\d[\d.,_' ]*$/;

/** The expectation, or what was expected instead of this value. */
export function parseExpectation(value: Json): Expectation | { expected: string } {
  if (typeof value === 'boolean') return { words: String(value), is: 'equal', value };
  if (typeof value !== 'number' && typeof value !== 'string') return { expected: EXPECTATION_FORM };
  const words = String(value).trim();
  if (words === '' || words.length > TEXT_LENGTH_MAX || /[\r\n]/.test(words))
    return { expected: EXPECTATION_FORM };
  const [, is, text] = COMPARED.exec(words) ?? [];
  const amount = parseAmount(text ?? words);
  if (amount !== undefined) {
    return {
      words,
      is: (is as Comparison | undefined) ?? 'equal',
      amount: write(amount.number),
      unit: amount.unit,
    };
  }
  if (is !== undefined || OTHER_WORDS.test(words) || LOOKS_NUMERIC.test(words))
    return { expected: EXPECTATION_FORM };
  return { words, is: 'equal', value: words };
}

/** Whether the value is as expected; undefined where it is no data for this question: nothing, no number, another unit. */
export function meets(expectation: Expectation, value: Json | undefined): boolean | undefined {
  if (value === undefined || value === null || typeof value === 'object') return undefined;
  if ('value' in expectation) return String(value) === String(expectation.value);
  if (typeof value === 'boolean') return undefined;
  const found = parseAmount(String(value).trim());
  const wanted = parseDecimal(expectation.amount);
  if (found === undefined || wanted === undefined) return undefined;
  if (found.unit !== 'none' && found.unit !== expectation.unit) return undefined;
  const order = compare(found.number, wanted);
  switch (expectation.is) {
    case 'at least':
      return order >= 0;
    case 'at most':
      return order <= 0;
    case 'above':
      return order > 0;
    case 'below':
      return order < 0;
    case 'equal':
      return order === 0;
  }
}

const OUTPUT = new RegExp(`(?:^|[^$])\\$\\(${REFERENCE_PATTERN}\\)`);

/** Words in a runbook: parsed, or kept as they are where they hold an output of a step. */
export const expectationSchema = z.unknown().transform((value, context): Expectation | LateExpectation => {
  if (typeof value === 'string' && OUTPUT.test(value) && value.length <= TEXT_LENGTH_MAX)
    return { words: value };
  const parsed = parseExpectation(value as Json);
  if (!('expected' in parsed)) return parsed;
  context.addIssue({ code: 'custom', message: '', params: { expected: parsed.expected } });
  return z.NEVER;
});

/** The expectation of words whose outputs are filled in. Throws an Error with one sentence where they say nothing. */
export function settleExpectation(asked: Expectation | { words: Json }): Expectation {
  if ('is' in asked) return asked;
  const parsed = parseExpectation(asked.words);
  if ('expected' in parsed)
    throw new Error(`The outputs make the expectation ${show(asked.words)}, expected ${parsed.expected}.`);
  return parsed;
}

/** `digits` × 10^-`scale`. */
type Decimal = { digits: bigint; scale: number };

const DECIMAL = /^([+-]?)(\d{1,400})(?:\.(\d{1,400}))?(?:[eE]([+-]?\d{1,3}))?$/;
const WITH_UNIT = /^([+-]?\d{1,30}(?:\.\d{1,30})?)\s?(%|ms|s|m|h|d)$/;
const UNIT_MS: Record<string, bigint> = { ms: 1n, s: 1_000n, m: 60_000n, h: 3_600_000n, d: 86_400_000n };

function parseAmount(text: string): { number: Decimal; unit: 'none' | 'percent' | 'duration' } | undefined {
  const plain = parseDecimal(text);
  if (plain !== undefined) return { number: plain, unit: 'none' };
  const [, amount = '', unit = ''] = WITH_UNIT.exec(text) ?? [];
  const number = parseDecimal(amount);
  if (number === undefined) {
    const ms = parseDuration(text);
    return ms === undefined ? undefined : { number: { digits: BigInt(ms), scale: 0 }, unit: 'duration' };
  }
  if (unit === '%') return { number, unit: 'percent' };
  return { number: { ...number, digits: number.digits * (UNIT_MS[unit] ?? 1n) }, unit: 'duration' };
}

function parseDecimal(text: string): Decimal | undefined {
  const match = DECIMAL.exec(text);
  if (match === null) return undefined;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  const digits = BigInt(whole + fraction) * (sign === '-' ? -1n : 1n);
  const scale = fraction.length - Number(exponent);
  return scale >= 0 ? { digits, scale } : { digits: digits * 10n ** BigInt(-scale), scale: 0 };
}

function compare(one: Decimal, other: Decimal): number {
  const scale = Math.max(one.scale, other.scale);
  const difference =
    one.digits * 10n ** BigInt(scale - one.scale) - other.digits * 10n ** BigInt(scale - other.scale);
  return difference === 0n ? 0 : difference > 0n ? 1 : -1;
}

/** The shortest text of the number. */
function write({ digits, scale }: Decimal): string {
  const sign = digits < 0n ? '-' : '';
  const text = (digits < 0n ? -digits : digits).toString().padStart(scale + 1, '0');
  const whole = text.slice(0, text.length - scale);
  const fraction = scale === 0 ? '' : text.slice(-scale).replace(/0+$/, '');
  return `${sign}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}
