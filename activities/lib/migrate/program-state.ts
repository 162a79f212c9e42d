/** The tables in which a program keeps where it stands: it makes them by itself, and leaves them empty when it goes back. */
import type { PhaseContext } from '../../phase.ts';
import { fenced } from '../fence.ts';
import type { Connection } from '../postgres.ts';
import { quotedTable } from './judge.ts';

/** With its schema. */
export function stateTable(table: string): string {
  return table.includes('.') ? table : `public.${table}`;
}

/** Those that are not there. */
export async function missingTables(connection: Connection, tables: readonly string[]): Promise<string[]> {
  const missing: string[] = [];
  for (const table of tables.map(stateTable)) {
    const [row] = await connection.query('SELECT to_regclass($1) IS NULL', [quotedTable(table)]);
    if (row?.[0] === 't') missing.push(table);
  }
  return missing;
}

/** Drops those that are there and empty. */
export async function dropEmpty(connection: Connection, tables: readonly string[]): Promise<void> {
  const missing = await missingTables(connection, tables);
  for (const table of tables.map(stateTable).filter((one) => !missing.includes(one))) {
    const [row] = await connection.query(`SELECT count(*) FROM ${quotedTable(table)}`);
    if (row?.[0] === '0') await connection.client.query(`DROP TABLE ${quotedTable(table)}`);
  }
}

/** Notes before the first start which tables the program will make, so that the undo knows them. */
export async function noteMissing(
  connection: Connection,
  { step, state }: { step: string; state: readonly string[] },
  context: PhaseContext,
): Promise<void> {
  const missing = await missingTables(connection, state);
  await fenced(connection, context, async () => {
    for (const table of missing) {
      await connection.query(
        'INSERT INTO countdown.created (run, step, name, id) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING',
        [context.run, step, table],
      );
    }
  });
}

/** Drops what was noted and is empty, once the program is back where it began. */
export async function dropNoted(connection: Connection, step: string, context: PhaseContext): Promise<void> {
  const of = [context.run, step];
  await fenced(connection, context, async () => {
    const rows = await connection.query(
      'SELECT name FROM countdown.created WHERE run = $1 AND step = $2',
      of,
    );
    await dropEmpty(
      connection,
      rows.map(([name]) => name ?? ''),
    );
    await connection.query('DELETE FROM countdown.created WHERE run = $1 AND step = $2', of);
  });
}
