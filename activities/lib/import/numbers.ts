/** Numbers as PostgreSQL writes them. */

/** A double in the shortest text that gives it back, in the form of PostgreSQL. */
export function doubleText(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return Object.is(value, -0) ? '-0' : String(value);
  const text = String(value);
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 1e15) return text;
  if (!Number.isFinite(value)) return text;
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(text);
  if (match === null) return text;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  const all = whole + fraction;
  const lead = all.search(/[1-9]/);
  const digits = all.slice(lead).replace(/0+$/, '');
  const power = Number(exponent) + whole.length - 1 - lead;
  const mantissa = digits.length === 1 ? digits : `${digits.slice(0, 1)}.${digits.slice(1)}`;
  return `${sign}${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
}

/** `1.5e-7` → `0.00000015`: the same number without an exponent. */
export function plainDecimal(shortest: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?e([+-]?\d+)$/i.exec(shortest);
  if (match === null) return shortest;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  const digits = whole + fraction;
  const point = whole.length + Number(exponent);
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  if (point >= digits.length) return sign + digits + '0'.repeat(point - digits.length);
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

/** The digits that numeric(precision, scale) writes; undefined where it would round or not hold them. */
export function scaledDecimal(
  plain: string,
  { precision, scale }: { precision: number; scale: number },
): string | undefined {
  const match = /^(-?)0*(\d*?)(?:\.(\d+))?$/.exec(plain);
  if (match === null) return undefined;
  const [, sign = '', whole = '', fraction = ''] = match;
  const kept = fraction.replace(/0+$/, '');
  if (kept.length > scale || whole.length > precision - scale) return undefined;
  const digits = (whole === '' ? '0' : whole) + (scale === 0 ? '' : `.${kept.padEnd(scale, '0')}`);
  return /[1-9]/.test(digits) ? sign + digits : digits;
}

/** `1.50` → `1.5`. */
export function trimmedDecimal(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}
