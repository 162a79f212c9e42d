/**
 * The way back: a field of PostgreSQL as the cell that the source would have held, written as its column writes such
 * cells. What comes back is compared afterwards, so a form that was guessed wrong is seen, not believed.
 */
import type { Cell } from '../sqlite.ts';
import { NULL_FIELD, unescapeField } from './encoding.ts';
import type { Encoding } from './encoding.ts';
import type { MomentForm } from './moments.ts';

const INTEGER_MOST = 2n ** 63n;
const UNIX_EPOCH_JULIAN = 2_440_587.5;
const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

/**
 * The cell of a field, as `encode` of the same encoding would give the field back. `like`: a cell of the same column
 * whose style is followed (a T or a blank in a moment, `true` or 1); null where the column holds none.
 */
export function decodeField(encoding: Encoding, field: string, like: Cell): Cell {
  if (field === NULL_FIELD) return null;
  switch (encoding.as) {
    case 'integer':
      return BigInt(field);
    case 'real':
    case 'short-real':
      return Number(field);
    case 'numeric':
      return decimalCell(field);
    case 'boolean':
      return booleanCell(field, like);
    case 'date':
    case 'time':
      return field;
    case 'timestamp':
    case 'timestamptz':
      return momentCell(encoding, field, like);
    case 'bytes':
      return bytesCell(field, like);
    case 'uuid':
      return uuidCell(field, like);
    case 'text':
    case 'json':
    case 'jsonb':
    case 'enum':
      return unescapeField(field);
    default:
      return encoding satisfies never;
  }
}

/**
 * Every cell by which a row of the source may be known, where PostgreSQL says this of a column of its key; as many for
 * each field of an encoding. Of bytes the second one is that of a text.
 */
export function keyForms(encoding: Encoding, field: string): Exclude<Cell, null>[] {
  switch (encoding.as) {
    case 'boolean':
      return field === 't' ? [1n, 't', 'true'] : [0n, 'f', 'false'];
    case 'bytes': {
      const bytes = bytesOf(field);
      return [bytes, bytes];
    }
    case 'uuid': {
      const hex = field.replaceAll('-', '');
      return [field, hex, field.toUpperCase(), hex.toUpperCase(), Buffer.from(hex, 'hex')];
    }
    case 'integer':
      return [BigInt(field)];
    default:
      return [unescapeField(field)];
  }
}

/** A number; where it is none, such as NaN, its text, of which SQLite makes what it can. */
function decimalCell(field: string): Cell {
  if (/^-?\d+$/.test(field)) {
    const whole = BigInt(field);
    if (whole < INTEGER_MOST && whole >= -INTEGER_MOST) return whole;
  }
  const value = Number(field);
  return Number.isFinite(value) ? value : field;
}

function booleanCell(field: string, like: Cell): Cell {
  const isTrue = field === 't';
  if (typeof like !== 'string') return isTrue ? 1n : 0n;
  if (like.length === 1) return isTrue ? 't' : 'f';
  return isTrue ? 'true' : 'false';
}

function bytesCell(field: string, like: Cell): Cell {
  const bytes = bytesOf(field);
  if (typeof like !== 'string') return bytes;
  const text = bytes.toString('utf8');
  return Buffer.from(text, 'utf8').equals(bytes) ? text : bytes;
}

function uuidCell(field: string, like: Cell): Cell {
  const hex = field.replaceAll('-', '');
  if (like instanceof Uint8Array) return Buffer.from(hex, 'hex');
  const text = typeof like === 'string' && like.length === hex.length ? hex : field;
  return typeof like === 'string' && /[A-F]/.test(like) ? text.toUpperCase() : text;
}

type Moment = Extract<Encoding, { as: 'timestamp' | 'timestamptz' }>;

/** Moments of the years 1 to 9999: infinity, and what lies before or after, no text of a source names. */
const MOMENT = /^\d{4}-[^B]*$/;

function momentCell({ as, form, zone }: Moment, field: string, like: Cell): Cell {
  // As it is: the comparison names it.
  if (!MOMENT.test(field)) return field;
  if (form !== 'iso') return momentNumber(field, form, like);
  const style = typeof like === 'string' ? like : '';
  const offset = /(?:Z|[+-]\d\d:?\d\d)$/.exec(style.slice('YYYY-MM-DD'.length))?.[0];
  const local = as === 'timestamp' ? field : atZone(field, offset ?? (style === '' ? 'Z' : (zone ?? 'Z')));
  const [whole = '', fraction = ''] = local.split('.');
  const places = /\.(\d+)/.exec(style)?.[1]?.length ?? 0;
  const digits = fraction.padEnd(places, '0');
  const text = digits === '' ? whole : `${whole}.${digits}`;
  const separated = style.includes('T') ? text.replace(' ', 'T') : text;
  if (as === 'timestamp') return separated;
  // A column whose texts name no offset gets none, if the step names the zone that holds for them.
  const isBare = style !== '' && offset === undefined && zone !== undefined;
  return isBare ? separated : separated + (offset ?? '+00:00');
}

/** `2024-01-01 10:00:00.5+00` → `2024-01-01 12:00:00.5` for `+02:00`. */
function atZone(field: string, zone: string): string {
  const [seconds = '', fraction] = field.replace(/\+00$/, '').split('.');
  const match = /^([+-])(\d\d):?(\d\d)$/.exec(zone);
  const minutes = match === null ? 0 : Number(match[2]) * 60 + Number(match[3]);
  const shiftMs = (match?.[1] === '-' ? -minutes : minutes) * MINUTE_MS;
  const local = new Date(Date.parse(`${seconds.replace(' ', 'T')}Z`) + shiftMs).toISOString();
  const text = `${local.slice(0, 10)} ${local.slice(11, 19)}`;
  return fraction === undefined ? text : `${text}.${fraction}`;
}

function momentNumber(field: string, form: Exclude<MomentForm, 'iso'>, like: Cell): Cell {
  const [seconds = '', fraction = ''] = field.replace(/\+00$/, '').split('.');
  const ms = Date.parse(`${seconds.replace(' ', 'T')}Z`);
  const us = BigInt(ms) * 1000n + BigInt(fraction.padEnd(6, '0'));
  if (form === 'julian-day') return Number(us) / 1000 / DAY_MS + UNIX_EPOCH_JULIAN;
  const unit = form === 'epoch-seconds' ? 1_000_000n : 1000n;
  const isWhole = us % unit === 0n;
  return isWhole && typeof like !== 'number' ? us / unit : Number(us) / Number(unit);
}

/** How COPY begins the field of a blob. */
const HEX_MARK = String.raw`\\x`;

/** The bytes of which a field speaks. */
export function bytesOf(field: string): Buffer {
  return Buffer.from(field.slice(HEX_MARK.length), 'hex');
}
