/** Cells that cannot be carried exactly: each with its place, what it is, what was expected and the line that would allow it. */
import { createHash } from 'node:crypto';
import type { MappingWord } from '../../../procedures/mapping-words.ts';
import type { MappedColumn, MappedTable } from '../mapping.ts';
import type { Cell } from '../sqlite.ts';
import { mappingLine, visible } from './lines.ts';
import { isHuge } from './encoding.ts';
import { carriesOffset, likelyForm, utcText } from './moments.ts';
import { suits } from './target-schema.ts';

export type OffenderCode =
  | 'MixedClass'
  | 'IntegerOverflow'
  | 'DecimalPrecision'
  | 'BooleanValue'
  | 'DateMixed'
  | 'TimezoneUndeclared'
  | 'NulInText'
  | 'BadUtf8'
  | 'TooLong'
  | 'EnumValue'
  | 'NullKey'
  | 'NullInNotNull'
  | 'IndexEntryTooLong'
  | 'CheckViolation';

export type Offender = {
  code: OffenderCode;
  table: string;
  /** `id=7`. */
  row: string;
  column: string;
  found: string;
  expected: string;
  /** The line of the step that would allow it. */
  allow: string;
};

/** Offenders that a message names; further ones are counted. */
export const OFFENDERS_NAMED_MAX = 10;
/** Of one column, while others have offenders too. */
const NAMED_OF_COLUMN_MAX = 3;

/** What is wrong with a cell that its column's carrier refused, and the line that would allow it. */
export function judge(
  table: MappedTable,
  column: MappedColumn,
  cell: Exclude<Cell, null>,
  code = codeOf(column, cell),
): Pick<Offender, 'code' | 'allow'> {
  return { code, allow: allowanceOf(code, { key: `${table.source.name}.${column.name}`, column, cell }) };
}

function codeOf({ encoding }: MappedColumn, cell: Exclude<Cell, null>): OffenderCode {
  const { as } = encoding;
  const isNumber = typeof cell === 'bigint' || typeof cell === 'number';
  if (isHuge(cell)) return 'TooLong';
  if (as === 'timestamptz' && encoding.form === 'iso' && encoding.zone === undefined)
    return typeof cell === 'string' && utcText(cell, 'Z') !== undefined ? 'TimezoneUndeclared' : 'DateMixed';
  if (as === 'timestamp' || as === 'timestamptz' || as === 'date' || as === 'time') return 'DateMixed';
  if (as === 'boolean') return 'BooleanValue';
  if (as === 'enum') return 'EnumValue';
  if (as === 'integer' && typeof cell === 'bigint') return 'IntegerOverflow';
  if ((as === 'numeric' || as === 'real' || as === 'short-real') && isNumber) return 'DecimalPrecision';
  if (as === 'text' && typeof cell === 'string') return cell.includes('\0') ? 'NulInText' : 'TooLong';
  return 'MixedClass';
}

type Case = { key: string; column: MappedColumn; cell: Exclude<Cell, null> };

function allowanceOf(code: OffenderCode, { key, column, cell }: Case): string {
  if (code === 'TimezoneUndeclared') return 'timezone: UTC, or the offset that holds';
  const { fixed, notNull, encoding, type } = column;
  const words = wordsFor(code, { column, cell }).filter((word) => !fixed || suits(word, { type, encoding }));
  if (!notNull) words.push('quarantine');
  const [first, ...others] = words;
  if (first === undefined)
    return `correct it in the source${fixed ? ', or widen its column in the target' : ''}`;
  return mappingLine(key, first) + others.map((word) => `, or ${word}`).join('');
}

