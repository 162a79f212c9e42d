/**
 * Reading a SQLite file that an application may be using: read-only, in pages of bounded rows and bytes, with a breath
 * between them, because `node:sqlite` is synchronous and heartbeats run in the same loop.
 */
import { createHash } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { Worker } from 'node:worker_threads';
import type { PhaseContext } from '../phase.ts';
import { fail, messageOf } from './fail.ts';
import { statOf } from './files.ts';
import type { Encoding } from './import/encoding.ts';
import { checkLog } from './import/wal.ts';
import { runJob } from './sqlite-job.ts';
import type { SourceTable } from './sqlite-schema.ts';
import { breathe, pause } from './wait.ts';

/** A cell as SQLite stores it: integers are bigint, reals are number. */
export type Cell = null | bigint | number | string | Uint8Array;

/** Text whose bytes are not valid UTF-8, in a key: as a string it would be another one. */
export class TextBytes extends Uint8Array {}

/** Bytes of cells after which a page ends early. */
export const PAGE_BYTES_MAX = 4 * 1024 * 1024;
/** Rows of a page that is only looked at: what dies young costs little memory. */
export const LOOK_ROWS = 1_000;
/** Milliseconds for which a file that a writer has locked is tried again. */
const BUSY_WAIT_MS = 10_000;
const BUSY_RETRY_MS = 50;
/** Bytes of a file in which no statement takes long. */
const SMALL_BYTES = 1024 * 1024;

export type Source = {
  /** Name of the target, for messages. */
  name: string;
  path: string;
  db: DatabaseSync;
  [Symbol.dispose](): void;
};

/** Opens the file of a sqlite target for reading. Throws PreconditionFailed where it is missing or no database. */
export async function openSource(name: string, context: PhaseContext): Promise<Source> {
  const { path } = context.target(name, 'sqlite');
  const file = await statOf(name, path);
  if (file === undefined) {
    throw fail(
      'PreconditionFailed',
      `The file of '${name}' was not found on this worker; correct 'path' or 'worker' in the environment file.`,
    );
  }
  if (!file.isFile())
    throw fail(
      'PreconditionFailed',
      `The path of '${name}' leads to no file; correct 'path' in the environment file.`,
    );
  await checkLog(name, path, context.signal);
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_RETRY_MS });
    const opened = db;
    const row = await whenFree(name, context.signal, () => opened.prepare('PRAGMA encoding').get());
    await whenFree(name, context.signal, () => opened.prepare('SELECT count(*) FROM sqlite_schema').get());
    if (row?.['encoding'] !== 'UTF-8') {
      throw fail(
        'NotSupported',
        `'${name}' is stored as ${String(row?.['encoding'])}, expected UTF-8; other encodings cannot be carried yet.`,
      );
    }
    return { name, path, db: opened, [Symbol.dispose]: () => opened.close() };
  } catch (error) {
    if (db?.isOpen === true) db.close();
    throw sqliteError(name, error);
  }
}

/** Runs `work` again for a while where a writer holds the file. Throws Unreachable when it stays locked. */
export async function whenFree<T>(name: string, signal: AbortSignal, work: () => T): Promise<T> {
  const startedAt = performance.now();
  for (;;) {
    signal.throwIfAborted();
    try {
      return work();
    } catch (error) {
      const code = errcode(error);
      if (code !== 5 && code !== 6) throw sqliteError(name, error);
      if (performance.now() - startedAt > BUSY_WAIT_MS) {
        throw fail(
          'Unreachable',
          `'${name}' stayed locked by a writer for ${BUSY_WAIT_MS} ms; end the long transaction of that writer.`,
          error,
        );
      }
      await pause(BUSY_RETRY_MS, signal);
    }
  }
}

function errcode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number')
    return undefined;
  return error.errcode & 0xff;
}

/** SQLite's own errors in our words; any other error as it is. */
export function sqliteError(name: string, error: unknown): never {
  const code = errcode(error);
  if (code === undefined) throw error;
  if (code === 26) {
    throw fail(
      'PreconditionFailed',
      `'${name}' is no SQLite database, or an encrypted one (${messageOf(error)}), expected one that can be read; correct its path, or decrypt it first.`,
      error,
    );
  }
  if (code === 8) {
    throw fail(
      'PreconditionFailed',
      `'${name}' holds a transaction that was broken off (its -journal file): SQLite must roll it back first, and may not while only reading; open it once with the application or the sqlite3 shell, then run again.`,
      error,
    );
  }
  if (code === 11) {
    throw fail(
      'PreconditionFailed',
      `'${name}' is not an intact SQLite database (${messageOf(error)}); restore it, or correct its path.`,
      error,
    );
  }
  if (code === 14 || code === 3) {
    throw fail(
      'PreconditionFailed',
      `'${name}' cannot be opened (${messageOf(error)}); give the worker the right to read it.`,
      error,
    );
  }
  throw fail('PhaseFailed', `Reading '${name}' failed: ${messageOf(error)}.`, error);
}

