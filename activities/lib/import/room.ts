/** Room on the disk for the copy of the source, looked at before anything is written. */
import { statfs } from 'node:fs/promises';
import type { PhaseContext } from '../../phase.ts';
import { fail } from '../fail.ts';
import { statOf } from '../files.ts';
import type { ImportParams } from '../import-source.ts';

/** Throws PreconditionFailed where the run's folder has no room for a copy of the source. */
export async function checkRoom(params: ImportParams, context: PhaseContext): Promise<void> {
  const { path } = context.target(params.source, 'sqlite');
  let neededBytes = 0;
  for (const file of [path, `${path}-wal`]) neededBytes += (await statOf(params.source, file))?.size ?? 0;
  const { bavail, bsize } = await statfs(await context.folder());
  const freeBytes = bavail * bsize;
  if (freeBytes > neededBytes) return;
  throw fail(
    'PreconditionFailed',
    `DiskShort: the run's folder has room for ${freeBytes} bytes, expected more than the ${neededBytes} of '${params.source}', which is backed up there; make room, or give this worker a larger disk.`,
  );
}
