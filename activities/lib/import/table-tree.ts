/** Tables together with those that hold rows for them. */
import { literal } from './defaults.ts';

/**
 * For WITH RECURSIVE: `tree (id)`, the tables whose rows a query of these gives: themselves where they are there, their
 * partitions, and what inherits from them.
 */
export function treeSql(tables: readonly string[]): string {
  const list = tables.map(literal).join(', ');
  return `tree (id) AS (SELECT to_regclass(place)::oid FROM unnest(ARRAY[${list}]::text[]) AS place WHERE to_regclass(place) IS NOT NULL
    UNION SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.id)`;
}
