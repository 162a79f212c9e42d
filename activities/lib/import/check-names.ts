/** What PostgreSQL cannot make of tables that the import is to make: names, keys and foreign keys, each with the line that helps. */
import type { MappedTable } from '../mapping.ts';
import { quote } from '../sqlite.ts';
import type { SourceTable } from '../sqlite-schema.ts';
import { mappingLine, skipLine } from './lines.ts';
import { leave } from './remarks.ts';
import type { MappingOptions, Remarks } from './remarks.ts';

/** PostgreSQL cuts longer names off silently. */
const NAME_BYTES_MAX = 63;
const COLUMNS_MAX = 1600;
const KEY_COLUMNS_MAX = 32;
/** Columns that every PostgreSQL table has already. */
const SYSTEM_COLUMNS = ['tableoid', 'xmin', 'cmin', 'xmax', 'cmax', 'ctid'];

/** Refuses, into `remarks`, what cannot be made in PostgreSQL as it is named and keyed. */
export function checkNames(input: MappingOptions, tables: MappedTable[], remarks: Remarks): void {
  const sources = tables.map(({ source }) => source);
  refuseNames(remarks, 'table or index', [
    ...sources.map(({ name }) => ({ name, line: `table ${name}` })),
    ...sources.flatMap(({ indexes }) =>
      indexes.filter(({ name }) => name !== '').map(({ name }) => ({ name, line: `index ${name}` })),
    ),
  ]);
  for (const source of sources) {
    const columns = source.columns.map(({ name }) => {
      const isKey = source.storageKey.includes(name) || source.primaryKey?.includes(name) === true;
      return { name, line: isKey ? `table ${source.name}` : `column ${source.name}.${name}` };
    });
    refuseNames(remarks, `in ${quote(source.name)}, column`, columns);
    for (const { name, line } of columns.filter((one) => SYSTEM_COLUMNS.includes(one.name)))
      remarks.refused.push(
        `column name ${quote(source.name)}.${quote(name)}, which PostgreSQL keeps for itself ${advice(line)}`,
      );
    if (columns.length > COLUMNS_MAX)
      remarks.refused.push(
        `table ${quote(source.name)} of ${columns.length} columns (at most ${COLUMNS_MAX}) ${advice(`table ${source.name}`)}`,
      );
  }
  for (const table of tables) refuseKeys(input, table, remarks);
  refuseForeignKeys(input, tables, remarks);
}

function advice(line: string): string {
  return `(rename it in the source; to go without it: ${skipLine(line)})`;
}

function refuseNames({ refused }: Remarks, kind: string, all: { name: string; line: string }[]): void {
  for (const [, same] of Map.groupBy(all, ({ name }) => name.toLowerCase())) {
    const names = same.map(({ name }) => quote(name)).join(' and ');
    const last = same.at(-1);
    if (same.length > 1 && last !== undefined)
      refused.push(`NameCollision: ${kind} names ${names}, which differ in case only ${advice(last.line)}`);
  }
  for (const { name, line } of all) {
    const sizeBytes = Buffer.byteLength(name);
    if (sizeBytes > NAME_BYTES_MAX)
      refused.push(
        `NameTooLong: ${kind} name ${quote(name)} of ${sizeBytes} bytes (at most ${NAME_BYTES_MAX}) ${advice(line)}`,
      );
    if (name === '' || name.includes('\0') || name.includes('\uFFFD'))
      refused.push(`${kind} name ${quote(name)}, which PostgreSQL cannot have ${advice(line)}`);
  }
}

/** An index of PostgreSQL has at most 32 columns, and JSON that is kept as its text has no order. */
function refuseKeys(input: MappingOptions, { source, columns }: MappedTable, remarks: Remarks): void {
  const keys = keysOf(source);
  for (const { name, columns: names, line } of keys) {
    if (names.length <= KEY_COLUMNS_MAX) continue;
    const words = `${name} of ${quote(source.name)}, which has ${names.length} columns (at most ${KEY_COLUMNS_MAX})`;
    leave(input, remarks, { line: line ?? `table ${source.name}`, words });
  }
  for (const column of columns) {
    if (column.encoding.as !== 'json' || !keys.some((key) => key.columns.includes(column.name))) continue;
    remarks.refused.push(
      `column ${quote(source.name)}.${quote(column.name)} as json, which no key or index can cover (${mappingLine(`${source.name}.${column.name}`, 'jsonb')})`,
    );
  }
}

type Key = { name: string; columns: string[]; line?: string };

function keysOf({ primaryKey, uniques, indexes }: SourceTable): Key[] {
  return [
    { name: 'the primary key', columns: primaryKey ?? [] },
    ...uniques.map((columns) => ({ name: 'a unique set', columns })),
    ...indexes.map(({ name, columns }) => ({
      name: name === '' ? 'a key' : `index ${quote(name)}`,
      columns: columns.map((column) => column.name),
      ...(name === '' ? {} : { line: `index ${name}` }),
    })),
  ];
}

function refuseForeignKeys(input: MappingOptions, tables: MappedTable[], remarks: Remarks): void {
  const types = new Map(
    tables.map((table) => [
      table.source.name,
      new Map(table.columns.map((column) => [column.name, column.type])),
    ]),
  );
  for (const { source } of tables) {
    for (const { columns, parent, parentColumns } of source.foreignKeys) {
      for (const [place, column] of columns.entries()) {
        const own = types.get(source.name)?.get(column);
        const other = types.get(parent)?.get(parentColumns[place] ?? '');
        if (own === other) continue;
        leave(input, remarks, {
          line: `foreign key ${source.name}.${columns.join(',')}`,
          words: `foreign key ${quote(source.name)}.${quote(column)} of type ${own} to ${quote(parent)} of type ${other}`,
        });
        break;
      }
    }
  }
}
