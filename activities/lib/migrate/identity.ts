/**
 * Tables and columns by what PostgreSQL itself knows them by, and not by their names: one that is dropped and made again
 * under its name is another one, without its rows. So what is lost is seen however it was written.
 */
import type { Connection } from '../postgres.ts';

/** What each is called, by its number. */
export type Things = ReadonlyMap<string, string>;

export async function thingsOf(connection: Connection): Promise<Things> {
  const rows = await connection.query(
    `SELECT c.oid, coalesce(a.attnum, 0), CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname || coalesce('.' || a.attname, '')
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN LATERAL (SELECT 0 AS attnum, NULL::name AS attname UNION ALL
       SELECT attnum, attname FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) a ON true
     WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'countdown')
     ORDER BY c.oid, a.attnum`,
  );
  return new Map(
    rows.map(([table, column, name]) => [
      `${table}.${column}`,
      `${column === '0' ? 'table' : 'column'} ${name ?? ''}`,
    ]),
  );
}

/** What was there and is not any more, in words. Columns go with their tables. */
export function goneOf(before: Things, after: Things): string[] {
  const isGone = (key: string): boolean => !after.has(key);
  return [...before].flatMap(([key, what]) => {
    const table = `${key.split('.')[0]}.0`;
    return isGone(key) && (key === table || !isGone(table)) ? [what] : [];
  });
}

/** Those that no sentence names yet. */
export function unnamed(what: readonly string[], sentences: readonly string[]): string[] {
  const said = sentences.map((one) => `${one.replaceAll(' public.', ' ')},`);
  return what.filter((one) => !said.some((sentence) => sentence.includes(` ${one},`)));
}
