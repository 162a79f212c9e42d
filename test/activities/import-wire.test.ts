/** The way of an import without text: pages from a thread, as PostgreSQL takes and sends them. */
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { compareBytes } from '../../activities/lib/import/compare-bytes.ts';
import { wirePages } from '../../activities/lib/import/wire-pages.ts';
import type { WirePagesInput } from '../../activities/lib/import/wire-pages.ts';
import { placeOf } from '../../activities/lib/import/statements.ts';
import { openMapped } from '../../activities/lib/import-source.ts';
import type { ImportParams, MappedSource } from '../../activities/lib/import-source.ts';
import type { MappedTable } from '../../activities/lib/mapping.ts';
import { withPostgres } from '../../activities/lib/postgres.ts';
import type { Connection } from '../../activities/lib/postgres.ts';
import { exampleSql, makeImportWorld } from '../support/import-world.ts';
import type { ImportWorld } from '../support/import-world.ts';
import { failureOf } from '../support/phase-context.ts';

const PARAMS: ImportParams = {
  step: 'database',
  source: 'src',
  target: 'dst',
  switch: 'mode',
  chunkRows: 100,
  schema: 'auto',
  mapping: {},
  skip: [],
  timezone: null,
  reverseCapture: false,
};

type Opened = MappedSource & { connection: Connection; signal: AbortSignal; abort(): void };

async function opened<T>(
  world: ImportWorld,
  use: (opened: Opened) => Promise<T>,
  mapping: ImportParams['mapping'] = {},
): Promise<T> {
  const context = world.context();
  return await withPostgres('dst', context, async (connection) => {
    const mapped = await openMapped({ ...PARAMS, mapping }, context, { connection, mode: 'create' });
    using source = mapped.source;
    return await use({
      ...mapped,
      source,
      connection,
      signal: context.signal,
      abort: () => context.abort(),
    });
  });
}

function tableOf({ mapping }: MappedSource, name: string): MappedTable {
  const table = mapping.tables.find(({ source }) => source.name === name);
  if (table === undefined) throw new Error(`There is no table ${name}.`);
  return table;
}

const input = (signal: AbortSignal, more: Partial<WirePagesInput> = {}): WirePagesInput => ({
  order: 'storage',
  rowsMax: 100,
  signal,
  options: { computed: false, framed: false },
  ...more,
});

async function copied(world: ImportWorld): Promise<void> {
  for (const phase of ['inspect', 'hold-writes', 'copy'] as const) {
    expect(await world.run(phase)).toMatchObject({ verdict: 'pass' });
  }
}

/** Rows that both sides have as the same bytes; undefined where they differ. */
async function equalRows(
  world: ImportWorld,
  name: string,
  mapping?: ImportParams['mapping'],
): Promise<number | undefined> {
  return await opened(
    world,
    async (mapped) => {
      const table = tableOf(mapped, name);
      const columns = table.columns.map(({ target }) => `"${target}"`).join(', ');
      const keys = (table.source.primaryKey ?? []).map((key) => `"${key}"`).join(', ');
      const sql = `SELECT ${columns} FROM ${placeOf(table)} ORDER BY ${keys}`;
      const work = { ...mapped, target: mapped.connection, table, chunkRows: 100 };
      return (await compareBytes(work, sql))?.rows;
    },
    mapping,
  );
}

test('rows of every type are the very bytes that PostgreSQL sends for them', async () => {
  const mapping = {
    't.u': 'uuid',
    't.j': 'json',
    't.n': 'numeric',
    't.e': 'epoch-milliseconds',
    't.x': 'text',
  } as const;
  const sql = `
    CREATE TABLE t (id INTEGER PRIMARY KEY, i BIGINT, r REAL, n NUMERIC, b BOOLEAN, d DATE, c TIME, l DATETIME, z TIMESTAMP, s TEXT, o BLOB, u TEXT, j TEXT, e INTEGER, x);
    INSERT INTO t VALUES
      (-9223372036854775808, 9223372036854775807, -1e999, '0.00012345', 1, '0001-01-01', '00:00:00', '0001-01-01 00:00:00', '0001-01-02T00:00:00+15:59', '', x'',
       '00000000-0000-0000-0000-000000000000', '{"a": [1, "\\u00e9\\n"]}', -62135596800000, 'x'),
      (-1, -1, -0.0, -10000, 0, '1999-12-31', '23:59:59.999999', '1999-12-31T23:59:59.999999', '1999-12-31 23:59:59Z', '♪ 😀 \\N' || char(9, 10, 92), x'00ff',
       'FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF', 'null', 253402300799999, 1.5),
      (0, 0, 1e-320, 123456789012345678, 0, '2000-02-29', '12:00:00.5', '2274-01-01 00:00:00.000001', '2024-02-29 12:00:00.000001-0330', 'a long text of more than a few ♪', randomblob(3000),
       '0123456789abcdef0123456789ABCDEF', '"x"', 0, 7),
      (9223372036854775807, NULL, NULL, 1e22, NULL, NULL, NULL, '9999-12-31 23:59:59.999999', NULL, NULL, NULL, NULL, NULL, NULL, NULL);`;
  await using world = await makeImportWorld({ sql }, { mapping });
  await copied(world);
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
  expect(await equalRows(world, 't', mapping)).toBe(4);
});

