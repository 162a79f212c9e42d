/**
 * The schema of a SQLite file as data, and what in it cannot be carried. SQLite's pragmas tell columns, keys and
 * indexes exactly; what they leave out (CHECK, COLLATE, DEFERRABLE, ON CONFLICT) is looked for in the statement itself.
 */
import { createHash } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { quote } from './sqlite.ts';

export type SourceColumn = {
  name: string;
  /** As declared, upper case, without `(…)`; empty where none was. */
  declared: string;
  notNull: boolean;
  /** The expression after DEFAULT; null for none. */
  defaultSql: string | null;
};

export type SourceIndex = { name: string; unique: boolean; columns: { name: string; descending: boolean }[] };

export type ForeignKey = {
  columns: string[];
  parent: string;
  parentColumns: string[];
  onUpdate: string;
  onDelete: string;
};

export type SourceTable = {
  name: string;
  columns: SourceColumn[];
  /** Columns by which rows are stored: a name of the rowid, or the primary key of a table WITHOUT ROWID. */
  storageKey: string[];
  /** null where the table has none. */
  primaryKey: string[] | null;
  /** The INTEGER PRIMARY KEY column that is the rowid itself. */
  rowidAlias: string | null;
  /** The AUTOINCREMENT counter; null without one. */
  sequence: bigint | null;
  uniques: string[][];
  indexes: SourceIndex[];
  foreignKeys: ForeignKey[];
};

export type SourceSchema = {
  /** By name. */
  tables: SourceTable[];
  /** What cannot be carried, each in words. */
  refused: string[];
  /** sha256 over every statement of the schema and `user_version`. */
  digest: string;
};

type Row = Record<string, unknown>;

/** Reads the whole schema. Fast: it looks at no row. */
export function readSchema(db: DatabaseSync): SourceSchema {
  const refused: string[] = [];
  const objects = all(
    db,
    `SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name`,
  );
  for (const object of objects) refused.push(...refuseObject(object));
  const listed = all(
    db,
    `SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' ORDER BY name COLLATE BINARY`,
  );
  const tables: SourceTable[] = [];
  for (const row of listed) {
    const name = text(row['name']);
    if (name.startsWith('sqlite_') || row['type'] === 'view') continue;
    if (row['type'] !== 'table') {
      refused.push(`${text(row['type'])} table ${quote(name)}`);
      continue;
    }
    tables.push(readTable(db, { name, withoutRowid: row['wr'] === 1 }, refused));
  }
  for (const table of tables) table.foreignKeys = readForeignKeys(db, table, tables, refused);
  return { tables, refused, digest: schemaDigest(db) };
}

/** sha256 over every statement of the schema and `user_version`: the STATE of a SQLite target. */
export function schemaDigest(db: DatabaseSync): string {
  const objects = all(
    db,
    `SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name, tbl_name`,
  );
  const version = all(db, 'PRAGMA user_version')[0]?.['user_version'];
  return createHash('sha256')
    .update(JSON.stringify([objects.map((row) => Object.values(row)), version]))
    .digest('hex');
}

function refuseObject(object: Row): string[] {
  const name = quote(text(object['name']));
  if (object['type'] === 'view') return [`view ${name}`];
  if (object['type'] === 'trigger') return [`trigger ${name} on ${quote(text(object['tbl_name']))}`];
  const found: string[] = [];
  const sql = withoutQuoted(text(object['sql']));
  const what = `${text(object['type'])} ${name}`;
  if (/\bCHECK\b/i.test(sql)) found.push(`CHECK constraint of ${what}`);
  if (/\bCOLLATE\s+(?!BINARY\b)/i.test(sql)) found.push(`COLLATE of ${what}`);
  if (/\bDEFERRABLE\b/i.test(sql)) found.push(`DEFERRABLE foreign key of ${what}`);
  if (/\bON\s+CONFLICT\b/i.test(sql)) found.push(`ON CONFLICT of ${what}`);
  return found;
}

/** The statement without strings, quoted names and comments, so that only keywords are left to find. */
function withoutQuoted(sql: string): string {
  return sql.replace(
    /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/g,
    (found) => (found.startsWith('-') || found.startsWith('/') ? ' ' : ' _ '),
  );
}

function readTable(
  db: DatabaseSync,
  { name, withoutRowid }: { name: string; withoutRowid: boolean },
  refused: string[],
): SourceTable {
  const columns: SourceColumn[] = [];
  const keyed: { name: string; place: number }[] = [];
  for (const row of all(db, `PRAGMA table_xinfo(${quote(name)})`)) {
    const column = text(row['name']);
    if (row['hidden'] !== 0) refused.push(`generated or hidden column ${quote(name)}.${quote(column)}`);
    columns.push({
      name: column,
      declared: normalType(text(row['type'])),
      notNull: row['notnull'] === 1,
      defaultSql: row['dflt_value'] === null ? null : text(row['dflt_value']),
    });
    if (typeof row['pk'] === 'number' && row['pk'] > 0) keyed.push({ name: column, place: row['pk'] });
  }
  const primaryKey = keyed.toSorted((a, b) => a.place - b.place).map((column) => column.name);
  const { uniques, indexes, hasKeyIndex } = readIndexes(db, name, refused);
  const rowidAlias =
    !withoutRowid && primaryKey.length === 1 && !hasKeyIndex ? (primaryKey[0] ?? null) : null;
  return {
    name,
    columns,
    storageKey: withoutRowid ? primaryKey : [rowidAlias ?? rowidName(name, columns, refused)],
    primaryKey: primaryKey.length === 0 ? null : primaryKey,
    rowidAlias,
    sequence: readSequence(db, name),
    uniques,
    indexes,
    foreignKeys: [],
  };
}

