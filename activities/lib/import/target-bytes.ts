/**
 * The rows of a query as the very bytes that PostgreSQL sends for COPY … (FORMAT binary), each row a message. Nothing is
 * taken apart as long as they are the bytes that were expected; so they are taken from the socket itself.
 */
import type { Socket } from 'node:net';
import type { Connection } from '../postgres.ts';
import { FRAME_BYTES, WIRE_END, WIRE_HEAD } from './wire.ts';

export type TargetBytes = {
  /** Takes the next rows where they are these, and gives whether they were. After a no there is only `skip`. */
  takeEqual(rows: Uint8Array): Promise<boolean>;
  /** Takes the end, and gives whether nothing else was left. */
  takeEnd(): Promise<boolean>;
  /** Takes what is left without a look. Throws what the server said instead of an end. */
  skip(): Promise<void>;
  /** Cuts an unfinished query off with its session. */
  close(): void;
};

/** Bytes that wait to be taken, above which the socket is not read. */
const HELD_MAX = 2 * 1024 * 1024;
const COPY_OUT_RESPONSE = 0x48;
const COPY_DATA = 0x64;

/** Starts the query. The session is busy until all is taken. */
export function readTargetBytes(connection: Connection, sql: string, signal: AbortSignal): TargetBytes {
  const copy = new CopyOut(`COPY (${sql}) TO STDOUT (FORMAT binary)`, signal);
  // A query of the driver is whatever can submit itself to a connection.
  connection.client.query(copy as never);
  return {
    takeEqual: (rows) => copy.takeEqual(rows),
    async takeEnd() {
      const end = Buffer.concat([frame(WIRE_END.length), WIRE_END]);
      const isEnd = await copy.takeEqual(end);
      const left = await copy.skip();
      return isEnd && left === 0;
    },
    skip: async () => void (await copy.skip()),
    close: () => copy.close(),
  };
}

/** What stands before so many bytes of a message. */
function frame(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(FRAME_BYTES);
  bytes[0] = COPY_DATA;
  bytes.writeUInt32BE(sizeBytes + FRAME_BYTES - 1, 1);
  return bytes;
}

type Wire = { stream: Socket; query(sql: string): void };

class CopyOut {
  readonly #sql: string;
  readonly #signal: AbortSignal;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #stream: Socket | undefined;
  #driver: ((data: Buffer) => void) | undefined;
  #started = false;
  #ended = false;
  #failure: { error: unknown } | undefined;
  #wake: () => void = () => {};

  constructor(sql: string, signal: AbortSignal) {
    this.#sql = sql;
    this.#signal = signal;
  }

