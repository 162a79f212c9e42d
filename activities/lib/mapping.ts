/**
 * The mapping: each table of the source as it stands in PostgreSQL. It follows from the schema of the source, the
 * step's own lines, the catalog of a target that has tables already, and the classes of cells in columns whose declared
 * type says nothing; so `copy` and `verify` make it again and compare its digest with the one that was approved.
 */
import { createHash } from 'node:crypto';
import { defaultFor } from './import/defaults.ts';
import type { Encoding } from './import/encoding.ts';
import { matchTables } from './import/match-target.ts';
import { carriesOffset } from './import/moments.ts';
import { leave } from './import/remarks.ts';
import type { MappingOptions, Remarks } from './import/remarks.ts';
import { declaredRule, momentRule, observedRule, wordRule } from './import/rules.ts';
import type { Rule, StorageClass } from './import/rules.ts';
import type { TargetTable } from './import/target-schema.ts';
import { quote, runAside, whenFree } from './sqlite.ts';
import type { Cell, Source } from './sqlite.ts';
import type { SourceColumn, SourceSchema, SourceTable } from './sqlite-schema.ts';

export type MappedColumn = {
  /** In the source. */
  name: string;
  /** In the target. */
  target: string;
  type: string;
  encoding: Encoding;
  notNull: boolean;
  /** An SQL expression; null for none. */
  defaultSql: string | null;
  /** A cell that cannot be carried stays NULL and is kept beside the table. */
  quarantine: boolean;
  /** PostgreSQL computes it: it is compared, but not copied. */
  computed: boolean;
};

export type MappedTable = {
  source: SourceTable;
  /** Its name in schema public of the target. */
  target: string;
  columns: MappedColumn[];
};

/** `create`: the import makes the tables. `existing`: they are there, and stay as they are. */
export type SchemaMode = 'create' | 'existing';

export type Mapping = {
  mode: SchemaMode;
  tables: MappedTable[];
  /** What cannot be carried, each in words with what would allow it. */
  refused: string[];
  /** What is left behind because the step says so, or because the target's own schema decides it. */
  skipped: string[];
  /** What people should know of it. */
  notes: string[];
  /** sha256 of the mapping as data. */
  digest: string;
};

export type MappingInput = MappingOptions & {
  source: Source;
  schema: SourceSchema;
  /** Tables of the target that stay as they are; null where the import makes them. */
  existing: TargetTable[] | null;
  signal: AbortSignal;
};

/** PostgreSQL cuts longer names off silently. */
const NAME_BYTES_MAX = 63;
const COLUMNS_MAX = 1600;
/** Columns that every PostgreSQL table has already. */
const SYSTEM_COLUMNS = ['tableoid', 'xmin', 'cmin', 'xmax', 'cmax', 'ctid'];

/** Maps a schema. What cannot be mapped is listed in `refused`. */
export async function mapSchema(input: MappingInput): Promise<Mapping> {
  const { existing, schema } = input;
  const remarks: Remarks = { refused: [], skipped: [], notes: [], used: new Set() };
  for (const { skip, words, data } of schema.unsupported) {
    // Whoever made the target's tables decided about everything that is no data.
    if (existing !== null && data !== true) remarks.skipped.push(`${words} (the target's own schema holds)`);
    else leave(input, remarks, { line: skip, words });
    remarks.used.add(skip);
  }
  const sources = schema.tables.map((table) => reduced(input, table, remarks));
  const rules = await readRules(input, sources);
  const tables =
    existing === null
      ? sources.map((source) => createdTable(input, source, rules, remarks))
      : matchTables({ ...input, existing }, sources, remarks);
  if (existing === null) remarks.refused.push(...refuseNames(sources), ...refuseForeignKeys(tables));
  remarks.refused.push(...unusedLines(input, remarks));
  const { refused, skipped, notes } = remarks;
  const mode = existing === null ? 'create' : 'existing';
  const data = tables.map((table) => ({ ...table, source: { ...table.source, sequence: null } }));
  const digest = createHash('sha256')
    .update(JSON.stringify([mode, data, skipped.toSorted()]))
    .digest('hex');
  return { mode, tables, refused, skipped, notes, digest };
}

/** A table without the columns and foreign keys that the step leaves behind. */
function reduced(input: MappingInput, table: SourceTable, remarks: Remarks): SourceTable {
  const without = (line: string, words: string): boolean => {
    if (!input.skip.includes(line)) return false;
    leave(input, remarks, { line, words });
    return true;
  };
  return {
    ...table,
    columns: table.columns.filter(({ name }) => {
      const isKey = table.storageKey.includes(name) || table.primaryKey?.includes(name) === true;
      return isKey || !without(`column ${table.name}.${name}`, `column ${quote(table.name)}.${quote(name)}`);
    }),
    foreignKeys: table.foreignKeys.filter(
      ({ columns }) =>
        !without(
          `foreign key ${table.name}.${columns.join(',')}`,
          `foreign key ${quote(table.name)} (${columns.map(quote).join(', ')})`,
        ),
    ),
  };
}

/** Lines of the step that name nothing are mistakes. */
function unusedLines({ skip, mapping, schema }: MappingInput, remarks: Remarks): string[] {
  const columns = new Set(
    schema.tables.flatMap((table) => table.columns.map((column) => `${table.name}.${column.name}`)),
  );
  return [
    ...skip
      .filter((line) => !remarks.used.has(line))
      .map((line) => `skip names '${line}', which is not there`),
    ...Object.keys(mapping)
      .filter((key) => !columns.has(key))
      .map((key) => `mapping names '${key}', which is no column; write TABLE.COLUMN`),
  ];
}

