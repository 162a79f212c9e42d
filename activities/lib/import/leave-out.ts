/** Tables as they are without what the step leaves behind, and without the keys and indexes that cannot be had then. */
import { quote } from '../sqlite.ts';
import type { SourceTable } from '../sqlite-schema.ts';
import { leave } from './remarks.ts';
import type { MappingOptions, Remarks } from './remarks.ts';

/** The tables without the columns, indexes and foreign keys that `skip` names. What falls with them is told. */
export function leaveOut(input: MappingOptions, tables: SourceTable[], remarks: Remarks): SourceTable[] {
  const reduced = tables
    .map((table) => withoutNamed(input, table, remarks))
    .filter((table) => {
      if (table.columns.length > 0) return true;
      const words = `table ${quote(table.name)}, of which no column is left`;
      leave(input, remarks, { line: `table ${table.name}`, words });
      return false;
    });
  return reduced.map((table) => withoutFallen(table, reduced, remarks));
}

function withoutNamed(input: MappingOptions, table: SourceTable, remarks: Remarks): SourceTable {
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
    indexes: table.indexes.filter(
      ({ name }) => name === '' || !without(`index ${name}`, `index ${quote(name)}`),
    ),
    foreignKeys: table.foreignKeys.filter(
      ({ columns }) =>
        !without(
          `foreign key ${table.name}.${columns.join(',')}`,
          `foreign key ${quote(table.name)} (${columns.map(quote).join(', ')})`,
        ),
    ),
  };
}

/** A key or an index over a column that is left behind goes with it. */
function withoutFallen(table: SourceTable, tables: SourceTable[], remarks: Remarks): SourceTable {
  const has = (name: string, columns: readonly string[]): boolean => {
    const known = tables.find((other) => other.name === name)?.columns.map((column) => column.name);
    return columns.every((column) => known?.includes(column) === true);
  };
  const stays = (what: string, whole: boolean): boolean => {
    if (!whole) remarks.skipped.push(`${what} of ${quote(table.name)}, over a column that is left behind`);
    return whole;
  };
  return {
    ...table,
    uniques: table.uniques.filter((columns) =>
      stays(`unique set (${columns.map(quote).join(', ')})`, has(table.name, columns)),
    ),
    indexes: table.indexes.filter(({ name, columns }) =>
      stays(
        `index ${quote(name)}`,
        has(
          table.name,
          columns.map((column) => column.name),
        ),
      ),
    ),
    foreignKeys: table.foreignKeys.filter(({ columns, parent, parentColumns }) =>
      stays(
        `foreign key (${columns.map(quote).join(', ')})`,
        has(table.name, columns) && has(parent, parentColumns),
      ),
    ),
  };
}
