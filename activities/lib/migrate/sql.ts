/** The statements of a text, as PostgreSQL's own parser reads them, each with the place where it stands. */
import { createHash } from 'node:crypto';
import { type Node, hasSqlDetails, parse } from 'libpg-query';
import { messageOf } from '../fail.ts';
import { refuse } from './codes.ts';

export type Statement = {
  /** As it stands in the file, without the semicolon. */
  sql: string;
  /** From 1. */
  line: number;
  node: Node;
};

/** The name of its node, as in IndexStmt. */
export function kindOf(node: Node): string {
  return Object.keys(node)[0] ?? '';
}

/** Throws SqlSyntax with the place. `file` is for the message. */
export async function statementsOf(sql: string, file: string): Promise<Statement[]> {
  const bytes = Buffer.from(sql);
  const { stmts = [] } = await parseOrRefuse(sql, file);
  return stmts.flatMap(({ stmt, stmt_location: from = 0, stmt_len: length }) => {
    if (stmt === undefined) return [];
    const end = length === undefined || length === 0 ? bytes.length : from + length;
    const text = bytes.subarray(from, end).toString('utf8');
    const own = text.trimStart();
    const before = bytes.subarray(0, from).toString('utf8') + text.slice(0, text.length - own.length);
    return [{ sql: own.trimEnd(), line: before.split('\n').length, node: stmt }];
  });
}

async function parseOrRefuse(sql: string, file: string) {
  if (sql.includes('\0')) return refuse('SqlSyntax', `${file} holds a NUL, expected text`);
  if (sql.trim() === '') return { stmts: [] };
  try {
    return await parse(sql);
  } catch (error) {
    const at = hasSqlDetails(error) ? (error.sqlDetails?.cursorPosition ?? 0) : 0;
    const before = Array.from(sql).slice(0, at).join('').split('\n');
    const column = (before.at(-1) ?? '').length + 1;
    return refuse(
      'SqlSyntax',
      `${file}:${before.length}:${column} cannot be read as SQL: ${messageOf(error)}; correct it and plan again`,
      error,
    );
  }
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** A statement on one line, for messages. */
export function shortSql(sql: string, lengthMax = 90): string {
  const line = sql.replace(/\s+/g, ' ').trim();
  return line.length > lengthMax ? `${line.slice(0, lengthMax)}…` : line;
}
