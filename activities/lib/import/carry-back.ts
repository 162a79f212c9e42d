/**
 * The rows that PostgreSQL took since the release, back into the source: in one transaction of SQLite, which is begun
 * first. Its lock is the fence there: an attempt that sleeps holds it, so no other one passes; one that wakes up without
 * it finds the fence of PostgreSQL raised.
 *
 *   1  each row whose key was noted goes from its table into one beside it       (so that no unique value is in the way)
 *   2  what PostgreSQL says of it now: cells that differ are changed there, and what is new is put there too
 *   3  the rows that PostgreSQL has go into the table, cells that nobody touched as they were
 */
import { DatabaseSync } from 'node:sqlite';
import type { SQLInputValue, StatementSync } from 'node:sqlite';
import type { PhaseContext } from '../../phase.ts';
import { fail, messageOf } from '../fail.ts';
import type { MappedColumn, MappedTable, Mapping } from '../mapping.ts';
import type { Connection } from '../postgres.ts';
import { quote, whenFree } from '../sqlite.ts';
import type { Cell } from '../sqlite.ts';
import { breathe } from '../wait.ts';
import { keyColumns } from './capture.ts';
import { decodeField } from './decode.ts';
import { NULL_FIELD, carrierOf, escapeField } from './encoding.ts';
import { plainCell } from './offenders.ts';
import type { Owner } from './places.ts';
import { placeOf } from './statements.ts';

/** Statements that are kept: one for each set of columns that changed together. */
const STATEMENTS_MAX = 200;
/** Keys that are looked at between two breaths. */
const KEYS_PAGE = 500;
/** Milliseconds that SQLite itself waits for a lock; `whenFree` goes on from there. */
const LOCK_TRY_MS = 50;

/** What a row in the table beside is: gone in PostgreSQL (0), there as before, or new. */
const KEPT = 1;
const NEW = 2;

export type CarryWork = {
  connection: Connection;
  context: PhaseContext;
  owner: Owner;
  mapping: Mapping;
  /** Name of the source, for messages. */
  name: string;
  path: string;
};

export type Carried = { rows: number; added: number; changed: number; removed: number };

/**
 * Carries back every row that was noted. Must run in a transaction of the target that keeps others from writing its
 * tables. The source keeps all of it or nothing.
 *
 * @throws UndoFailed where the source refuses a row, Unreachable where somebody keeps it locked
 */
