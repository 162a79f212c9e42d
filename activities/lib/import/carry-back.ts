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
import type { PhaseContext } from '../../phase.ts';
import { fail, failureType, messageOf } from '../fail.ts';
import { statOf } from '../files.ts';
import type { MappedTable, Mapping } from '../mapping.ts';
import type { Connection } from '../postgres.ts';
import { quote, whenFree } from '../sqlite.ts';
import { breathe } from '../wait.ts';
import { keyColumns } from './capture.ts';
import { literal } from './defaults.ts';
import { unescapeField } from './encoding.ts';
import type { Owner } from './places.ts';
import { placeOf } from './statements.ts';
import { TableBack, normalField } from './table-back.ts';
import type { HeldRow, Key } from './table-back.ts';
import { readTargetLines } from './target-lines.ts';

/** Keys that are looked at between two breaths. */
const KEYS_PAGE = 500;
/** Rows of the target that are in memory at once. */
const ROWS_HELD = 20;

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
  // Opening would make an empty file where there is none.
  if ((await statOf(name, path)) === undefined)
    throw fail(
      'UndoFailed',
      `The file of '${name}' was not found on this worker; bring it back to its path, then try again. Writes stay held.`,
    );
  using db = new DatabaseSync(path, {
    // `whenFree` waits. SQLite itself would do so for each page that has no room in its cache, as long as somebody reads.
    timeout: 0,
    // What PostgreSQL holds is whole already; here rows come in any order.
    enableForeignKeyConstraints: false,
  });
  const carried: Carried = { rows: 0, added: 0, changed: 0, removed: 0 };
  try {
    await whenFree(name, context.signal, () => {
      db.exec('PRAGMA ignore_check_constraints = ON; PRAGMA temp_store = FILE; PRAGMA synchronous = FULL');
      db.exec('BEGIN IMMEDIATE');
    });
    const triggers = holdTriggers(db, mapping);
    for (const [place, table] of mapping.tables.entries()) {
      const one = new TableBack(db, { table, place, name });
      for await (const keys of capturedKeys(work, table)) one.setAside(keys);
      for await (const keys of capturedKeys(work, table)) {
        for await (const rows of heldRows(work, table, keys)) one.apply(rows);
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
    // In some modes of the file no commit passes whoever reads it.
    await whenFree(name, context.signal, () => db.exec('COMMIT'));
    return carried;
  } catch (error) {
    // The error that counts is the first one; what cannot be rolled back now is when the file is opened next.
    try {
      if (db.isTransaction) db.exec('ROLLBACK');
    } catch {}
    throw notWritten(name, error);
  }
}

/** SQLite's own refusals in our words; a file that stayed locked, and whatever else has its words already, as it is. */
function notWritten(name: string, error: unknown): unknown {
  const type = failureType(error);
  const said = type === undefined || type === 'UndoFailed' || type === 'Unreachable' ? error : causeOf(error);
  if (!(said instanceof Error) || !('errcode' in said)) return error;
  throw fail(
    'UndoFailed',
    `The rows could not be written to '${name}' (${messageOf(said)}); it is as it was, and writes stay held. See that the worker may write the file and its folder and that the disk has room, then try again.`,
    said,
  );
}

function causeOf(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}

/** Takes the triggers of the tables away, and gives what makes them again: their work was done in PostgreSQL. */
function holdTriggers(db: DatabaseSync, mapping: Mapping): string[] {
  // A trigger has the name of its table as it was written there, which need not have its capitals.
  const names = new Set(mapping.tables.map(({ source }) => source.name.toLowerCase()));
  const found = db
    .prepare(`SELECT name, tbl_name, sql FROM main.sqlite_schema WHERE type = 'trigger' ORDER BY rowid`)
    .all()
    .filter(({ tbl_name }) => names.has(String(tbl_name).toLowerCase()));
  for (const { name } of found) db.exec(`DROP TRIGGER main.${quote(String(name))}`);
  return found.map(({ sql }) => String(sql));
}

/** The keys that were noted of a table, page by page. */
async function* capturedKeys({ connection, context, owner }: CarryWork, table: MappedTable) {
  for (let after = '\\x'; ;) {
    const rows = await connection.query(
      `SELECT id, key FROM countdown.captured WHERE run = $1 AND step = $2 AND "table" = $3 AND id > $4::bytea ORDER BY id LIMIT ${KEYS_PAGE}`,
      [owner.run, owner.step, table.target, after],
    );
    const keys = rows.map(([, key]): Key => ({ texts: JSON.parse(key ?? '[]') }));
    if (keys.length > 0) yield keys;
    if (keys.length < KEYS_PAGE) return;
    after = rows.at(-1)?.[0] ?? after;
    await breathe(context.signal);
  }
}

/** What PostgreSQL holds under these keys now, few rows at a time: a row may be of many megabytes. */
async function* heldRows({ connection, context }: CarryWork, table: MappedTable, keys: readonly Key[]) {
  const own = keyColumns(table);
  const lists = own.map((_, place) => {
    const texts = keys.map((key) => key.texts[place] ?? '');
    return `${literal(arrayText(texts))}::text[]`;
  });
  const asked = own.map((_, place) => `k${place}`).join(', ');
  const join = own
    .map(({ target, type }, place) => `t.${quote(target)} = asked.k${place}::${type}`)
    .join(' AND ');
  const columns = table.columns.map(({ target }) => `t.${quote(target)}`).join(', ');
  const sql = `SELECT ${asked}, ${columns} FROM unnest(${lists.join(', ')}) AS asked (${asked}) JOIN ${placeOf(table)} AS t ON ${join}`;
  const lines = readTargetLines(connection, sql, { signal: context.signal, normalize: undefined });
  try {
    for (;;) {
      const taken = await lines.take(ROWS_HELD);
      if (taken.length === 0) return;
      yield taken.map((line): HeldRow => {
        const fields = line.split('\t');
        return {
          key: { texts: fields.slice(0, own.length).map(unescapeField) },
          fields: table.columns.map(({ encoding }, place) =>
            normalField(encoding, fields[own.length + place]),
          ),
        };
      });
    }
  } finally {
    lines.close();
  }
}

/** A list as PostgreSQL's own text of an array. */
function arrayText(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`).join(',')}}`;
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
