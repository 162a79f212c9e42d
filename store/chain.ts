/**
 * The hash chain of a run, checked without the database. A row's hash is the sha256 of its fields, each written as
 * `LENGTH:VALUE,` with the length in bytes and `-,` for null, the last of them being the hash of the row before.
 * `countdown.row_hash` in PostgreSQL writes the same text.
 */
import { createHash } from 'node:crypto';
import { canonical } from './digest.ts';
import type { JournalRow } from './types.ts';

/** What row 1 has as the hash of the row before. */
export const GENESIS = '0'.repeat(64);

export type ChainVerdict =
  | { intact: true; head: { seq: number; hash: string } }
  /** The first row that does not fit, and why, in one sentence. */
  | { intact: false; seq: number; problem: string };

/** Rows of one chain from row 1 on, in order. An empty list is intact, its head being row 0. */
export function verifyChain(rows: readonly JournalRow[]): ChainVerdict {
  const run = rows[0]?.run;
  let prev = GENESIS;
  for (const [index, row] of rows.entries()) {
    const problem = problemOf(row, { run, seq: index + 1, prev });
    if (problem !== undefined) return { intact: false, seq: index + 1, problem };
    prev = row.hash;
  }
  return { intact: true, head: { seq: rows.length, hash: prev } };
}

/** The hash that the row must have. */
export function rowHash(row: JournalRow): string {
  const fields = [
    row.run,
    row.seq,
    row.at,
    row.kind,
    row.phase,
    row.direction,
    row.try,
    row.attempt,
    row.actor,
    canonical(row.body),
    row.prev,
  ];
  return createHash('sha256').update(fields.map(field).join(''), 'utf8').digest('hex');
}

function field(value: string | number | null): string {
  if (value === null) return '-,';
  const text = String(value);
  return `${Buffer.byteLength(text, 'utf8')}:${text},`;
}

function problemOf(
  row: JournalRow,
  expected: { run: number | undefined; seq: number; prev: string },
): string | undefined {
  const { seq, prev, run } = expected;
  if (row.run !== run) return `Row ${seq} belongs to run ${row.run}, and the rows before it to run ${run}.`;
  if (row.seq !== seq) return `Row ${seq} is missing: row ${row.seq} stands in its place.`;
  if (row.prev !== prev) {
    return `Row ${seq} follows hash ${row.prev.slice(0, 12)}, but row ${seq - 1} has hash ${prev.slice(0, 12)}.`;
  }
  if (row.hash !== rowHash(row)) {
    return `Row ${seq} was changed: its content has another hash than ${row.hash.slice(0, 12)}.`;
  }
  return undefined;
}
