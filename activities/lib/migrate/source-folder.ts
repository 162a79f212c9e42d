/** A folder of SQL files: an up for each version, and the down beside it. Names as in `file-names.ts`. */
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../fail.ts';
import { named, refuse } from './codes.ts';
import { NAMES_EXPECTED, adviceFor, compareVersions, parseFileName, sameForAll } from './file-names.ts';
import { type Migration, readScript } from './scripts.ts';
import { sha256 } from './sql.ts';

const FILES_MAX = 20_000;
const FILE_BYTES_MAX = 4 * 1024 * 1024;

/** A file that was found, not read yet. */
type Entry = { version: string; name: string; up?: string; down?: string };

export type Folder = {
  /** Versions in their order. */
  versions: string[];
  /** The sha256 of the up file. */
  checksum(version: string): Promise<string>;
  /** Reads and parses both directions. */
  migration(version: string): Promise<Migration>;
};

/** Lists the folder. Throws UnknownFile, DoubleVersion or MissingFile; reading a file also SqlSyntax. */
export async function openFolder(path: string, name: string): Promise<Folder> {
  const entries = entriesOf(await list(path, name), name);
  const text = (file: string): Promise<string> => readText(join(path, file), file, name);
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

/** Links are followed, as where a folder is mounted by links; whatever is no file in the end is refused before it is read. */
async function readText(path: string, file: string, source: string): Promise<string> {
  const { isFile, bytes } = await stat(path).then(
    (one) => ({ isFile: one.isFile(), bytes: one.size }),
    (error: unknown) => unreadable(file, source, error),
  );
  if (!isFile) {
    refuse(
      'UnknownFile',
      `${file} of '${source}' is no file, expected one with SQL in it; remove or replace it`,
    );
  }
  if (bytes > FILE_BYTES_MAX) {
    refuse(
      'UnknownFile',
      `${file} of '${source}' has ${bytes} bytes, expected at most ${FILE_BYTES_MAX}; load data by other means`,
    );
  }
  const content = await readFile(path).catch((error: unknown) => unreadable(file, source, error));
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch (error) {
    return refuse(
      'SqlSyntax',
      `${file} of '${source}' is no text in UTF-8, expected that, since any other would be read as something else; save it so`,
      error,
    );
  }
}

function unreadable(file: string, source: string, error: unknown): never {
  return refuse(
    'UnknownFile',
    `${file} of '${source}' cannot be read (${messageOf(error)}); give this worker the file`,
    error,
  );
}

async function list(path: string, name: string): Promise<string[]> {
  try {
    const found = await readdir(path, { withFileTypes: true });
    const files = found.flatMap((one) => (one.isDirectory() || one.name.startsWith('.') ? [] : [one.name]));
    if (!files.some(isSql)) assertSome(name, found);
    return files;
  } catch (error) {
    if (!(error instanceof Error && 'errno' in error)) throw error;
    return refuse(
      'UnknownFile',
      `The folder of '${name}' cannot be read (${messageOf(error)}); give this worker the folder that the environment file names`,
      error,
    );
  }
}

/** A folder without a migration is a wrong address, and never a database that is up to date. */
function assertSome(source: string, found: readonly { name: string; isDirectory(): boolean }[]): never {
  const folders = found.filter((one) => one.isDirectory()).map((one) => `${one.name}/`);
  const has = folders.length === 0 ? 'no file of SQL' : `no file of SQL but folders (${named(folders, 3)})`;
  return refuse(
    'UnknownFile',
    `The folder of '${source}' has ${has}, expected files with ${NAMES_EXPECTED}; name the folder that has them`,
  );
}

function isSql(file: string): boolean {
  return file.toLowerCase().endsWith('.sql');
}

function entriesOf(files: readonly string[], source: string): Entry[] {
  const sql = files.filter(isSql);
  const strange = sql.filter((one) => parseFileName(one) === undefined);
  if (strange.length > 0 || sql.length > FILES_MAX) {
    refuse(
      'UnknownFile',
      strange.length === 0
        ? `'${source}' has ${sql.length} files, expected at most ${FILES_MAX}; remove those that every database has already`
        : `'${source}' has ${named(strange)}, expected ${NAMES_EXPECTED}; ${adviceFor(strange)}`,
    );
  }
  const found = new Map<string, Entry>();
  for (const file of sql.toSorted()) {
    const { version = '', name = '', direction = 'up' } = parseFileName(file) ?? {};
    const same = found.get(sameForAll(version));
    if (same !== undefined && (same.name !== name || same[direction] !== undefined)) {
      refuse(
        'DoubleVersion',
        `'${source}' has version ${version} twice, as ${same.up ?? same.down} and ${file}, expected once; give one of them a number of its own`,
      );
    }
    if (same === undefined) found.set(sameForAll(version), { version, name, [direction]: file });
    else same[direction] = file;
  }
  const entries = [...found.values()];
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
