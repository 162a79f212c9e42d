/** A file that nobody here wrote: carried whole into new tables and into those that are there, which a second opinion confirms. */
import { expect, test } from 'vitest';
import { disagreements } from '../support/import-oracle.ts';
import { makeImportWorld } from '../support/import-world.ts';
import type { ImportWorld } from '../support/import-world.ts';
import { makeDatabase } from '../support/postgres.ts';

const path = process.env['COUNTDOWN_TEST_SQLITE'];

async function carry(world: ImportWorld): Promise<void> {
  for (const phase of ['inspect', 'backup', 'hold-writes', 'copy', 'verify', 'switch'] as const)
    await world.run(phase);
  const cells = world.outputs['database/inspect']?.['cells'];
  expect(cells).toBeGreaterThan(0);
  expect(world.outputs['database/verify']).toMatchObject({ cellsCompared: cells, cellsInSource: cells });
  const told = { mapping: {}, skip: [], timezone: null };
  expect(await disagreements({ path: world.path, ask: (sql) => world.ask(sql), ...told })).toEqual([]);
}

async function takeBack(world: ImportWorld): Promise<void> {
  for (const phase of ['switch', 'copy', 'hold-writes'] as const) await world.undo(phase);
}

const EMPTY = `do $$declare t record; begin for t in select oid::regclass as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
  loop execute format('truncate %s restart identity cascade', t.name); end loop; end$$; drop schema countdown cascade`;

// The file is no part of the project; CI names it where it is there.
test.skipIf(path === undefined)(
  'a public sample database is imported whole, into new tables and into those that are there (needs COUNTDOWN_TEST_SQLITE)',
  async () => {
    await using database = await makeDatabase();
    const step = { chunkRows: 5_000, database };
    {
      await using world = await makeImportWorld({ path: path ?? '' }, step);
      const before = await world.print();
      await carry(world);
      expect(world.outputs['database/inspect']).toMatchObject({ mode: 'create' });
      await takeBack(world);
      expect(await world.print()).toEqual(before);
    }
    {
      await using world = await makeImportWorld({ path: path ?? '' }, step);
      await carry(world);
      await world.ask(EMPTY);
    }
    await using world = await makeImportWorld({ path: path ?? '' }, step);
    const before = await world.print();
    await carry(world);
    expect(world.outputs['database/inspect']).toMatchObject({ mode: 'existing' });
    await takeBack(world);
    expect(await world.print()).toEqual(before);
  },
  120_000,
);