/** Each row holds the cells of its `key` and then the table's columns in their order. */
export type Page = {
  rows: Cell[][];
  key: string[];
  lastKey: Cell[];
  /** The table ended here. Reading on would chase the rows that an application adds meanwhile, for ever. */
  ended: boolean;
};

export type ReadOptions = {
  /** `storage`: by rowid, or by the primary key without one. `key`: by the primary key. */
  order: 'storage' | 'key';
  rowsMax: number;
  after?: Cell[];
  signal: AbortSignal;
};

/** The columns by which the pages follow one another. */
export function keyOf(table: SourceTable, order: ReadOptions['order']): string[] {
  return order === 'key' && table.primaryKey !== null ? table.primaryKey : table.storageKey;
}

/** The rows of a table, page by page. */
export async function* readPages(
  source: Source,
  table: SourceTable,
  options: ReadOptions,
): AsyncGenerator<Page> {
  const key = keyOf(table, options.order);
  let after = options.after;
  for (;;) {
    const from = after;
    const page = await whenFree(source.name, options.signal, () =>
      readPage(source, table, { key, after: from, rowsMax: options.rowsMax }),
    );
    if (page.rows.length === 0) return;
    yield page;
    if (page.ended) return;
    after = page.lastKey;
    await breathe(options.signal);
  }
}

export type PageFrom = {
  key: string[];
  after: Cell[] | undefined;
  rowsMax: number;
  /** The key is not read beside the columns, because they have it. */
  isWithin?: boolean;
};

/** What gives a page of a table. */
export function pageSql(table: SourceTable, from: PageFrom): string {
  const columns = table.columns.map((column) => quote(column.name));
  const read = from.isWithin === true ? columns : [...from.key.map(quote), ...columns];
  return `SELECT ${read.join(', ')} ${pageRest(table, from)} LIMIT ${from.rowsMax}`;
}

/** The rows from a key on, in its order. */
function pageRest(table: SourceTable, { key, after }: PageFrom): string {
  const keys = key.map(quote).join(', ');
  const bound = after === undefined ? '' : `WHERE (${keys}) > (${after.map(placeholder).join(', ')})`;
  return `FROM ${quote(table.name)} ${bound} ORDER BY ${keys}`;
}

/** Reads a page, and blocks meanwhile. */
export function readPage(source: Source, table: SourceTable, from: PageFrom): Page {
  const { key, after, rowsMax } = from;
  const statement = source.db.prepare(pageSql(table, from));
  statement.setReadBigInts(true);
  statement.setReturnArrays(true);
  const rows: Cell[][] = [];
  let sizeBytes = 0;
  let cut = false;
  for (const found of statement.iterate(...(after ?? []))) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- setReturnArrays is not in the type of iterate
    const row = found as unknown as Cell[];
    for (const cell of row) sizeBytes += sizeOf(cell);
    rows.push(row);
    cut = sizeBytes >= PAGE_BYTES_MAX;
    if (cut) break;
  }
  for (let place = 0; place < key.length; place += 1) {
    if (!rows.some((row) => isDoubtful(row[place]))) continue;
    const name = quote(key[place] ?? '');
    const exact = source.db.prepare(
      `SELECT CAST(${name} AS BLOB) AS bytes ${pageRest(table, from)} LIMIT ${rows.length}`,
    );
    for (const [at, { bytes }] of exact.all(...(after ?? [])).entries()) {
      const row = rows[at];
      const cell = row?.[place];
      if (row === undefined || !isDoubtful(cell) || !(bytes instanceof Uint8Array)) continue;
      if (!Buffer.from(cell).equals(bytes)) row[place] = new TextBytes(bytes);
    }
  }
  const lastKey = rows.at(-1)?.slice(0, key.length) ?? [];
  return { rows, key, lastKey, ended: !cut && rows.length < rowsMax };
}

/** How a cell of a key is bound. */
export function placeholder(cell: Cell): string {
  return cell instanceof TextBytes ? 'CAST(? AS TEXT)' : '?';
}

/** Decoding puts U+FFFD for bytes that are not valid, but it can stand in a text by right too. */
export function isDoubtful(cell: Cell | undefined): cell is string {
  return typeof cell === 'string' && cell.includes('\uFFFD');
}

function sizeOf(cell: Cell): number {
  if (typeof cell === 'string') return cell.length;
  return cell instanceof Uint8Array ? cell.byteLength : 8;
}

/** A name as SQL writes it, in SQLite and in PostgreSQL. */
export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A text as SQLite writes it. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export type DataDigest = { digest: string; rows: number };

