/**
 * The log of a SQLite file (`-wal`). SQLite reads a damaged log up to its damage and says nothing, so transactions that were
 * committed would be missing: here it is refused.
 */
import { open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { fail } from '../fail.ts';
import { isMissing } from '../files.ts';
import { breathe, pause } from '../wait.ts';

const HEAD_BYTES = 32;
const FRAME_HEAD_BYTES = 24;
/** Frames that are read at once. */
const FRAMES_READ = 64;
/**
 * A log that somebody writes to looks damaged now and then, because it changes under the eyes of whoever reads it. So it is
 * looked at again, so often and after so many milliseconds, and judged only where nobody writes.
 */
const LOOKS = 4;
const LOOK_AGAIN_MS = 150;

/** Throws PreconditionFailed where the file at `path` has a log that cannot be read whole. */
export async function checkLog(name: string, path: string, signal: AbortSignal): Promise<void> {
  const log = `${path}-wal`;
  const before = await printOf(log);
  for (let look = 1; ; look += 1) {
    const found = await lookAt(log, signal);
    if (found === undefined || (await printOf(log)) !== before) return;
    if (look === LOOKS)
      throw fail(
        'PreconditionFailed',
        `WalUnreadable: the log of '${name}' (its -wal file) ${found}, expected a whole one: SQLite would leave out what was committed behind that; restore file and log together, or accept the loss with PRAGMA wal_checkpoint(TRUNCATE).`,
      );
    await pause(LOOK_AGAIN_MS, signal);
  }
}

/** What changes when somebody writes to it. */
async function printOf(path: string): Promise<string> {
  try {
    const { ino, mtimeNs, size } = await stat(path, { bigint: true });
    return `${ino} ${mtimeNs} ${size}`;
  } catch (error) {
    return isMissing(error) ? '' : codeOf(error);
  }
}

/** What is wrong, in words. */
async function lookAt(path: string, signal: AbortSignal): Promise<string | undefined> {
  let file: FileHandle;
  try {
    const found = await stat(path);
    if (found.isFile() && found.size === 0) return undefined;
    if (!found.isFile()) return 'is no file';
    file = await open(path, 'r');
  } catch (error) {
    return isMissing(error) ? undefined : `cannot be read (${codeOf(error)})`;
  }
  try {
    return await readLog(file, signal);
  } finally {
    await file.close();
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

type Sums = [number, number];

async function readLog(file: FileHandle, signal: AbortSignal): Promise<string | undefined> {
  const { buffer: head, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  const magic = head.readUInt32BE(0);
  const isBig = magic === 0x377f0683;
  let sums = checksum([0, 0], head.subarray(0, 24), isBig);
  const isHead = bytesRead === HEAD_BYTES && (isBig || magic === 0x377f0682) && matches(head, 24, sums);
  if (!isHead) return 'has a damaged head';
  const salts = head.subarray(16, 24);
  const frameBytes = FRAME_HEAD_BYTES + head.readUInt32BE(8);
  const chunk = Buffer.alloc(frameBytes * FRAMES_READ);
  let good = 0;
  let broken = false;
  for (let at = HEAD_BYTES; ; at += chunk.length) {
    const { bytesRead: length } = await file.read(chunk, 0, chunk.length, at);
    for (let from = 0; from + frameBytes <= length; from += frameBytes) {
      const frame = chunk.subarray(from, from + frameBytes);
      // Frames of an earlier turn of the log lie behind those of this one.
      const isOurs = frame.subarray(8, 16).equals(salts);
      if (!broken) {
        sums = checksum(checksum(sums, frame.subarray(0, 8), isBig), frame.subarray(FRAME_HEAD_BYTES), isBig);
        broken = !isOurs || !matches(frame, 16, sums);
        if (!broken) good += 1;
        // The last frame may have been cut off by a crash: its transaction was never committed.
        continue;
      }
      const isCommit = frame.readUInt32BE(4) !== 0;
      if (isOurs && isCommit) return `is damaged behind ${good} good frames`;
    }
    if (length < chunk.length) return undefined;
    await breathe(signal);
  }
}

/** SQLite's own sum over pairs of 32-bit words. */
function checksum([first, second]: Sums, bytes: Buffer, isBig: boolean): Sums {
  let [one, two] = [first, second];
  for (let at = 0; at + 8 <= bytes.length; at += 8) {
    one = (one + (isBig ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at)) + two) >>> 0;
    two = (two + (isBig ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4)) + one) >>> 0;
  }
  return [one, two];
}

function matches(bytes: Buffer, at: number, [one, two]: Sums): boolean {
  return bytes.readUInt32BE(at) === one && bytes.readUInt32BE(at + 4) === two;
}
