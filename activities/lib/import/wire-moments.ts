/** Days and moments as PostgreSQL sends them: counted from the first day of 2000. Years 1 to 9999. */

const DAYS_BEFORE_2000 = 730_119;
const DAYS_BEFORE = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** Days since 2000-01-01; undefined where there is no such day. */
function daysSince2000(year: number, month: number, day: number): number | undefined {
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const inMonth = (DAYS[month - 1] ?? 0) + (leap && month === 2 ? 1 : 0);
  if (year < 1 || day < 1 || day > inMonth) return undefined;
  const before = year - 1;
  const years = before * 365 + Math.floor(before / 4) - Math.floor(before / 100) + Math.floor(before / 400);
  return years + (DAYS_BEFORE[month - 1] ?? 0) + (leap && month > 2 ? 1 : 0) + day - 1 - DAYS_BEFORE_2000;
}

/** The number that stands at these places of a text; NaN where another character does. */
function digitsAt(text: string, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at += 1) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

/** `2024-02-29` at the head of a text as days since 2000-01-01; undefined where none stands there. */
export function dayAt(text: string): number | undefined {
  if (text.charCodeAt(4) !== 45 || text.charCodeAt(7) !== 45) return undefined;
  const [year, month, day] = [digitsAt(text, 0, 4), digitsAt(text, 5, 7), digitsAt(text, 8, 10)];
  return Number.isNaN(year + month + day) ? undefined : daysSince2000(year, month, day);
}

/** `12:00:00[.ffffff]`, from a place to the end of a text, as microseconds; undefined where that stands not there. */
export function clockAt(text: string, from: number): number | undefined {
  if (text.charCodeAt(from + 2) !== 58 || text.charCodeAt(from + 5) !== 58) return undefined;
  const hour = digitsAt(text, from, from + 2);
  const minute = digitsAt(text, from + 3, from + 5);
  const second = digitsAt(text, from + 6, from + 8);
  if (!(hour < 24 && minute < 60 && second < 60)) return undefined;
  const whole = ((hour * 60 + minute) * 60 + second) * 1_000_000;
  const end = text.length;
  if (end === from + 8) return whole;
  const places = end - from - 9;
  if (text.charCodeAt(from + 8) !== 46 || places < 1 || places > 6) return undefined;
  const fraction = digitsAt(text, from + 9, end);
  return Number.isNaN(fraction) ? undefined : whole + fraction * 10 ** (6 - places);
}

export type Moment = { days: number; microseconds: number };

/** A day and a time of it, with a blank or T between; undefined for any other text. */
export function momentOf(text: string): Moment | undefined {
  const between = text.charCodeAt(10);
  if (text.length < 19 || (between !== 32 && between !== 84)) return undefined;
  const days = dayAt(text);
  const microseconds = clockAt(text, 11);
  return days === undefined || microseconds === undefined ? undefined : { days, microseconds };
}
