/**
 * How the cells of one column are carried, as data. A carrier turns a cell into the field that COPY reads and that
 * PostgreSQL writes back byte for byte (after `normalize`), or into nothing where that would not be exact.
 */
import type { Cell } from '../sqlite.ts';
import { canonicalJson, isShallow } from './json-text.ts';
import { clockText, isDay, localText, numberText, utcText } from './moments.ts';
import type { MomentForm } from './moments.ts';
import { doubleText, plainDecimal, scaledDecimal, trimmedDecimal } from './numbers.ts';

export type Encoding =
  | { as: 'integer'; bits: 16 | 32 | 64 }
  | { as: 'real' }
  | { as: 'short-real' }
  | { as: 'numeric'; precision?: number; scale?: number }
  | { as: 'boolean' }
  | { as: 'date' }
  | { as: 'time'; digits?: number }
  /** `zone`: what holds for a text that names no offset. */
  | { as: 'timestamp'; form: MomentForm; digits?: number; zone?: string }
  | { as: 'timestamptz'; form: MomentForm; digits?: number; zone?: string }
  /** `any`: numbers are carried as their text. `lengthMax` in characters; `exactly`: no shorter ones either. */
  | { as: 'text'; any?: true; lengthMax?: number; exactly?: true }
  /** `texts`: text is carried as its bytes. `any`: numbers too, as those of their text. */
  | { as: 'bytes'; texts?: true; any?: true }
  | { as: 'uuid' }
  | { as: 'json' }
  | { as: 'jsonb' }
  | { as: 'enum'; values: string[] };

/** How COPY writes NULL. */
export const NULL_FIELD = '\\N';

export type Filled = Exclude<Cell, null>;

export type Carrier = {
  /** What a cell must be, for the message about one that is not. */
  expected: string;
  /** The field of a cell that is not NULL; undefined where it cannot be carried exactly. */
  encode: (cell: Filled) => string | undefined;
  /** The field that PostgreSQL wrote, as `encode` would have written it. Absent where it is the same already. */
  normalize?: (field: string) => string;
};

/** Bytes of a cell, about: its field is twice as long, and neither side takes much more in one piece. */
const CELL_BYTES_MAX = 128 * 1024 * 1024;

/** Whether a cell is too large to be carried in one piece. */
export function isHuge(cell: Filled): boolean {
  return (
    (typeof cell === 'string' && cell.length > CELL_BYTES_MAX) ||
    (cell instanceof Uint8Array && cell.byteLength > CELL_BYTES_MAX)
  );
}

const BOOLEANS: Record<string, string> = { t: 't', true: 't', f: 'f', false: 'f' };

/** The carrier of an encoding. */
export function carrierOf(encoding: Encoding): Carrier {
  switch (encoding.as) {
    case 'integer':
      return integers(encoding.bits);
    case 'real':
      return {
        expected: 'a real number',
        encode: (cell) => {
          if (typeof cell === 'number') return doubleText(cell);
          return typeof cell === 'bigint' && BigInt(Number(cell)) === cell
            ? doubleText(Number(cell))
            : undefined;
        },
        normalize: (field) => doubleText(Number(field)),
      };
    case 'short-real':
      return {
        expected: 'a real number that four bytes hold exactly',
        encode: (cell) => {
          const value = typeof cell === 'bigint' ? Number(cell) : cell;
          if (typeof value !== 'number' || Math.fround(value) !== value) return undefined;
          return typeof cell === 'bigint' && BigInt(value) !== cell ? undefined : doubleText(value);
        },
        normalize: (field) => doubleText(Math.fround(Number(field))),
      };
    case 'numeric':
      return numerics(encoding);
    case 'boolean':
      return {
        expected: `0 or 1, or 't', 'f', 'true' or 'false'`,
        encode: (cell) => {
          if (cell === 1n) return 't';
          if (cell === 0n) return 'f';
          return typeof cell === 'string' && Object.hasOwn(BOOLEANS, cell) ? BOOLEANS[cell] : undefined;
        },
      };
    case 'date':
      return {
        expected: 'a date as YYYY-MM-DD',
        encode: (cell) => (typeof cell === 'string' && isDay(cell) ? cell : undefined),
      };
    case 'time':
      return times(encoding.digits);
    case 'timestamp':
    case 'timestamptz':
      return moments(encoding);
    case 'text':
      return texts(encoding);
    case 'bytes':
      return {
        expected: 'a blob',
        encode: (cell) => {
          if (isHuge(cell)) return undefined;
          if (typeof cell === 'string')
            return encoding.any === true || encoding.texts === true ? hexField(Buffer.from(cell)) : undefined;
          if (cell instanceof Uint8Array) return hexField(cell);
          return encoding.any === true ? hexField(Buffer.from(numberAsText(cell))) : undefined;
        },
      };
    case 'uuid':
      return {
        expected: 'a UUID of 32 hexadecimal digits, or a blob of 16 bytes',
        encode: (cell) => {
          if (typeof cell === 'string') return uuidText(cell);
          return cell instanceof Uint8Array && cell.byteLength === 16
            ? uuidText(Buffer.from(cell).toString('hex'))
            : undefined;
        },
      };
    case 'json':
      return {
        expected: 'JSON',
        encode: (cell) => (typeof cell === 'string' && isJson(cell) ? escapeField(cell) : undefined),
      };
    case 'jsonb':
      return {
        expected: 'JSON without a NUL and without a key that comes twice',
        encode: (cell) => {
          const canonical = typeof cell === 'string' && !isHuge(cell) ? canonicalJson(cell) : undefined;
          return canonical === undefined ? undefined : escapeField(canonical);
        },
        normalize: (field) => escapeField(canonicalJson(unescapeField(field)) ?? ''),
      };
    case 'enum':
      return {
        expected: `one of ${encoding.values.slice(0, 10).join(', ')}`,
        encode: (cell) =>
          typeof cell === 'string' && encoding.values.includes(cell) ? escapeField(cell) : undefined,
      };
    default:
      return encoding satisfies never;
  }
}

