import { readdir } from 'node:fs/promises';
import { expect, test, vi } from 'vitest';
import { findAlembic } from '../../scripts/lib/alembic.ts';
import { makeTestFolder } from '../support/phase-context.ts';

test('without Python it is said what to install, and nothing half-made is left', async () => {
  await using folder = await makeTestFolder();
  vi.stubEnv('XDG_CACHE_HOME', folder.path);
  vi.stubEnv('PATH', '/nowhere');
  const said: string[] = [];
  try {
    await expect(findAlembic((line) => said.push(line))).rejects.toThrow(
      'There is no Python that can make a virtual environment: install Python 3.10 or later with its venv module (Debian: python3-venv).',
    );
  } finally {
    vi.unstubAllEnvs();
  }
  expect(said[0]).toBe(
    'alembic: installing alembic==1.17.1, SQLAlchemy==2.0.44, psycopg[binary]==3.2.12, Mako==1.3.10, typing_extensions==4.15.0, MarkupSafe==3.0.3 into the cache, once on this machine',
  );
  expect(await readdir(`${folder.path}/countdown`)).toEqual([]);
});