/** `numeric( 10 , 2 )` → `NUMERIC`. */
function normalType(declared: string): string {
  return declared.replace(/\(.*$/s, '').trim().replace(/\s+/g, ' ').toUpperCase();
}

function rowidName(table: string, columns: SourceColumn[], refused: string[]): string {
  const taken = new Set(columns.map((column) => column.name.toLowerCase()));
  const free = ['rowid', '_rowid_', 'oid'].find((name) => !taken.has(name));
  if (free === undefined) refused.push(`table ${quote(table)}, whose columns hide every name of the rowid`);
  return free ?? 'rowid';
}

function readIndexes(
  db: DatabaseSync,
  table: string,
  refused: string[],
): { uniques: string[][]; indexes: SourceIndex[]; hasKeyIndex: boolean } {
  const uniques: string[][] = [];
  const indexes: SourceIndex[] = [];
  let hasKeyIndex = false;
  for (const row of all(
    db,
    `SELECT name, "unique", origin, partial FROM pragma_index_list(?) ORDER BY name COLLATE BINARY`,
    table,
  )) {
    const name = text(row['name']);
    const keys = all(
      db,
      `SELECT name, "desc", coll FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno`,
      name,
    );
    if (keys.some((key) => key['name'] === null)) refused.push(`index ${quote(name)} on an expression`);
    else if (row['partial'] !== 0) refused.push(`partial index ${quote(name)}`);
    if (keys.some((key) => text(key['coll']).toUpperCase() !== 'BINARY'))
      refused.push(`collation of index ${quote(name)}`);
    const columns = keys.map((key) => ({ name: text(key['name']), descending: key['desc'] === 1 }));
    if (row['origin'] === 'pk') hasKeyIndex = true;
    else if (row['origin'] === 'u') uniques.push(columns.map((column) => column.name));
    else indexes.push({ name, unique: row['unique'] === 1, columns });
  }
  return { uniques, indexes, hasKeyIndex };
}

function readSequence(db: DatabaseSync, table: string): bigint | null {
  if (all(db, `SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'`).length === 0) return null;
  const statement = db.prepare('SELECT CAST(seq AS INTEGER) AS seq FROM sqlite_sequence WHERE name = ?');
  statement.setReadBigInts(true);
  const seq = statement.get(table)?.['seq'];
  return typeof seq === 'bigint' ? seq : null;
}

function readForeignKeys(
  db: DatabaseSync,
  table: SourceTable,
  tables: SourceTable[],
  refused: string[],
): ForeignKey[] {
  const rows = all(
    db,
    `SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?) ORDER BY id, seq`,
    table.name,
  );
  const found: ForeignKey[] = [];
  for (const group of Map.groupBy(rows, (row) => row['id']).values()) {
    const columns = group.map((row) => exact(text(row['from']), names(table)));
    const parentName = text(group[0]?.['table']);
    const label = `foreign key ${quote(table.name)} (${columns.map(quote).join(', ')})`;
    const parent = tables.find((other) => other.name.toLowerCase() === parentName.toLowerCase());
    if (parent === undefined) {
      refused.push(`${label}, whose table ${quote(parentName)} does not exist`);
      continue;
    }
    const named = group.map((row) => row['to']);
    const parentColumns = named.every((to) => typeof to === 'string')
      ? named.map((to) => exact(to, names(parent)))
      : (parent.primaryKey ?? []);
    if (parentColumns.length !== columns.length || !isUnique(parent, parentColumns)) {
      refused.push(`${label}, whose columns in ${quote(parent.name)} are not unique`);
      continue;
    }
    const first = group[0] ?? {};
    found.push({
      columns,
      parent: parent.name,
      parentColumns,
      onUpdate: text(first['on_update']),
      onDelete: text(first['on_delete']),
    });
  }
  return found;
}

function isUnique(table: SourceTable, columns: string[]): boolean {
  const wanted = columns.toSorted().join('\0');
  const keys = [table.primaryKey ?? [], ...table.uniques];
  for (const index of table.indexes) if (index.unique) keys.push(index.columns.map((column) => column.name));
  return keys.some((key) => key.length > 0 && key.toSorted().join('\0') === wanted);
}

function names(table: SourceTable): string[] {
  return table.columns.map((column) => column.name);
}

/** The name as the table spells it: SQLite compares names without regard to case. */
function exact(name: string, known: string[]): string {
  return known.find((other) => other.toLowerCase() === name.toLowerCase()) ?? name;
}

function all(db: DatabaseSync, sql: string, ...values: string[]): Row[] {
  return db.prepare(sql).all(...values);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
