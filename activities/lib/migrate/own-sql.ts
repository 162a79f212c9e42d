/** SQL that the runbook brings itself: it must be what it says that it is, and nothing that is written behind it. */
import type { Node } from 'libpg-query';
import { refuse } from './codes.ts';
import type { MigrateParams } from './params.ts';
import { statementsOf } from './sql.ts';

/** Throws SqlSyntax where a query is not one select, or an expression not one expression. */
export async function checkOwnSql({ canary, backfill }: MigrateParams): Promise<void> {
  if (canary !== undefined) await checkSelect(canary, 'canary');
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
