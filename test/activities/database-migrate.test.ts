import { expect, test } from 'vitest';
import { EXAMPLE, SONGS, makeMigrateWorld } from '../support/migrate-world.ts';

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