/**
 * The DATA of a source: every cell of every table as it is stored, and the AUTOINCREMENT counters. Two files with equal
 * digests hold the same data, whatever their pages look like.
 */
export async function digestData(
  source: Source,
  tables: SourceTable[],
  options: { rowsMax: number; signal: AbortSignal; onRows?: (rows: number) => void },
): Promise<DataDigest> {
  const whole = createHash('sha256');
  let rows = 0;
  for (const table of tables) {
    const hash = createHash('sha256');
    let count = 0;
    for await (const page of readPages(source, table, { order: 'storage', ...options })) {
      hash.update(page.rows.map((row) => rawRow(row, page.key.length)).join('\n'));
      for (const bytes of doubtfulBytes(source, table, page)) hash.update(bytes);
      hash.update('\n');
      count += page.rows.length;
      options.onRows?.(rows + count);
    }
    rows += count;
    whole.update(`${JSON.stringify([table.name, count, hash.digest('hex'), String(table.sequence)])}\n`);
  }
  return { digest: whole.digest('hex'), rows };
}

/** The bytes of texts that decoding may have changed: two that are not valid look the same otherwise. */
function* doubtfulBytes(source: Source, table: SourceTable, page: Page): Generator<Uint8Array> {
  const from = page.key.length;
  for (const row of page.rows) {
    for (const [place, { name }] of table.columns.entries()) {
      if (!isDoubtful(row[from + place])) continue;
      const key = row.slice(0, from);
      const where = page.key
        .map((one, at) => `${quote(one)} = ${placeholder(key[at] ?? null)}`)
        .join(' AND ');
      const sql = `SELECT CAST(${quote(name)} AS BLOB) AS bytes FROM ${quote(table.name)} WHERE ${where}`;
      const bytes = source.db.prepare(sql).get(...key)?.['bytes'];
      if (bytes instanceof Uint8Array) yield bytes;
    }
  }
}

function rawRow(row: Cell[], from: number): string {
  let text = '';
  for (let place = from; place < row.length; place += 1) {
    const cell = row[place] ?? null;
    if (cell === null) text += 'n;';
    else if (typeof cell === 'bigint') text += `i${cell};`;
    else if (typeof cell === 'number') text += `r${Object.is(cell, -0) ? '-0' : cell};`;
    else if (typeof cell === 'string') text += `t${cell.length}:${cell};`;
    else text += `b${Buffer.from(cell.buffer, cell.byteOffset, cell.byteLength).toString('base64')};`;
  }
  return text;
}

/** Statements to run. `waitMs`: for how long a locked file is waited for; by default 10,000 ms. */
export type Job = {
  path: string;
  write?: boolean;
  sql: string[];
  waitMs?: number;
  /** Rows of each statement; 100 by default. */
  rowsMax?: number;
  /** Rows whose first value begins with one of these are left out. */
  without?: string[];
  /** With them the statements have `carried(place, cell)`, the field of a cell, and `folded(text)`, without its case. */
  encodings?: Encoding[];
};

async function isSmall(name: string, path: string): Promise<boolean> {
  let sizeBytes = 0;
  for (const file of [path, `${path}-wal`]) sizeBytes += (await statOf(name, file))?.size ?? 0;
  return sizeBytes <= SMALL_BYTES;
}

/**
 * Runs statements that cannot be paged (integrity checks, counts) on a thread of its own. On a
 * small file they take less time than a thread does.
 *
 * @throws the signal's reason where the phase is cancelled; the thread then ends after its current statement.
 */
export async function runAside(
  name: string,
  job: Job,
  signal: AbortSignal,
): Promise<Record<string, unknown>[][]> {
  signal.throwIfAborted();
  if (await isSmall(name, job.path))
    return await whenFree(name, signal, () => runJob({ ...job, waitMs: BUSY_RETRY_MS }));
  const worker = new Worker(new URL('./sqlite-thread.ts', import.meta.url), { workerData: job });
  const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>[][]>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  worker.once('message', (answer: { rows: Record<string, unknown>[][] }) => resolve(answer.rows));
  worker.once('error', reject);
  worker.once('exit', (code) => reject(new Error(`it ended with code ${code}`)));
  try {
    return await promise;
  } catch (error) {
    signal.throwIfAborted();
    throw threadError(name, error);
  } finally {
    signal.removeEventListener('abort', onAbort);
    void worker.terminate();
  }
}

/** SQLite's errors as everywhere; anything else is the end of the thread. */
export function threadError(name: string, error: unknown): never {
  if (error instanceof Error && 'errcode' in error) sqliteError(name, error);
  throw fail(
    'PhaseFailed',
    `The thread that reads '${name}' failed (${messageOf(error)}), expected pages of rows; see that this worker has memory left, then try again.`,
    error,
  );
}