/** The rule of each column by `table.column`, as a new table would have it. */
type Rules = Map<string, Rule | undefined>;

async function readRules(input: MappingInput, tables: SourceTable[]): Promise<Rules> {
  const rules: Rules = new Map();
  if (input.existing !== null) return rules;
  const unclear: { key: string; table: string; column: SourceColumn }[] = [];
  for (const table of tables) {
    for (const column of table.columns) {
      const key = `${table.name}.${column.name}`;
      const word = input.mapping[key];
      const asked = word === undefined ? undefined : wordRule(word);
      const rule = asked ?? declaredRule(column.declared);
      if (rule === undefined) unclear.push({ key, table: table.name, column });
      else rules.set(key, rule === 'moment' ? await observedMoment(input, table, column) : rule);
    }
  }
  const classes = await readClasses(input, unclear);
  for (const [place, { key, column }] of unclear.entries())
    rules.set(key, observedRule(classes[place] ?? [], column.declared));
  return rules;
}

/** A column of moments has offsets where its first cell has one. */
async function observedMoment(
  { source, signal }: MappingInput,
  table: SourceTable,
  column: SourceColumn,
): Promise<Rule> {
  const name = quote(column.name);
  const first: Cell = await whenFree(source.name, signal, () => {
    const statement = source.db.prepare(
      `SELECT ${name} AS cell FROM ${quote(table.name)} WHERE ${name} IS NOT NULL LIMIT 1`,
    );
    statement.setReadBigInts(true);
    return statement.get()?.['cell'] ?? null;
  });
  return momentRule(typeof first === 'string' && carriesOffset(first));
}

/** The classes of cells in columns whose declared type says nothing. Every row is looked at, on a thread of its own. */
async function readClasses(
  { source, signal }: MappingInput,
  columns: { table: string; column: SourceColumn }[],
): Promise<StorageClass[][]> {
  if (columns.length === 0) return [];
  const sql = columns.map(
    ({ table, column }) =>
      `SELECT DISTINCT typeof(${quote(column.name)}) AS class FROM ${quote(table)} WHERE ${quote(column.name)} IS NOT NULL ORDER BY 1`,
  );
  const found = await runAside(source.name, { path: source.path, sql }, signal);
  return found.map((rows) => rows.map((row) => row['class'] as StorageClass));
}

function createdTable(input: MappingInput, table: SourceTable, rules: Rules, remarks: Remarks): MappedTable {
  return {
    source: table,
    target: table.name,
    columns: table.columns.map((column) => createdColumn(input, { table, column, rules }, remarks)),
  };
}

function createdColumn(
  input: MappingInput,
  { table, column, rules }: { table: SourceTable; column: SourceColumn; rules: Rules },
  remarks: Remarks,
): MappedColumn {
  const key = `${table.name}.${column.name}`;
  const label = `column ${quote(table.name)}.${quote(column.name)}`;
  const found = rules.get(key);
  if (found === undefined) {
    const declared = column.declared === '' ? 'without a type' : column.declared;
    remarks.refused.push(
      `MixedClass: ${label}, declared ${declared}, whose cells are of several classes (mapping: { ${key}: text }, or bytea)`,
    );
  }
  const rule = found ?? { type: 'text', encoding: { as: 'text' } };
  if (table.rowidAlias === column.name && rule.type !== 'bigint')
    remarks.refused.push(
      `${label}, for which mapping says another type than bigint, but it numbers the rows`,
    );
  const isKey = table.primaryKey?.includes(column.name) === true;
  // SQLite ignores a DEFAULT of the rowid, and PostgreSQL allows none beside an identity.
  const defaultSql =
    table.rowidAlias === column.name || column.generated
      ? null
      : defaultFor(column.defaultSql, column.declared, rule);
  if (defaultSql === undefined) {
    leave(input, remarks, {
      line: `default ${key}`,
      words: `DefaultExpression: ${label}, whose DEFAULT ${column.defaultSql ?? ''} is not a value of type ${rule.type}`,
    });
  }
  return {
    name: column.name,
    target: column.name,
    ...rule,
    notNull: column.notNull || isKey,
    defaultSql: defaultSql ?? null,
    quarantine: input.mapping[key] === 'quarantine',
    computed: false,
  };
}

function indexNames(table: SourceTable): string[] {
  return table.indexes.map((index) => index.name).filter((name) => name !== '');
}

function refuseNames(tables: SourceTable[]): string[] {
  const refused: string[] = [];
  const check = (kind: string, names: string[]): void => {
    for (const [, same] of Map.groupBy(names, (name) => name.toLowerCase())) {
      if (same.length > 1)
        refused.push(
          `NameCollision: ${kind} names ${same.map(quote).join(' and ')}, which differ in case only`,
        );
    }
    for (const name of names) {
      const sizeBytes = Buffer.byteLength(name);
      if (sizeBytes > NAME_BYTES_MAX)
        refused.push(
          `NameTooLong: ${kind} name ${quote(name)} of ${sizeBytes} bytes (at most ${NAME_BYTES_MAX})`,
        );
      if (name === '' || name.includes('\0') || name.includes('\uFFFD'))
        refused.push(`${kind} name ${quote(name)}`);
    }
  };
  check(
    'table or index',
    tables.flatMap((table) => [table.name, ...indexNames(table)]),
  );
  for (const table of tables) {
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