export async function carryBack(work: CarryWork): Promise<Carried> {
  const { context, mapping, name, path } = work;
  using db = new DatabaseSync(path, {
    timeout: LOCK_TRY_MS,
    // What PostgreSQL holds is whole already; here rows come in any order.
    enableForeignKeyConstraints: false,
  });
  db.exec('PRAGMA ignore_check_constraints = ON; PRAGMA temp_store = FILE; PRAGMA synchronous = FULL');
  await whenFree(name, context.signal, () => db.exec('BEGIN IMMEDIATE'));
  const carried: Carried = { rows: 0, added: 0, changed: 0, removed: 0 };
  try {
    const triggers = holdTriggers(db, mapping);
    for (const [place, table] of mapping.tables.entries()) {
      const one = new TableBack(db, { table, place, name });
      for await (const keys of capturedKeys(work, table)) one.setAside(keys);
      for await (const keys of capturedKeys(work, table)) {
        one.apply(keys, await readRows(work, table, keys));
        carried.rows += keys.length;
        context.progress({ done: carried.rows, unit: 'rows', detail: `${table.source.name}, carried back` });
      }
      await one.putBack(context.signal);
      carried.added += one.added;
      carried.changed += one.changed;
      carried.removed += one.removed;
      await raiseCounter(work, db, table);
    }
    for (const sql of triggers) db.exec(sql);
    await work.connection.query('SELECT 1');
    db.exec('COMMIT');
    return carried;
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** Takes the triggers of the tables away, and gives what makes them again: their work was done in PostgreSQL. */
function holdTriggers(db: DatabaseSync, mapping: Mapping): string[] {
  const names = new Set(mapping.tables.map(({ source }) => source.name));
  const found = db
    .prepare(`SELECT name, tbl_name, sql FROM main.sqlite_schema WHERE type = 'trigger' ORDER BY rowid`)
    .all()
    .filter(({ tbl_name }) => names.has(String(tbl_name)));
  for (const { name } of found) db.exec(`DROP TRIGGER main.${quote(String(name))}`);
  return found.map(({ sql }) => String(sql));
}

type Key = { id: string; texts: string[] };

/** The keys that were noted of a table, page by page. */
async function* capturedKeys({ connection, context, owner }: CarryWork, table: MappedTable) {
  for (let after = '\\x'; ;) {
    const rows = await connection.query(
      `SELECT id, key FROM countdown.captured WHERE run = $1 AND step = $2 AND "table" = $3 AND id > $4::bytea ORDER BY id LIMIT ${KEYS_PAGE}`,
      [owner.run, owner.step, table.target, after],
    );
    const keys = rows.map(([id, key]): Key => ({ id: id ?? '', texts: JSON.parse(key ?? '[]') }));
    if (keys.length > 0) yield keys;
    if (keys.length < KEYS_PAGE) return;
    after = keys.at(-1)?.id ?? after;
    await breathe(context.signal);
  }
}

/** What PostgreSQL holds under these keys now: fields as the source would have written them, by the key's text. */
async function readRows(
  { connection }: CarryWork,
  table: MappedTable,
  keys: readonly Key[],
): Promise<Map<string, string[]>> {
  const own = keyColumns(table);
  const lists = own.map((_, place) => `$${place + 1}::text[]`).join(', ');
  const names = own.map((_, place) => `k${place}`).join(', ');
  const join = own
    .map(({ target, type }, place) => `t.${quote(target)} = asked.k${place}::${type}`)
    .join(' AND ');
  const asked = own.map((_, place) => `asked.k${place}`).join(', ');
  const columns = table.columns.map(({ target }) => `t.${quote(target)}`).join(', ');
  const rows = await connection.query(
    `SELECT ${asked}, ${columns} FROM unnest(${lists}) AS asked (${names}) JOIN ${placeOf(table)} AS t ON ${join}`,
    own.map((_, place) => arrayText(keys.map(({ texts }) => texts[place] ?? ''))),
  );
  return new Map(
    rows.map((row) => [
      keyText(row.slice(0, own.length)),
      table.columns.map(({ encoding }, place) => fieldOf(encoding, row[own.length + place] ?? null)),
    ]),
  );
}

/** A list as PostgreSQL's own text of an array. */
function arrayText(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`).join(',')}}`;
}

function keyText(texts: readonly (string | null)[]): string {
  return JSON.stringify(texts);
}

/** A value as COPY would have written it, in the form that the source's cells are encoded to. */
function fieldOf(encoding: MappedColumn['encoding'], value: string | null): string {
  if (value === null) return NULL_FIELD;
  const field = escapeField(value);
  return carrierOf(encoding).normalize?.(field) ?? field;
}

/** One table of the source while its rows come back. */
class TableBack {
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

  /** The cells by which the source knows the row; bytes twice, see `#byKey`. */
  #keyCells({ texts }: Key): SQLInputValue[] {
    return this.#keys.flatMap((column, place) => {
      const like = this.#styles[this.#table.columns.indexOf(column)] ?? null;
      const field = fieldOf(column.encoding, texts[place] ?? '');
      if (column.encoding.as !== 'bytes') return [decodeField(column.encoding, field, like)];
      const bytes = decodeField(column.encoding, field, null);
      return [bytes, bytes];
    });
  }

  /** Bytes may stand there as a blob or as text. */
  #byKey(): string {
    return this.#keys
      .map(({ name, encoding }) =>
        encoding.as === 'bytes' ? `${quote(name)} IN (?, CAST(? AS TEXT))` : `${quote(name)} = ?`,
      )
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
  apply(keys: readonly Key[], rows: ReadonlyMap<string, string[]>): void {
    const { columns } = this.#table;
    const read = this.#db.prepare(
      `SELECT ${columns.map(readable).join(', ')} FROM ${this.#aside} WHERE ${this.#byKey()}`,
    );
    read.setReadBigInts(true);
    read.setReturnArrays(true);
    for (const key of keys) {
      const fields = rows.get(keyText(key.texts));
      if (fields === undefined) continue;
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

  #cellOf(place: number, fields: readonly string[]): SQLInputValue {
    const encoding = this.#table.columns[place]?.encoding ?? { as: 'text' };
    return decodeField(encoding, fields[place] ?? NULL_FIELD, this.#styles[place] ?? null);
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
      `SELECT rowid AS "countdown place", ${this.#keys.map(({ name }) => quote(name)).join(', ')} FROM ${this.#aside} WHERE rowid > ? AND "countdown is" = ? ORDER BY rowid LIMIT ${KEYS_PAGE}`,
    );
    page.setReadBigInts(true);
    const insert = this.#db.prepare(
      `INSERT INTO ${this.#own} (${into}) SELECT ${from} FROM ${this.#aside} WHERE rowid = ?`,
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
      if (rows.length < KEYS_PAGE) return;
      await breathe(signal);
    }
  }

  #notTaken(key: Record<string, unknown>, error: unknown): never {
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

/** Numbers that PostgreSQL gave are not given again. */
async function raiseCounter({ connection }: CarryWork, db: DatabaseSync, table: MappedTable): Promise<void> {
  const { source } = table;
  const column = table.columns.find(({ name }) => name === source.rowidAlias);
  const counted = /\bAUTOINCREMENT\b/i.test(
    String(
      db.prepare(`SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?`).get(source.name)?.[
        'sql'
      ],
    ),
  );
  if (column === undefined || !counted) return;
  const [row] = await connection.query(
    `SELECT coalesce(max(${quote(column.target)}), 0) FROM ${placeOf(table)}`,
  );
  const [counter] = await connection.query(
    `SELECT last_value FROM pg_sequences WHERE (quote_ident(schemaname) || '.' || quote_ident(sequencename)) = pg_get_serial_sequence($1, $2)`,
    [placeOf(table), column.target],
  );
  const top = [BigInt(row?.[0] ?? 0), BigInt(counter?.[0] ?? 0)].reduce((a, b) => (a > b ? a : b));
  const raised = db
    .prepare('UPDATE sqlite_sequence SET seq = max(CAST(seq AS INTEGER), ?) WHERE name = ?')
    .run(top, source.name);
  if (raised.changes === 0 && top > 0n)
    db.prepare('INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)').run(source.name, top);
}
