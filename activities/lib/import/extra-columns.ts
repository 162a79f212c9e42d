/** Columns of the target that no column of the source stands for: what is written there has no way back. */
import type { MappedTable, Mapping } from '../mapping.ts';
import type { Connection } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { literal } from './defaults.ts';
import { placeOf } from './statements.ts';
import { treeSql } from './table-tree.ts';

export type ExtraColumn = {
  table: MappedTable;
  name: string;
  /** The line of `skip` that leaves it behind. */
  line: string;
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
      const line = `column ${table.target}.${name}`;
      const isLeft = skip.includes(line) || skip.includes(`column ${table.source.name}.${name}`);
      if (!isLeft) found.push({ table, name, line });
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
  const places = mapping.tables.map((table) => placeOf(table));
  const rows = await connection.query(
    `WITH RECURSIVE ${treeSql(places)} SELECT DISTINCT c.relname FROM tree JOIN pg_class c ON c.oid = tree.id WHERE c.relpersistence = 'u' ORDER BY 1`,
  );
  return rows.map(([name]) => name ?? '');
}
