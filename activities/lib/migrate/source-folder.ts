/** A folder of SQL files: NUMBER_NAME.up.sql, and NUMBER_NAME.down.sql beside it. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../fail.ts';
import { named, refuse } from './codes.ts';
import { type Migration, readScript } from './scripts.ts';
import { sha256 } from './sql.ts';

const FILE = /^(\d{1,20})[_-]([A-Za-z0-9][A-Za-z0-9_-]{0,99})\.(up|down)\.sql$/;
const FILES_MAX = 20_000;
const FILE_BYTES_MAX = 4 * 1024 * 1024;

/** A file that was found, not read yet. */
type Entry = { version: string; name: string; up?: string; down?: string };

/** Whether a version comes before another one: 9 before 10, 0009 and 9 are the same. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [BigInt(a), BigInt(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

export type Folder = {
  /** Versions in their order. */
  versions: string[];
  /** The sha256 of the up file. */
  checksum(version: string): Promise<string>;
  /** Reads and parses both directions. */
  migration(version: string): Promise<Migration>;
};

/** Lists the folder. Throws UnknownFile, DoubleVersion, MissingFile, or PreconditionFailed where it cannot be read. */
export async function openFolder(path: string, name: string): Promise<Folder> {
  const entries = entriesOf(await list(path, name), name);
  const text = async (file: string): Promise<string> => {
    const bytes = await readFile(join(path, file));
    if (bytes.byteLength > FILE_BYTES_MAX) {
      refuse(
        'UnknownFile',
        `${file} of '${name}' has more than ${FILE_BYTES_MAX} bytes, expected fewer; load data by other means`,
      );
    }
    return bytes.toString('utf8').replace(/^\u{feff}/u, '');
  };
  const entry = (version: string): Entry & { up: string } => {
    const found = entries.find((one) => compareVersions(one.version, version) === 0);
    if (found?.up === undefined) return refuse('MissingFile', missing(name, version));
    return { ...found, up: found.up };
  };
  return {
    versions: entries.map(({ version }) => version),
    checksum: async (version) => sha256(await text(entry(version).up)),
    async migration(version) {
      const { name: title, up, down } = entry(version);
      return {
        version: entry(version).version,
        name: title,
        up: await readScript(up, await text(up)),
        ...(down === undefined ? {} : { down: await readScript(down, await text(down)) }),
      };
    },
  };
}

export function missing(source: string, version: string): string {
  return `Migration ${version} was applied, and '${source}' has no file of it any more, expected every applied migration to stay; put the file back`;
}

async function list(path: string, name: string): Promise<string[]> {
  try {
    const found = await readdir(path, { withFileTypes: true });
    return found.flatMap((one) => (one.isDirectory() || one.name.startsWith('.') ? [] : [one.name]));
  } catch (error) {
    return refuse(
      'UnknownFile',
      `The folder of '${name}' cannot be read (${messageOf(error)}); give this worker the folder that the environment file names`,
      error,
    );
  }
}

function entriesOf(files: readonly string[], source: string): Entry[] {
  const sql = files.filter((one) => one.toLowerCase().endsWith('.sql'));
  const strange = sql.filter((one) => !FILE.test(one));
  if (strange.length > 0 || sql.length > FILES_MAX) {
    refuse(
      'UnknownFile',
      `'${source}' has ${strange.length === 0 ? `${sql.length} files` : named(strange)}, expected at most ${FILES_MAX} files with names as 0007_add_genre.up.sql and 0007_add_genre.down.sql; rename or remove them`,
    );
  }
  const entries: Entry[] = [];
  for (const file of sql.toSorted()) {
    const [, version = '', name = '', direction = ''] = FILE.exec(file) ?? [];
    const same = entries.find((one) => compareVersions(one.version, version) === 0);
    if (same !== undefined && (same.name !== name || same[direction as 'up' | 'down'] !== undefined)) {
      refuse(
        'DoubleVersion',
        `'${source}' has version ${version} twice, as ${same.up ?? same.down} and ${file}, expected once; give one of them a number of its own`,
      );
    }
    if (same === undefined) entries.push({ version, name, [direction]: file });
    else same[direction as 'up' | 'down'] = file;
  }
  for (const { version, down, up } of entries) {
    if (up === undefined) {
      refuse(
        'MissingFile',
        `'${source}' has ${down} without the up of version ${version}, expected both; add it, or remove the down`,
      );
    }
  }
  return entries.toSorted((a, b) => compareVersions(a.version, b.version));
}
