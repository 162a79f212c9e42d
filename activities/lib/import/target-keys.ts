/** The unique keys of the tables of schema public in a target. */
import type { Connection } from '../postgres.ts';
import type { KeyPart, UniqueKey } from './duplicates.ts';

/** By table. Keys over other expressions than `lower(column)`, and over a part of the rows, are left out. */
export async function readUniqueKeys(connection: Connection): Promise<Map<string, UniqueKey[]>> {
  const rows = await connection.query(
    `SELECT t.relname, x.relname, coalesce(to_jsonb(i)->>'indnullsnotdistinct', 'false'),
       (SELECT json_agg(json_build_array(a.attname, pg_get_indexdef(i.indexrelid, k.place, true)) ORDER BY k.place)
        FROM generate_series(1, i.indnkeyatts) AS k (place) LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.place - 1] AND a.attnum > 0)
     FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
     WHERE t.relnamespace = 'public'::regnamespace AND i.indisunique AND i.indpred IS NULL ORDER BY 1, 2`,
  );
  const found = new Map<string, UniqueKey[]>();
  for (const [table, name, nullsEqual, json] of rows) {
    const parts = (JSON.parse(json ?? '[]') as [string | null, string][]).map(partOf);
    if (parts.includes(undefined)) continue;
    const key = {
      name: name ?? '',
      parts: parts.filter((part) => part !== undefined),
      nullsEqual: nullsEqual === 'true',
    };
    found.set(table ?? '', [...(found.get(table ?? '') ?? []), key]);
  }
  return found;
}

function partOf([column, expression]: [string | null, string]): KeyPart | undefined {
  if (column !== null) return { column };
  const inner = /^lower\(\(?("(?:[^"]|"")+"|\w+)(?:\)::text)?\)$/.exec(expression)?.[1];
  if (inner === undefined) return undefined;
  const plain = inner.startsWith('"') ? inner.slice(1, -1).replaceAll('""', '"') : inner;
  return { column: plain, folds: 'lower' };
}
