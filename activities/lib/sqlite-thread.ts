/** The thread behind `runAside`: runs each statement and posts its first 100 rows. */
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import type { Job } from './sqlite.ts';

const ROWS_MAX = 100;

const job: Job = workerData;
using db = new DatabaseSync(job.path, { readOnly: job.write !== true, timeout: 10_000 });
const rows = job.sql.map((sql) => {
  const found: Record<string, unknown>[] = [];
  for (const row of db.prepare(sql).iterate()) {
    found.push({ ...row });
    if (found.length === ROWS_MAX) break;
  }
  return found;
});
// oxlint-disable-next-line require-post-message-target-origin -- a thread's port has no origin
parentPort?.postMessage({ rows });
