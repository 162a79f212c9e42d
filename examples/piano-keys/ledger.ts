/**
 * The writer's ledger: a line of JSON for each attempt to write and what came of it. `checkLedger` asks the application
 * whether every acknowledged write is there.
 */
import { readFile } from 'node:fs/promises';
import type { Row, TableName } from './tables.ts';

const LANES = 16;

export type Entry = {
  at: string;
  operation: 'create' | 'update' | 'remove';
  table: TableName;
  /** Null for a creation that was not acknowledged: nobody knows the number it got. */
  id: number | null;
  /** What was acknowledged: the whole row; null for a removal, and for what was not acknowledged. */
  row: Row | null;
  /** `refused`: the application said that it did not write. `unknown`: it may have written, no answer came. */
  outcome: 'acknowledged' | 'refused' | 'unknown';
};

export type Missing = {
  table: TableName;
  id: number;
  /** Acknowledged writes of this row. */
  writes: number;
  /** Null where it was removed. */
  expected: Row | null;
  /** Null where it is not there. */
  found: Row | null;
};

export type LedgerCheck = {
  acknowledged: number;
  /** Acknowledged writes whose row is as the last of them left it. */
  present: number;
  refused: number;
  unknown: number;
  missing: Missing[];
};

/** Reads each row that was written, over the application's own API, and compares it with what was acknowledged. */
export async function checkLedger({ ledger, url }: { ledger: string; url: string }): Promise<LedgerCheck> {
  const entries = await readLedger(ledger);
  const last = lastOfEach(entries);
  const queue = [...last.values()];
  const missing: Missing[] = [];
  const lane = async (): Promise<void> => {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const found = await read(url, next.table, next.id);
      if (next.accepts.some((row) => equal(row, found))) continue;
      missing.push({
        table: next.table,
        id: next.id,
        writes: next.writes,
        expected: next.accepts[0] ?? null,
        found,
      });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  const count = (outcome: Entry['outcome']): number =>
    entries.filter((entry) => entry.outcome === outcome).length;
  const acknowledged = count('acknowledged');
  return {
    acknowledged,
    present: acknowledged - missing.reduce((sum, { writes }) => sum + writes, 0),
    refused: count('refused'),
    unknown: count('unknown'),
    missing: missing.sort((a, b) => a.table.localeCompare(b.table) || a.id - b.id),
  };
}

/** The lines of a ledger; a last line that was cut off by a kill is left out. */
export async function readLedger(file: string): Promise<Entry[]> {
  const lines = (await readFile(file, 'utf8')).split('\n');
  lines.pop();
  return lines.map((line): Entry => JSON.parse(line));
}

type Last = { table: TableName; id: number; writes: number; accepts: (Row | null)[] };

function lastOfEach(entries: Entry[]): Map<string, Last> {
  const last = new Map<string, Last>();
  for (const { table, id, outcome, row } of entries) {
    if (id === null || outcome === 'refused') continue;
    const key = `${table}/${id}`;
    const before = last.get(key) ?? { table, id, writes: 0, accepts: [] };
    last.set(
      key,
      outcome === 'acknowledged'
        ? { ...before, writes: before.writes + 1, accepts: [row] }
        : // The row may be as it was, or as the lost answer would have said.
          { ...before, accepts: [...before.accepts, row] },
    );
  }
  return last;
}

async function read(url: string, table: TableName, id: number): Promise<Row | null> {
  const response = await fetch(`${url}/api/${table}/${id}`);
  if (response.status === 404) {
    await response.body?.cancel();
    return null;
  }
  if (!response.ok)
    throw new Error(`GET ${url}/api/${table}/${id} answered ${response.status}, expected 200 or 404.`);
  const row: Row = JSON.parse(await response.text());
  return row;
}

function equal(expected: Row | null, found: Row | null): boolean {
  if (expected === null || found === null) return expected === found;
  return canonical(expected) === canonical(found);
}

function canonical(row: Row): string {
  return JSON.stringify(Object.entries(row).sort(([a], [b]) => a.localeCompare(b)));
}
