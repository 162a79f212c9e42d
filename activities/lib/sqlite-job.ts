/** Statements that cannot be paged, each with its first rows. */
import { DatabaseSync } from 'node:sqlite';
import { carrierOf } from './import/encoding.ts';
import type { Carrier } from './import/encoding.ts';
import type { Cell, Job } from './sqlite.ts';

const ROWS_MAX = 100;

/** Runs them one after the other, and blocks whoever calls it meanwhile. */
export function runJob(job: Job): Record<string, unknown>[][] {
  using db = new DatabaseSync(job.path, { readOnly: job.write !== true, timeout: job.waitMs ?? 10_000 });
  if (job.encodings !== undefined) addFunctions(db, job.encodings.map(carrierOf));
  return job.sql.map((sql) => {
    const found: Record<string, unknown>[] = [];
    const statement = db.prepare(sql);
    statement.setReadBigInts(true);
    for (const row of statement.iterate()) {
      const first = String(Object.values(row)[0]);
      if (job.without?.some((start) => first.startsWith(start)) === true) continue;
      found.push(Object.fromEntries(Object.entries(row).map(([name, cell]) => [name, plain(cell)])));
      if (found.length === (job.rowsMax ?? ROWS_MAX)) break;
    }
    return found;
  });
}

/** A number where it can be one. */
function plain(cell: unknown): unknown {
  return typeof cell === 'bigint' && Number.isSafeInteger(Number(cell)) ? Number(cell) : cell;
}

function addFunctions(db: DatabaseSync, carriers: Carrier[]): void {
  const options = { deterministic: true, useBigIntArguments: true };
  db.function('carried', options, (place, cell: Cell) =>
    cell === null ? null : (carriers[Number(place)]?.encode(cell) ?? null),
  );
  db.function('folded', options, (text: Cell) => (typeof text === 'string' ? text.toLowerCase() : text));
}
