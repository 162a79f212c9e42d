/**
 * The mapping: each table of the source as it will stand in PostgreSQL. Names are kept exactly. It is a pure function of
 * the schema and of one look at each column of moments (does its first cell carry an offset?), so `copy` and `verify`
 * make it again and compare its digest with the one that was approved.
 */
import { createHash } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { CARRIERS, carriesOffset, typeFor } from './cells.ts';
import type { TargetType } from './cells.ts';
import { quote } from './sqlite.ts';
import type { Cell, Source } from './sqlite.ts';
import type { SourceColumn, SourceSchema, SourceTable } from './sqlite-schema.ts';

export type MappedColumn = {
  name: string;
  type: TargetType;
  notNull: boolean;
  /** An SQL expression; null for none. */
  defaultSql: string | null;
};

export type MappedTable = { source: SourceTable; columns: MappedColumn[] };

export type Mapping = {
  tables: MappedTable[];
  /** What cannot be carried, each in words. */
  refused: string[];
  /** sha256 of the mapping as data. */
  digest: string;
};

/** PostgreSQL cuts longer names off silently. */
const NAME_BYTES_MAX = 63;
const COLUMNS_MAX = 1600;
/** Columns that every PostgreSQL table has already. */
const SYSTEM_COLUMNS = ['tableoid', 'xmin', 'cmin', 'xmax', 'cmax', 'ctid'];

/** Maps a schema. What cannot be mapped is listed in `refused` with what the schema itself refuses. */
export function mapSchema(source: Source, schema: SourceSchema): Mapping {
  const refused = [...schema.refused, ...refuseNames(schema)];
  const tables = schema.tables.map((table) => ({
    source: table,
    columns: table.columns.map((column) => mapColumn(source, table, column, refused)),
  }));
  refused.push(...refuseForeignKeys(tables));
  const digest = createHash('sha256')
    .update(
      JSON.stringify(tables.map((table) => ({ ...table, source: { ...table.source, sequence: null } }))),
    )
    .digest('hex');
  return { tables, refused, digest };
}

function mapColumn(
  source: Source,
  table: SourceTable,
  column: SourceColumn,
  refused: string[],
): MappedColumn {
  const label = `column ${quote(table.name)}.${quote(column.name)}`;
  const declared = typeFor(column.declared);
  if (declared === undefined) {
    refused.push(`${label}, declared ${column.declared === '' ? 'without a type' : column.declared}`);
  }
  const type =
    declared === 'timestamp without time zone' ? momentType(source, table, column) : (declared ?? 'text');
  const isKey = table.primaryKey?.includes(column.name) === true;
  return {
    name: column.name,
    type,
    notNull: column.notNull || isKey,
    // SQLite ignores a DEFAULT of the rowid, and PostgreSQL allows none beside an identity.
    defaultSql: table.rowidAlias === column.name ? null : mapDefault(column, type, label, refused),
  };
}

function momentType(source: Source, table: SourceTable, column: SourceColumn): TargetType {
  const name = quote(column.name);
  const statement = source.db.prepare(
    `SELECT ${name} AS cell FROM ${quote(table.name)} WHERE ${name} IS NOT NULL LIMIT 1`,
  );
  statement.setReadBigInts(true);
  const first: Cell = statement.get()?.['cell'] ?? null;
  return carriesOffset(first) ? 'timestamp with time zone' : 'timestamp without time zone';
}

const LITERAL =
  /^(?:NULL|TRUE|FALSE|[+-]?\s*(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|'(?:[^']|'')*'|x'[0-9a-f]*')$/i;

/** What CURRENT_TIMESTAMP and CURRENT_DATE mean in SQLite, which knows UTC and whole seconds only. */
const CLOCKS: Record<string, Partial<Record<TargetType, string>>> = {
  CURRENT_TIMESTAMP: { 'timestamp without time zone': `date_trunc('second', now() AT TIME ZONE 'UTC')` },
  CURRENT_DATE: { date: `(now() AT TIME ZONE 'UTC')::date` },
};

function mapDefault(column: SourceColumn, type: TargetType, label: string, refused: string[]): string | null {
  const sql = column.defaultSql?.trim() ?? null;
  if (sql === null || /^NULL$/i.test(sql)) return null;
  const clock = CLOCKS[sql.toUpperCase()];
  if (clock?.[type] !== undefined) return clock[type];
  const cell = LITERAL.test(sql) ? storedAs(sql, column.declared) : null;
  const field = cell === null ? undefined : CARRIERS[type].encode(cell);
  if (field === undefined || cell === null) {
    refused.push(`${label}, whose DEFAULT ${sql} is not a value of type ${type}`);
    return null;
  }
  // Text and blobs are written from the cell: their fields carry COPY's escapes.
  if (typeof cell === 'string' && type === 'text') return `${literal(cell)}::text`;
  if (cell instanceof Uint8Array) return `'\\x${Buffer.from(cell).toString('hex')}'::bytea`;
  return `'${field}'::${type}`;
}

/** The cell that SQLite itself makes of a literal in a column of this type. */
function storedAs(sql: string, declared: string): Cell {
  using db = new DatabaseSync(':memory:');
  db.exec(`CREATE TABLE one (cell ${declared} DEFAULT ${sql}); INSERT INTO one DEFAULT VALUES`);
  const statement = db.prepare('SELECT cell FROM one');
  statement.setReadBigInts(true);
  return statement.get()?.['cell'] ?? null;
}

