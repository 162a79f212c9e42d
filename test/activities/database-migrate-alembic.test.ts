/** Alembic for real: a virtual environment with pinned packages, a project as its users have it, and no mock. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { REVISIONS, makeAlembic } from '../support/alembic.ts';
import { SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import { makeTestFolder } from '../support/phase-context.ts';

const TEST_MS = 300_000;

async function makeWorld(revisions = REVISIONS, params: Parameters<typeof makeMigrateWorld>[0] = {}) {
  const folder = await makeTestFolder();
  const source = await makeAlembic(join(folder.path, 'app'), revisions);
  const world = await makeMigrateWorld({
    sql: SONGS,
    source,
    ...params,
    params: { lossyDown: true, ...params.params },
  });
  return Object.assign(world, {
    revision: async () => {
      const [row] = await world.ask(`SELECT to_regclass('alembic_version') IS NOT NULL AS there`);
      if (row?.['there'] !== true) return undefined;
      return (await world.ask('SELECT version_num FROM alembic_version'))[0]?.['version_num'];
    },
  });
}

test(
  'its revisions are linted, tried on a clone, applied one by one, and downgraded again',
  async () => {
    await using world = await makeWorld();
    const inspected = await world.run('inspect');
    expect(inspected).toMatchObject({
      verdict: 'pass',
      output: {
        pending: REVISIONS.map(({ revision }) => revision),
        revisionBefore: null,
        revision: 'c3d4e5f6a1b2',
      },
    });
    expect(inspected.output?.['lossy']).toEqual([
      'a1b2c3d4e5f6.down:5 loses column songs.genre, with all that was written there since',
      'c3d4e5f6a1b2.down:5 loses table lists, with all that was written there since',
    ]);
    expect((await world.probe('apply')).answer).toBe('no');
    expect(await world.revision()).toBeUndefined();

    expect(await world.run('apply')).toMatchObject({ verdict: 'pass', output: { applied: 3 } });
    expect(await world.revision()).toBe('c3d4e5f6a1b2');
    expect((await world.probe('apply')).answer).toBe('yes');
    expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
    expect(await world.run('apply')).toMatchObject({ verdict: 'pass' });

    expect(await world.undo('apply')).toMatchObject({ summary: '3 migrations taken back' });
    expect(await world.revision()).toBeUndefined();
    expect((await world.probe('apply')).answer).toBe('no');
  },
  TEST_MS,
);
