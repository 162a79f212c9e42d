/**
 * The rows of a query as the very bytes that PostgreSQL sends for COPY … (FORMAT binary), each row a message. Nothing is
 * taken apart as long as they are the bytes that were expected; so they are taken from the socket itself.
 */
import type { Socket } from 'node:net';
import { LendingSocket } from '../lending-socket.ts';
import type { Connection } from '../postgres.ts';
import { COPY_DATA, FRAME_BYTES, WIRE_END, WIRE_HEAD } from './wire.ts';

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
/** What is still on its way when the socket is told. */
const SPARE_BYTES = 128 * 1024;
const COPY_OUT_RESPONSE = 0x48;

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

/** Bytes in the order in which they came, in one piece. */
class Held {
  #bytes = Buffer.allocUnsafeSlow(HELD_MAX + SPARE_BYTES);
  #from = 0;
  #to = 0;

  get length(): number {
    return this.#to - this.#from;
  }

  /** The first of them; valid until more come. */
  first(sizeBytes: number): Buffer {
    return this.#bytes.subarray(this.#from, this.#from + sizeBytes);
  }

  add(data: Uint8Array): void {
    this.#makeRoom(data.length);
    this.#bytes.set(data, this.#to);
    this.#to += data.length;
  }

  /** Before all that is there. */
  putBack(data: Uint8Array): void {
    const rest = Buffer.from(this.first(this.length));
    this.#from = 0;
    this.#to = 0;
    this.add(data);
    this.add(rest);
  }

  drop(sizeBytes: number): void {
    this.#from += sizeBytes;
    if (this.#from === this.#to) {
      this.#from = 0;
      this.#to = 0;
    }
  }

  /** One row may be larger than all that is held as a rule. */
  #makeRoom(sizeBytes: number): void {
    if (this.#to + sizeBytes <= this.#bytes.length) return;
    const bytes =
      this.length + sizeBytes <= this.#bytes.length
        ? this.#bytes
        : Buffer.allocUnsafeSlow(2 * (this.length + sizeBytes));
    this.#bytes.copy(bytes, 0, this.#from, this.#to);
    this.#bytes = bytes;
    this.#to = this.length;
    this.#from = 0;
  }
}

class CopyOut {
  readonly #sql: string;
  readonly #signal: AbortSignal;
  readonly #held = new Held();
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
    if (stream instanceof LendingSocket) stream.lends = true;
    stream.on('data', this.#onData);
    stream.once('close', this.#onClose);
    connection.query(this.#sql);
  }

  readonly #onData = (data: Buffer): void => {
    this.#held.add(data);
    if (this.#held.length > HELD_MAX) this.#stream?.pause();
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

  /** The first bytes in one piece; undefined where the stream has fewer. */
  async #peek(sizeBytes: number): Promise<Buffer | undefined> {
    while (this.#held.length < sizeBytes) if (!(await this.#fill())) return undefined;
    return this.#held.first(sizeBytes);
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
    this.#held.drop(first.length);
    // What is left of the first message is the first row, as all others are.
    this.#held.putBack(frame(rowBytes));
    return true;
  }

  async takeEqual(rows: Uint8Array): Promise<boolean> {
    if (!this.#started && !(await this.#start())) return false;
    const expected = Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength);
    let at = 0;
    while (at < expected.length) {
      const length = Math.min(this.#held.length, expected.length - at);
      if (length === 0) {
        if (await this.#fill()) continue;
        return false;
      }
      if (this.#held.first(length).compare(expected, at, at + length) !== 0) {
        this.#held.putBack(expected.subarray(messageAt(expected, at), at));
        return false;
      }
      this.#held.drop(length);
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
        if (this.#held.length === 0) await this.#fill();
        const taken = Math.min(left, this.#held.length);
        this.#held.drop(taken);
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
    if (stream instanceof LendingSocket) stream.lends = false;
    stream.on('data', this.#driver);
    const rest = Buffer.from(this.#held.first(this.#held.length));
    this.#held.drop(rest.length);
    this.#driver(rest);
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
