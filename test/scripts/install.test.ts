import { spawnSync } from 'node:child_process';
import { chmod, copyFile, mkdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { ensureInstall, isInstalled } from '../../scripts/ensure-install.mjs';
import { withFolderLock } from '../../scripts/lib/folder-lock.mjs';
import { makeFolder } from '../../scripts/lib/processes.ts';

const LOCK = {
  packages: {
    '': {},
    'node_modules/a': { version: '1.0.0', integrity: 'x' },
    'node_modules/b': { optional: true },
  },
};

/** A folder with a lock file, and an npm that writes down each call and installs by making one file. */
async function makeProject(npmScript: string) {
  const folder = await makeFolder('countdown-test-');
  await writeFile(join(folder.path, 'package-lock.json'), JSON.stringify(LOCK));
  const npm = join(folder.path, 'npm');
  await writeFile(npm, `#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "$1" >> calls\n${npmScript}\n`);
  await chmod(npm, 0o755);
  const lines: string[] = [];
  const log = (line: string): number => lines.push(line);
  return {
    root: folder.path,
    lines,
    install: () => ensureInstall({ root: folder.path, log, npm }),
    calls: () => readFile(join(folder.path, 'calls'), 'utf8').catch(() => ''),
    [Symbol.asyncDispose]: () => folder.discard(),
  };
}

const INSTALLED = { packages: { 'node_modules/a': { version: '1.0.0', integrity: 'x' } } };
const INSTALLS = `mkdir -p node_modules/.bin && touch node_modules/.bin/node
sed s/1.0.0/1.0.0/ package-lock.json > node_modules/.package-lock.json`;

test('installs where nothing is installed, once', async () => {
  await using project = await makeProject(INSTALLS);
  expect(await project.install()).toBe(true);
  expect(await project.install()).toBe(false);
  expect(await project.calls()).toBe('install\n');
  expect(project.lines[0]).toBe('install: npm install, once in this folder');
});

test('installs again when the lock file has changed', async () => {
  await using project = await makeProject(INSTALLS);
  await project.install();
  const { packages } = LOCK;
  await writeFile(
    join(project.root, 'package-lock.json'),
    JSON.stringify({ packages: { ...packages, 'node_modules/c': { version: '3.0.0' } } }),
  );
  expect(await project.install()).toBe(true);
  expect(await project.calls()).toBe('install\ninstall\n');
});

test('two copies in one folder install once', async () => {
  await using project = await makeProject(`sleep 0.5; ${INSTALLS}`);
  const results = await Promise.all([project.install(), project.install()]);
  expect(results.filter(Boolean)).toEqual([true]);
  expect(await project.calls()).toBe('install\n');
});

test('modules that somebody installed by hand are taken where they are those of the lock file', async () => {
  await using project = await makeProject('exit 1');
  await mkdir(join(project.root, 'node_modules/.bin'), { recursive: true });
  await writeFile(join(project.root, 'node_modules/.bin/node'), '');
  const record = join(project.root, 'node_modules/.package-lock.json');
  await writeFile(
    record,
    JSON.stringify({ packages: { 'node_modules/a': { version: '0.9.0', integrity: 'x' } } }),
  );
  expect(isInstalled(project.root)).toBe(false);
  await writeFile(record, JSON.stringify(INSTALLED));
  expect(await project.install()).toBe(false);
  expect(await project.calls()).toBe('');
});

test('a failing npm is an error with its last lines, and leaves nothing that passes for an installation', async () => {
  await using project = await makeProject(
    `mkdir -p node_modules/.bin; touch node_modules/.bin/node; echo 'ENOTFOUND registry' >&2; exit 7`,
  );
  await expect(project.install()).rejects.toThrow(
    /npm install ended with 7, expected 0;.*\n {2}ENOTFOUND registry/s,
  );
  expect(isInstalled(project.root)).toBe(false);
  await expect(project.install()).rejects.toThrow('npm install ended with 7');
});

test('packages that are not those of the lock file are an error, though npm was content', async () => {
  await using project = await makeProject(INSTALLS.replace('/1.0.0/1.0.0/', '/1.0.0/1.0.1/'));
  await expect(project.install()).rejects.toThrow(
    'npm has installed other packages than package-lock.json names',
  );
  expect(isInstalled(project.root)).toBe(false);
});

test('an npm that is not there is an error that says what to install', async () => {
  await using project = await makeProject('');
  const install = ensureInstall({ root: project.root, log: () => {}, npm: '/no/such/npm' });
  await expect(install).rejects.toThrow(
    "'/no/such/npm' did not answer, and Countdown is installed with it; install npm",
  );
});

test('the command installs first where the Node that calls it is not its own, then hands over to that one', async () => {
  await using project = await makeProject(INSTALLS);
  const { root } = project;
  const sources = new URL('../../', import.meta.url);
  for (const file of ['scripts/countdown.mjs', 'scripts/ensure-install.mjs', 'scripts/lib/folder-lock.mjs']) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await copyFile(new URL(file, sources), join(root, file));
  }
  // The Node that the packages bring says what it was given.
  const node = `echo '#!/bin/sh' > node_modules/.bin/node; echo 'echo "$@"; exit 6' >> node_modules/.bin/node; chmod +x node_modules/.bin/node`;
  await writeFile(
    join(root, 'npm'),
    `#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "$1" >> calls\n${INSTALLS}\n${node}\n`,
  );
  for (const said of ['install: npm install, once in this folder\ninstall: done in 0s\n', '']) {
    const found = spawnSync(process.execPath, [join(root, 'scripts/countdown.mjs'), 'show', '4 1'], {
      encoding: 'utf8',
      env: { ...process.env, PATH: `${root}:${process.env['PATH']}` },
    });
    expect([found.status, found.stdout, found.stderr]).toEqual([
      6,
      `${join(root, 'cli/countdown.ts')} show 4 1\n`,
      said,
    ]);
  }
  expect(await project.calls()).toBe('install\n');
});

test('each way to call the command is one that installs', async () => {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  const { bin, scripts } = JSON.parse(text) as Record<string, Record<string, string>>;
  expect(bin).toEqual({ countdown: 'scripts/countdown.mjs' });
  expect(scripts?.['countdown']).toBe('node scripts/countdown.mjs');
});

test('of many that want a lock, one at a time has it', async () => {
  const folder = await makeFolder('countdown-test-');
  let inside = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    inside += 1;
    most = Math.max(most, inside);
    await new Promise((resolve) => setTimeout(resolve, 5));
    inside -= 1;
  };
  await Promise.all(Array.from({ length: 5 }, () => withFolderLock(join(folder.path, 'lock'), work)));
  expect(most).toBe(1);
  await folder.discard();
});

test('a lock that its holder left behind is taken over; one that is alive is not', async () => {
  const folder = await makeFolder('countdown-test-');
  const path = join(folder.path, 'lock');
  await mkdir(path);
  const longAgo = new Date(Date.now() - 60_000);
  await utimes(path, longAgo, longAgo);
  expect(await withFolderLock(path, async () => 'taken')).toBe('taken');
  const order: string[] = [];
  const release = Promise.withResolvers<void>();
  const first = withFolderLock(path, async () => {
    await release.promise;
    order.push('first');
  });
  const second = withFolderLock(path, async () => order.push('second'));
  release.resolve();
  await Promise.all([first, second]);
  expect(order).toEqual(['first', 'second']);
  await folder.discard();
});
