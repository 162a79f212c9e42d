/**
 * Rows in the form in which PostgreSQL takes and sends them without text (COPY … FORMAT binary), made from the same
 * fields that a carrier writes. It costs both sides less than text does. A row with a cell that needs a closer look is not
 * written; the page in which it stands then goes the way of text, where such cells have their rules.
 */
import type { MappedColumn, MappedTable } from '../mapping.ts';
import { INDEX_BYTES_MAX, entryBytes, indexedColumns } from '../rows.ts';
import { isDoubtful } from '../sqlite.ts';
import type { Cell } from '../sqlite.ts';
import { bytesOf } from './decode.ts';
import { carrierOf, unescapeField } from './encoding.ts';
import type { Filled } from './encoding.ts';
import { clockAt, dayAt, momentOf } from './wire-moments.ts';
import type { Moment } from './wire-moments.ts';
import { numericOf } from './wire-numeric.ts';

/** What stands before the first row. */
export const WIRE_HEAD = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
/** What stands after the last row. */
export const WIRE_END = Buffer.from([0xff, 0xff]);
/** `d` and the length of the message, which stand before each row that PostgreSQL sends. */
export const FRAME_BYTES = 5;
export const COPY_DATA = 0x64;

/** Bytes that a character of a JavaScript string takes at most. */
const CHARACTER_BYTES = 3;
/** Length from which a native copy is faster than a loop. */
const SHORT = 24;
/** Below it a moment counts in microseconds without BigInt. */
const SAFE_DAYS = 100_000;
const DAY_MICROSECONDS = 86_400_000_000;

/** Writes the field of a cell, with its length before it. False where it has none here. */
type FieldWriter = (rows: WireRows, cell: Filled) => boolean;

export type WireOptions = {
  /** Also columns that PostgreSQL computes. */
  computed: boolean;
  /** Each row as a message of PostgreSQL's own, as it sends them. */
  framed: boolean;
};

/** Whether rows of the table can be written in this form. Its jsonb has another text than was sent. */
export function hasWire({ columns }: MappedTable): boolean {
  return columns.every(({ encoding }) => encoding.as !== 'jsonb');
}

/** Rows of a table, one after the other in one buffer. */
export class WireRows {
  bytes = Buffer.alloc(0);
  view = new DataView(this.bytes.buffer);
  length = 0;
  readonly #columns: { place: number; notNull: boolean; write: FieldWriter }[];
  readonly #indexed: number[][];
  readonly #framed: boolean;

  constructor(table: MappedTable, { computed, framed }: WireOptions) {
    this.#columns = [...table.columns.entries()]
      .filter(([, column]) => computed || !column.computed)
      .map(([place, column]) => ({ place, notNull: column.notNull, write: writerOf(column) }));
    this.#indexed = indexedColumns(table);
    this.#framed = framed;
  }

  /** Begins anew in this buffer. */
  reuse(buffer: ArrayBuffer): void {
    this.bytes = Buffer.from(buffer);
    this.view = new DataView(buffer);
    this.length = 0;
  }

