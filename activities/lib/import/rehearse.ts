/**
 * Rows against the checks of tables that are there already: page by page into a scratch table with the same checks, and out
 * again. So a row that PostgreSQL would refuse is named before writes are held.
 */
import { finished } from 'node:stream/promises';
import { from as copyFrom } from 'pg-copy-streams';
import type { MappedTable } from '../mapping.ts';
import { inTransaction, sqlState } from '../postgres.ts';
import type { Connection } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { columnsCopied, lineCopied } from './copied.ts';
import { literal } from './defaults.ts';
import { placeOf } from './statements.ts';

/** Rows of one page that are named; the rest of it is not looked at then. */
const NAMED_OF_PAGE_MAX = 3;
const SCRATCH = 'pg_temp.countdown_rehearsal';

/** A line that the table would refuse, by its place in the page. */
export type Refused = { place: number; constraint: string };

export type Rehearsal = (lines: readonly string[]) => Promise<Refused[]>;

/** Hands `work` what tries lines; undefined where the table has nothing to check them with. Nothing stays of it. */
export async function withRehearsal<T>(
  connection: Connection | undefined,
  table: MappedTable,
  work: (rehearse: Rehearsal | undefined) => Promise<T>,
): Promise<T> {
  if (connection === undefined || !(await hasChecks(connection, table))) return await work(undefined);
  return await inTransaction(connection, async () => {
    await connection.query(
      `CREATE TEMP TABLE countdown_rehearsal (LIKE ${placeOf(table)} INCLUDING CONSTRAINTS INCLUDING GENERATED) ON COMMIT DROP`,
    );
    const loose = await connection.query(
      `SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '${SCRATCH}'::regclass AND attnum > 0 AND attnotnull AND attidentity = ''`,
    );
    for (const [column] of loose)
      await connection.query(`ALTER TABLE ${SCRATCH} ALTER COLUMN ${column} DROP NOT NULL`);
    // Not those that count: a number that is taken stays taken.
    const defaults = await connection.query(
      `SELECT quote_ident(a.attname), pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
       WHERE d.adrelid = ${literal(placeOf(table))}::regclass AND a.attgenerated = '' AND pg_get_expr(d.adbin, d.adrelid) NOT LIKE '%nextval(%'`,
    );
    for (const [column, value] of defaults)
      await connection.query(`ALTER TABLE ${SCRATCH} ALTER COLUMN ${column} SET DEFAULT ${value}`);
    return await work((lines) => rehearse(connection, table, lines));
  });
}

async function hasChecks(connection: Connection, table: MappedTable): Promise<boolean> {
  const [row] = await connection.query(
    `SELECT EXISTS (SELECT 1 FROM pg_constraint WHERE contype = 'c' AND conrelid = ${literal(placeOf(table))}::regclass)
       OR EXISTS (SELECT 1 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid AND t.typtype = 'd'
         WHERE a.attrelid = ${literal(placeOf(table))}::regclass AND a.attnum > 0 AND NOT a.attisdropped)`,
  );
  return row?.[0] === 't';
}

async function rehearse(
  connection: Connection,
  table: MappedTable,
  lines: readonly string[],
): Promise<Refused[]> {
  const left = lines.map((line, place) => ({ line: lineCopied(table, line), place }));
  const refused: Refused[] = [];
  while (left.length > 0 && refused.length < NAMED_OF_PAGE_MAX) {
    await connection.query('SAVEPOINT page');
    const found = await tryLines(
      connection,
      table,
      left.map(({ line }) => line),
    );
    await connection.query('ROLLBACK TO SAVEPOINT page');
    if (found === undefined) break;
    const [first] = left.splice(found.at, 1);
    if (first === undefined) break;
    refused.push({ place: first.place, constraint: found.constraint });
  }
  return refused;
}

/** The first line that is refused for a check. */
async function tryLines(
  connection: Connection,
  table: MappedTable,
  lines: readonly string[],
): Promise<{ at: number; constraint: string } | undefined> {
  const sql = `COPY ${SCRATCH} (${columnsCopied(table)}) FROM STDIN`;
  const stream = connection.client.query(copyFrom(sql));
  stream.end(`${lines.join('\n')}\n`);
  try {
    await finished(stream);
    return undefined;
  } catch (error) {
    // A check, a NULL that a domain does not take.
    if (sqlState(error) !== '23514' && sqlState(error) !== '23502') throw error;
    const { where = '', constraint = '' } = error as { where?: string; constraint?: string };
    const line = /line (\d+)/.exec(where)?.[1];
    if (line === undefined) throw error;
    return { at: Number(line) - 1, constraint: constraint === '' ? 'a domain' : quote(constraint) };
  }
}
