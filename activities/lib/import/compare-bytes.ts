/** Both sides of a table as the bytes that PostgreSQL sends: where all of them are equal, so are all cells. */
import { createHash } from 'node:crypto';
import type { CompareWork } from '../compare.ts';
import { readTargetBytes } from './target-bytes.ts';
import type { TargetBytes } from './target-bytes.ts';
import { hasWire } from './wire.ts';
import { wirePages } from './wire-pages.ts';

export type EqualBytes = {
  rows: number;
  /** sha256 over the rows as PostgreSQL sends them. */
  digest: string;
};

/**
 * Compares the rows of the source in the order of their key with what a query gives. Undefined where they differ, or where
 * a cell needs a closer look: then nothing is known of any row.
 */
export async function compareBytes(work: CompareWork, sql: string): Promise<EqualBytes | undefined> {
  if (!hasWire(work.table)) return undefined;
  const target = readTargetBytes(work.target, sql, work.signal);
  try {
    const found = await compareAll(work, target);
    if (found === undefined) await target.skip();
    else if (!(await target.takeEnd())) return undefined;
    return found;
  } finally {
    target.close();
  }
}

async function compareAll(work: CompareWork, target: TargetBytes): Promise<EqualBytes | undefined> {
  const { source, table, signal, chunkRows, rowsMax = Number.POSITIVE_INFINITY } = work;
  const hash = createHash('sha256');
  const options = { computed: true, framed: true };
  let rows = 0;
  const parts = wirePages(source, table, {
    order: 'key',
    rowsMax: Math.min(chunkRows, rowsMax),
    signal,
    options,
  });
  for await (const { wire } of parts) {
    if (wire === undefined || !(await target.takeEqual(wire.bytes))) return undefined;
    hash.update(wire.bytes);
    wire.release();
    rows += wire.rows;
    work.onRows?.(rows);
    if (rows >= rowsMax) break;
  }
  return { rows, digest: hash.digest('hex') };
}
