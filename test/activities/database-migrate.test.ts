import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { EXAMPLE, type Files, SONGS, makeMigrateWorld } from '../support/migrate-world.ts';

test('migrations are tried on a clone, applied, verified and taken back', async () => {
  await using world = await makeMigrateWorld({ sql: SONGS, files: EXAMPLE, params: { lossyDown: true } });
  const before = await world.print();

  const inspected = await world.run('inspect');
  expect(inspected.summary).toMatch(/^3 migrations tried up, down and up, \d+ changes$/);
  expect(inspected).toMatchObject({
    verdict: 'pass',
    output: { pending: ['0001', '0002', '0003'], findings: [] },
  });
  expect(inspected.output?.['lossy']).toEqual([
    '0001_add_genre.down.sql:1 loses column songs.genre, with all that was written there since',
    '0003_add_lists.down.sql:1 loses table lists, with all that was written there since',
  ]);
  expect(await world.print()).toEqual(before);
  expect((await world.probe('apply')).answer).toBe('no');

  expect(await world.run('apply')).toMatchObject({
    verdict: 'pass',
    output: { applied: 3, lockTriesUsed: 0 },
  });
  expect((await world.probe('apply')).answer).toBe('yes');
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
  expect(
    await world.ask(
      `SELECT version, state, down IS NOT NULL AS down FROM countdown.migration ORDER BY "order"`,
    ),
  ).toEqual([
    { version: '0001', state: 'done', down: true },
    { version: '0002', state: 'done', down: true },
    { version: '0003', state: 'done', down: true },
  ]);

  expect(await world.undo('apply')).toEqual({ verdict: 'pass', summary: '3 migrations taken back' });
  expect((await world.probe('apply')).answer).toBe('no');
  expect(await world.print()).toEqual(before);
});

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

test('the example of the documentation says what the documentation says', async () => {
  const files: Files = {};
  for (const name of ['0001-add-genre', '0002-index-genre']) {
    for (const way of ['up', 'down'])
      files[`${name}.${way}.sql`] = read(`examples/piano-keys/migrations/${name}.${way}.sql`);
  }
  await using world = await makeMigrateWorld({ sql: SONGS, files, params: { lossyDown: true } });
  const page = read('docs/procedures/database-migrate.md');
  const { summary } = await world.run('inspect');
  expect(page).toContain(`\`inspect\` says \`${summary}\``);
  await world.write({ '0002-index-genre.up.sql': 'CREATE INDEX songs_genre ON songs (genre);' });
  await world.write({ '0002-index-genre.down.sql': 'DROP INDEX songs_genre;' });
  const red = await world.run('inspect');
  expect(page).toContain(`> ${red.summary.split('changes: ')[1]}`);
});
