/**
 * How a cell is carried: the declared type of its column picks a PostgreSQL type, and a cell that this type cannot hold
 * exactly is refused. The text of a carried cell is the field that COPY reads and, byte for byte, the field that
 * PostgreSQL writes back (after `normalize`), so one text serves to load and to compare.
 *
 *   declared                                                  type               cells
 *   INTEGER INT BIGINT SMALLINT TINYINT MEDIUMINT INT2 INT8   bigint             integers
 *   REAL DOUBLE [PRECISION] FLOAT                             double precision   reals, infinities too
 *   NUMERIC DECIMAL                                           numeric            integers; reals as their shortest decimal
 *   BOOLEAN BOOL                                              boolean            0 and 1
 *   DATE                                                      date               YYYY-MM-DD
 *   DATETIME TIMESTAMP                                        timestamp          YYYY-MM-DD HH:MM:SS[.ffffff], blank or T between
 *     … where the first cell carries an offset                timestamptz        the same with Z or ±HH:MM, all of them
 *   TEXT CHAR CHARACTER VARCHAR NCHAR NVARCHAR CLOB           text               text without NUL, valid UTF-8
 *   BLOB                                                      bytea              blobs
 *
 * A date and time is carried as the moment that it names, to the microsecond; whether a T or a blank stood in it, and
 * zeros at the end of its fraction, are not kept.
 */
import type { Cell } from './sqlite.ts';

export type TargetType =
  | 'bigint'
  | 'double precision'
  | 'numeric'
  | 'boolean'
  | 'date'
  | 'timestamp without time zone'
  | 'timestamp with time zone'
  | 'text'
  | 'bytea';

/** How COPY writes NULL. */
export const NULL_FIELD = '\\N';

export type Carrier = {
  /** What a cell must be, for the message about one that is not. */
  expected: string;
  /** The field of a cell that is not NULL; undefined where it cannot be carried exactly. */
  encode: (cell: Exclude<Cell, null>) => string | undefined;
  /** The field that PostgreSQL wrote, as `encode` would have written it. Absent where it is the same already. */
  normalize?: (field: string) => string;
};

const DECLARED: Record<string, TargetType> = {
  INTEGER: 'bigint',
  INT: 'bigint',
  BIGINT: 'bigint',
  SMALLINT: 'bigint',
  TINYINT: 'bigint',
  MEDIUMINT: 'bigint',
  INT2: 'bigint',
  INT8: 'bigint',
  REAL: 'double precision',
  DOUBLE: 'double precision',
  'DOUBLE PRECISION': 'double precision',
  FLOAT: 'double precision',
  NUMERIC: 'numeric',
  DECIMAL: 'numeric',
  BOOLEAN: 'boolean',
  BOOL: 'boolean',
  DATE: 'date',
  DATETIME: 'timestamp without time zone',
  TIMESTAMP: 'timestamp without time zone',
  TEXT: 'text',
  CHAR: 'text',
  CHARACTER: 'text',
  VARCHAR: 'text',
  NCHAR: 'text',
  NVARCHAR: 'text',
  CLOB: 'text',
  BLOB: 'bytea',
};

/** The type for a declared one (upper case, without `(…)`); undefined where there is no exact one. */
export function typeFor(declared: string): TargetType | undefined {
  return Object.hasOwn(DECLARED, declared) ? DECLARED[declared] : undefined;
}

/** Whether this text names a moment with its offset, so that the column becomes `timestamptz`. */
export function carriesOffset(cell: Cell): boolean {
  return typeof cell === 'string' && /\d(?:Z|[+-]\d\d:?\d\d)$/.test(cell) && cell.includes(':');
}