  /** Called by the driver when it is this query's turn: from here on the socket is ours. */
  submit(connection: Wire): void {
    const { stream } = connection;
    const [driver] = stream.listeners('data') as ((data: Buffer) => void)[];
    this.#stream = stream;
    this.#driver = driver;
    if (driver !== undefined) stream.removeListener('data', driver);
    stream.on('data', this.#onData);
    stream.once('close', this.#onClose);
    connection.query(this.#sql);
  }

  readonly #onData = (data: Buffer): void => {
    this.#held.push(data);
    this.#heldBytes += data.length;
    if (this.#heldBytes > HELD_MAX) this.#stream?.pause();
    this.#wake();
  };

  readonly #onClose = (): void => this.handleError(new Error('Connection terminated'));

  handleError(error: unknown): void {
    this.#failure ??= { error };
    this.#stream?.removeListener('close', this.#onClose);
    this.#wake();
  }

  handleReadyForQuery(): void {
    this.#ended = true;
    this.#stream?.removeListener('close', this.#onClose);
    this.#wake();
  }

  handleCommandComplete(): void {}
  callback(): void {}

  close(): void {
    if (!this.#ended && this.#failure === undefined) this.#stream?.destroy();
  }

  /** Gives whether there is more. */
  async #fill(): Promise<boolean> {
    this.#signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#ended) return false;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    this.#stream?.resume();
    await promise;
    this.#signal.throwIfAborted();
    return true;
  }

  #drop(sizeBytes: number): void {
    this.#heldBytes -= sizeBytes;
    let left = sizeBytes;
    while (left > 0) {
      const first = this.#held[0];
      if (first === undefined) return;
      if (first.length > left) {
        this.#held[0] = first.subarray(left);
        return;
      }
      left -= first.length;
      this.#held.shift();
    }
  }

  /** The first bytes in one piece; undefined where the stream has fewer. */
  async #peek(sizeBytes: number): Promise<Buffer | undefined> {
    while (this.#heldBytes < sizeBytes) if (!(await this.#fill())) return undefined;
    if ((this.#held[0]?.length ?? 0) < sizeBytes) this.#held = [Buffer.concat(this.#held)];
    return this.#held[0]?.subarray(0, sizeBytes);
  }

  /** The server's word that rows come, and the head before the first of them. Gives whether both were there. */
  async #start(): Promise<boolean> {
    this.#started = true;
    const response = await this.#peek(FRAME_BYTES);
    if (response === undefined || response[0] !== COPY_OUT_RESPONSE) return false;
    const sizeBytes = 1 + response.readUInt32BE(1);
    const first = await this.#peek(sizeBytes + FRAME_BYTES + WIRE_HEAD.length);
    if (first === undefined) return false;
    const head = first.subarray(sizeBytes + FRAME_BYTES);
    const rowBytes = first.readUInt32BE(sizeBytes + 1) - (FRAME_BYTES - 1) - WIRE_HEAD.length;
    if (first[sizeBytes] !== COPY_DATA || !head.equals(WIRE_HEAD) || rowBytes < 0) return false;
    this.#drop(first.length);
    // What is left of the first message is the first row, as all others are.
    this.#unshift(frame(rowBytes));
    return true;
  }

  #unshift(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#held.unshift(Buffer.from(bytes));
    this.#heldBytes += bytes.length;
  }

  async takeEqual(rows: Uint8Array): Promise<boolean> {
    if (!this.#started && !(await this.#start())) return false;
    const expected = Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength);
    let at = 0;
    while (at < expected.length) {
      const [first] = this.#held;
      if (first === undefined) {
        if (await this.#fill()) continue;
        return false;
      }
      const length = Math.min(first.length, expected.length - at);
      if (first.compare(expected, at, at + length, 0, length) !== 0) {
        this.#unshift(expected.subarray(messageAt(expected, at), at));
        return false;
      }
      this.#drop(length);
      at += length;
    }
    return true;
  }

  /** Takes messages to the end of the rows, hands the socket back, and waits for the end. Gives how many there were. */
  async skip(): Promise<number> {
    let count = 0;
    for (;;) {
      const head = await this.#peek(FRAME_BYTES);
      if (head === undefined) return count;
      const isRow = head[0] === COPY_DATA;
      if (!isRow && head[0] !== COPY_OUT_RESPONSE) break;
      if (isRow) count += 1;
      let left = 1 + head.readUInt32BE(1);
      while (left > 0) {
        if (this.#heldBytes === 0) await this.#fill();
        const taken = Math.min(left, this.#heldBytes);
        this.#drop(taken);
        left -= taken;
      }
    }
    this.#handBack();
    while (await this.#fill());
    return count;
  }

  #handBack(): void {
    const stream = this.#stream;
    if (stream === undefined || this.#driver === undefined) return;
    stream.removeListener('data', this.#onData);
    stream.on('data', this.#driver);
    const held = Buffer.concat(this.#held.splice(0));
    this.#heldBytes = 0;
    this.#driver(held);
    stream.resume();
  }
}

/** Where the message begins in which this place lies. */
function messageAt(rows: Buffer, place: number): number {
  let at = 0;
  for (;;) {
    if (at + FRAME_BYTES > place) return at;
    const next = at + 1 + rows.readUInt32BE(at + 1);
    if (next > place) return at;
    at = next;
  }
}
