/** Rows whose foreign keys point at nothing, in the source or under the keys of a target whose tables are there. */
import { counted } from '../counted.ts';
import type { MappedSource } from '../import-source.ts';
import type { MappedTable } from '../mapping.ts';
import type { Connection } from '../postgres.ts';
import { quote, quoteText, runAside } from '../sqlite.ts';
import type { ForeignKey } from '../sqlite-schema.ts';
import type { Encoding } from './encoding.ts';
import { skipLine } from './lines.ts';
import { REFUSED_LISTED_MAX, refusalOf } from './refusals.ts';
import type { Refusal } from './refusals.ts';

/** What keeps rows without a parent out of the target, each in words with what would allow it. */
export async function refusedOrphans(
  mapped: MappedSource,
  { target, signal }: { target: Connection | undefined; signal: AbortSignal },
): Promise<Refusal[]> {
  const own = await findOrphans(mapped, signal);
  const others = target === undefined ? [] : await findTargetOrphans(mapped, target, signal);
  const lines = [...own, ...others];
  const total = `${lines.length >= REFUSED_LISTED_MAX ? 'at least ' : ''}${counted(lines.length, 'row')}`;
  return refusalOf(
    'PreconditionFailed',
    lines,
    (some) =>
      `'${mapped.source.name}' has ${total} whose foreign key points at nothing: ${some}. Correct them first.`,
  );
}

/** SQLite itself finds those of its own keys. */
async function findOrphans({ source, mapping }: MappedSource, signal: AbortSignal): Promise<string[]> {
  const tables = mapping.tables.filter(({ source: table }) => table.foreignKeys.length > 0);
  if (tables.length === 0) return [];
  const job = { path: source.path, sql: tables.map(orphansOf), rowsMax: REFUSED_LISTED_MAX };
  const found = await runAside(source.name, job, signal);
  return tables.flatMap((table, place) =>
    (found[place] ?? []).map(({ id, row }) => {
      const key = table.source.foreignKeys.find((one) => one.id === id);
      const line = `foreign key ${table.source.name}.${key?.columns.join(',')}`;
      return `${String(row)} (to carry it without the key: ${skipLine(line)})`;
    }),
  );
}

/** The rows of a table that break a key which is carried, and which one. */
function orphansOf({ source: table }: MappedTable): string {
  const { name, storageKey, foreignKeys } = table;
  const label = ({ columns, parent }: ForeignKey): string =>
    labelOf(name, { own: storageKey, columns, parent });
  const isStoredByKey =
    table.rowidAlias === null && table.columns.some((column) => column.name === storageKey[0]);
  // SQLite does not say which rows of such a table they are.
  if (isStoredByKey)
    return foreignKeys
      .map((key) => {
        const where = missing(key.columns.map(quote), key.parentColumns.map(quote), key.parent);
        return `SELECT ${key.id} AS id, ${label(key)} AS row FROM ${quote(name)} WHERE ${where}`;
      })
      .join(' UNION ALL ');
  const labels = foreignKeys.map((key) => `WHEN ${key.id} THEN ${label(key)}`).join(' ');
  const ids = foreignKeys.map(({ id }) => id).join(', ');
  return `WITH broken (countdown_row, countdown_key) AS (SELECT rowid, fkid FROM pragma_foreign_key_check(${quoteText(name)}))
    SELECT countdown_key AS id, CASE countdown_key ${labels} END AS row FROM broken JOIN ${quote(name)} ON ${quote(storageKey[0] ?? '')} = countdown_row
    WHERE countdown_key IN (${ids}) ORDER BY countdown_key, countdown_row`;
}

/** `songs rowid=4 has no parent in albums for album=9`, as an expression of SQLite. */
function labelOf(
  table: string,
  { own, columns, parent }: { own: string[]; columns: string[]; parent: string },
): string {
  return `${quoteText(table)} || ${cellsOf(own)} || ${quoteText(` has no parent in ${parent} for`)} || ${cellsOf(columns)}`;
}

function cellsOf(names: string[]): string {
  return names.map((name) => `${quoteText(` ${name}=`)} || quote(${quote(name)})`).join(' || ');
}

function filled(names: string[]): string {
  return names.map((name) => `${name} IS NOT NULL`).join(' AND ');
}

function missing(columns: string[], parentColumns: string[], parent: string): string {
  return `${filled(columns)} AND (${columns.join(', ')}) NOT IN (SELECT ${parentColumns.join(', ')} FROM ${quote(parent)} WHERE ${filled(parentColumns)})`;
}

/** Those of keys that only the target has. Keys to tables that take no rows of the source are not looked at. */
async function findTargetOrphans(
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
    const sql = `SELECT ${label} AS row FROM ${quote(child.source.name)} WHERE ${missing(carried, wanted, other.source.name)}`;
    const [rows = []] = await runAside(
      source.name,
      { path: source.path, sql: [sql], encodings, rowsMax: REFUSED_LISTED_MAX },
      signal,
    );
    for (const { row } of rows)
      found.push(`${String(row)} (foreign key ${quote(name)} of the target wants one)`);
  }
  return found.slice(0, REFUSED_LISTED_MAX);
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
