/** Tables that the target has already, met by name: what is missing on either side is refused before anything is copied. */
import type { MappedColumn, MappedTable } from '../mapping.ts';
import { quote } from '../sqlite.ts';
import { skipLine } from './lines.ts';
import type { SourceColumn, SourceTable } from '../sqlite-schema.ts';
import { leave } from './remarks.ts';
import type { MappingOptions, Remarks } from './remarks.ts';
import { suits, targetRule } from './target-schema.ts';
import type { TargetColumn, TargetTable } from './target-schema.ts';

/** Tables in which tools for migrations keep how far they are. The target's own stands. */
const HISTORIES = [
  'alembic_version',
  'django_migrations',
  'flyway_schema_history',
  'knex_migrations',
  'knex_migrations_lock',
  'schema_migrations',
  '_prisma_migrations',
];

type Input = MappingOptions & { existing: TargetTable[] };

/** Every table of the source with the table of the target that takes its rows. */
export function matchTables(input: Input, sources: SourceTable[], remarks: Remarks): MappedTable[] {
  const found = sources.flatMap((source) => {
    const target = named(input.existing, source.name);
    if (target === undefined) {
      const words = `table ${quote(source.name)}, which has no table of this name in the target`;
      leave(input, remarks, { line: `table ${source.name}`, words });
      return [];
    }
    if (HISTORIES.includes(target.name)) {
      remarks.skipped.push(`table ${quote(source.name)} (the target's own stays)`);
      return [];
    }
    return [matchTable(input, { source, target }, remarks)];
  });
  for (const [, same] of Map.groupBy(found, (table) => table.target)) {
    const names = same.map((table) => quote(table.source.name));
    if (names.length > 1)
      remarks.refused.push(
        `NameCollision: tables ${names.join(' and ')}, which meet in one table of the target`,
      );
  }
  return found;
}

/** By its exact name, or by the only one that is the same without regard to case. */
function named<T extends { name: string }>(all: readonly T[], name: string): T | undefined {
  const exact = all.find((one) => one.name === name);
  if (exact !== undefined) return exact;
  const alike = all.filter((one) => one.name.toLowerCase() === name.toLowerCase());
  return alike.length === 1 ? alike[0] : undefined;
}

function matchTable(
  input: Input,
  { source, target }: { source: SourceTable; target: TargetTable },
  remarks: Remarks,
): MappedTable {
  const label = `table ${quote(target.name)} of the target`;
  if (target.rows) remarks.refused.push(`TargetNotEmpty: ${label}, which has rows; empty it first`);
  if (target.unlogged) remarks.notes.push(`${label} is unlogged: a crash of the server would empty it`);
  if (!target.owned)
    remarks.refused.push(
      `${label}, which belongs to somebody else; connect as its owner, since its foreign keys are held off while rows are loaded`,
    );
  for (const hindrance of target.hindrances)
    remarks.refused.push(
      `${hindrance} on ${label}, which would act on the rows that are loaded; disable it for the time`,
    );
  const columns = source.columns.flatMap((column) => {
    const found = named(target.columns, column.name);
    if (found === undefined) {
      const words = `column ${quote(source.name)}.${quote(column.name)}, which has no column of this name in the target`;
      remarks.refused.push(
        `${words} (to go without it: ${skipLine(`column ${source.name}.${column.name}`)})`,
      );
      return [];
    }
    return [matchColumn(input, { source, column, target: found }, remarks)];
  });
  const met = new Set(columns.map((column) => column.target));
  for (const column of target.columns.filter(({ name }) => !met.has(name))) {
    if (column.notNull && !column.filled && !column.computed)
      remarks.refused.push(
        `column ${quote(target.name)}.${quote(column.name)} of the target, which is NOT NULL without a default and which the source does not have`,
      );
    else {
      // With reverse capture a step may have to say that it goes without the way back.
      remarks.used.add(`column ${target.name}.${column.name}`);
      remarks.notes.push(`column ${quote(target.name)}.${quote(column.name)} of the target gets its default`);
    }
  }
  if (met.size < columns.length)
    remarks.refused.push(
      `NameCollision: columns of ${quote(source.name)} that meet in one column of the target`,
    );
  return { source, target: target.name, columns };
}

function matchColumn(
  input: Input,
  { source, column, target }: { source: SourceTable; column: SourceColumn; target: TargetColumn },
  remarks: Remarks,
): MappedColumn {
  const key = `${source.name}.${column.name}`;
  const word = input.mapping[key];
  const rule = targetRule(target, {
    ...(word === undefined ? {} : { word }),
    ...(input.zone === undefined ? {} : { zone: input.zone }),
    blob: column.declared.includes('BLOB'),
  });
  const label = `column ${quote(source.name)}.${quote(column.name)}`;
  if (rule === undefined)
    remarks.refused.push(
      `${label}, whose type in the target is ${target.type}, which no cell can be carried to exactly yet (to go without it: ${skipLine(`column ${key}`)})`,
    );
  else if (word !== undefined && !suits(word, rule))
    remarks.refused.push(
      `${label}, for which mapping says ${word}, but its type in the target is ${target.type}`,
    );
  if (source.rowidAlias === column.name && !target.counted) {
    leave(input, remarks, {
      line: `counter ${key}`,
      words: `${label}, which numbers new rows by itself and has neither identity nor sequence in the target`,
    });
  }
  return {
    name: column.name,
    target: target.name,
    ...(rule ?? { type: target.type, encoding: { as: 'text' } }),
    notNull: target.notNull,
    defaultSql: null,
    quarantine: word === 'quarantine',
    fixed: true,
    computed: target.computed,
  };
}
