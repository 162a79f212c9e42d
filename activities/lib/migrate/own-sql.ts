/** SQL that the runbook brings itself: it must be what it says that it is, and nothing that is written behind it. */
import type { Node } from 'libpg-query';
import { messageOf } from '../fail.ts';
import { type Connection, inTransaction, sqlState } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { refuse } from './codes.ts';
import { quotedTable } from './judge.ts';
import type { MigrateParams } from './params.ts';
import { statementsOf } from './sql.ts';
import { isPassing } from './tries.ts';

/** Throws SqlSyntax where a query is not one select, or an expression not one expression. */
export async function checkOwnSql({ canary, backfill, verify }: MigrateParams): Promise<void> {
  if (canary !== undefined) await checkSelect(canary, 'canary');
  for (const { name, query } of verify) await checkSelect(query, `verify '${name}'`);
  if (backfill === undefined) return;
  if (backfill.holdWhile !== undefined) await checkSelect(backfill.holdWhile, 'backfill.holdWhile');
  await checkExpression(backfill.where, 'backfill.where');
  for (const [column, sql] of Object.entries(backfill.set))
    await checkExpression(sql, `backfill.set.${column}`);
}

async function checkSelect(sql: string, field: string): Promise<void> {
  const statements = await statementsOf(sql, field);
  const [only] = statements;
  if (statements.length === 1 && only !== undefined && 'SelectStmt' in only.node) return;
  refuse(
    'SqlSyntax',
    `${field} has ${statements.length} statements, expected one select; take the others away`,
  );
}

/** What is asked while the migrations are applied must have an answer before. Throws QueryFails. */
export async function checkOnTarget(
  connection: Connection,
  { canary, backfill }: Pick<MigrateParams, 'canary' | 'backfill'>,
): Promise<void> {
  await connection.client.query('RESET search_path');
  await checkPlan(connection, canary, 'canary', 'the target');
  await checkPlan(connection, backfill?.holdWhile, 'backfill.holdWhile', 'the target');
}

/** What is asked afterwards must have an answer on the clone once all migrations stand. Throws QueryFails. */
export async function checkOnClone(
  connection: Connection,
  { backfill, verify }: Pick<MigrateParams, 'backfill' | 'verify'>,
): Promise<void> {
  await connection.client.query('RESET search_path');
  for (const { name, query } of verify) {
    if (!/\$(?:\d|\()/.test(query))
      await checkPlan(connection, query, `verify '${name}'`, 'the scratch clone');
  }
  if (backfill === undefined) return;
  const { table, set, where } = backfill;
  const sets = Object.entries(set).map(([column, sql]) => `${quote(column)} = (${sql}\n)`);
  const update = `UPDATE ${quotedTable(table)} AS filled SET ${sets.join(', ')} WHERE (${where}\n)`;
  await checkPlan(connection, update, 'backfill', 'the scratch clone');
}

/** Only planned, never run. */
async function checkPlan(
  connection: Connection,
  sql: string | undefined,
  field: string,
  place: string,
): Promise<void> {
  if (sql === undefined) return;
  try {
    await inTransaction(connection, () => connection.query(`EXPLAIN ${sql}`));
  } catch (error) {
    if (isPassing(error)) throw error;
    refuse(
      'QueryFails',
      `${field} fails on ${place}: ${messageOf(error)} (${sqlState(error)}), expected it to have an answer; correct the step`,
      error,
    );
  }
}

/** In brackets it must be the one target of a select, without anything of a select behind it. */
async function checkExpression(sql: string, field: string): Promise<void> {
  const statements = await statementsOf(`SELECT (${sql}\n)`, field);
  const [only] = statements;
  if (statements.length === 1 && only !== undefined && isExpression(only.node)) return;
  refuse('SqlSyntax', `${field} is '${sql.slice(0, 60)}', expected one expression; write no more than that`);
}

function isExpression(node: Node): boolean {
  if (!('SelectStmt' in node)) return false;
  const {
    targetList = [],
    fromClause,
    whereClause,
    groupClause,
    sortClause,
    limitCount,
    larg,
  } = node.SelectStmt;
  const more = [fromClause, whereClause, groupClause, sortClause, limitCount, larg];
  return targetList.length === 1 && more.every((one) => one === undefined);
}
