/** What `npm ci` installs, also on other machines than the one that made the lock file. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../../scripts/lib/checks.ts';

type Locked = { version?: string; integrity?: string; optionalDependencies?: Record<string, string> };

const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
  packages: Record<string, Locked>;
};

/** Where npm looks for a package that another one asks for: inside it, beside it, then one folder up, and so on. */
function isLocked(from: string, name: string): boolean {
  const folders = from === '' ? [''] : ['', ...from.split(/(?=\/node_modules\/)/)];
  return folders.some((_, depth) => {
    const folder = folders.slice(0, depth + 1).join('');
    return lock.packages[`${folder === '' ? '' : `${folder}/`}node_modules/${name}`] !== undefined;
  });
}

test('every optional package of a locked package is locked, for whatever platform', () => {
  const missing = Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).flatMap((name) => (isLocked(path, name) ? [] : [`${name} of ${path}`])),
  );
  expect(missing, 'make the lock file anew: npm install --package-lock-only --ignore-scripts').toEqual([]);
});

test('every locked package has a digest, and no address of a registry', () => {
  const packages = Object.entries(lock.packages).filter(([path]) => path !== '');
  expect(packages.filter(([, { integrity }]) => integrity === undefined)).toEqual([]);
  expect(JSON.stringify(lock)).not.toMatch(/"resolved"/);
});
