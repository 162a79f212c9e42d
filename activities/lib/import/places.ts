/** Where an import keeps in schema `countdown` of the target what it must know to go on and to go back. */
import { inTransaction } from '../postgres.ts';
import type { Connection } from '../postgres.ts';

/** Names the advisory lock under which the tables are made. */
const SETUP_LOCK = 4_927_311;

const TABLES = `
  CREATE TABLE IF NOT EXISTS countdown.kept (run bigint, step text, kind text, item text, value text NOT NULL, place serial, PRIMARY KEY (run, step, kind, item));
  CREATE TABLE IF NOT EXISTS countdown.quarantine (
    run bigint, step text, "table" text, "row" text, "column" text, class text NOT NULL, value bytea NOT NULL, PRIMARY KEY (run, step, "table", "row", "column"));
  CREATE TABLE IF NOT EXISTS countdown.captured (run bigint, step text, "table" text, id bytea, key text NOT NULL, PRIMARY KEY (run, step, "table", id));
`;

/** Makes the tables once; schema `countdown` must be there. */
export async function makeImportTables(connection: Connection): Promise<void> {
  const [row] = await connection.query(
    `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'countdown' AND c.relname IN ('kept', 'quarantine', 'captured')`,
  );
  if (row?.[0] === '3') return;
  await inTransaction(connection, async () => {
    await connection.client.query(`SELECT pg_advisory_xact_lock(${SETUP_LOCK})`);
    await connection.client.query(TABLES);
  });
}

/** Whom what is kept belongs to: a step of a run. */
export type Owner = { run: number; step: string };

export type Kept = { item: string; value: string };

/** Keeps a value, unless it is kept already: what was found first is what undo goes back to. */
export async function keep(
  connection: Connection,
  owner: Owner,
  what: { kind: string; item: string; value: string },
): Promise<void> {
  await connection.query(
    `INSERT INTO countdown.kept (run, step, kind, item, value) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
    [owner.run, owner.step, what.kind, what.item, what.value],
  );
}

/** What is kept of a kind, in the order in which it was. */
export async function readKept(connection: Connection, owner: Owner, kind: string): Promise<Kept[]> {
  const rows = await connection.query(
    'SELECT item, value FROM countdown.kept WHERE run = $1 AND step = $2 AND kind = $3 ORDER BY place',
    [owner.run, owner.step, kind],
  );
  return rows.map(([item, value]) => ({ item: item ?? '', value: value ?? '' }));
}

/** Forgets what is kept of these kinds. */
export async function forget(connection: Connection, owner: Owner, kinds: readonly string[]): Promise<void> {
  for (const kind of kinds) {
    await connection.query('DELETE FROM countdown.kept WHERE run = $1 AND step = $2 AND kind = $3', [
      owner.run,
      owner.step,
      kind,
    ]);
  }
}