/** A text as an SQL literal, whatever `standard_conforming_strings` says. */
export function literal(text: string): string {
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`;
  return text.includes('\\') ? `E${quoted}` : quoted;
}

function refuseNames(schema: SourceSchema): string[] {
  const refused: string[] = [];
  const check = (kind: string, names: string[]): void => {
    for (const [, same] of Map.groupBy(names, (name) => name.toLowerCase())) {
      if (same.length > 1)
        refused.push(`${kind} names ${same.map(quote).join(' and ')}, which differ in case only`);
    }
    for (const name of names) {
      const sizeBytes = Buffer.byteLength(name);
      if (sizeBytes > NAME_BYTES_MAX)
        refused.push(`${kind} name ${quote(name)} of ${sizeBytes} bytes (at most ${NAME_BYTES_MAX})`);
      if (name === '' || name.includes('\0') || name.includes('\uFFFD'))
        refused.push(`${kind} name ${quote(name)}`);
    }
  };
  check(
    'table or index',
    schema.tables.flatMap((table) => [table.name, ...table.indexes.map((index) => index.name)]),
  );
  for (const table of schema.tables) {
    const names = table.columns.map((column) => column.name);
    check(`in ${quote(table.name)}, column`, names);
    for (const name of names.filter((one) => SYSTEM_COLUMNS.includes(one))) {
      refused.push(`column name ${quote(table.name)}.${quote(name)}, which PostgreSQL keeps for itself`);
    }
    if (names.length > COLUMNS_MAX)
      refused.push(`table ${quote(table.name)} of ${names.length} columns (at most ${COLUMNS_MAX})`);
  }
  return refused;
}

function refuseForeignKeys(tables: MappedTable[]): string[] {
  const types = new Map(
    tables.map((table) => [
      table.source.name,
      new Map(table.columns.map((column) => [column.name, column.type])),
    ]),
  );
  return tables.flatMap(({ source }) =>
    source.foreignKeys.flatMap((foreign) =>
      foreign.columns.flatMap((column, place) => {
        const own = types.get(source.name)?.get(column);
        const other = types.get(foreign.parent)?.get(foreign.parentColumns[place] ?? '');
        return own === other
          ? []
          : [
              `foreign key ${quote(source.name)}.${quote(column)} of type ${own} to ${quote(foreign.parent)} of type ${other}`,
            ];
      }),
    ),
  );
}

/** What makes the empty tables, one statement each. */
export function createStatements(mapping: Mapping): { table: string; sql: string }[] {
  return mapping.tables.map(({ source, columns }) => {
    const lines = columns.map(({ name, type, notNull, defaultSql }) =>
      [quote(name), type, notNull ? 'NOT NULL' : '', defaultSql === null ? '' : `DEFAULT ${defaultSql}`]
        .filter((word) => word !== '')
        .join(' '),
    );
    return { table: source.name, sql: `CREATE TABLE public.${quote(source.name)} (${lines.join(', ')})` };
  });
}

/**
 * What comes after the rows: indexes with names of their own first, so that no name that PostgreSQL makes up can be in
 * their way; then keys, then counters that continue where SQLite's would, foreign keys last.
 */
export function finishStatements(mapping: Mapping): string[] {
  const tables = mapping.tables.map(({ source }) => source);
  const named = tables.flatMap((table) => table.indexes.map((index) => indexStatement(table, index)));
  const keys = tables.flatMap((table) => [
    ...(table.primaryKey === null
      ? []
      : [`${alter(table)} ADD PRIMARY KEY (${columnsOf(table.primaryKey)})`]),
    ...table.uniques.map((columns) => `${alter(table)} ADD UNIQUE (${columnsOf(columns)})`),
  ]);
  const counters = tables.flatMap(counterStatements);
  const foreign = tables.flatMap((table) =>
    table.foreignKeys.map(
      (key) =>
        `${alter(table)} ADD FOREIGN KEY (${columnsOf(key.columns)}) REFERENCES public.${quote(key.parent)} ` +
        `(${columnsOf(key.parentColumns)}) ON UPDATE ${key.onUpdate} ON DELETE ${key.onDelete}`,
    ),
  );
  return [
    ...named,
    ...keys,
    ...counters,
    ...foreign,
    ...tables.map((table) => `ANALYZE public.${quote(table.name)}`),
  ];
}

function counterStatements(table: SourceTable): string[] {
  if (table.rowidAlias === null) return [];
  const column = quote(table.rowidAlias);
  const greatest = `(SELECT greatest(coalesce(max(${column}), 0), ${table.sequence ?? 0}) AS top FROM public.${quote(table.name)})`;
  const sequence = `pg_get_serial_sequence(${literal(`public.${quote(table.name)}`)}, ${literal(table.rowidAlias)})`;
  return [
    `${alter(table)} ALTER COLUMN ${column} ADD GENERATED BY DEFAULT AS IDENTITY`,
    `SELECT setval(${sequence}, greatest(top, 1), top >= 1) FROM ${greatest} AS known`,
  ];
}

function indexStatement(table: SourceTable, index: SourceTable['indexes'][number]): string {
  const columns = index.columns.map(({ name, descending }) => quote(name) + (descending ? ' DESC' : ''));
  return `CREATE ${index.unique ? 'UNIQUE ' : ''}INDEX ${quote(index.name)} ON public.${quote(table.name)} (${columns.join(', ')})`;
}

function alter(table: SourceTable): string {
  return `ALTER TABLE public.${quote(table.name)}`;
}

function columnsOf(names: string[]): string {
  return names.map(quote).join(', ');
}
