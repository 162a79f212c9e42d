/** Rows as the lines that COPY reads and writes, and the cells that cannot become part of one. */
import { fail } from './fail.ts';
import { NULL_FIELD, carrierOf, isHuge } from './import/encoding.ts';
import type { Carrier } from './import/encoding.ts';
import { describeCell, judge, plainCell } from './import/offenders.ts';
import type { Offender, Offenders } from './import/offenders.ts';
import type { MappedColumn, MappedTable } from './mapping.ts';
import { TextBytes, isDoubtful, placeholder, quote } from './sqlite.ts';
import type { Cell, Page, Source } from './sqlite.ts';

/** A PostgreSQL btree entry holds 2,704 bytes with its header. */
export const INDEX_BYTES_MAX = 2_600;

/** A cell that is kept beside the table, because its column cannot hold it. */
export type Quarantined = {
  table: string;
  row: string;
  column: string;
  class: 'integer' | 'real' | 'text' | 'blob';
  value: Uint8Array;
};

export type Encoded = { lines: string[]; quarantined: Quarantined[] };

type Encoder = {
  source: Source;
  table: MappedTable;
  carriers: Carrier[];
  indexed: number[][];
};

const ENCODERS = new WeakMap<MappedTable, Omit<Encoder, 'source'>>();

function encoderOf(source: Source, table: MappedTable): Encoder {
  let known = ENCODERS.get(table);
  if (known === undefined) {
    known = {
      table,
      carriers: table.columns.map(({ encoding }) => carrierOf(encoding)),
      indexed: indexedColumns(table),
    };
    ENCODERS.set(table, known);
  }
  return { source, ...known };
}

/** Encodes the rows of a page. A row with an offender still gets a line, which must not be used. */
export function encodePage(
  source: Source,
  table: MappedTable,
  page: Page,
  offenders: Offenders,
  use: 'loaded' | 'compared' = 'loaded',
): Encoded {
  const encoder = encoderOf(source, table);
  const { carriers, indexed } = encoder;
  const { columns } = table;
  const from = page.key.length;
  const found: Encoded = { lines: [], quarantined: [] };
  for (const row of page.rows) {
    let line = '';
    for (let place = 0; place < columns.length; place += 1) {
      const cell = row[from + place] ?? null;
      let field: string | undefined;
      if (cell !== null) field = carriers[place]?.encode(cell);
      const odd =
        cell === null
          ? columns[place]?.notNull === true
          : field === undefined || (typeof cell === 'string' && cell.includes('\uFFFD'));
      if (odd) field = oddField(encoder, { page, row, place, cell, field }, { found, offenders });
      line += place === 0 ? (field ?? NULL_FIELD) : `\t${field ?? NULL_FIELD}`;
    }
    // A value that PostgreSQL took once may be longer than one that fits for certain.
    for (const places of use === 'loaded' ? indexed : []) {
      if (entryBytes(row, from, places) > INDEX_BYTES_MAX)
        offenders.add(longEntry(encoder, { page, row, places }));
    }
    found.lines.push(line);
  }
  return found;
}

type At = { page: Page; row: Cell[]; place: number; cell: Cell; field: string | undefined };

/** What becomes of a cell that is NULL where none may be, that no field can hold, or whose bytes must be seen. */
function oddField(
  encoder: Encoder,
  { page, row, place, cell, field }: At,
  to: { found: Encoded; offenders: Offenders },
): string | undefined {
  const { table } = encoder;
  const column = table.columns[place];
  if (column === undefined) return field;
  const where = { table: table.source.name, row: rowLabel(encoder, page, row), column: column.name };
  if (cell === null) {
    const isKey = table.source.primaryKey?.includes(column.name) === true;
    to.offenders.add({
      ...where,
      code: isKey ? 'NullKey' : 'NullInNotNull',
      found: 'NULL',
      expected: isKey
        ? 'a value, because it is part of the primary key'
        : 'a value, because the column is NOT NULL',
      allow: 'correct it in the source',
    });
    return undefined;
  }
  const bytes = typeof cell === 'string' ? rawBytes(encoder, { page, row, column, cell }) : undefined;
  if (field !== undefined && bytes === undefined) return field;
  // Raw bytes need no valid text around them.
  if (bytes !== undefined && column.encoding.as === 'bytes') return encoder.carriers[place]?.encode(bytes);
  if (column.quarantine && !column.notNull) {
    const kept = bytes === undefined ? rawValue(cell) : { class: 'text' as const, value: bytes };
    to.found.quarantined.push({ ...where, ...kept });
    return NULL_FIELD;
  }
  const badText = bytes !== undefined;
  to.offenders.add({
    ...where,
    ...judge(table, column, cell, badText ? 'BadUtf8' : undefined),
    found: badText ? 'text that is not valid UTF-8' : describeCell(cell),
    expected: expectedOf(cell, badText, encoder.carriers[place]),
  });
  return undefined;
}