/** Types that would hold the cell, the best first. */
function wordsFor(code: OffenderCode, { column, cell }: Omit<Case, 'key'>): MappingWord[] {
  const { encoding } = column;
  if (code === 'NulInText' || code === 'BadUtf8') return ['bytea'];
  if (code === 'TooLong' || code === 'EnumValue') return [];
  if (code === 'IntegerOverflow') return column.fixed ? [] : ['bigint'];
  if (cell instanceof Uint8Array) return ['bytea'];
  const isNumber = typeof cell === 'bigint' || typeof cell === 'number';
  if (code === 'DateMixed') {
    const form = isNumber && encoding.as !== 'date' ? likelyForm(cell) : undefined;
    const known = 'form' in encoding && form === encoding.form;
    if (form !== undefined && !known) return [form];
    const zoned = encoding.as === 'timestamp' && typeof cell === 'string' && utcText(cell) !== undefined;
    return zoned && carriesOffset(cell) ? ['timestamptz'] : ['text'];
  }
  // A real among integers is kept by numeric; everything else only by text.
  const asNumeric = encoding.as === 'integer' || encoding.as === 'boolean';
  const isReal = typeof cell === 'number' && Number.isFinite(cell) && !Object.is(cell, -0);
  if (asNumeric && isReal) return ['numeric'];
  return [encoding.as === 'bytes' ? 'bytea' : 'text'];
}

/** Keeps the offenders worth naming and counts all. */
export class Offenders {
  total = 0;
  readonly #kept: Offender[] = [];
  readonly #byColumn = new Map<string, number>();
  readonly #listed: (offender: Offender) => void;

  /** `listed` hears of every one. */
  constructor(listed: (offender: Offender) => void = () => {}) {
    this.#listed = listed;
  }

  add(offender: Offender): void {
    this.total += 1;
    this.#listed(offender);
    const column = `${offender.table}\0${offender.column}`;
    const before = this.#byColumn.get(column) ?? 0;
    this.#byColumn.set(column, before + 1);
    if (before < OFFENDERS_NAMED_MAX) this.#kept.push(offender);
  }

  /** `text` names all of them. */
  get isNamed(): boolean {
    return this.#named().length === this.total;
  }

  /** As one text: `MixedClass: songs id=7 year holds text 'abc', expected an integer (mapping: { songs.year: text }); …`. */
  text(): string {
    const named = this.#named();
    const more = this.total > named.length ? `; and ${this.total - named.length} more` : '';
    return named.map(offenderText).join('; ') + more;
  }

  #named(): Offender[] {
    const several = this.#byColumn.size > 1;
    const seen = new Map<string, number>();
    const first = this.#kept.filter(({ table, column }) => {
      const key = `${table}\0${column}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
      return !several || (seen.get(key) ?? 0) <= NAMED_OF_COLUMN_MAX;
    });
    return first.slice(0, OFFENDERS_NAMED_MAX);
  }
}

/** One offender in words. */
export function offenderText(one: Offender): string {
  const place = [one.table, one.row, one.column].filter((word) => word !== '').join(' ');
  return visible(`${one.code}: ${place} holds ${one.found}, expected ${one.expected} (${one.allow})`);
}

/** A cell in words. */
export function describeCell(cell: Cell): string {
  if (cell === null) return 'NULL';
  if (typeof cell === 'bigint') return `integer ${cell}`;
  if (typeof cell === 'number') return `real ${cell}`;
  if (typeof cell === 'string') return `text '${shorten(cell)}'`;
  return `a blob of ${cell.byteLength} bytes`;
}

/** A cell of a key in words. What is cut off or rewritten carries a digest, so that no two keys have the same. */
export function plainCell(cell: Cell): string {
  if (cell === null) return 'NULL';
  const isBlob = cell instanceof Uint8Array;
  const short = isBlob
    ? `x'${Buffer.from(cell).subarray(0, KEY_BYTES_SHOWN).toString('hex')}'`
    : shorten(String(cell));
  const isWhole = isBlob ? cell.byteLength <= KEY_BYTES_SHOWN : short === String(cell);
  if (isWhole) return short;
  const bytes = isBlob ? cell : Buffer.from(String(cell));
  return `${short}#${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`;
}

/** Bytes of a blob in a key that are shown. */
const KEY_BYTES_SHOWN = 16;

/** At most 60 characters, with control characters in sight. */
export function shorten(text: string): string {
  return visible(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
