/**
 * The thread behind `wirePages`: reads the pages of a table and writes them for PostgreSQL, one for each buffer that it is
 * given. Where it cannot, it says so and waits to be told where to go on.
 */
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { PAGE_BYTES_MAX, isDoubtful, keyOf, pageSql } from '../sqlite.ts';
import type { Cell } from '../sqlite.ts';
import type { WireAnswer, WireJob, WireOrder } from './wire-pages.ts';
import { WireRows } from './wire.ts';

/** Milliseconds for which a locked file is tried; whoever asked tries longer. */
const BUSY_WAIT_MS = 50;

const job: WireJob = workerData;
const key = keyOf(job.table.source, job.order);
const rows = new WireRows(job.table, job.options);
/** Where the key stands in a row. One that is no column of the table is read before them. */
const places = key.map((name) => job.table.source.columns.findIndex((column) => column.name === name));
const isWithin = places.every((place) => place >= 0);
const from = isWithin ? 0 : key.length;
const sql = pageSql(job.table.source, { key, after: job.after, rowsMax: job.rowsMax, isWithin });
const db = new DatabaseSync(job.path, { readOnly: true, timeout: BUSY_WAIT_MS });
const statement = db.prepare(sql);
statement.setReadBigInts(true);
statement.setReturnArrays(true);

let { after } = job;
let isWaiting = false;
const free: ArrayBuffer[] = [];

parentPort?.on('message', (order: WireOrder) => {
  free.push(order.buffer);
  if (order.after !== undefined) {
    after = order.after;
    isWaiting = false;
  }
  for (let buffer = next(); buffer !== undefined; buffer = next()) {
    const answer = answerFor(buffer);
    // oxlint-disable-next-line require-post-message-target-origin -- a thread's port has no origin
    parentPort?.postMessage(answer, [answer.buffer]);
  }
});

function next(): ArrayBuffer | undefined {
  return isWaiting ? undefined : free.pop();
}

function answerFor(buffer: ArrayBuffer): WireAnswer {
  rows.reuse(buffer);
  const page = read();
  // The last page ends it too: nothing follows.
  isWaiting = page === undefined || page.ended;
  const filled = rows.view.buffer;
  if (page === undefined) return { odd: true, buffer: filled };
  after = page.lastKey;
  return { buffer: filled, sizeBytes: rows.length, ...page };
}

/** Undefined where a cell or a key needs a closer look, or SQLite an answer: whoever asked reads this page himself. */
function read(): { rows: number; lastKey: Cell[]; ended: boolean } | undefined {
  let count = 0;
  let last: Cell[] = [];
  try {
    for (const found of statement.iterate(...after)) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- setReturnArrays is not in the type of iterate
      last = found as unknown as Cell[];
      if (!rows.add(last, from)) return undefined;
      count += 1;
      if (rows.length >= PAGE_BYTES_MAX) break;
    }
  } catch (error) {
    if (error instanceof Error && 'errcode' in error) return undefined;
    throw error;
  }
  const lastKey =
    count === 0 ? [] : isWithin ? places.map((place) => last[place] ?? null) : last.slice(0, from);
  if (lastKey.some(isDoubtful)) return undefined;
  return { rows: count, lastKey, ended: count < job.rowsMax && rows.length < PAGE_BYTES_MAX };
}
