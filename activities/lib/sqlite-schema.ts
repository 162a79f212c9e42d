/**
 * The schema of a SQLite file as data, and what in it cannot be carried. SQLite's pragmas tell columns, keys and
 * indexes exactly; what they leave out (CHECK, COLLATE, DEFERRED, ON CONFLICT) is looked for in the statement itself.
 */
import { createHash } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { quote } from './sqlite.ts';

export type SourceColumn = {
  name: string;
  /** SQLite computes it. */
  generated: boolean;
  /** As declared, upper case, without `(…)`; empty where none was. */
  declared: string;
  /** What the type says about the length, as in VARCHAR(80); null for nothing. SQLite does not hold it. */
  length: number | null;
  notNull: boolean;
  /** The expression after DEFAULT; null for none. */
  defaultSql: string | null;
};

/** A column of an index. `folds`: how it compares where that is not byte by byte. */
export type IndexColumn = { name: string; descending: boolean; folds?: 'NOCASE' | 'RTRIM' };

export type SourceIndex = { name: string; unique: boolean; columns: IndexColumn[] };

export type ForeignKey = {
  /** As `foreign_key_check` names it. */
  id: number;
  columns: string[];
  parent: string;
  parentColumns: string[];
  onUpdate: string;
  onDelete: string;
  /** It is looked at when a transaction ends. */
  deferred: boolean;
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

/** Something that is not carried. It is refused unless `skip` of the step lists it. */
export type Unsupported = {
  /** The line of `skip` that would leave it behind: `view songs_by_year`. Empty where nothing would. */
  skip: string;
  /** As a message names it. */
  words: string;
  /** It holds rows of its own, so that leaving it behind leaves data behind. */
  data?: true;
};

export type SourceSchema = {
  /** By name. */
  tables: SourceTable[];
  /** What cannot be carried. */
  unsupported: Unsupported[];
  /** Lines of `skip` that name something which is there, whether it could be carried or not. */
  known: Set<string>;
  /** sha256 over every statement of the schema and `user_version`. */
  digest: string;
};

type Row = Record<string, unknown>;

/** Reads the whole schema but the tables that `skip` names (`table NAME`). Fast: it looks at no row. */
export function readSchema(db: DatabaseSync, skip: readonly string[] = []): SourceSchema {
  const unsupported: Unsupported[] = [];
  const left = (name: string): boolean => skip.includes(`table ${name}`);
  const listed = all(
    db,
    `SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' ORDER BY name COLLATE BINARY`,
  );
  const shadows = new Set(listed.filter((row) => row['type'] === 'shadow').map((row) => text(row['name'])));
  for (const object of all(db, OBJECTS)) {
    const table = text(object['tbl_name']);
    if (!shadows.has(table) && !left(table)) unsupported.push(...unsupportedOf(object));
  }
  const tables: SourceTable[] = [];
  for (const row of listed) {
    const name = text(row['name']);
    if (name.startsWith('sqlite_') || row['type'] === 'view' || row['type'] === 'shadow') continue;
    const words = `${row['type'] === 'table' ? '' : `${text(row['type'])} `}table ${quote(name)}`;
    if (left(name) || row['type'] !== 'table') unsupported.push({ skip: `table ${name}`, words, data: true });
    else tables.push(readTable(db, { name, withoutRowid: row['wr'] === 1 }, unsupported));
  }
  for (const table of tables) table.foreignKeys = readForeignKeys(db, table, tables, unsupported);
  return { tables, unsupported, known: knownLines(db, listed), digest: schemaDigest(db) };
}

function knownLines(db: DatabaseSync, listed: Row[]): Set<string> {
  const known = new Set<string>();
  for (const object of all(db, OBJECTS)) {
    const name = text(object['name']);
    for (const word of [text(object['type']), 'check', 'collation', 'conflict']) known.add(`${word} ${name}`);
  }
  for (const row of listed) {
    const table = text(row['name']);
    if (row['type'] !== 'table') continue;
    for (const column of all(db, 'SELECT name FROM pragma_table_xinfo(?)', table))
      for (const word of ['column', 'generated', 'default', 'counter'])
        known.add(`${word} ${table}.${text(column['name'])}`);
    const keys = all(db, 'SELECT id, "from" FROM pragma_foreign_key_list(?) ORDER BY id, seq', table);
    for (const group of Map.groupBy(keys, (key) => key['id']).values())
      known.add(`foreign key ${table}.${group.map((key) => text(key['from'])).join(',')}`);
  }
  return known;
}

const OBJECTS = `SELECT type, name, tbl_name, sql FROM sqlite_schema
  WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name, tbl_name`;

/** sha256 over every statement of the schema and `user_version`: the STATE of a SQLite target. */
export function schemaDigest(db: DatabaseSync): string {
  const objects = all(db, OBJECTS);
  const version = all(db, 'PRAGMA user_version')[0]?.['user_version'];
  return createHash('sha256')
    .update(JSON.stringify([objects.map((row) => Object.values(row)), version]))
    .digest('hex');
}

function unsupportedOf(object: Row): Unsupported[] {
  const [name, type] = [text(object['name']), text(object['type'])];
  const what = `${type} ${quote(name)}`;
  if (type === 'view') return [{ skip: `view ${name}`, words: what }];
  if (type === 'trigger')
    return [{ skip: `trigger ${name}`, words: `${what} on ${quote(text(object['tbl_name']))}` }];
  const sql = withoutQuoted(text(object['sql']));
  if (/^\s*CREATE\s+VIRTUAL\b/i.test(sql)) return [];
  const found: Unsupported[] = [];
  if (/\bCHECK\b/i.test(sql)) found.push({ skip: `check ${name}`, words: `CHECK constraint of ${what}` });
  if (/\bCOLLATE\s+(?!BINARY\b)/i.test(sql))
    found.push({ skip: `collation ${name}`, words: `COLLATE of ${what}` });
  if (/\bON\s+CONFLICT\b/i.test(sql))
    found.push({ skip: `conflict ${name}`, words: `ON CONFLICT of ${what}` });
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
  unsupported: Unsupported[],
): SourceTable {
  const columns: SourceColumn[] = [];
  const keyed: { name: string; place: number }[] = [];
  for (const row of all(db, `PRAGMA table_xinfo(${quote(name)})`)) {
    const column = text(row['name']);
    const generated = row['hidden'] !== 0;
    if (generated)
      unsupported.push({
        skip: `generated ${name}.${column}`,
        words: `generated or hidden column ${quote(name)}.${quote(column)}`,
      });
    columns.push({
      name: column,
      generated,
      declared: normalType(text(row['type'])),
      length: Number(/CHAR\w*\s*\(\s*(\d+)\s*\)/i.exec(text(row['type']))?.[1] ?? 0) || null,
      notNull: row['notnull'] === 1,
      defaultSql: row['dflt_value'] === null ? null : text(row['dflt_value']),
    });
    if (typeof row['pk'] === 'number' && row['pk'] > 0) keyed.push({ name: column, place: row['pk'] });
  }
  const primaryKey = keyed.toSorted((a, b) => a.place - b.place).map((column) => column.name);
  const { uniques, indexes, hasKeyIndex } = readIndexes(db, name, unsupported);
  const rowidAlias =
    !withoutRowid && primaryKey.length === 1 && !hasKeyIndex ? (primaryKey[0] ?? null) : null;
  return {
    name,
    columns,
    storageKey: withoutRowid ? primaryKey : [rowidAlias ?? rowidName(name, columns, unsupported)],
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

function rowidName(table: string, columns: SourceColumn[], unsupported: Unsupported[]): string {
  const taken = new Set(columns.map((column) => column.name.toLowerCase()));
  const free = ['rowid', '_rowid_', 'oid'].find((name) => !taken.has(name));
  if (free === undefined)
    unsupported.push({
      skip: `table ${table}`,
      words: `table ${quote(table)}, whose columns hide every name of the rowid`,
    });
  return free ?? 'rowid';
}

function readIndexes(
  db: DatabaseSync,
  table: string,
  unsupported: Unsupported[],
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
    const odd = keys.some((key) => key['name'] === null)
      ? `index ${quote(name)} on an expression`
      : row['partial'] !== 0
        ? `partial index ${quote(name)}`
        : keys.some((key) => !FOLDS.includes(text(key['coll']).toUpperCase()))
          ? `collation of index ${quote(name)}`
          : undefined;
    if (row['origin'] === 'pk') hasKeyIndex = true;
    if (odd !== undefined) {
      unsupported.push({ skip: `index ${name}`, words: odd });
      continue;
    }
    const columns = keys.map(indexColumn);
    const folds = columns.some((column) => column.folds !== undefined);
    if (row['origin'] === 'u' && !folds) uniques.push(columns.map((column) => column.name));
    // Without a name PostgreSQL makes one up. A key that folds is also unique in its folded form.
    else if (row['origin'] !== 'c' && folds) indexes.push({ name: '', unique: true, columns });
    else if (row['origin'] === 'c') indexes.push({ name, unique: row['unique'] === 1, columns });
  }
  return { uniques, indexes, hasKeyIndex };
}

const FOLDS = ['BINARY', 'NOCASE', 'RTRIM'];

function indexColumn(key: Row): IndexColumn {
  const collation = text(key['coll']).toUpperCase();
  const column = { name: text(key['name']), descending: key['desc'] === 1 };
  return collation === 'NOCASE' || collation === 'RTRIM' ? { ...column, folds: collation } : column;
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
  unsupported: Unsupported[],
): ForeignKey[] {
  const rows = all(
    db,
    `SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?) ORDER BY id, seq`,
    table.name,
  );
  const found: ForeignKey[] = [];
  const clauses = foreignKeyClauses(db, table.name);
  for (const group of Map.groupBy(rows, (row) => row['id']).values()) {
    const columns = group.map((row) => exact(text(row['from']), names(table)));
    const parentName = text(group[0]?.['table']);
    const label = `foreign key ${quote(table.name)} (${columns.map(quote).join(', ')})`;
    const skip = `foreign key ${table.name}.${columns.join(',')}`;
    const parent = tables.find((other) => other.name.toLowerCase() === parentName.toLowerCase());
    if (parent === undefined) {
      unsupported.push({ skip, words: `${label}, whose table ${quote(parentName)} does not exist` });
      continue;
    }
    const named = group.map((row) => row['to']);
    const parentColumns = named.every((to) => typeof to === 'string')
      ? named.map((to) => exact(to, names(parent)))
      : (parent.primaryKey ?? []);
    if (parentColumns.length !== columns.length || !isUnique(parent, parentColumns)) {
      unsupported.push({ skip, words: `${label}, whose columns in ${quote(parent.name)} are not unique` });
      continue;
    }
    const first = group[0] ?? {};
    const id = Number(first['id']);
    found.push({
      id,
      columns,
      parent: parent.name,
      parentColumns,
      onUpdate: text(first['on_update']),
      onDelete: text(first['on_delete']),
      // The key that was written last has the first number.
      deferred: DEFERRED.test(clauses.at(-1 - id) ?? ''),
    });
  }
  return found;
}

const DEFERRED = /(?<!\bNOT\s+)\bDEFERRABLE\s+INITIALLY\s+DEFERRED\b/i;

/** What stands behind each REFERENCES of a table, in the order in which it is written. */
function foreignKeyClauses(db: DatabaseSync, table: string): string[] {
  const [row] = all(db, `SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?`, table);
  return withoutQuoted(text(row?.['sql']))
    .split(/\bREFERENCES\b/i)
    .slice(1);
}

function isUnique(table: SourceTable, columns: string[]): boolean {
  const wanted = columns.toSorted().join('\0');
  const keys = [table.primaryKey ?? [], ...table.uniques];
  for (const index of table.indexes) {
    const folds = index.columns.some((column) => column.folds !== undefined);
    if (index.unique && !folds) keys.push(index.columns.map((column) => column.name));
  }
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