test('tables of many pages are compared without text, and one changed byte in the last row is seen', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(1_000) });
  await copied(world);
  expect(await equalRows(world, 'users')).toBe(1_000);
  expect(await equalRows(world, 'Practice Sessions')).toBe(1_000);
  await world.ask(`update songs set note = 'x' where id = 2000`);
  expect(await equalRows(world, 'songs')).toBeUndefined();
  expect((await world.run('verify')).summary).toMatch(
    /^1 difference .*: songs id=2000 note: source .*, target x$/,
  );
  await world.ask('delete from users where id = 1000');
  expect(await equalRows(world, 'users')).toBeUndefined();
  await world.ask(`insert into users (id, email) values (1000, 'a'), (1001, 'b')`);
  expect(await equalRows(world, 'users')).toBeUndefined();
});

test('a page with a cell that needs a closer look goes another way, and those after it do not', async () => {
  const sql = `CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT);
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i, 'text ' || i FROM n;
    UPDATE t SET s = char(65533) WHERE id IN (350, 450, 1000);`;
  await using world = await makeImportWorld({ sql });
  const parts = await opened(world, async (mapped) => {
    const found: string[] = [];
    for await (const { wire, page } of wirePages(mapped.source, tableOf(mapped, 't'), input(mapped.signal))) {
      found.push(wire === undefined ? `text ${String(page.lastKey[0])}` : `wire ${String(wire.lastKey[0])}`);
      wire?.release();
    }
    return found;
  });
  expect(parts).toEqual([
    'wire 100',
    'wire 200',
    'wire 300',
    'text 400',
    'text 500',
    'wire 600',
    'wire 700',
    'wire 800',
    'wire 900',
    'text 1000',
  ]);
  await copied(world);
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass', output: { cellsCompared: 2_000 } });
});

test('a thread that dies fails the phase with its name and code', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(300) });
  const thread = new URL('data:text/javascript,process.exit(3)');
  const failure = await failureOf(
    opened(world, async (mapped) => {
      const pages = wirePages(mapped.source, tableOf(mapped, 'users'), input(mapped.signal, { thread }));
      for await (const { wire } of pages) wire?.release();
    }),
  );
  expect(failure).toEqual({
    type: 'PhaseFailed',
    message: `The thread that reads 'src' failed (it ended with code 3), expected pages of rows; see that this worker has memory left, then try again.`,
  });
});

test('a phase that is cancelled does not wait for its thread', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(300) });
  const thread = new URL('data:text/javascript,setInterval(() => {}, 1000)');
  const failure = await failureOf(
    opened(world, async (mapped) => {
      const pages = wirePages(mapped.source, tableOf(mapped, 'users'), input(mapped.signal, { thread }));
      for await (const { wire } of pages) {
        wire?.release();
        mapped.abort();
      }
    }),
  );
  expect(failure.message).toBe('The test cancelled the phase.');
});

test('a source that changes after its writes were held is seen, though nobody reads it again where it did not', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await copied(world);
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
  using db = new DatabaseSync(world.path);
  db.exec(`CREATE TABLE other (a); INSERT INTO log VALUES ('2020-01-01T00:00:00', 'late'); DROP TABLE other`);
  await world.ask(`insert into log values ('2020-01-01T00:00:00', 'late')`);
  expect((await world.run('verify')).summary).toContain('has changed since its writes were held');
});
