/** Which migrations of a folder are still to be applied, held against what the history says. */
import type { Applied } from './history.ts';
import { sameVersion } from './history.ts';
import { refuse } from './codes.ts';
import { compareVersions } from './file-names.ts';
import { type Folder, missing } from './source-folder.ts';

export type PendingOptions = {
  /** Name of the source, for messages. */
  source: string;
  /** The last version wanted; default the last one. */
  to?: string;
  /** The run that asks. */
  run: number;
  /** This version and those before it count as applied where the history has nothing. */
  baseline?: string;
};

/**
 * Versions to apply, in their order.
 *
 * @throws UnknownRevision, MissingFile, Unfinished, ChecksumDrift, OutOfOrder
 */
export async function pendingOf(
  folder: Folder,
  history: readonly Applied[],
  { source, run: own, to, baseline }: PendingOptions,
): Promise<string[]> {
  for (const [what, version] of [
    ['to', to],
    ['baseline', baseline],
  ] as const) {
    if (version === undefined || folder.versions.some((one) => sameVersion(one, version))) continue;
    refuse(
      'UnknownRevision',
      `'${source}' has no migration ${version}, which ${what} names, expected one of ${range(folder.versions)}; correct the step`,
    );
  }
  for (const { version, sha256, state, run } of history) {
    if (!folder.versions.some((one) => sameVersion(one, version)))
      refuse('MissingFile', missing(source, version));
    if (state === 'started' && run !== own) {
      refuse(
        'Unfinished',
        `Migration ${version} was begun by run ${run} and never finished, expected all before to be whole; see what of it stands, make it whole or take it away by hand, and delete its row of countdown.migration`,
      );
    }
    const now = await folder.checksum(version);
    if (state !== 'done' || now === sha256) continue;
    refuse(
      'ChecksumDrift',
      `Migration ${version} was applied with sha256 ${sha256.slice(0, 12)}, and its file now has ${now.slice(0, 12)}, expected the file to stay as it was; put it back, and write the change as a new migration`,
    );
  }
  const isDone = (version: string): boolean =>
    history.some((one) => one.state === 'done' && sameVersion(one.version, version)) ||
    (baseline !== undefined && compareVersions(version, baseline) <= 0);
  const last = folder.versions.findLast(isDone);
  const gap = folder.versions.find(
    (version) => last !== undefined && compareVersions(version, last) < 0 && !isDone(version),
  );
  if (gap !== undefined && last !== undefined) {
    refuse(
      'OutOfOrder',
      `Migration ${gap} was never applied, and ${last} was, expected them in order; give ${gap} a number above ${last}, or name a baseline`,
    );
  }
  return folder.versions.filter(
    (version) => !isDone(version) && (to === undefined || compareVersions(version, to) <= 0),
  );
}

function range(versions: readonly string[]): string {
  if (versions.length === 0) return 'none, as the folder is empty';
  return versions.length === 1 ? (versions[0] ?? '') : `${versions[0]} to ${versions.at(-1)}`;
}
