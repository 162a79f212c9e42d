/** Worlds of database.import with reverse capture: brought up to the release, taken back, and looked at. */
import { DatabaseSync } from 'node:sqlite';
import { expect } from 'vitest';
import { makeImportWorld } from './import-world.ts';
import type { ImportPhase, ImportWorld, ImportWorldOptions } from './import-world.ts';

/** What comes before the release. */
const BEFORE_RELEASE: ImportPhase[] = ['inspect', 'backup', 'hold-writes', 'copy', 'verify', 'switch'];
/** Looks at the server until it shows what is waited for. */
const LOOKS_MAX = 500;

/** The source where nothing else is said. */
export const THREE_ROWS = `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')`;

/** `sql` makes the source, or `path` names its file; `target` makes tables that are there already. */
export type ReverseOptions = ImportWorldOptions & { sql?: string; path?: string; target?: string };

/** A world after the switch. */
export async function switched({
  sql = THREE_ROWS,
  path,
  target,
  ...options
}: ReverseOptions = {}): Promise<ImportWorld> {
  const world = await makeImportWorld(path === undefined ? { sql } : { path }, {
    reverseCapture: true,
    ...options,
  });
  if (target !== undefined) await world.ask(target);
  for (const phase of BEFORE_RELEASE) expect((await world.run(phase)).verdict, phase).toMatch(/pass|warn/);
  return world;
}

/** A world after the release. */
export async function released(options: ReverseOptions = {}): Promise<ImportWorld> {
  const world = await switched(options);
  expect(await world.run('release-writes')).toMatchObject({ verdict: 'pass' });
  return world;
}

/** Undoes all, last phase first: writes go to the source again. */
export async function takeBack(world: ImportWorld): Promise<void> {
  for (const phase of ['release-writes', 'switch', 'copy', 'hold-writes'] as const)
    expect(await world.undo(phase), phase).toMatchObject({ verdict: 'pass' });
  expect(world.switchServer.value).toBe('sqlite');
}

/** Rows of the source, whose file must be intact. */
export function rowsOf(world: ImportWorld, sql = 'SELECT id, v FROM t ORDER BY id'): unknown[][] {
  using db = new DatabaseSync(world.path);
  expect(db.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' });
  return db
    .prepare(sql)
    .all()
    .map((row) => Object.values(row));
}

/** Asks the target until it answers with a row. */
export async function waitForRow(world: ImportWorld, sql: string): Promise<void> {
  for (let look = 0; look < LOOKS_MAX; look += 1) if ((await world.ask(sql)).length > 0) return;
  throw new Error(`The server never showed: ${sql}`);
}
