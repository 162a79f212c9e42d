/** Rows as the lines that COPY reads and writes, and the cells that cannot become part of one. */
import { CARRIERS, NULL_FIELD } from './cells.ts';
import type { MappedTable } from './mapping.ts';
import { quote } from './sqlite.ts';
import type { Cell, Page, Source } from './sqlite.ts';

/** A cell that cannot be carried exactly. */
export type Offender = { table: string; row: string; column: string; found: string; expected: string };

/** Offenders that are named; further ones are counted. */
export const OFFENDERS_NAMED_MAX = 10;
/** A PostgreSQL btree entry holds 2,704 bytes with its header. */
const INDEX_BYTES_MAX = 2_600;

export type Encoded = { lines: string[]; offenders: Offender[]; offendersTotal: number };

/** Encodes the rows of a page. A row with an offender still gets a line, which must not be used. */
export function encodePage(source: Source, table: MappedTable, page: Page): Encoded {
  const encoders = table.columns.map((column) => CARRIERS[column.type]);
  const isKey = table.columns.map((column) => table.source.primaryKey?.includes(column.name) === true);
  const indexed = indexedColumns(table);
  const found: Encoded = { lines: [], offenders: [], offendersTotal: 0 };
  const refuse = (row: Cell[], column: string, what: { found: string; expected: string }): void => {
    found.offendersTotal += 1;
    if (found.offenders.length === OFFENDERS_NAMED_MAX) return;
    found.offenders.push({ table: table.source.name, row: rowLabel(page, row), column, ...what });
  };
  for (const row of page.rows) {
    let line = '';
    for (const [place, column] of table.columns.entries()) {
      const cell = row[page.key.length + place] ?? null;
      const carrier = encoders[place];
      const field = cell === null ? NULL_FIELD : carrier?.encode(cell);
      line += place === 0 ? field : `\t${field}`;
      if (field === undefined) {
        refuse(row, column.name, { found: describe(cell), expected: carrier?.expected ?? '' });
      } else if (cell === null && isKey[place] === true) {
        refuse(row, column.name, {
          found: 'NULL',
          expected: 'a value, because it is part of the primary key',
        });
      } else if (
        typeof cell === 'string' &&
        cell.includes('\uFFFD') &&
        !isValidUtf8(source, table, page, { row, column: column.name, cell })
      ) {
        refuse(row, column.name, { found: 'text that is not valid UTF-8', expected: 'valid UTF-8' });
      }
    }
    for (const places of indexed) {
      if (entryBytes(row, page.key.length, places) <= INDEX_BYTES_MAX) continue;
      const names = places.map((place) => table.columns[place]?.name ?? '').join(', ');
      refuse(row, names, {
        found: `more than ${INDEX_BYTES_MAX} bytes`,
        expected: `at most that, because an index covers it`,
      });
    }
    found.lines.push(line);
  }
  return found;
}

/** Offenders as one text: `songs id=7 year holds text 'abc', expected an integer; …`. */
export function offendersText(offenders: Offender[], total: number): string {
  const named = offenders
    .slice(0, OFFENDERS_NAMED_MAX)
    .map((one) => `${one.table} ${one.row} ${one.column} holds ${one.found}, expected ${one.expected}`);
  const more = total > named.length ? `; and ${total - named.length} more` : '';
  return named.join('; ') + more;
}

/** `id=7`, or `PlaylistId=1 TrackId=3402`. */
function rowLabel(page: Page, row: Cell[]): string {
  return page.key.map((name, place) => `${name}=${plain(row[place] ?? null)}`).join(' ');
}

function plain(cell: Cell): string {
  if (cell === null) return 'NULL';
  if (cell instanceof Uint8Array) return `x'${Buffer.from(cell).subarray(0, 16).toString('hex')}'`;
  return shorten(String(cell));
}

function describe(cell: Cell): string {
  if (cell === null) return 'NULL';
  if (typeof cell === 'bigint') return `integer ${cell}`;
  if (typeof cell === 'number') return `real ${cell}`;
  if (typeof cell === 'string') return `text '${shorten(cell)}'`;
  return `a blob of ${cell.byteLength} bytes`;
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

/** Decoding hides invalid bytes behind U+FFFD, so a text that contains one is read again as bytes. */
function isValidUtf8(
  source: Source,
  table: MappedTable,
  page: Page,
  at: { row: Cell[]; column: string; cell: string },
): boolean {
  const where = page.key.map((name) => `${quote(name)} = ?`).join(' AND ');
  const statement = source.db.prepare(
    `SELECT CAST(${quote(at.column)} AS BLOB) AS bytes FROM ${quote(table.source.name)} WHERE ${where}`,
  );
  const bytes = statement.get(...at.row.slice(0, page.key.length))?.['bytes'];
  return bytes instanceof Uint8Array && Buffer.from(at.cell, 'utf8').equals(bytes);
}

/** For each index, key and unique set: the places of its columns whose values can be long. */
function indexedColumns(table: MappedTable): number[][] {
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
        .filter((place) => ['text', 'bytea'].includes(table.columns[place]?.type ?? '')),
    )
    .filter((places) => places.length > 0);
}

function entryBytes(row: Cell[], from: number, places: number[]): number {
  let sizeBytes = 0;
  for (const place of places) {
    const cell = row[from + place];
    if (cell instanceof Uint8Array) sizeBytes += cell.byteLength;
    else if (typeof cell === 'string')
      sizeBytes += cell.length > INDEX_BYTES_MAX / 3 ? Buffer.byteLength(cell) : cell.length;
  }
  return sizeBytes;
}
