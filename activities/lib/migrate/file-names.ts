/**
 * Names of migration files, as three families of tools write them: 0007_add_genre.up.sql and .down.sql (ours, sqlx's and
 * golang-migrate's), V7__add_genre.sql and U7__add_genre.sql (Flyway's).
 */

/** What a name says. */
export type FileName = { version: string; name: string; direction: 'up' | 'down' };

const NAME = '([A-Za-z0-9][A-Za-z0-9_. -]{0,99})';
const NUMBERED = new RegExp(`^(\\d{1,20})[_-]${NAME}\\.(up|down)\\.sql$`);
const FLYWAY = new RegExp(`^([VU])(\\d{1,20}(?:[._]\\d{1,20}){0,5})__${NAME}\\.sql$`);

export const NAMES_EXPECTED =
  'names as 0007_add_genre.up.sql and 0007_add_genre.down.sql, or V7__add_genre.sql and U7__add_genre.sql';

/** Undefined where it is none of them. */
export function parseFileName(file: string): FileName | undefined {
  const [, version, name = '', direction] = NUMBERED.exec(file) ?? [];
  if (version !== undefined) return { version, name, direction: direction === 'up' ? 'up' : 'down' };
  const [, letter, dotted, title = ''] = FLYWAY.exec(file) ?? [];
  if (dotted === undefined) return undefined;
  return {
    version: dotted.replaceAll('_', '.'),
    name: title,
    direction: letter === 'V' ? 'up' : 'down',
  };
}

/** What to do about names that are none of them, by what they look like. */
export function adviceFor(files: readonly string[]): string {
  const [first = ''] = files;
  if (/^R__/i.test(first)) {
    return 'one that is repeated at each change is not taken: write each change as a version of its own';
  }
  const [, numbered] = /^(\d{1,20}[_-].+)\.sql$/i.exec(first) ?? [];
  if (numbered !== undefined && !/\.(?:up|down)$/i.test(numbered)) {
    return `say which way it goes: ${numbered}.up.sql, and ${numbered}.down.sql for what takes it back`;
  }
  if (/^[VU]\d+(?:[._]\d+)*_[^_]/i.test(first)) return 'write two underscores behind the version';
  return 'rename or remove them';
}

/** Whether a version comes before another one: 9 before 10, 1.9 before 1.10; 0009 and 9 are the same. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a.split('.'), b.split('.')];
  for (let place = 0; place < Math.max(left.length, right.length); place += 1) {
    const [one, other] = [BigInt(left[place] ?? 0), BigInt(right[place] ?? 0)];
    if (one !== other) return one < other ? -1 : 1;
  }
  return 0;
}

/** One text for all ways to write a version. */
export function sameForAll(version: string): string {
  const parts = version.split('.').map((part) => String(BigInt(part)));
  while (parts.length > 1 && parts.at(-1) === '0') parts.pop();
  return parts.join('.');
}
