/** Alembic as its users have it: a virtual environment of Python with pinned packages, once a machine, in the cache. */
import { execFile } from 'node:child_process';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withFolderLock } from './folder-lock.mjs';
import { cacheFolder } from './temporal-build.ts';

const run = promisify(execFile);

/** A user of Alembic has these; the binary package of psycopg brings libpq with it. */
const PACKAGES = {
  alembic: '1.17.1',
  SQLAlchemy: '2.0.44',
  'psycopg[binary]': '3.2.12',
  Mako: '1.3.10',
  typing_extensions: '4.15.0',
  MarkupSafe: '3.0.3',
};

const INSTALL_MS = 5 * 60_000;

/** The path of the program. Installs it first where it is not in the cache, which takes about half a minute. */
export async function findAlembic(log: (line: string) => void): Promise<string> {
  const folder = join(cacheFolder(), `alembic-${PACKAGES.alembic}-${PACKAGES.SQLAlchemy}`);
  const program = join(folder, 'bin', 'alembic');
  return withFolderLock(
    `${folder}.lock`,
    async () => {
      if (await works(program)) return program;
      await install(folder, log);
      if (await works(program)) return program;
      throw new Error(
        `${program} was installed but does not answer --version; remove ${folder} and try again.`,
      );
    },
    { waiting: (seconds) => log(`alembic: another copy of this program installs it, waited ${seconds}s`) },
  );
}

async function works(program: string): Promise<boolean> {
  return run(program, ['--version']).then(
    () => true,
    () => false,
  );
}

/** A virtual environment cannot be moved, so it is made in its place, and taken away where that fails. */
async function install(folder: string, log: (line: string) => void): Promise<void> {
  const began = Date.now();
  const packages = Object.entries(PACKAGES).map(([name, version]) => `${name}==${version}`);
  log(`alembic: installing ${packages.join(', ')} into the cache, once on this machine`);
  await discard(folder);
  await mkdir(cacheFolder(), { recursive: true });
  try {
    await makeEnvironment(folder, log);
  } catch (cause) {
    await discard(folder);
    throw new Error(
      `There is no Python that can make a virtual environment: install Python 3.10 or later with its venv module (Debian: python3-venv).`,
      { cause },
    );
  }
  const pip = join(folder, 'bin', 'pip');
  const args = [
    'install',
    '--quiet',
    '--disable-pip-version-check',
    '--no-input',
    '--only-binary=:all:',
    ...packages,
  ];
  try {
    await run(pip, args, { timeout: INSTALL_MS });
  } catch (cause) {
    await discard(folder);
    const said =
      cause instanceof Error && 'stderr' in cause
        ? String(cause.stderr).trim().split('\n').slice(-3).join(' ')
        : '';
    throw new Error(
      `pip could not install ${packages.join(', ')}; it needs a package index that it can reach. It said: ${said}`,
      { cause },
    );
  }
  log(`alembic: installed in ${Math.round((Date.now() - began) / 1_000)}s`);
}

/** Debian keeps the module apart from Python: root gets it with apt-get. */
async function makeEnvironment(folder: string, log: (line: string) => void): Promise<void> {
  const make = () => run('python3', ['-m', 'venv', folder], { timeout: INSTALL_MS });
  try {
    await make();
  } catch (error) {
    if (process.getuid?.() !== 0) throw error;
    log('alembic: installing python3-venv with apt-get');
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const aptGet = (...args: string[]) => run('apt-get', ['-q', ...args], { timeout: INSTALL_MS, env });
    await aptGet('update');
    await aptGet('install', '--yes', '--no-install-recommends', 'python3-venv');
    await discard(folder);
    await make();
  }
}

/** Aside first, so that nobody finds half of it. */
async function discard(folder: string): Promise<void> {
  const aside = `${folder}.${process.pid}.gone`;
  await rename(folder, aside).catch(() => undefined);
  await rm(aside, { recursive: true, force: true });
}
