/** One table of the source while its rows come back: aside, changed there, and in again. */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { fail, messageOf } from '../fail.ts';
import type { MappedColumn, MappedTable } from '../mapping.ts';
import { quote } from '../sqlite.ts';
import type { Cell } from '../sqlite.ts';
import { breathe } from '../wait.ts';
import { keyColumns } from './capture.ts';
import { decodeField, keyForms } from './decode.ts';
import { NULL_FIELD, carrierOf, escapeField, unescapeField } from './encoding.ts';
import { plainCell, shorten } from './offenders.ts';

/** Statements that are kept: one for each set of columns that changed together. */
const STATEMENTS_MAX = 200;
/** Rows that are put back between two breaths. */
const ROWS_PAGE = 500;

/** What a row in the table beside is: gone in PostgreSQL (0), there as before, or new. */
const KEPT = 1;
const NEW = 2;

/** A key that was noted: its columns as PostgreSQL writes them. */
export type Key = { texts: string[] };

/** A row that PostgreSQL holds under a key: fields in the form that the source's cells are encoded to. */
export type HeldRow = { key: Key; fields: string[] };

/** A field as COPY wrote it, in the form that the source's cells are encoded to. */
export function normalField(encoding: MappedColumn['encoding'], field = NULL_FIELD): string {
  return field === NULL_FIELD ? field : (carrierOf(encoding).normalize?.(field) ?? field);
}

/** One table of the source while its rows come back. */
export class TableBack {
  added = 0;
  changed = 0;
  removed = 0;
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #name: string;
  readonly #table: MappedTable;
  readonly #aside: string;
  readonly #own: string;
  readonly #keys: MappedColumn[];
  /** A cell of each column, whose style is followed. */
  readonly #styles: Cell[];
  /** Columns of the source that are not computed, also those that are not carried. */
  readonly #stored: string[];
  /** A name of the rowid, where the row has a number that no column shows. */
  readonly #rowid: string | undefined;
  /** A name of the rowid in the table beside that no column there hides. */
  readonly #place: string;

