/**
 * One statement that PostgreSQL runs outside of transactions only. Whether it happened is read from the catalog: an
 * index that a broken attempt left invalid is dropped and made again; nothing is done twice.
 */
import type { Connection } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { nameOf, tableName } from './classify.ts';
import { refuse } from './codes.ts';
import { indexState } from './dry-run.ts';
import { concurrentIndex, dropped, quotedTable } from './judge.ts';
import type { Script } from './scripts.ts';
import type { Statement } from './sql.ts';

/** Runs what is left to be run. `indexes` holds the definitions that inspect saw. Errors of the server are the caller's. */
export async function runAlone(
  connection: Connection,
  script: Script,
  indexes: Readonly<Record<string, string>>,
): Promise<void> {
  const [statement] = script.statements;
  if (statement === undefined) return;
  const run = (sql = statement.sql) => connection.client.query(sql);
  const index = concurrentIndex(statement);
  if (index !== undefined) {
    if (await isMade(connection, script, index, indexes[index.index])) return;
    await run();
    return;
  }
  const names = dropped(statement);
  if (names.length > 0) {
    const [row] = await connection.query(
      `SELECT count(*) FROM unnest($1::text::text[]) AS one(name) WHERE to_regclass(one.name) IS NOT NULL`,
      [`{${names.map((one) => JSON.stringify(quotedTable(one))).join(',')}}`],
    );
    if (row?.[0] !== '0') await run();
    return;
  }
  if (await isDoneOtherwise(connection, statement, run)) return;
  await run();
}

async function isMade(
  connection: Connection,
  script: Script,
  { index, table }: { index: string; table: string },
  expected: string | undefined,
): Promise<boolean> {
  const state = await indexState(connection, index, table);
  if (state === undefined) return false;
  if (!state.isValid) {
    await connection.client.query(`DROP INDEX CONCURRENTLY ${quote(state.schema)}.${quote(index)}`);
    return false;
  }
  if (expected !== undefined && expected !== '' && state.definition !== expected) {
    refuse(
      'IndexDiffers',
      `${script.file} is to make '${expected}', and there is '${state.definition}' of that name, expected none or the same; rename or drop it`,
    );
  }
  return true;
}

/** ALTER TYPE … ADD VALUE and DETACH PARTITION CONCURRENTLY. What is left (VACUUM, REINDEX) may be run twice. */
async function isDoneOtherwise(
  connection: Connection,
  statement: Statement,
  run: (sql: string) => Promise<unknown>,
): Promise<boolean> {
  const { node } = statement;
  if ('AlterEnumStmt' in node) {
    const type = quotedTable((node.AlterEnumStmt.typeName ?? []).map(nameOf).join('.'));
    const [row] = await connection.query(
      'SELECT count(*) FROM pg_catalog.pg_enum WHERE enumtypid = to_regtype($1) AND enumlabel = $2',
      [type, node.AlterEnumStmt.newVal ?? ''],
    );
    return row?.[0] !== '0';
  }
  if ('ReindexStmt' in node) {
    await dropLeftovers(connection, tableName(node.ReindexStmt.relation));
    return false;
  }
  const detached = detachOf(statement);
  if (detached === undefined) return false;
  const state = await detachState(connection, detached);
  if (state === 'pending') await run(finalize(detached));
  return state !== 'attached';
}

type Detached = { table: string; partition: string };

function detachOf({ node }: Statement): Detached | undefined {
  if (!('AlterTableStmt' in node)) return undefined;
  const [cmd] = node.AlterTableStmt.cmds ?? [];
  const def = cmd !== undefined && 'AlterTableCmd' in cmd ? cmd.AlterTableCmd.def : undefined;
  if (def === undefined || !('PartitionCmd' in def)) return undefined;
  return {
    table: quotedTable(tableName(node.AlterTableStmt.relation)),
    partition: quotedTable(tableName(def.PartitionCmd.name)),
  };
}

async function detachState(
  connection: Connection,
  { table, partition }: Detached,
): Promise<'attached' | 'pending' | 'detached'> {
  const [row] = await connection.query(
    'SELECT inhdetachpending FROM pg_catalog.pg_inherits WHERE inhparent = to_regclass($1) AND inhrelid = to_regclass($2)',
    [table, partition],
  );
  if (row === undefined) return 'detached';
  return row[0] === 't' ? 'pending' : 'attached';
}

function finalize({ table, partition }: Detached): string {
  return `ALTER TABLE ${table} DETACH PARTITION ${partition} FINALIZE`;
}

/** What a broken REINDEX CONCURRENTLY leaves: invalid indexes whose names end in _ccnew or _ccold. */
async function dropLeftovers(connection: Connection, name: string): Promise<void> {
  const rows = await connection.query(
    `SELECT i.indexrelid::regclass::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'
       AND (i.indrelid = to_regclass($1) OR i.indrelid = (SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid = to_regclass($1)))`,
    [quotedTable(name)],
  );
  for (const [index] of rows) await connection.client.query(`DROP INDEX CONCURRENTLY ${index}`);
}

/** Whether what it drops or detaches is there as before. What was broken off in between is finished, for the down to bring back. */
async function neverHappened(connection: Connection, statement: Statement): Promise<boolean> {
  const [name] = dropped(statement);
  if (name !== undefined) {
    const [row] = await connection.query(
      'SELECT indisvalid AND indisready AND indislive, indexrelid::regclass::text FROM pg_catalog.pg_index WHERE indexrelid = to_regclass($1)',
      [quotedTable(name)],
    );
    const [isWhole, index = ''] = row ?? [];
    if (isWhole === 'f') await connection.client.query(`DROP INDEX CONCURRENTLY ${index}`);
    return isWhole === 't';
  }
  const detached = detachOf(statement);
  if (detached === undefined) return false;
  const state = await detachState(connection, detached);
  if (state === 'pending') await connection.client.query(finalize(detached));
  return state === 'attached';
}

/**
 * Takes away what a broken or whole attempt of the statement made, where that can be read from the catalog. True where
 * nothing of it stands any more, or ever stood, so that its down has nothing to do.
 */
export async function takeAway(connection: Connection, script: Script): Promise<boolean> {
  const [statement] = script.statements;
  if (statement === undefined) return false;
  const index = concurrentIndex(statement);
  if (index === undefined) return await neverHappened(connection, statement);
  const state = await indexState(connection, index.index, index.table);
  if (state !== undefined) {
    await connection.client.query(`DROP INDEX CONCURRENTLY ${quote(state.schema)}.${quote(index.index)}`);
  }
  return true;
}