function integers(bits: 16 | 32 | 64): Carrier {
  const most = 2n ** BigInt(bits - 1);
  return {
    expected: bits === 64 ? 'an integer' : `an integer of ${bits} bits`,
    encode: (cell) => (typeof cell === 'bigint' && cell < most && cell >= -most ? String(cell) : undefined),
  };
}

function numerics({ precision, scale }: { precision?: number; scale?: number }): Carrier {
  const bounds = precision === undefined ? undefined : { precision, scale: scale ?? 0 };
  return {
    expected:
      bounds === undefined
        ? 'an integer or a finite real number'
        : `a number that numeric(${bounds.precision},${bounds.scale}) holds without rounding`,
    encode: (cell) => {
      if (typeof cell === 'number' && (!Number.isFinite(cell) || Object.is(cell, -0))) return undefined;
      if (typeof cell !== 'number' && typeof cell !== 'bigint') return undefined;
      const plain = plainDecimal(String(cell));
      return bounds === undefined ? plain : scaledDecimal(plain, bounds);
    },
    // A bounded one is always written with all its places.
    ...(bounds === undefined ? { normalize: trimmedDecimal } : {}),
  };
}

const MOMENT_EXPECTED = {
  'epoch-seconds': 'seconds since 1970 as a number',
  'epoch-milliseconds': 'milliseconds since 1970 as a number',
  'julian-day': 'a Julian day as a real number',
};

function moments(encoding: Extract<Encoding, { as: 'timestamp' | 'timestamptz' }>): Carrier {
  const { as, form, zone } = encoding;
  const digits = encoding.digits ?? 6;
  const within = (text: string | undefined): string | undefined =>
    text === undefined || fractionLength(text) > digits ? undefined : text;
  if (form !== 'iso') {
    return {
      expected: MOMENT_EXPECTED[form],
      encode: (cell) => {
        if (typeof cell !== 'bigint' && typeof cell !== 'number') return undefined;
        const found = numberText(cell, form);
        return within(as === 'timestamp' ? found?.local : found?.utc);
      },
    };
  }
  const shape = `a date and time as YYYY-MM-DD HH:MM:SS`;
  if (as === 'timestamptz') {
    return {
      expected:
        zone === undefined
          ? `${shape} with an offset (Z or +HH:MM), as the first cell of the column has`
          : `${shape}, with or without an offset`,
      encode: (cell) => (typeof cell === 'string' ? within(utcText(cell, zone)) : undefined),
    };
  }
  return {
    expected: `${shape}, with at most ${digits} digits after the second and without an offset`,
    encode: (cell) => (typeof cell === 'string' ? within(localText(cell)) : undefined),
  };
}

function times(digits = 6): Carrier {
  return {
    expected: `a time as HH:MM:SS, with at most ${digits} digits after the second`,
    encode: (cell) => {
      const text = typeof cell === 'string' ? clockText(cell) : undefined;
      return text === undefined || fractionLength(text) > digits ? undefined : text;
    },
  };
}

function fractionLength(text: string): number {
  return /\.(\d+)/.exec(text)?.[1]?.length ?? 0;
}

function texts({ any, lengthMax, exactly }: Extract<Encoding, { as: 'text' }>): Carrier {
  const fits = (text: string): boolean => {
    if (lengthMax === undefined || (text.length <= lengthMax && exactly !== true)) return true;
    const length = lengthOf(text);
    return exactly === true ? length === lengthMax : length <= lengthMax;
  };
  const limit =
    lengthMax === undefined ? '' : ` of ${exactly === true ? '' : 'at most '}${lengthMax} characters`;
  return {
    expected: `text without a NUL character${limit}`,
    encode: (cell) => {
      if (typeof cell === 'string')
        return cell.includes('\0') || isHuge(cell) || !fits(cell) ? undefined : escapeField(cell);
      if (any !== true || cell instanceof Uint8Array) return undefined;
      const written = numberAsText(cell);
      return fits(written) ? written : undefined;
    },
  };
}

/** Characters as PostgreSQL counts them. */
export function lengthOf(text: string): number {
  let pairs = 0;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit >= 0xd800 && unit < 0xdc00) pairs += 1;
  }
  return text.length - pairs;
}

/** A number as SQLite casts it to text, but with all its digits. */
function numberAsText(cell: bigint | number): string {
  if (typeof cell === 'bigint') return String(cell);
  const text = String(cell);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

function uuidText(text: string): string | undefined {
  const hex = text.toLowerCase().replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/.test(hex)) return undefined;
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)];
  const written = parts.join('-');
  return text.length === 32 || text.toLowerCase() === written ? written : undefined;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return !text.includes('\0') && !isHuge(text) && isShallow(text);
  } catch {
    return false;
  }
}

function hexField(bytes: Uint8Array): string {
  return `\\\\x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`;
}

const ESCAPES: Record<string, string> = {
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
};

/** Escapes exactly what PostgreSQL's own COPY escapes. */
export function escapeField(text: string): string {
  return /[\\\b\f\n\r\t\v]/.test(text)
    ? text.replace(/[\\\b\f\n\r\t\v]/g, (found) => ESCAPES[found] ?? found)
    : text;
}

/** The text behind a field. */
export function unescapeField(field: string): string {
  return field.replace(/\\([\\bfnrtv])/g, (_, letter: string) => {
    const found = Object.entries(ESCAPES).find(([, escape]) => escape === `\\${letter}`);
    return found?.[0] ?? letter;
  });
}
