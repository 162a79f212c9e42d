/** The environment files as they are now: who was taken out of a group a minute ago cannot approve any more. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Environment } from '../procedures/environment.ts';
import { loadEnvironments } from './environments.ts';

export type Environments = {
  /** All files, read again where one of them has changed. A change that cannot be read keeps the last good state and is logged. */
  current(): Promise<ReadonlyMap<string, Environment>>;
};

/** Throws where the folder cannot be read, or a file of it is wrong, at the first reading. */
export async function makeEnvironments(
  folder: string,
  log: Record<'error' | 'info', (said: object, message: string) => void>,
): Promise<Environments> {
  let seen = await stampOf(folder);
  let known = plain(await loadEnvironments(folder));
  return {
    async current() {
      try {
        const stamp = await stampOf(folder);
        if (stamp !== seen) {
          seen = stamp;
          known = plain(await loadEnvironments(folder));
          log.info({ environments: [...known.keys()] }, 'environments: read again');
        }
      } catch (error) {
        log.error({ err: error }, 'environments: a change cannot be read, the last good files hold');
      }
      return known;
    },
  };
}

function plain(loaded: ReadonlyMap<string, { environment: Environment }>): Map<string, Environment> {
  return new Map([...loaded].map(([name, { environment }]) => [name, environment]));
}

async function stampOf(folder: string): Promise<string> {
  const names = (await readdir(folder)).filter((name) => /\.ya?ml$/.test(name)).sort();
  const stamps = await Promise.all(
    names.map(async (name) => {
      const file = await stat(join(folder, name), { bigint: true });
      return `${name}:${file.mtimeNs}:${file.size}:${file.ino}`;
    }),
  );
  return stamps.join('\n');
}
