/** Worlds of database.import with reverse capture: brought up to the release, taken back, and looked at. */
import { DatabaseSync } from 'node:sqlite';
import { expect } from 'vitest';
import { makeImportWorld } from './import-world.ts';
import type { ImportPhase, ImportWorld, ImportWorldOptions } from './import-world.ts';
import { makeDatabase } from './postgres.ts';
import { makeTcpProxy } from './tcp-proxy.ts';
import type { TcpProxy } from './tcp-proxy.ts';

/** What comes before the release. */
const BEFORE_RELEASE: ImportPhase[] = ['inspect', 'backup', 'hold-writes', 'copy', 'verify', 'switch'];
/** Looks at the server until it shows what is waited for. */
const LOOKS_MAX = 500;

/** The source where nothing else is said. */
export const THREE_ROWS = `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')`;

/** `sql` makes the source, or `path` names its file; `target` makes tables that are there already. */
export type ReverseOptions = ImportWorldOptions & { sql?: string; path?: string; target?: string };

/** A world before its first phase. */
export async function prepared({
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
  return world;
}

/** A world after the switch. */
export async function switched(options: ReverseOptions = {}): Promise<ImportWorld> {
  const world = await prepared(options);
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

/** Tables of the target that an application made before the import. */
export const EXISTING: ReverseOptions = {
  target: 'CREATE TABLE t (id bigint PRIMARY KEY, v text UNIQUE)',
  skip: ['counter t.id'],
};

/** A world whose target is reached through a wire, which a test can cut. */
export async function behindWire(
  make: (options: ReverseOptions) => Promise<ImportWorld>,
  options: ReverseOptions = {},
): Promise<AsyncDisposable & { world: ImportWorld; wire: TcpProxy }> {
  const stack = new AsyncDisposableStack();
  const database = stack.use(await makeDatabase());
  const url = new URL(database.url);
  const wire = stack.use(await makeTcpProxy(url.host));
  url.host = wire.address;
  const world = stack.use(await make({ ...options, database: { ...database, url: url.href } }));
  return { world, wire, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** What schema countdown of the target holds beside the fence: functions, and tables with the number of their rows. */
export async function leftovers(world: ImportWorld): Promise<string[]> {
  const found = await world.ask(
    `SELECT 'function ' || proname AS what FROM pg_proc WHERE pronamespace = 'countdown'::regnamespace`,
  );
  const tables = await world.ask(
    `SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'countdown'::regnamespace AND relkind = 'r' AND relname <> 'fence' ORDER BY 1`,
  );
  for (const { name } of tables) {
    const [count] = await world.ask(`SELECT count(*)::int AS rows FROM countdown."${String(name)}"`);
    if (count?.['rows'] !== 0) found.push({ what: `${String(name)}: ${String(count?.['rows'])}` });
  }
  return found.map(({ what }) => String(what));
}
