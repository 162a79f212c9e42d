/** The rows of a query as the lines that COPY writes, in bytes as long as nobody must look closer. */
import { to as copyTo } from 'pg-copy-streams';
import type { Connection } from '../postgres.ts';

export type TargetLines = {
  /** Takes the next bytes where they are these, and gives whether they were. */
  takeEqual(bytes: Buffer): Promise<boolean>;
  /** Takes so many lines, or what is left. */
  take(count: number): Promise<string[]>;
  /** Ends an unfinished query with its session. */
  close(): void;
};

const NEWLINE = 0x0a;

/** Starts the query. The session is busy until all is taken. */
export function readTargetLines(
  connection: Connection,
  sql: string,
  { signal, normalize }: { signal: AbortSignal; normalize: ((line: string) => string) | undefined },
): TargetLines {
  const stream = connection.client.query(copyTo(`COPY (${sql}) TO STDOUT`));
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  /** What came and was not taken, from `from` of its first buffer on. */
  let held: Buffer[] = [];
  let from = 0;
  let sizeBytes = 0;

  const fill = async (): Promise<boolean> => {
    signal.throwIfAborted();
    const { done, value } = await chunks.next();
    if (done === true) return false;
    held.push(value);
    sizeBytes += value.length;
    return true;
  };
  const drop = (count: number): void => {
    sizeBytes -= count;
    let left = count + from;
    let whole = 0;
    while (whole < held.length && left >= (held[whole]?.length ?? 0)) {
      left -= held[whole]?.length ?? 0;
      whole += 1;
    }
    held = whole === 0 ? held : held.slice(whole);
    from = left;
  };
  const isNext = (bytes: Buffer): boolean => {
    let at = 0;
    for (const [place, buffer] of held.entries()) {
      const start = place === 0 ? from : 0;
      const length = Math.min(buffer.length - start, bytes.length - at);
      if (bytes.compare(buffer, start, start + length, at, at + length) !== 0) return false;
      at += length;
      if (at === bytes.length) return true;
    }
    return false;
  };

  return {
    async takeEqual(bytes) {
      while (sizeBytes < bytes.length && (await fill()));
      if (sizeBytes < bytes.length || !isNext(bytes)) return false;
      drop(bytes.length);
      return true;
    },
    async take(count) {
      const lines: string[] = [];
      const parts: Buffer[] = [];
      while (lines.length < count) {
        const [first] = held;
        if (first === undefined) {
          if (await fill()) continue;
          break;
        }
        const end = first.indexOf(NEWLINE, from);
        const until = end === -1 ? first.length : end;
        parts.push(first.subarray(from, until));
        drop(end === -1 ? until - from : until - from + 1);
        if (end === -1) continue;
        const line = parts.length === 1 ? (parts[0]?.toString() ?? '') : Buffer.concat(parts).toString();
        parts.length = 0;
        lines.push(normalize === undefined ? line : normalize(line));
      }
      return lines;
    },
    // Only an error leaves lines unread. The session ends with it: whatever is said to it next would wait for them.
    close: () => {
      if (stream.readableEnded) return;
      stream.on('error', () => undefined).destroy();
      connection.client.connection.stream.destroy();
    },
  };
}