export const CARRIERS: Record<TargetType, Carrier> = {
  bigint: {
    expected: 'an integer',
    encode: (cell) => (typeof cell === 'bigint' ? String(cell) : undefined),
  },
  'double precision': {
    expected: 'a real number',
    encode: (cell) => (typeof cell === 'number' ? real(cell) : undefined),
    normalize: (field) => real(Number(field)),
  },
  numeric: {
    expected: 'an integer or a finite real number',
    encode: encodeNumeric,
    normalize: (field) => (field.includes('.') ? field.replace(/\.?0+$/, '') : field),
  },
  boolean: {
    expected: '0 or 1',
    encode: (cell) => (cell === 1n ? 't' : cell === 0n ? 'f' : undefined),
  },
  date: {
    expected: 'a date as YYYY-MM-DD',
    encode: (cell) => (typeof cell === 'string' && isDate(cell) ? cell : undefined),
  },
  'timestamp without time zone': {
    expected:
      'a date and time as YYYY-MM-DD HH:MM:SS, with at most 6 digits after the second and without an offset',
    encode: (cell) => (typeof cell === 'string' ? encodeLocal(cell) : undefined),
  },
  'timestamp with time zone': {
    expected:
      'a date and time as YYYY-MM-DD HH:MM:SS with an offset (Z or +HH:MM), as the first cell of the column has',
    encode: (cell) => (typeof cell === 'string' ? encodeZoned(cell) : undefined),
  },
  text: {
    expected: 'text without a NUL character',
    encode: (cell) => (typeof cell === 'string' && !cell.includes('\0') ? escapeField(cell) : undefined),
  },
  bytea: {
    expected: 'a blob',
    encode: (cell) =>
      cell instanceof Uint8Array
        ? `\\\\x${Buffer.from(cell.buffer, cell.byteOffset, cell.byteLength).toString('hex')}`
        : undefined,
  },
};

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
function escapeField(text: string): string {
  return /[\\\b\f\n\r\t\v]/.test(text)
    ? text.replace(/[\\\b\f\n\r\t\v]/g, (found) => ESCAPES[found] ?? found)
    : text;
}

/** The text behind a field, for messages. */
export function unescapeField(field: string): string {
  return field.replace(/\\([\\bfnrtv])/g, (_, letter: string) => {
    const found = Object.entries(ESCAPES).find(([, escape]) => escape === `\\${letter}`);
    return found?.[0] ?? letter;
  });
}

function real(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

function encodeNumeric(cell: Exclude<Cell, null>): string | undefined {
  if (typeof cell === 'bigint') return String(cell);
  if (typeof cell !== 'number' || !Number.isFinite(cell) || Object.is(cell, -0)) return undefined;
  return plainDecimal(String(cell));
}

/** `1.5e-7` → `0.00000015`: the same number without an exponent. */
function plainDecimal(shortest: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?e([+-]\d+)$/.exec(shortest);
  if (match === null) return shortest;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  const digits = whole + fraction;
  const point = whole.length + Number(exponent);
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  if (point >= digits.length) return sign + digits + '0'.repeat(point - digits.length);
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

function isDate(text: string): boolean {
  const match = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text);
  if (match === null) return false;
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const leap = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 1 : 0;
  return year >= 1 && day >= 1 && day <= (DAYS[month - 1] ?? 0) + leap;
}

const MOMENT =
  /^(\d{4}-\d\d-\d\d)[ T]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d:?\d\d)?$/;

function encodeLocal(text: string): string | undefined {
  const match = MOMENT.exec(text);
  if (match === null || match[6] !== undefined || !isDate(match[1] ?? '')) return undefined;
  return `${match[1]} ${match[2]}:${match[3]}:${match[4]}${fractionOf(match[5])}`;
}

function encodeZoned(text: string): string | undefined {
  const match = MOMENT.exec(text);
  if (match === null || match[6] === undefined || !isDate(match[1] ?? '')) return undefined;
  const zone = match[6].length === 5 ? `${match[6].slice(0, 3)}:${match[6].slice(3)}` : match[6];
  if (zone !== 'Z' && (Number(zone.slice(1, 3)) > 15 || Number(zone.slice(4)) > 59)) return undefined;
  const second = new Date(`${match[1]}T${match[2]}:${match[3]}:${match[4]}${zone}`);
  const utc = Number.isNaN(second.getTime()) ? '' : second.toISOString();
  if (!/^\d{4}-/.test(utc) || utc.startsWith('0000')) return undefined;
  return `${utc.slice(0, 10)} ${utc.slice(11, 19)}${fractionOf(match[5])}+00`;
}

function fractionOf(digits: string | undefined): string {
  const kept = (digits ?? '').replace(/0+$/, '');
  return kept === '' ? '' : `.${kept}`;
}
