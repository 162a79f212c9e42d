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
      `${file}:${before.length}:${column} cannot be read as SQL: ${messageOf(error)}; ${adviceFor(sql, before.length)}`,
      error,
    );
  }
}

/** What often stands in such files and is not SQL. */
function adviceFor(sql: string, line: number): string {
  const lines = sql.split('\n');
  if (/^\s*\\\S/.test(lines[line - 1] ?? ''))
    return 'this is a command of psql: write what it does as SQL, or take it out';
  const before = lines.slice(0, line).join('\n');
  if (/\bcopy\s[^;]*\bfrom\s+stdin\b[^;]*;/i.test(before))
    return 'COPY with its rows cannot stand in a migration: write INSERT, or load data by other means';
  if (/^(?:<{7}|={7}|>{7})/.test(lines[line - 1] ?? '')) return 'a merge was left half-done: finish it';
  if (/^\s*--\s*(?:migrate:|\+goose)/im.test(sql))
    return 'write what goes up and what goes down in a file each';
  return 'correct it and plan again';
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** A statement on one line, for messages. */
export function shortSql(sql: string, lengthMax = 90): string {
  const line = sql.replace(/\s+/g, ' ').trim();
  return line.length > lengthMax ? `${line.slice(0, lengthMax)}…` : line;
}
