/**
 * The mapping: each table of the source as it stands in PostgreSQL. It follows from the schema of the source, the
 * step's own lines, the catalog of a target that has tables already, and the classes of cells in columns whose declared
 * type says nothing; so `copy` and `verify` make it again and compare its digest with the one that was approved.
 */
import { createHash } from 'node:crypto';
import { checkNames } from './import/check-names.ts';
import { defaultFor } from './import/defaults.ts';
import type { Encoding } from './import/encoding.ts';
import { matchTables } from './import/match-target.ts';
import { carriesOffset } from './import/moments.ts';
import { leaveOut } from './import/leave-out.ts';
import { mappingLine } from './import/lines.ts';
import { leave } from './import/remarks.ts';
import type { MappingOptions, Remarks } from './import/remarks.ts';
import { declaredRule, momentRule, observedRule, wordRule, zonedRule } from './import/rules.ts';
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
  /** Its type is the target's, which no line of the step changes. */
  fixed: boolean;
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
  const sources = leaveOut(input, schema.tables, remarks);
  const rules = await readRules(input, sources);
  const tables =
    existing === null
      ? sources.map((source) => createdTable(input, source, rules, remarks))
      : matchTables({ ...input, existing }, sources, remarks);
  if (existing === null) checkNames(input, tables, remarks);
  remarks.refused.push(...unusedLines(input, remarks));
  const { refused, skipped, notes } = remarks;
  const mode = existing === null ? 'create' : 'existing';
  const data = tables.map((table) => ({ ...table, source: { ...table.source, sequence: null } }));
  const digest = createHash('sha256')
    .update(JSON.stringify([mode, data, skipped.toSorted()]))
    .digest('hex');
  return { mode, tables, refused, skipped, notes, digest };
}

/** Lines of the step that name nothing are mistakes. */
function unusedLines({ skip, mapping, schema }: MappingInput, remarks: Remarks): string[] {
  return [
    ...skip
      .filter((line) => !remarks.used.has(line) && !schema.known.has(line))
      .map((line) => `skip names '${line}', which is not there`),
    ...Object.keys(mapping)
      .filter((key) => !schema.known.has(`column ${key}`))
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
      else
        rules.set(
          key,
          zonedRule(rule === 'moment' ? await observedMoment(input, table, column) : rule, input.zone),
        );
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
      `MixedClass: ${label}, declared ${declared}, whose cells are of several classes (${mappingLine(key, 'text')}, or bytea)`,
    );
  }
  const rule = found ?? { type: 'text', encoding: { as: 'text' } };
  if (table.rowidAlias === column.name && rule.encoding.as !== 'integer')
    remarks.refused.push(
      `${label}, for which mapping says ${rule.type}, but it numbers the rows: expected bigint, integer or smallint`,
    );
  const isKey = table.primaryKey?.includes(column.name) === true;
  // SQLite ignores a DEFAULT of the rowid, and PostgreSQL allows none beside an identity.
  const defaultSql =
    table.rowidAlias === column.name || column.generated
      ? null
      : defaultFor(column.defaultSql, column.declared, rule);
  const line = `default ${key}`;
  if (defaultSql === undefined || (defaultSql !== null && input.skip.includes(line))) {
    leave(input, remarks, {
      line,
      words: `DefaultExpression: ${label}, whose DEFAULT ${column.defaultSql ?? ''} is not carried to type ${rule.type}`,
    });
  }
  return {
    name: column.name,
    target: column.name,
    ...rule,
    notNull: column.notNull || isKey,
    defaultSql: input.skip.includes(line) ? null : (defaultSql ?? null),
    quarantine: input.mapping[key] === 'quarantine',
    computed: false,
    fixed: false,
  };
}
