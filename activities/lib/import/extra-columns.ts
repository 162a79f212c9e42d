/** Columns of the target that no column of the source stands for: what is written there has no way back. */
import type { MappedTable, Mapping } from '../mapping.ts';
import type { Connection } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { literal } from './defaults.ts';
import { placeOf } from './statements.ts';

export type ExtraColumn = {
  table: MappedTable;
  name: string;
  /** Of `skip`, that leaves it behind. */ line: string;
};

/** Those that an application can write to and that `skip` does not leave behind. */
export async function extraColumns(
  connection: Connection,
  mapping: Mapping,
  skip: readonly string[],
): Promise<ExtraColumn[]> {
  const found: ExtraColumn[] = [];
  for (const table of mapping.tables) {
    const rows = await connection.query(
      `SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(${literal(placeOf(table))}) AND attnum > 0 AND NOT attisdropped
         AND attgenerated = '' AND attidentity <> 'a' ORDER BY attnum`,
    );
    const known = new Set(table.columns.map(({ target }) => target));
    for (const [name = null] of rows) {
      if (name === null || known.has(name)) continue;
      const lines = [table.target, table.source.name].map((of) => `column ${of}.${name}`);
      if (!lines.some((line) => skip.includes(line)))
        found.push({ table, name, line: `column ${table.target}.${name}` });
    }
  }
  return found;
}

/** Those that hold anything, in words. */
export async function writtenExtras(
  connection: Connection,
  mapping: Mapping,
  skip: readonly string[],
): Promise<string[]> {
  const written: string[] = [];
  for (const { table, name } of await extraColumns(connection, mapping, skip)) {
    const [any] = await connection.query(
      `SELECT EXISTS (SELECT 1 FROM ${placeOf(table)} WHERE ${quote(name)} IS NOT NULL)`,
    );
    if (any?.[0] === 't') written.push(`${quote(table.target)}.${quote(name)}`);
  }
  return written;
}

/** Tables whose rows do not survive a crash of the server: what was noted of them would be taken for removed. */
export async function unloggedTables(connection: Connection, mapping: Mapping): Promise<string[]> {
  const places = mapping.tables.map((table) => literal(placeOf(table))).join(', ');
  const rows = await connection.query(
    `SELECT DISTINCT c.relname FROM unnest(ARRAY[${places}]::text[]) AS place, pg_partition_tree(to_regclass(place)) AS part JOIN pg_class c ON c.oid = part.relid
     WHERE c.relpersistence = 'u'
     UNION SELECT c.relname FROM unnest(ARRAY[${places}]::text[]) AS place JOIN pg_class c ON c.oid = to_regclass(place) WHERE c.relpersistence = 'u' ORDER BY 1`,
  );
  return rows.map(([name]) => name ?? '');
}
