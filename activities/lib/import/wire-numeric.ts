/** Numbers of any length as PostgreSQL sends them: digits of base 10,000, and how many places a text would show. */

export type WireNumeric = { digits: number[]; weight: number; negative: boolean; places: number };

const DIGITS_OF_ONE = 4;

/** Of a decimal without an exponent, as the carrier of a numeric writes it. */
export function numericOf(plain: string): WireNumeric {
  const negative = plain.startsWith('-');
  const [all = '', fraction = ''] = (negative ? plain.slice(1) : plain).split('.');
  const whole = all.padStart(Math.ceil(all.length / DIGITS_OF_ONE) * DIGITS_OF_ONE, '0');
  const rest = fraction.padEnd(Math.ceil(fraction.length / DIGITS_OF_ONE) * DIGITS_OF_ONE, '0');
  const digits: number[] = [];
  for (let at = 0; at < whole.length; at += DIGITS_OF_ONE)
    digits.push(Number(whole.slice(at, at + DIGITS_OF_ONE)));
  for (let at = 0; at < rest.length; at += DIGITS_OF_ONE)
    digits.push(Number(rest.slice(at, at + DIGITS_OF_ONE)));
  let weight = whole.length / DIGITS_OF_ONE - 1;
  while (digits.length > 0 && digits[0] === 0) {
    digits.shift();
    weight -= 1;
  }
  while (digits.at(-1) === 0) digits.pop();
  const isZero = digits.length === 0;
  return { digits, weight: isZero ? 0 : weight, negative: negative && !isZero, places: fraction.length };
}
