/** Alembic for real: a virtual environment with pinned packages, a project as its users have it, and no mock. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { REVISIONS, makeAlembic } from '../support/alembic.ts';
import { SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import { failureOf, makeTestFolder } from '../support/phase-context.ts';

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

test(
  'while others hold a lock it is started again, and they are named',
  async () => {
    await using world = await makeWorld(REVISIONS.slice(0, 1), { params: { lockTries: 30 } });
    await world.run('inspect');
    await using reports = await world.session('reports');
    await reports.query('BEGIN; SELECT count(*) FROM songs');
    const applying = world.run('apply');
    const waiting = `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'countdown%' AND wait_event_type = 'Lock' AND query LIKE 'ALTER%'`;
    await expect.poll(() => world.ask(waiting), { timeout: 30_000, interval: 20 }).not.toEqual([]);
    await expect.poll(() => world.ask(waiting), { timeout: 30_000, interval: 20 }).toEqual([]);
    await reports.query('COMMIT');
    const { output } = await applying;
    expect(Number(output?.['lockTriesUsed'])).toBeGreaterThan(0);
    expect(JSON.stringify(output?.['blockers'])).toContain('(reports), idle in transaction');
    expect(Number(output?.['downtimeMs'])).toBeLessThan(200 + 300);
    expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
  },
  TEST_MS,
);

test(
  'an index without a lock needs a place outside of the transaction',
  async () => {
    const wrong = {
      ...REVISIONS[0]!,
      up: [`op.create_index("songs_title", "songs", ["title"], postgresql_concurrently=True)`],
    };
    await using world = await makeWorld([wrong]);
    expect((await failureOf(world.run('inspect'))).message).toMatch(
      /^a1b2c3d4e5f6\.up:\d+ cannot stand in a transaction, where PostgreSQL refuses it; write: .*autocommit_block\(\)\) \(ConcurrentInTransaction\) \(UpFails\)\.$/,
    );
  },
  TEST_MS,
);

test(
  'two heads are refused, unless one is named',
  async () => {
    const other = { revision: 'd4e5f6a1b2c3', down: 'a1b2c3d4e5f6', up: ['pass'], back: ['pass'] };
    await using world = await makeWorld([REVISIONS[0]!, REVISIONS[1]!, other]);
    expect((await failureOf(world.run('inspect'))).message).toMatch(
      /^'files' has 2 heads \(\w{12}, \w{12}\), expected one; merge them with alembic merge, or name one with to, or write to: heads \(MultipleHeads\)\.$/,
    );
    world.params.to = 'd4e5f6a1b2c3';
    expect(await world.run('inspect')).toMatchObject({
      output: { pending: ['a1b2c3d4e5f6', 'd4e5f6a1b2c3'] },
    });
    world.params.to = 'ffffffffffff';
    expect((await failureOf(world.run('inspect'))).message).toContain('(UnknownRevision)');
  },
  TEST_MS,
);

test(
  'a revision whose downgrade does not bring back what was there is refused',
  async () => {
    await using world = await makeWorld([{ ...REVISIONS[0]!, back: ['pass'] }]);
    expect((await failureOf(world.run('inspect'))).message).toMatch(
      /^The downgrade of a1b2c3d4e5f6 does not bring back what was there before: \+ columns public songs 4 genre text f "default", .*\(DownDiffers\)\.$/,
    );
  },
  TEST_MS,
);

test(
  'an index that its broken start left invalid is dropped and made again',
  async () => {
    const alone = { ...REVISIONS[1]!, down: null };
    await using world = await makeWorld([alone], { params: { lockTries: 30 } });
    await world.run('inspect');
    await using writer = await world.session('writer');
    // CREATE INDEX CONCURRENTLY waits for it, for longer than its lock timeout.
    await writer.query('BEGIN; UPDATE songs SET title = title WHERE id = 1');
    const context = world.context();
    const applying = world.run('apply', context);
    const state = () =>
      world.ask(`SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('songs_title')`);
    // The first start has ended, and its index is there and invalid.
    await expect
      .poll(() => context.told.map(({ detail }) => detail), { timeout: 30_000, interval: 20 })
      .toContainEqual(expect.stringMatching(/^waits for session \d+ of postgres \(writer\)/));
    expect(await state()).toEqual([{ indisvalid: false }]);
    await writer.query('COMMIT');
    const { output } = await applying;
    expect(await state()).toEqual([{ indisvalid: true }]);
    expect(Number(output?.['lockTriesUsed'])).toBeGreaterThan(0);
    expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
  },
  TEST_MS,
);
