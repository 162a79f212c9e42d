/** Cells that cannot be carried exactly: each with its place, what it is, what was expected and the line that would allow it. */
import type { MappedColumn, MappedTable } from '../mapping.ts';
import type { Cell } from '../sqlite.ts';
import { likelyForm } from './moments.ts';

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
  | 'IndexEntryTooLong';

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

/** What is wrong with a cell that its column's carrier refused. */
export function judge(
  table: MappedTable,
  column: MappedColumn,
  cell: Exclude<Cell, null>,
): Pick<Offender, 'code' | 'allow'> {
  const code = codeOf(column, cell);
  return { code, allow: allowanceOf(code, { key: `${table.source.name}.${column.name}`, column, cell }) };
}

function codeOf({ encoding }: MappedColumn, cell: Exclude<Cell, null>): OffenderCode {
  const { as } = encoding;
  if (as === 'timestamp' || as === 'timestamptz')
    return as === 'timestamptz' && /^\d{4}-\d\d-\d\d[ T][\d:.]+$/.test(String(cell))
      ? 'TimezoneUndeclared'
      : 'DateMixed';
  if (as === 'date' || as === 'time') return 'DateMixed';
  if (as === 'boolean') return 'BooleanValue';
  if (as === 'enum') return 'EnumValue';
  if (as === 'integer' && typeof cell === 'bigint') return 'IntegerOverflow';
  if (as === 'numeric' && (typeof cell === 'bigint' || typeof cell === 'number')) return 'DecimalPrecision';
  if ((as === 'real' || as === 'short-real') && (typeof cell === 'bigint' || typeof cell === 'number'))
    return 'DecimalPrecision';
  if (as === 'text' && typeof cell === 'string') return cell.includes('\0') ? 'NulInText' : 'TooLong';
  return 'MixedClass';
}

function allowanceOf(
  code: OffenderCode,
  { key, column, cell }: { key: string; column: MappedColumn; cell: Exclude<Cell, null> },
): string {
  const line = (word: string): string => `mapping: { ${yamlKey(key)}: ${word} }`;
  const quarantine = column.notNull ? '' : ', or quarantine';
  switch (code) {
    case 'NulInText':
    case 'BadUtf8':
      return line('bytea') + quarantine;
    case 'TimezoneUndeclared':
      return 'timezone: UTC, or the offset that holds';
    case 'DateMixed': {
      const form =
        (typeof cell === 'bigint' || typeof cell === 'number') && column.encoding.as !== 'date'
          ? likelyForm(cell)
          : undefined;
      return line(form ?? 'text') + quarantine;
    }
    case 'MixedClass':
    case 'BooleanValue':
    case 'DecimalPrecision':
      return line(cell instanceof Uint8Array ? 'bytea' : numbersOnly(cell, column)) + quarantine;
    default:
      return column.notNull ? 'correct it in the source' : line('quarantine');
  }
}

/** A real among integers is kept by numeric; everything else only by text. */
function numbersOnly(cell: Exclude<Cell, null>, { encoding }: MappedColumn): string {
  const isNumber = typeof cell === 'number' && Number.isFinite(cell);
  return isNumber && (encoding.as === 'integer' || encoding.as === 'boolean') ? 'numeric' : 'text';
}

function yamlKey(key: string): string {
  return /^[\w.]+$/.test(key) ? key : `'${key.replaceAll("'", "''")}'`;
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

  /** As one text: `MixedClass: songs id=7 year holds text 'abc', expected an integer (mapping: { songs.year: text }); …`. */
  text(): string {
    const several = this.#byColumn.size > 1;
    const seen = new Map<string, number>();
    const first = this.#kept.filter(({ table, column }) => {
      const key = `${table}\0${column}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
      return !several || (seen.get(key) ?? 0) <= NAMED_OF_COLUMN_MAX;
    });
    const named = first.slice(0, OFFENDERS_NAMED_MAX).map(offenderText);
    const more = this.total > named.length ? `; and ${this.total - named.length} more` : '';
    return named.join('; ') + more;
  }
}

/** One offender in words. */
export function offenderText(one: Offender): string {
  return `${one.code}: ${one.table} ${one.row} ${one.column} holds ${one.found}, expected ${one.expected} (${one.allow})`;
}

/** A cell in words. */
export function describeCell(cell: Cell): string {
  if (cell === null) return 'NULL';
  if (typeof cell === 'bigint') return `integer ${cell}`;
  if (typeof cell === 'number') return `real ${cell}`;
  if (typeof cell === 'string') return `text '${shorten(cell)}'`;
  return `a blob of ${cell.byteLength} bytes`;
}

/** A cell of a key in words. */
export function plainCell(cell: Cell): string {
  if (cell === null) return 'NULL';
  if (cell instanceof Uint8Array) return `x'${Buffer.from(cell).subarray(0, 16).toString('hex')}'`;
  return shorten(String(cell));
}

/** At most 60 characters, with control characters in sight. */
export function shorten(text: string): string {
  const cut = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  return cut.replace(/[\u0000-\u001f]/g, hexOf);
}

function hexOf(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
