/**
 * Rows that SQLite tells apart and PostgreSQL would not, under a key that must be unique there: `'Ann'` and `'ann'` under
 * citext, 1 and `'true'` as booleans, two spellings of one moment. Found before anything is copied, both rows named.
 */
import { isCitext } from '../compare.ts';
import type { MappedSource } from '../import-source.ts';
import type { MappedColumn, MappedTable, Mapping } from '../mapping.ts';
import { quote, quoteText, runAside } from '../sqlite.ts';
import type { Encoding } from './encoding.ts';
import { mappingLine, skipLine } from './lines.ts';
import { REFUSED_LISTED_MAX, refusalOf } from './refusals.ts';
import type { Refusal } from './refusals.ts';

/** How a unique key of the target compares a column. `folds`: without regard to case, as SQLite does or as PostgreSQL. */
export type KeyPart = { column: string; folds?: 'NOCASE' | 'RTRIM' | 'lower' };

/** A unique key of the target over columns of it. */
export type UniqueKey = { name: string; parts: KeyPart[]; nullsEqual: boolean };

/** What a thread groups rows by: the field of a cell, as the copy would write it. */
type Scan = { table: MappedTable; key: UniqueKey; sql: string; encodings: Encoding[] };

/** Pairs of rows that would be equal. */
export async function refusedDuplicates(
  { source, mapping }: MappedSource,
  keys: ReadonlyMap<string, UniqueKey[]>,
  signal: AbortSignal,
): Promise<Refusal[]> {
  const scans = mapping.tables.flatMap((table) => scansOf(mapping, table, keys.get(table.target) ?? []));
  const found: string[] = [];
  for (const scan of scans) {
    const { sql, encodings } = scan;
    const job = { path: source.path, sql: [sql], encodings, rowsMax: REFUSED_LISTED_MAX - found.length };
    const [pairs = []] = await runAside(source.name, job, signal);
    for (const pair of pairs) found.push(describe(mapping, scan, pair));
    if (found.length === REFUSED_LISTED_MAX) break;
  }
  return refusalOf(
    'VerificationFailed',
    found,
    (named) =>
      `'${source.name}' has rows that a unique key of the target would not tell apart: ${named}. Nothing was changed.`,
  );
}

function scansOf(mapping: Mapping, table: MappedTable, keys: readonly UniqueKey[]): Scan[] {
  const wanted = mapping.mode === 'existing' ? keys : sourceKeys(table);
  return wanted.flatMap((key) => {
    const scan = scanOf(table, key);
    return scan === undefined || isHeldBySource(table, key) ? [] : [scan];
  });
}

function plain(columns: string[]): UniqueKey {
  return { name: '', parts: columns.map((column) => ({ column })), nullsEqual: false };
}

/** The unique keys that the import makes, as it makes them. */
function sourceKeys({ source }: MappedTable): UniqueKey[] {
  return [
    ...(source.primaryKey === null ? [] : [plain(source.primaryKey)]),
    ...source.uniques.map(plain),
    ...source.indexes
      .filter(({ unique }) => unique)
      .map(({ name, columns }) => ({
        name,
        parts: columns.map((column) => ({
          column: column.name,
          ...(column.folds === undefined ? {} : { folds: column.folds }),
        })),
        nullsEqual: false,
      })),
  ];
}

/** Encodings under which two cells that SQLite tells apart can be one value. */
const MERGING: Encoding['as'][] = ['boolean', 'numeric', 'time', 'timestamp', 'timestamptz', 'uuid', 'jsonb'];

function merges({ encoding, type }: MappedColumn): boolean {
  return MERGING.includes(encoding.as) || 'any' in encoding || 'texts' in encoding || isCitext(type);
}

/** Whether SQLite holds at least this key itself, and nothing on the way merges its values. */
function isHeldBySource(table: MappedTable, { parts, nullsEqual }: UniqueKey): boolean {
  const columns = parts.map((part) => columnOf(table, part));
  if (nullsEqual || columns.some((column) => column === undefined || merges(column))) return false;
  const names = new Set(columns.map((column) => column?.name ?? ''));
  return sourceKeys(table).some(
    ({ parts: own }) =>
      own.length > 0 &&
      own.every(({ column, folds }) => {
        if (!names.has(column)) return false;
        const part = parts.find((one) => columnOf(table, one)?.name === column);
        return part?.folds === undefined || part.folds === folds;
      }),
  );
}

function columnOf(table: MappedTable, { column }: KeyPart): MappedColumn | undefined {
  return table.columns.find((one) => one.target === column);
}

function scanOf(table: MappedTable, key: UniqueKey): Scan | undefined {
  const encodings: Encoding[] = [];
  const values: string[] = [];
  const names: string[] = [];
  for (const part of key.parts) {
    const column = columnOf(table, part);
    if (column === undefined) return undefined;
    const name = quote(column.name);
    names.push(column.name);
    const isBytes = column.encoding.as === 'bytes';
    const field = isBytes ? `CAST(${name} AS BLOB)` : `carried(${encodings.length}, ${name})`;
    encodings.push(column.encoding);
    const isText = column.encoding.as === 'text';
    if (isText && (part.folds === 'lower' || isCitext(column.type))) values.push(`folded(${field})`);
    else if (isText && part.folds === 'NOCASE') values.push(`lower(${field})`);
    else if (isText && part.folds === 'RTRIM') values.push(`rtrim(${field}, ' ')`);
    else values.push(field);
  }
  const { storageKey, name } = table.source;
  const shown = [...storageKey, ...names.filter((one) => !storageKey.includes(one))];
  const label = shown
    .map((one, place) => `${quoteText(`${place === 0 ? '' : ' '}${one}=`)} || quote(${quote(one)})`)
    .join(' || ');
  const filled = key.nullsEqual ? 'true' : values.map((value) => `${value} IS NOT NULL`).join(' AND ');
  const sql = `SELECT min(${label}) AS one, max(${label}) AS other FROM ${quote(name)} WHERE ${filled}
    GROUP BY ${values.join(', ')} HAVING count(*) > 1`;
  return { table, key, sql, encodings };
}

function describe(mapping: Mapping, { table, key }: Scan, pair: Record<string, unknown>): string {
  const columns = key.parts.flatMap((part) => columnOf(table, part) ?? []);
  const folds =
    key.parts.some((part) => part.folds === 'lower') || columns.some(({ type }) => isCitext(type));
  const label = `${table.source.name} (${columns.map(({ name }) => name).join(', ')})`;
  return `${folds ? 'CaseDuplicate' : 'Duplicate'}: ${label} in the rows ${cut(pair['one'])} and ${cut(pair['other'])} (${remedy(mapping, { table, key, columns })})`;
}

function cut(text: unknown): string {
  const whole = String(text);
  return whole.length > 200 ? `${whole.slice(0, 200)}…` : whole;
}

function remedy(
  { mode }: Mapping,
  { table, key, columns }: { table: MappedTable; key: UniqueKey; columns: MappedColumn[] },
): string {
  const correct = 'correct one of them in the source';
  if (mode === 'existing') return `${correct}, or drop ${quote(key.name)} in the target for the time`;
  // As text they stay apart.
  const merged = columns.find(({ encoding }) => MERGING.includes(encoding.as));
  if (merged !== undefined)
    return `${mappingLine(`${table.source.name}.${merged.name}`, 'text')}; or ${correct}`;
  return key.name === '' ? correct : `${correct}; to go without the key: ${skipLine(`index ${key.name}`)}`;
}
