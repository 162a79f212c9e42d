/** Rows whose foreign keys point at nothing, in the source or under the keys of a target whose tables are there. */
import type { MappedSource } from '../import-source.ts';
import type { MappedTable } from '../mapping.ts';
import type { Connection } from '../postgres.ts';
import { quote, runAside } from '../sqlite.ts';
import type { Source } from '../sqlite.ts';
import type { ForeignKey } from '../sqlite-schema.ts';
import type { Encoding } from './encoding.ts';
import { skipLine } from './lines.ts';

/** Rows of one key that are named. */
const NAMED_MAX = 10;

/** Each in words with what would allow it. SQLite itself finds those of its own keys. */
export async function findOrphans({ source, mapping }: MappedSource, signal: AbortSignal): Promise<string[]> {
  const tables = mapping.tables.filter(({ source: table }) => table.foreignKeys.length > 0);
  if (tables.length === 0) return [];
  const sql = tables.map(({ source: table }) => `PRAGMA foreign_key_check(${quote(table.name)})`);
  const rows = await runAside(source.name, { path: source.path, sql }, signal);
  const found: string[] = [];
  for (const [place, table] of tables.entries()) {
    for (const key of table.source.foreignKeys) {
      const broken = (rows[place] ?? []).filter((row) => row['fkid'] === key.id);
      if (broken.length === 0) continue;
      const line = `foreign key ${table.source.name}.${key.columns.join(',')}`;
      const rowids = broken.slice(0, NAMED_MAX).map((row) => String(row['rowid']));
      const labels = await nameRows(source, { table, key, rowids }, signal);
      found.push(
        ...broken.map(
          (_, at) =>
            `${labels[at] ?? `a row of ${table.source.name}`} (to carry it without the key: ${skipLine(line)})`,
        ),
      );
    }
  }
  return found;
}

async function nameRows(
  source: Source,
  { table, key, rowids }: { table: MappedTable; key: ForeignKey; rowids: string[] },
  signal: AbortSignal,
): Promise<string[]> {
  const { storageKey, name } = table.source;
  // A table WITHOUT ROWID names none.
  const where = rowids.includes('null')
    ? missing(key.columns.map(quote), key.parentColumns.map(quote), key.parent)
    : `${quote(storageKey[0] ?? 'rowid')} IN (${rowids.join(', ')})`;
  const own = rowids.includes('null') ? storageKey : ['rowid'];
  const label = labelOf(name, { own, columns: key.columns, parent: key.parent });
  const sql = `SELECT ${label} AS row FROM ${quote(name)} WHERE ${where} LIMIT ${NAMED_MAX}`;
  const [rows = []] = await runAside(source.name, { path: source.path, sql: [sql] }, signal);
  return rows.map(({ row }) => String(row));
}

/** `songs rowid=4 has no parent in albums for album=9`, as an expression of SQLite. */
function labelOf(
  table: string,
  { own, columns, parent }: { own: string[]; columns: string[]; parent: string },
): string {
  const cells = (names: string[]): string =>
    names.map((name) => `${text(` ${name}=`)} || quote(${quote(name)})`).join(' || ');
  return `${text(table)} || ${cells(own)} || ${text(` has no parent in ${parent} for`)} || ${cells(columns)}`;
}

function text(words: string): string {
  return `'${words.replaceAll("'", "''")}'`;
}

function filled(names: string[]): string {
  return names.map((name) => `${name} IS NOT NULL`).join(' AND ');
}

function missing(columns: string[], parentColumns: string[], parent: string): string {
  return `${filled(columns)} AND (${columns.join(', ')}) NOT IN (SELECT ${parentColumns.join(', ')} FROM ${quote(parent)} WHERE ${filled(parentColumns)})`;
}

/** Those of keys that only the target has. Keys to tables that take no rows of the source are not looked at. */
export async function findTargetOrphans(
  { source, mapping }: MappedSource,
  connection: Connection,
  signal: AbortSignal,
): Promise<string[]> {
  const found: string[] = [];
  for (const { name, table, columns, parent, parentColumns } of await targetKeys(connection)) {
    const child = mapping.tables.find(({ target }) => target === table);
    const other = mapping.tables.find(({ target }) => target === parent);
    if (child === undefined || other === undefined) continue;
    const own = named(child, columns);
    const theirs = named(other, parentColumns);
    if (own === undefined || theirs === undefined) continue;
    if (own.some(({ encoding }, at) => encoding.as !== theirs[at]?.encoding.as)) continue;
    const encodings: Encoding[] = [...own, ...theirs].map(({ encoding }) => encoding);
    const carried = own.map((column, at) => `carried(${at}, ${quote(column.name)})`);
    const wanted = theirs.map((column, at) => `carried(${own.length + at}, ${quote(column.name)})`);
    const label = labelOf(child.source.name, {
      own: child.source.storageKey,
      columns: own.map((column) => column.name),
      parent: other.source.name,
    });
    const sql = `SELECT ${label} AS row FROM ${quote(child.source.name)} WHERE ${missing(carried, wanted, other.source.name)} LIMIT ${NAMED_MAX}`;
    const [rows = []] = await runAside(source.name, { path: source.path, sql: [sql], encodings }, signal);
    found.push(
      ...rows.map(({ row }) => `${String(row)} (foreign key ${quote(name)} of the target wants one)`),
    );
  }
  return found;
}

function named(table: MappedTable, targets: string[]): MappedTable['columns'] | undefined {
  const columns = targets.flatMap((target) => table.columns.find((column) => column.target === target) ?? []);
  return columns.length === targets.length ? columns : undefined;
}

type TargetKey = {
  name: string;
  table: string;
  columns: string[];
  parent: string;
  parentColumns: string[];
};

/** The names of columns that an array numbers, as an expression of PostgreSQL. */
function namesOf(table: string, keys: string): string {
  return `(SELECT json_agg(a.attname ORDER BY u.place) FROM unnest(${keys}) WITH ORDINALITY AS u (num, place) JOIN pg_attribute a ON a.attrelid = ${table} AND a.attnum = u.num)`;
}

async function targetKeys(connection: Connection): Promise<TargetKey[]> {
  const rows = await connection.query(
    `SELECT k.conname, c.relname, ${namesOf('k.conrelid', 'k.conkey')}, p.relname, ${namesOf('k.confrelid', 'k.confkey')}
     FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class p ON p.oid = k.confrelid
     WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relnamespace = 'public'::regnamespace AND p.relnamespace = 'public'::regnamespace ORDER BY 1, 2`,
  );
  return rows.map(([name, table, own, parent, theirs]) => ({
    name: name ?? '',
    table: table ?? '',
    columns: JSON.parse(own ?? '[]') as string[],
    parent: parent ?? '',
    parentColumns: JSON.parse(theirs ?? '[]') as string[],
  }));
}
