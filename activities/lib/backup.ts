/** An online copy of a SQLite file, whole and checked, in the run's own folder. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { backup } from 'node:sqlite';
import { pipeline } from 'node:stream/promises';
import type { PhaseContext } from '../phase.ts';
import { fail, messageOf } from './fail.ts';
import type { ImportParams } from './import-source.ts';
import { checkRoom } from './import/room.ts';
import { openSource, runAside } from './sqlite.ts';
import type { Source } from './sqlite.ts';
import { pause } from './wait.ts';

/** All pages in one step: a write of the application between two steps would begin the copy anew, perhaps for ever. */
const STEP_PAGES = 2 ** 31 - 1;

/** Milliseconds for which a file that a writer has locked is tried again. */
const LOCKED_WAIT_MS = 10_000;
const LOCKED_RETRY_MS = 100;

export type Backup = { path: string; sha256: string; sizeBytes: number };

/**
 * Copies the source while it is in use. Running it again replaces the copy; a copy that was broken off leaves no file
 * under the final name.
 */
export async function makeBackup(params: ImportParams, context: PhaseContext): Promise<Backup> {
  await checkRoom(params, context);
  using source = await openSource(params.source, context);
  const path = join(await context.folder(), `${params.step}-${params.source}.sqlite`);
  const partial = `${path}.${context.fence.epoch}-${context.fence.seq}.partial`;
  try {
    await copyPages(source, partial, context);
    await finishCopy(partial, params.source, context);
    const sha256 = await digestFile(partial, context.signal);
    const { size: sizeBytes } = await stat(partial);
    await context.assertCurrent();
    await rename(partial, path);
    return { path, sha256, sizeBytes };
  } finally {
    for (const suffix of ['', '-journal', '-wal', '-shm']) await rm(partial + suffix, { force: true });
  }
}

async function copyPages(source: Source, path: string, context: PhaseContext): Promise<void> {
  const startedAt = performance.now();
  for (;;) {
    await rm(path, { force: true });
    try {
      await backup(source.db, path, { rate: STEP_PAGES });
      return context.signal.throwIfAborted();
    } catch (error) {
      context.signal.throwIfAborted();
      if (isLocked(error) && performance.now() - startedAt < LOCKED_WAIT_MS) {
        await pause(LOCKED_RETRY_MS, context.signal);
        continue;
      }
      throw fail(
        'PhaseFailed',
        `'${source.name}' could not be copied to the run's folder (${messageOf(error)}); see that no writer keeps it locked and that the disk has room.`,
        error,
      );
    }
  }
}

/** A writer holds the file. The error of a backup then carries the code 0 ("not an error") as well as 5 or 6. */
function isLocked(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && [0, 5, 6].includes(Number(error.errcode) & 0xff);
}

/** One file without a journal beside it, checked and on the disk. */
async function finishCopy(path: string, name: string, context: PhaseContext): Promise<void> {
  const [, integrity = []] = await runAside(
    name,
    { path, write: true, sql: ['PRAGMA journal_mode = DELETE', 'PRAGMA integrity_check(10)'] },
    context.signal,
  );
  const complaint = integrity.map((row) => String(row['integrity_check'])).find((line) => line !== 'ok');
  if (complaint !== undefined)
    throw fail(
      'VerificationFailed',
      `The copy of '${name}' is damaged (${complaint}), expected an intact one; check the disk.`,
    );
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function digestFile(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash, { signal });
  return hash.digest('hex');
}