function expectedOf(cell: Exclude<Cell, null>, badText: boolean, carrier: Carrier | undefined): string {
  if (isHuge(cell)) return 'at most 128 MiB';
  return badText ? 'valid UTF-8' : (carrier?.expected ?? '');
}

function rawValue(cell: Exclude<Cell, null>): Pick<Quarantined, 'class' | 'value'> {
  if (typeof cell === 'bigint') return { class: 'integer', value: Buffer.from(String(cell)) };
  if (typeof cell === 'number') return { class: 'real', value: Buffer.from(String(cell)) };
  if (typeof cell === 'string') return { class: 'text', value: Buffer.from(cell) };
  return { class: 'blob', value: cell };
}

/** The bytes of a text that is not valid UTF-8: decoding hides them behind U+FFFD. Undefined for any other text. */
function rawBytes(
  { source, table }: Encoder,
  at: { page: Page; row: Cell[]; column: MappedColumn; cell: string },
): Uint8Array | undefined {
  if (!isDoubtful(at.cell)) return undefined;
  const key = at.row.slice(0, at.page.key.length);
  const where = at.page.key.map((name, place) => `${quote(name)} = ${placeholder(key[place] ?? null)}`);
  const statement = source.db.prepare(
    `SELECT CAST(${quote(at.column.name)} AS BLOB) AS bytes FROM ${quote(table.source.name)} WHERE ${where.join(' AND ')}`,
  );
  const bytes = statement.get(...key)?.['bytes'];
  if (!(bytes instanceof Uint8Array))
    throw fail(
      'Unreachable',
      `A row of ${quote(table.source.name)} in '${source.name}' was changed while it was read; it is tried again.`,
    );
  return Buffer.from(at.cell, 'utf8').equals(bytes) ? undefined : bytes;
}

/** The row at a place of a page, as messages name it. */
export function labelOf(at: { source: Source; table: MappedTable; page: Page }, place: number): string {
  return rowLabel(encoderOf(at.source, at.table), at.page, at.page.rows[place] ?? []);
}

/**
 * `id=7`, or `PlaylistId=1 TrackId=3402`: by the primary key in whatever order rows are read, by the rowid without one. No
 * two rows have one label.
 */
function rowLabel(encoder: Encoder, page: Page, row: Cell[]): string {
  const { columns, source: table } = encoder.table;
  const from = page.key.length;
  const byKey = table.primaryKey?.map((name): [string, Cell] => {
    const place = columns.findIndex((column) => column.name === name);
    const [cell = null, column] = [row[from + place], columns[place]];
    if (column === undefined || !isDoubtful(cell)) return [name, cell];
    const bytes = rawBytes(encoder, { page, row, column, cell });
    return [name, bytes === undefined ? cell : new TextBytes(bytes)];
  });
  const isWhole = byKey?.every(([, cell]) => cell !== null) === true;
  const cells = isWhole ? byKey : page.key.map((name, place): [string, Cell] => [name, row[place] ?? null]);
  return cells.map(([name, cell]) => `${name}=${plainCell(cell)}`).join(' ');
}

function longEntry(
  encoder: Encoder,
  { page, row, places }: { page: Page; row: Cell[]; places: number[] },
): Offender {
  const { table } = encoder;
  return {
    code: 'IndexEntryTooLong',
    table: table.source.name,
    row: rowLabel(encoder, page, row),
    column: places.map((place) => table.columns[place]?.name ?? '').join(', '),
    found: `more than ${INDEX_BYTES_MAX} bytes`,
    expected: `at most that, because an index covers it`,
    allow: 'shorten it in the source, or drop the index there',
  };
}

/** For each index, key and unique set: the places of its columns whose values can be long. */
export function indexedColumns(table: MappedTable): number[][] {
  const { primaryKey, uniques, indexes } = table.source;
  const sets = [
    primaryKey ?? [],
    ...uniques,
    ...indexes.map((index) => index.columns.map((column) => column.name)),
  ];
  return sets
    .map((names) =>
      names
        .map((name) => table.columns.findIndex((column) => column.name === name))
        .filter((place) => ['text', 'bytes'].includes(table.columns[place]?.encoding.as ?? '')),
    )
    .filter((places) => places.length > 0);
}

/** Bytes that these cells of a row take in an index, about. */
export function entryBytes(row: readonly Cell[], from: number, places: number[]): number {
  let sizeBytes = 0;
  for (const place of places) {
    const cell = row[from + place];
    if (cell instanceof Uint8Array) sizeBytes += cell.byteLength;
    else if (typeof cell === 'string')
      sizeBytes += cell.length > INDEX_BYTES_MAX / 3 ? Buffer.byteLength(cell) : cell.length;
  }
  return sizeBytes;
}