  constructor(db: DatabaseSync, { table, place, name }: { table: MappedTable; place: number; name: string }) {
    this.#db = db;
    this.#name = name;
    this.#table = table;
    this.#own = `main.${quote(table.source.name)}`;
    this.#aside = `temp.${quote(`countdown_aside_${place}`)}`;
    this.#keys = keyColumns(table);
    this.#styles = table.columns.map((column) => this.#styleOf(column));
    this.#stored = db
      .prepare(`SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid`)
      .all(table.source.name)
      .map((row) => String(row['name']));
    const taken = new Set(this.#stored.map((column) => column.toLowerCase()));
    this.#place = ['rowid', '_rowid_', 'oid'].find((one) => !taken.has(one)) ?? 'rowid';
    const [first] = table.source.storageKey;
    this.#rowid =
      first !== undefined && table.source.storageKey.length === 1 && !this.#stored.includes(first)
        ? first
        : undefined;
    const rowid = this.#rowid === undefined ? '0' : quote(this.#rowid);
    db.exec(
      `CREATE TEMP TABLE ${quote(`countdown_aside_${place}`)} AS SELECT ${rowid} AS "countdown rowid", 0 AS "countdown is", ${this.#stored.map(quote).join(', ')} FROM ${this.#own} WHERE 0`,
    );
    const keys = this.#keys.map((column) => quote(column.name)).join(', ');
    db.exec(
      `CREATE INDEX temp.${quote(`countdown_aside_key_${place}`)} ON ${quote(`countdown_aside_${place}`)} (${keys})`,
    );
  }

  #styleOf({ name }: MappedColumn): Cell {
    const statement = this.#db.prepare(
      `SELECT ${quote(name)} AS cell FROM ${this.#own} WHERE ${quote(name)} IS NOT NULL LIMIT 1`,
    );
    statement.setReadBigInts(true);
    return statement.get()?.['cell'] ?? null;
  }

  /** The cells by which the source may know the row: every form of each column of its key. */
  #keyCells({ texts }: Key): SQLInputValue[] {
    return this.#keys.flatMap(({ encoding }, place) => keyForms(encoding, escapeField(texts[place] ?? '')));
  }

  #byKey(): string {
    return this.#keys
      .map(({ name, encoding }) => {
        const forms = keyForms(encoding, '').map((_, place) =>
          // Bytes that stand there as text need not be valid as such.
          encoding.as === 'bytes' && place > 0 ? 'CAST(? AS TEXT)' : '?',
        );
        return `${quote(name)} IN (${forms.join(', ')})`;
      })
      .join(' AND ');
  }

  /** Out of the table, into the one beside it. */
  setAside(keys: readonly Key[]): void {
    const rowid = this.#rowid === undefined ? '0' : quote(this.#rowid);
    const take = this.#db.prepare(
      `INSERT INTO ${this.#aside} SELECT ${rowid}, 0, ${this.#stored.map(quote).join(', ')} FROM ${this.#own} WHERE ${this.#byKey()}`,
    );
    const remove = this.#db.prepare(`DELETE FROM ${this.#own} WHERE ${this.#byKey()}`);
    for (const key of keys) {
      const cells = this.#keyCells(key);
      if (take.run(...cells).changes === 0) continue;
      remove.run(...cells);
      this.removed += 1;
    }
  }

  /** What PostgreSQL says of the rows: kept cells are changed where they differ, new rows stand beside the kept ones. */
  apply(rows: readonly HeldRow[]): void {
    const { columns } = this.#table;
    const read = this.#prepared(
      `SELECT ${columns.map(readable).join(', ')} FROM ${this.#aside} WHERE ${this.#byKey()}`,
    );
    read.setReadBigInts(true);
    read.setReturnArrays(true);
    for (const { key, fields } of rows) {
      const cells = this.#keyCells(key);
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- setReturnArrays is not in the type of get
      const kept = read.get(...cells) as unknown as Cell[] | undefined;
      if (kept === undefined) {
        this.#add(fields);
        this.added += 1;
      } else {
        this.removed -= 1;
        if (this.#change(cells, kept, fields)) this.changed += 1;
      }
    }
  }

  /** Cells that differ, and no others: the rest stays as it was written, to the byte. */
  #change(key: SQLInputValue[], kept: readonly Cell[], fields: readonly string[]): boolean {
    const changes = this.#given().filter(
      ([place, column]) => encoded(column, kept[place] ?? null) !== (fields[place] ?? NULL_FIELD),
    );
    const sets = ['"countdown is" = ?', ...changes.map(([, { name }]) => `${quote(name)} = ?`)];
    this.#prepared(`UPDATE ${this.#aside} SET ${sets.join(', ')} WHERE ${this.#byKey()}`).run(
      KEPT,
      ...changes.map(([place]) => this.#cellOf(place, fields)),
      ...key,
    );
    return changes.length > 0;
  }

  #add(fields: readonly string[]): void {
    const given = this.#given();
    const names = ['"countdown is"', ...given.map(([, { name }]) => quote(name))].join(', ');
    const marks = ['?', ...given.map(() => '?')].join(', ');
    this.#prepared(`INSERT INTO ${this.#aside} (${names}) VALUES (${marks})`).run(
      NEW,
      ...given.map(([place]) => this.#cellOf(place, fields)),
    );
  }

  #prepared(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      if (this.#statements.size === STATEMENTS_MAX) this.#statements.clear();
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /** Columns that are carried and not computed, with their places. */
  #given(): [number, MappedColumn][] {
    return [...this.#table.columns.entries()].filter(([, { name }]) => this.#stored.includes(name));
  }

  /** The cell that comes back. One that the source could not hold exactly is named here, before anything is committed. */
  #cellOf(place: number, fields: readonly string[]): SQLInputValue {
    const column = this.#table.columns[place];
    const field = fields[place] ?? NULL_FIELD;
    if (column === undefined) return null;
    const cell = decodeField(column.encoding, field, this.#styles[place] ?? null);
    if (encoded(column, cell) === field) return cell;
    const key = this.#keys.map((one) => {
      const at = this.#table.columns.indexOf(one);
      return `${one.name}=${unescapeField(fields[at] ?? '')}`;
    });
    throw fail(
      'UndoFailed',
      `'${this.#name}' does not take ${this.#table.source.name} ${key.join(' ')} back (${column.name} is ${shorten(unescapeField(field))}, for which it has no exact form: expected ${carrierOf(column.encoding).expected}); it is as it was, and writes stay held. Change the row in the target so that both can hold it, then try again.`,
    );
  }

  /** Rows that PostgreSQL still has, under the number that they had; then new ones, which get what the source gives. */
  async putBack(signal: AbortSignal): Promise<void> {
    const all = this.#stored.map(quote).join(', ');
    const given = this.#given()
      .map(([, { name }]) => quote(name))
      .join(', ');
    const numbered =
      this.#rowid === undefined ? ['', ''] : [`${quote(this.#rowid)}, `, '"countdown rowid", '];
    await this.#insert(KEPT, { into: numbered[0] + all, from: numbered[1] + all }, signal);
    await this.#insert(NEW, { into: given, from: given }, signal);
    this.#db.exec(`DROP TABLE ${this.#aside}`);
  }

  async #insert(
    is: number,
    { into, from }: { into: string; from: string },
    signal: AbortSignal,
  ): Promise<void> {
    const page = this.#db.prepare(
      `SELECT ${this.#place} AS "countdown place", ${this.#keys.map(({ name }) => quote(name)).join(', ')} FROM ${this.#aside} WHERE ${this.#place} > ? AND "countdown is" = ? ORDER BY ${this.#place} LIMIT ${ROWS_PAGE}`,
    );
    page.setReadBigInts(true);
    // Whatever the table says about conflicts: none may put another row away.
    const insert = this.#db.prepare(
      `INSERT OR ABORT INTO ${this.#own} (${into}) SELECT ${from} FROM ${this.#aside} WHERE ${this.#place} = ?`,
    );
    for (let after = 0; ;) {
      const rows = page.all(after, is);
      for (const row of rows) {
        const { 'countdown place': place, ...key } = row;
        after = Number(place);
        try {
          insert.run(after);
        } catch (error) {
          throw this.#notTaken(key, error);
        }
      }
      if (rows.length < ROWS_PAGE) return;
      await breathe(signal);
    }
  }

  #notTaken(key: Record<string, unknown>, error: unknown): never {
    // A full disk, say: no other row would fare better.
    if (!isOfRow(error)) throw error;
    const label = Object.entries(key)
      .map(([name, cell]) => `${name}=${cell instanceof Uint8Array ? plainCell(cell) : String(cell)}`)
      .join(' ');
    throw fail(
      'UndoFailed',
      `'${this.#name}' does not take ${this.#table.source.name} ${label} back (${messageOf(error)}); it is as it was, and writes stay held. Change the row in the target so that both can hold it, then try again.`,
      error,
    );
  }
}

/** SQLite's codes for a row that it refuses: a constraint, a datatype, a size. */
const OF_ROW = [18, 19, 20];

function isOfRow(error: unknown): boolean {
  return (
    error instanceof Error &&
    'errcode' in error &&
    typeof error.errcode === 'number' &&
    OF_ROW.includes(error.errcode & 0xff)
  );
}

/** Text in a column of bytes by its bytes: it need not be valid as text. */
function readable({ name, encoding }: MappedColumn): string {
  const column = quote(name);
  return encoding.as === 'bytes'
    ? `CASE typeof(${column}) WHEN 'text' THEN CAST(${column} AS BLOB) ELSE ${column} END`
    : column;
}

function encoded({ encoding }: MappedColumn, cell: Cell): string | undefined {
  return cell === null ? NULL_FIELD : carrierOf(encoding).encode(cell);
}