  /** Adds the cells of a row from a place on. Gives false, and adds nothing, where one of them needs a closer look. */
  add(row: readonly Cell[], from: number): boolean {
    for (const places of this.#indexed) if (entryBytes(row, from, places) > INDEX_BYTES_MAX) return false;
    const start = this.length;
    this.room(FRAME_BYTES + 2);
    if (this.#framed) this.length += FRAME_BYTES;
    this.view.setInt16(this.length, this.#columns.length);
    this.length += 2;
    for (const { place, notNull, write } of this.#columns) {
      const cell = row[from + place] ?? null;
      if (cell === null ? notNull : !write(this, cell)) {
        this.length = start;
        return false;
      }
      if (cell !== null) continue;
      this.room(4);
      this.view.setInt32(this.length, -1);
      this.length += 4;
    }
    if (this.#framed) {
      this.bytes[start] = COPY_DATA;
      this.view.setUint32(start + 1, this.length - start - 1);
    }
    return true;
  }

  /** Makes room for so many bytes. */
  room(sizeBytes: number): void {
    if (this.length + sizeBytes <= this.bytes.length) return;
    const larger = new ArrayBuffer(Math.max(this.bytes.length * 2, this.length + sizeBytes));
    const [before, length] = [this.bytes, this.length];
    this.reuse(larger);
    this.bytes.set(before.subarray(0, length));
    this.length = length;
  }

  /** A field of so many bytes; gives the place where they begin. */
  field(sizeBytes: number): number {
    this.room(4 + sizeBytes);
    this.view.setInt32(this.length, sizeBytes);
    const at = this.length + 4;
    this.length = at + sizeBytes;
    return at;
  }

  text(text: string): true {
    this.room(4 + text.length * CHARACTER_BYTES);
    const at = this.length + 4;
    const sizeBytes =
      text.length < SHORT && this.#ascii(text, at) ? text.length : this.bytes.write(text, at, 'utf8');
    this.view.setInt32(this.length, sizeBytes);
    this.length = at + sizeBytes;
    return true;
  }

  /** Writes a text of ASCII; false where it is none. */
  #ascii(text: string, from: number): boolean {
    const { bytes } = this;
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (code > 0x7f) return false;
      bytes[from + at] = code;
    }
    return true;
  }

  blob(bytes: Uint8Array): true {
    const at = this.field(bytes.byteLength);
    this.bytes.set(bytes, at);
    return true;
  }

  moment({ days, microseconds }: Moment): true {
    const at = this.field(8);
    if (days > -SAFE_DAYS && days < SAFE_DAYS) {
      const total = days * DAY_MICROSECONDS + microseconds;
      const high = Math.floor(total / 0x1_0000_0000);
      this.view.setInt32(at, high);
      this.view.setUint32(at + 4, total - high * 0x1_0000_0000);
    } else {
      this.view.setBigInt64(at, BigInt(days) * BigInt(DAY_MICROSECONDS) + BigInt(microseconds));
    }
    return true;
  }
}

/** A text that decoding may have changed, or that PostgreSQL does not take, needs a closer look. */
function isPlain(text: string): boolean {
  return !text.includes('\0') && !isDoubtful(text);
}

function writerOf(column: MappedColumn): FieldWriter {
  const { encoding } = column;
  const { encode } = carrierOf(encoding);
  switch (encoding.as) {
    case 'integer':
      return integerWriter(encoding.bits);
    case 'real':
      return (rows, cell) => {
        if (typeof cell !== 'number' && encode(cell) === undefined) return false;
        const at = rows.field(8);
        rows.view.setFloat64(at, Number(cell));
        return true;
      };
    case 'short-real':
      return (rows, cell) => {
        if (encode(cell) === undefined) return false;
        const at = rows.field(4);
        rows.view.setFloat32(at, Number(cell));
        return true;
      };
    case 'boolean':
      return (rows, cell) => {
        const field = cell === 1n ? 't' : cell === 0n ? 'f' : encode(cell);
        if (field === undefined) return false;
        const at = rows.field(1);
        rows.bytes[at] = field === 't' ? 1 : 0;
        return true;
      };
    case 'text':
      return (rows, cell) => {
        if (typeof cell !== 'string') return writeField(rows, encode(cell));
        if (!isPlain(cell)) return false;
        return encoding.lengthMax === undefined ? rows.text(cell) : writeField(rows, encode(cell));
      };
    case 'json':
    case 'enum':
      return (rows, cell) => typeof cell === 'string' && isPlain(cell) && writeField(rows, encode(cell));
    case 'bytes':
      return (rows, cell) => {
        if (cell instanceof Uint8Array) return rows.blob(cell);
        if (isDoubtful(cell)) return false;
        const field = encode(cell);
        return field !== undefined && rows.blob(bytesOf(field));
      };
    case 'uuid':
      return (rows, cell) => {
        const field = encode(cell);
        return field !== undefined && rows.blob(Buffer.from(field.replaceAll('-', ''), 'hex'));
      };
    case 'timestamp':
    case 'timestamptz':
      return momentWriter(encoding, encode);
    case 'date':
      return (rows, cell) => {
        const days = dayAt(encode(cell) ?? '');
        if (days === undefined) return false;
        const at = rows.field(4);
        rows.view.setInt32(at, days);
        return true;
      };
    case 'time':
      return (rows, cell) => {
        const microseconds = clockAt(encode(cell) ?? '', 0);
        return microseconds !== undefined && rows.moment({ days: 0, microseconds });
      };
    case 'numeric':
      return (rows, cell) => {
        const field = encode(cell);
        return field !== undefined && writeNumeric(rows, field);
      };
    case 'jsonb':
      return () => false;
    default:
      return encoding satisfies never;
  }
}

function writeField(rows: WireRows, field: string | undefined): boolean {
  return field !== undefined && rows.text(unescapeField(field));
}

function integerWriter(bits: 16 | 32 | 64): FieldWriter {
  const most = 2n ** BigInt(bits - 1);
  return (rows, cell) => {
    if (typeof cell !== 'bigint' || cell >= most || cell < -most) return false;
    const at = rows.field(bits / 8);
    if (bits === 64) rows.view.setBigInt64(at, cell);
    else if (bits === 32) rows.view.setInt32(at, Number(cell));
    else rows.view.setInt16(at, Number(cell));
    return true;
  };
}

/** What most cells are is read at once; all others as their carrier has them. */
function momentWriter(
  { as, form, digits }: { as: 'timestamp' | 'timestamptz'; form: string; digits?: number },
  encode: (cell: Filled) => string | undefined,
): FieldWriter {
  const isDirect = as === 'timestamp' && form === 'iso' && digits === undefined;
  return (rows, cell) => {
    const direct = isDirect && typeof cell === 'string' ? momentOf(cell) : undefined;
    if (direct !== undefined) return rows.moment(direct);
    const carried = encode(cell);
    const found =
      carried === undefined ? undefined : momentOf(as === 'timestamptz' ? carried.slice(0, -3) : carried);
    return found !== undefined && rows.moment(found);
  };
}

function writeNumeric(rows: WireRows, plain: string): true {
  const { digits, weight, negative, places } = numericOf(plain);
  const at = rows.field(8 + digits.length * 2);
  rows.view.setInt16(at, digits.length);
  rows.view.setInt16(at + 2, weight);
  rows.view.setUint16(at + 4, negative ? 0x4000 : 0);
  rows.view.setUint16(at + 6, places);
  for (const [place, digit] of digits.entries()) rows.view.setInt16(at + 8 + place * 2, digit);
  return true;
}
