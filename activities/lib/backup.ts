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
import { openSource, runAside } from './sqlite.ts';
import type { Source } from './sqlite.ts';

/** Pages a step: large, because a write of the application in between begins the copy anew. */
const STEP_PAGES = 4_096;

export type Backup = { path: string; sha256: string; sizeBytes: number };

/**
 * Copies the source while it is in use. Running it again replaces the copy; a copy that was broken off leaves no file
 * under the final name.
 */
export async function makeBackup(params: ImportParams, context: PhaseContext): Promise<Backup> {
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
  await rm(path, { force: true });
  try {
    await backup(source.db, path, {
      rate: STEP_PAGES,
      progress: ({ totalPages, remainingPages }) => {
        context.progress({ done: totalPages - remainingPages, total: totalPages, unit: 'pages' });
      },
    });
  } catch (error) {
    context.signal.throwIfAborted();
    throw fail(
      'PhaseFailed',
      `'${source.name}' could not be copied to the run's folder (${messageOf(error)}); see that the disk has room.`,
      error,
    );
  }
  context.signal.throwIfAborted();
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
