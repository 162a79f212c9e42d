/** What a program says that a revision would do, as SQL. */
import type { Script } from './scripts.ts';
import { sha256, statementsOf } from './sql.ts';

/** The sha256 of its statements: in which order it keeps its own table varies from start to start. */
export async function digestOfSql(file: string, sql: string): Promise<string> {
  const scripts = await transactionsOf(file, sql);
  return sha256(
    JSON.stringify(
      scripts.map(({ isTransactional, statements }) => [isTransactional, statements.map((one) => one.sql)]),
    ),
  );
}

/** Alembic's own table, which it keeps in the same transactions. */
const OWN_TABLE = /\balembic_version\b/;

/** One script a transaction, one more for each statement outside of any. */
export async function transactionsOf(file: string, sql: string): Promise<Script[]> {
  const scripts: Script[] = [];
  let open: Script | undefined;
  const make = (isTransactional: boolean): Script => ({
    file,
    sql: '',
    sha256: '',
    statements: [],
    isTransactional,
  });
  for (const statement of await statementsOf(sql, file)) {
    if ('TransactionStmt' in statement.node) {
      const { kind } = statement.node.TransactionStmt;
      open = kind === 'TRANS_STMT_BEGIN' || kind === 'TRANS_STMT_START' ? make(true) : undefined;
      if (open !== undefined) scripts.push(open);
      continue;
    }
    if (OWN_TABLE.test(statement.sql)) continue;
    if (open !== undefined) open.statements.push(statement);
    else scripts.push({ ...make(false), statements: [statement] });
  }
  return scripts.filter(({ statements }) => statements.length > 0);
}
