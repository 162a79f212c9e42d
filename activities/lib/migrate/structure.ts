/**
 * The structure of a database as lines that can be compared between two of them: the catalog without owners and rights,
 * which a clone need not have, and without publications and default rights.
 */
import { OBJECTS } from '../catalog.ts';
import { type Connection, inTransaction } from '../postgres.ts';
import { sha256 } from './sql.ts';

const LEFT_OUT = ['publications', 'default rights'];

/** Owners and rights as NULL, so that rows keep their places. */
const QUERIES = Object.entries(OBJECTS)
  .filter(([sort]) => !LEFT_OUT.includes(sort))
  .map(
    ([sort, sql]) =>
      [
        sort,
        sql.replace(/pg_get_userbyid\([\w.]+\)|\b\w+\.(?:relacl|attacl|nspacl|proacl|typacl)::text/g, 'NULL'),
      ] as const,
  );

/** One line an object, sorted bytewise: `sort ["schema","name",…]`. Names in it are whole, whatever search_path is. */
export async function structureOf(connection: Connection): Promise<string[]> {
  return await inTransaction(
    connection,
    async () => {
      await connection.client.query('SET LOCAL search_path = pg_catalog');
      const lines: string[] = [];
      for (const [sort, sql] of QUERIES) {
        for (const row of await connection.query(sql)) lines.push(`${sort} ${JSON.stringify(row)}`);
      }
      return lines.toSorted();
    },
    'ISOLATION LEVEL REPEATABLE READ READ ONLY',
  );
}

export function digestOf(lines: readonly string[]): string {
  return sha256(lines.join('\n'));
}

/** What is in one and not in the other: `- line` and `+ line`. */
export function difference(before: readonly string[], after: readonly string[]): string[] {
  const [old, now] = [new Set(before), new Set(after)];
  return [
    ...before.filter((line) => !now.has(line)).map((line) => `- ${readable(line)}`),
    ...after.filter((line) => !old.has(line)).map((line) => `+ ${readable(line)}`),
  ];
}

/** `columns ["public","songs","3","genre","text","f",…]` as `columns public songs 3 genre text f`. */
function readable(line: string): string {
  const at = line.indexOf('[');
  const row = JSON.parse(line.slice(at)) as (string | null)[];
  const said = row.filter((field) => field !== null && field !== '').join(' ');
  const whole = `${line.slice(0, at)}${said}`.replace(/\s+/g, ' ');
  return whole.length > LINE_LENGTH_MAX ? `${whole.slice(0, LINE_LENGTH_MAX)}…` : whole;
}

const LINE_LENGTH_MAX = 300;
