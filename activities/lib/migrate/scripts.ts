/** One direction of one migration, read and judged: may it stand, and in a transaction or alone. */
import { classify } from './classify.ts';
import { refuse } from './codes.ts';
import { setsTransaction, whyRefused } from './refused.ts';
import { type Statement, sha256, shortSql, statementsOf } from './sql.ts';

export type Script = {
  /** The name of the file, for messages. */
  file: string;
  sql: string;
  sha256: string;
  statements: Statement[];
  /** False: exactly one statement, which PostgreSQL runs outside of a transaction only. */
  isTransactional: boolean;
};

export type Migration = { version: string; name: string; up: Script; down?: Script };

/** Throws SqlSyntax, TransactionControl and its kin, StatementRefused, NonTransactionalMulti. */
export async function readScript(file: string, sql: string): Promise<Script> {
  const statements = await statementsOf(sql, file);
  checkTransactions(file, statements);
  for (const { node, line, sql: text } of statements) {
    const why = whyRefused(node);
    if (why === undefined) continue;
    refuse(
      'StatementRefused',
      `${file}:${line} says '${shortSql(text, 60)}', which cannot stand in a migration: ${why}; take it out`,
    );
  }
  const alone = statements.find((one) => !classify(one).isTransactional);
  if (alone !== undefined && statements.length > 1) {
    refuse(
      'NonTransactionalMulti',
      `${file}:${alone.line} says '${shortSql(alone.sql, 60)}', which cannot stand in a transaction, beside others, expected it alone; put it into a migration of its own`,
    );
  }
  return { file, sql, sha256: sha256(sql), statements, isTransactional: alone === undefined };
}

/** The step itself begins and commits, so that history and fence are in the same transaction. */
function checkTransactions(file: string, statements: readonly Statement[]): void {
  let open: Statement | undefined;
  let first: Statement | undefined;
  for (const one of statements) {
    if (setsTransaction(one.node)) first ??= one;
    if (!('TransactionStmt' in one.node)) continue;
    const { kind } = one.node.TransactionStmt;
    first ??= one;
    const begins = kind === 'TRANS_STMT_BEGIN' || kind === 'TRANS_STMT_START';
    if (begins && open !== undefined) {
      refuse(
        'TransactionNested',
        `${file}:${one.line} begins a transaction inside the one of line ${open.line}, expected neither; take both away, since the step makes its own`,
      );
    }
    if (begins) open = one;
    else if (kind === 'TRANS_STMT_COMMIT' || kind === 'TRANS_STMT_ROLLBACK') open = undefined;
  }
  if (open !== undefined) {
    refuse(
      'TransactionUncommitted',
      `${file}:${open.line} begins a transaction and never commits it, expected neither; take it away, since the step makes its own`,
    );
  }
  if (first !== undefined) {
    refuse(
      'TransactionControl',
      `${file}:${first.line} says '${shortSql(first.sql, 40)}', expected no statement that begins, ends or sets a transaction; take it away, since the step makes its own`,
    );
  }
}
