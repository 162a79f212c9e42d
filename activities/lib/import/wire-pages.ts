/**
 * The pages of a table, read and written for PostgreSQL on a thread of their own, a few ahead of whoever takes them. A
 * page that the thread cannot write, or not even read, is read here instead: its cells need a closer look, and its errors
 * words.
 */
import { Worker } from 'node:worker_threads';
import type { MappedTable } from '../mapping.ts';
import { TextBytes, keyOf, readPage, threadError, whenFree } from '../sqlite.ts';
import type { Cell, Page, ReadOptions, Source } from '../sqlite.ts';
import { breathe } from '../wait.ts';
import { WireRows } from './wire.ts';
import type { WireOptions } from './wire.ts';

/** Pages that the thread is ahead. */
const AHEAD = 3;
const START_BYTES = 1024 * 1024;
/** What a row leaves behind dies young: a small heap is as fast, and bounds what the thread takes. */
const HEAP = { maxYoungGenerationSizeMb: 8 };

/** Rows as PostgreSQL takes or sends them. `release` says that its bytes are no longer needed. */
export type WirePage = { bytes: Uint8Array; rows: number; lastKey: Cell[]; release(): void };
/** A page that was written, or one that needs a closer look. */
export type Part = { wire: WirePage; page?: never } | { page: Page; wire?: never };

export type WireJob = {
  path: string;
  table: MappedTable;
  order: ReadOptions['order'];
  rowsMax: number;
  after: Cell[];
  options: WireOptions;
};
/** A buffer to write the next page into, and where to go on where that is not the end of the last one. */
export type WireOrder = { buffer: ArrayBuffer; after?: Cell[] };
/** What the thread has: a page, or word that it cannot write the next one. */
export type WireAnswer =
  | { buffer: ArrayBuffer; sizeBytes: number; rows: number; lastKey: Cell[]; ended: boolean }
  | { odd: true; buffer: ArrayBuffer };

export type WirePagesInput = ReadOptions & {
  options: WireOptions;
  /** The program of the thread; its own by default. */
  thread?: URL;
};

/** The pages of a table from a key on. The first is read here: most tables have no second one. */
export async function* wirePages(
  source: Source,
  table: MappedTable,
  input: WirePagesInput,
): AsyncGenerator<Part> {
  const { order, rowsMax, options, signal } = input;
  const key = keyOf(table.source, order);
  const rows = new WireRows(table, options);
  const read = (after: Cell[] | undefined): Promise<Page> =>
    whenFree(source.name, signal, () => readPage(source, table.source, { key, after, rowsMax }));
  let page = await read(input.after);
  let pages: ThreadPages | undefined;
  try {
    for (;;) {
      if (page.rows.length === 0) return;
      const { lastKey, ended } = page;
      if (!ended && pages === undefined && isPlainKey(lastKey))
        pages = new ThreadPages(source, { ...input, path: source.path, table, after: lastKey });
      yield pages?.isOdd === true ? { page } : written(rows, page);
      if (ended) return;
      await breathe(signal);
      if (pages === undefined) {
        page = await read(lastKey);
        continue;
      }
      const from = yield* pages.take(lastKey);
      if (from === undefined) return;
      page = await read(from);
    }
  } finally {
    pages?.end();
  }
}

/** A key of a thread is one that crosses to it as it is. */
function isPlainKey(key: Cell[]): boolean {
  return !key.some((cell) => cell instanceof TextBytes);
}

function written(rows: WireRows, page: Page): Part {
  rows.reuse(new ArrayBuffer(START_BYTES));
  for (const row of page.rows) if (!rows.add(row, page.key.length)) return { page };
  const bytes = rows.bytes.subarray(0, rows.length);
  return { wire: { bytes, rows: page.rows.length, lastKey: page.lastKey, release: () => {} } };
}

/** The thread and what it has answered. */
class ThreadPages {
  /** The next page is one that the thread could not write. */
  isOdd = false;
  readonly #name: string;
  readonly #signal: AbortSignal;
  readonly #worker: Worker;
  readonly #answers: WireAnswer[] = [];
  readonly #idle: ArrayBuffer[] = [];
  readonly #onAbort = (): void => this.#fail(this.#signal.reason);
  #failure: { error: unknown } | undefined;
  #wake: () => void = () => {};

  constructor(source: Source, { signal, thread, ...job }: WirePagesInput & Omit<WireJob, 'options'>) {
    this.#name = source.name;
    this.#signal = signal;
    const { path, table, order, rowsMax, after, options } = job;
    const workerData: WireJob = { path, table, order, rowsMax, after, options };
    this.#worker = new Worker(thread ?? new URL('./wire-thread.ts', import.meta.url), {
      workerData,
      resourceLimits: HEAP,
    });
    this.#worker.on('message', (answer: WireAnswer) => {
      this.#answers.push(answer);
      this.#wake();
    });
    this.#worker.once('error', (error) => this.#fail(error));
    this.#worker.once('exit', (code) => this.#fail(new Error(`it ended with code ${code}`)));
    signal.addEventListener('abort', this.#onAbort, { once: true });
    for (let count = 0; count < AHEAD; count += 1) this.#order({ buffer: new ArrayBuffer(START_BYTES) });
  }

  /** Pages until one needs a closer look: gives the key after which it begins, undefined at the end of the table. */
  async *take(lastKey: Cell[]): AsyncGenerator<Part, Cell[] | undefined> {
    let after = lastKey;
    // The page that was just read here is the one that the thread waits behind.
    if (this.isOdd) {
      this.isOdd = false;
      if (!isPlainKey(after)) {
        this.isOdd = true;
        return after;
      }
      const buffer = this.#idle.pop() ?? new ArrayBuffer(START_BYTES);
      this.#order({ buffer, after });
      for (const idle of this.#idle.splice(0)) this.#order({ buffer: idle });
    }
    for (;;) {
      const answer = await this.#next();
      if ('odd' in answer) {
        this.isOdd = true;
        this.#idle.push(answer.buffer);
        return after;
      }
      const { buffer, sizeBytes, rows, ended } = answer;
      if (rows > 0) {
        after = answer.lastKey;
        const release = (): void => {
          if (!ended) this.#order({ buffer });
        };
        yield { wire: { bytes: new Uint8Array(buffer, 0, sizeBytes), rows, lastKey: after, release } };
      }
      if (ended) return undefined;
    }
  }

  /** Ends the thread, whatever it does. */
  end(): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#failure ??= { error: new Error('it was ended') };
    void this.#worker.terminate();
  }

  #order(order: WireOrder): void {
    if (this.#failure !== undefined) return;
    // oxlint-disable-next-line require-post-message-target-origin -- a thread's port has no origin
    this.#worker.postMessage(order, [order.buffer]);
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake();
  }

  async #next(): Promise<WireAnswer> {
    for (;;) {
      const answer = this.#answers.shift();
      if (answer !== undefined) return answer;
      if (this.#failure !== undefined) {
        this.#signal.throwIfAborted();
        throw threadError(this.#name, this.#failure.error);
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }
}
