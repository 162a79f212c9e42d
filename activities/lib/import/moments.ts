/**
 * Days and moments as SQLite files keep them: ISO text, seconds or milliseconds since 1970, Julian days. Each becomes
 * the text that PostgreSQL writes for the same moment, or undefined where that would not be exact.
 */

/** How a column of moments is written in the source. */
export type MomentForm = 'iso' | 'epoch-seconds' | 'epoch-milliseconds' | 'julian-day';

const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** Whether the text is YYYY-MM-DD and names a day of the years 1 to 9999. */
export function isDay(text: string): boolean {
  const match = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text);
  if (match === null) return false;
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const leap = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 1 : 0;
  return year >= 1 && day >= 1 && day <= (DAYS[month - 1] ?? 0) + leap;
}

const MOMENT =
  /^(\d{4}-\d\d-\d\d)[ T]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d:?\d\d)?$/;

/** What is wanted of a moment: an offset of its own, none, or one that is given to it. */
export type Zone = { offset: 'required' } | { offset: 'none' } | { offset: 'given'; zone: string };

/** `2024-02-29 12:00:00.5`: a local time, which names no offset. */
export function localText(text: string): string | undefined {
  const match = MOMENT.exec(text);
  if (match === null || match[6] !== undefined || !isDay(match[1] ?? '')) return undefined;
  return `${match[1]} ${match[2]}:${match[3]}:${match[4]}${fractionOf(match[5])}`;
}

/** `2024-02-29 12:00:00.5+00`: the moment in UTC. `zone` is what holds for a text that names no offset. */
export function utcText(text: string, zone?: string): string | undefined {
  const match = MOMENT.exec(text);
  const named = match?.[6] ?? zone;
  if (match === null || named === undefined || !isDay(match[1] ?? '')) return undefined;
  const offset = named.length === 5 ? `${named.slice(0, 3)}:${named.slice(3)}` : named;
  if (offset !== 'Z' && (Number(offset.slice(1, 3)) > 15 || Number(offset.slice(4)) > 59)) return undefined;
  const second = new Date(`${match[1]}T${match[2]}:${match[3]}:${match[4]}${offset}`);
  const utc = Number.isNaN(second.getTime()) ? '' : second.toISOString();
  if (!/^\d{4}-/.test(utc) || utc.startsWith('0000')) return undefined;
  return `${utc.slice(0, 10)} ${utc.slice(11, 19)}${fractionOf(match[5])}+00`;
}

/** Whether this text names a moment with its offset. */
export function carriesOffset(text: string): boolean {
  return /\d(?:Z|[+-]\d\d:?\d\d)$/.test(text) && text.includes(':');
}

/** `12:00:00.5`. */
export function clockText(text: string): string | undefined {
  const match = /^([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?$/.exec(text);
  return match === null ? undefined : `${match[1]}:${match[2]}:${match[3]}${fractionOf(match[4])}`;
}

const UNIX_EPOCH_JULIAN = 2_440_587.5;
const DAY_MS = 86_400_000;
const FIRST_US = -62_135_596_800_000_000n;
const LAST_US = 253_402_300_799_999_999n;

/** A number as the moment in UTC that it names. Exact: the moment gives the same number back. */
export function numberText(
  cell: bigint | number,
  form: Exclude<MomentForm, 'iso'>,
): { utc: string; local: string } | undefined {
  const us = microseconds(cell, form);
  if (us === undefined || us < FIRST_US || us > LAST_US) return undefined;
  const ms = us >= 0n ? us / 1000n : -((-us + 999n) / 1000n);
  const rest = String(us - ms * 1000n).padStart(3, '0');
  const iso = new Date(Number(ms)).toISOString();
  const local = `${iso.slice(0, 10)} ${iso.slice(11, 19)}${fractionOf(iso.slice(20, 23) + rest)}`;
  return { utc: `${local}+00`, local };
}

function microseconds(cell: bigint | number, form: Exclude<MomentForm, 'iso'>): bigint | undefined {
  if (form === 'julian-day') {
    if (typeof cell === 'bigint') return undefined;
    const ms = Math.round((cell - UNIX_EPOCH_JULIAN) * DAY_MS);
    return Number.isFinite(ms) && ms / DAY_MS + UNIX_EPOCH_JULIAN === cell ? BigInt(ms) * 1000n : undefined;
  }
  const unit = form === 'epoch-seconds' ? 1_000_000 : 1000;
  if (typeof cell === 'bigint') return cell * BigInt(unit);
  const us = Math.round(cell * unit);
  return Number.isSafeInteger(us) && us / unit === cell ? BigInt(us) : undefined;
}

/** Which form of numbers a moment of our time would be in; undefined where it could be none. */
export function likelyForm(cell: bigint | number): Exclude<MomentForm, 'iso'> | undefined {
  const value = Number(cell);
  if (value >= 100_000_000 && value < 10_000_000_000) return 'epoch-seconds';
  if (value >= 100_000_000_000 && value < 10_000_000_000_000) return 'epoch-milliseconds';
  return typeof cell === 'number' && value > 2_400_000 && value < 2_600_000 ? 'julian-day' : undefined;
}

/** `.5` for `500`, nothing for zeros: as PostgreSQL writes it. */
export function fractionOf(digits: string | undefined): string {
  const kept = (digits ?? '').replace(/0+$/, '');
  return kept === '' ? '' : `.${kept}`;
}
