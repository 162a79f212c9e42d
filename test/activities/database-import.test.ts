import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import type { PhaseResult } from '../../activities/phase.ts';
import { generate } from '../../examples/piano-keys/generate.ts';
import { exampleSql, makeImportWorld } from '../support/import-world.ts';
import type { ImportPhase, ImportWorld } from '../support/import-world.ts';
import { failureOf, makeTestFolder } from '../support/phase-context.ts';

const ROWS = 1_000;
const CELLS = ROWS * (5 + 6 + 4 + 2);

async function runAll(world: ImportWorld, phases: ImportPhase[]): Promise<void> {
  for (const phase of phases) expect(await world.run(phase)).toMatchObject({ verdict: 'pass' });
}

function pathOf(result: PhaseResult): string {
  const path = result.output?.['path'];
  return typeof path === 'string' ? path : 'no path';
}

const UNTIL_COPY: ImportPhase[] = ['inspect', 'backup', 'hold-writes', 'copy'];

test('an import carries every cell, and the application ends on the target with writes held', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  await runAll(world, UNTIL_COPY);
  expect(await world.run('verify')).toMatchObject({
    verdict: 'pass',
    output: { cellsCompared: CELLS, cellsInSource: CELLS },
  });
  expect(await world.run('switch')).toMatchObject({ verdict: 'pass', output: { value: 'postgres-held' } });
  expect(world.switchServer.puts).toEqual(['sqlite-held', 'postgres-held']);
  expect(world.outputs['database/inspect']).toMatchObject({
    tables: 4,
    rows: 4 * ROWS,
    cells: CELLS,
    startValue: 'sqlite',
  });
  expect(world.outputs['database/copy']).toEqual({ rowsCopied: 4 * ROWS, tablesCreated: 4 });
});

test('what is carried has types, keys, defaults and counters', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  await runAll(world, UNTIL_COPY);
  const columns = await world.ask(
    `select table_name || '.' || column_name as name, data_type as type from information_schema.columns where table_schema = 'public' order by table_name, ordinal_position`,
  );
  expect(columns.map(({ name, type }) => `${String(name)} ${String(type)}`)).toEqual([
    'Practice Sessions.user_id bigint',
    'Practice Sessions.song_id bigint',
    'Practice Sessions.day date',
    'Practice Sessions.minutes bigint',
    'log.at timestamp without time zone',
    'log.line text',
    'songs.id bigint',
    'songs.title text',
    'songs.price numeric',
    'songs.seconds double precision',
    'songs.added timestamp without time zone',
    'songs.note text',
    'users.id bigint',
    'users.email text',
    'users.born date',
    'users.admin boolean',
    'users.picture bytea',
  ]);
  const users = await world.ask(`insert into users (email) values ('new@example.com') returning id, admin`);
  expect(users).toEqual([{ id: String(ROWS + 5001), admin: false }]);
  const songs = await world.ask(
    `insert into songs (title) values ('new') returning id, note, added > now() at time zone 'utc' - interval '1 minute' as fresh`,
  );
  expect(songs).toEqual([{ id: String(ROWS * 2 + 1), note: "it's \\ new", fresh: true }]);
  await expect(world.ask(`insert into "Practice Sessions" values (0, 0, '2020-01-01', 1)`)).rejects.toThrow(
    'foreign key',
  );
  await world.ask('delete from users where id = 1');
  expect(await world.ask(`select count(*)::int as left from "Practice Sessions" where user_id = 1`)).toEqual([
    { left: 0 },
  ]);
});

test('the backup is a whole copy with its own digest, and running it again leaves one file', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await world.run('backup');
  const first = await world.run('backup');
  const path = pathOf(first);
  const bytes = await readFile(path);
  expect(first.output).toEqual({
    path,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    sizeBytes: bytes.byteLength,
  });
  expect(await readdir(dirname(path))).toEqual(['database-src.sqlite']);
  using copy = new DatabaseSync(path, { readOnly: true });
  expect(copy.prepare('select count(*) as rows from users').get()).toEqual({ rows: 10 });
});

test('every phase run twice is run once', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  for (const phase of UNTIL_COPY) {
    const first = await world.run(phase);
    if (phase === 'inspect') continue;
    const second = await world.run(phase);
    expect({ ...second.output, heldAt: 0 }).toEqual({ ...first.output, heldAt: 0 });
  }
  await runAll(world, ['verify', 'verify', 'switch', 'switch']);
  expect(await world.ask('select count(*)::int as rows from users')).toEqual([{ rows: ROWS }]);
});

test('after run and undo the world is as found, also when everything is undone twice', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  const before = await world.print();
  await runAll(world, [...UNTIL_COPY, 'verify', 'switch']);
  expect(await world.print()).not.toEqual(before);
  for (const phase of ['switch', 'switch', 'copy', 'copy', 'hold-writes', 'hold-writes'] as const) {
    expect(await world.undo(phase)).toMatchObject({ verdict: 'pass' });
  }
  expect(await world.print()).toEqual(before);
  expect(world.switchServer.value).toBe('sqlite');
});

test('undo without run is harmless', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(5) });
  const before = await world.print();
  for (const phase of ['switch', 'copy', 'hold-writes'] as const) {
    expect(await world.undo(phase)).toMatchObject({ verdict: 'pass' });
  }
  expect(await world.print()).toEqual(before);
  expect(world.switchServer.value).toBe('sqlite');
});

test('after run, undo and run again every cell is verified', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  await runAll(world, UNTIL_COPY);
  await world.undo('copy');
  await world.undo('hold-writes');
  await runAll(world, ['hold-writes', 'copy', 'verify', 'switch']);
});

test('probes tell no, partly and yes', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  expect((await world.probe('hold-writes')).answer).toBe('no');
  expect((await world.probe('copy')).answer).toBe('no');
  await runAll(world, ['inspect', 'hold-writes']);
  const held = await world.probe('hold-writes');
  expect(held).toMatchObject({
    answer: 'yes',
    output: { sourceDigest: world.outputs['database/hold-writes']?.['sourceDigest'] },
  });
  const context = world.context({ onProgress: ({ done }, own) => done >= 500 && own.abort() });
  await expect(world.run('copy', context)).rejects.toThrow('The test cancelled the phase.');
  expect((await world.probe('copy')).answer).toBe('partly');
  await world.run('copy');
  expect(await world.probe('copy')).toMatchObject({
    answer: 'yes',
    output: { rowsCopied: 4 * ROWS, tablesCreated: 4 },
  });
  expect((await world.probe('switch')).answer).toBe('no');
  await world.run('switch');
  expect((await world.probe('switch')).answer).toBe('yes');
});

test('a copy that was cancelled in the middle goes on from its checkpoint', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  await runAll(world, ['inspect', 'hold-writes']);
  let cancelledAt = 0;
  const first = world.context({
    onProgress: ({ done, unit }, own) => {
      if (unit !== 'rows' || done < 1_500) return;
      cancelledAt = done;
      own.abort();
    },
  });
  await expect(world.run('copy', first)).rejects.toThrow('The test cancelled the phase.');
  expect(cancelledAt).toBe(1_500);
  const second = world.context();
  const result = await world.run('copy', second);
  expect(result.output).toEqual({ rowsCopied: 4 * ROWS, tablesCreated: 4 });
  const chunks = second.told.filter(({ unit }) => unit === 'rows');
  expect(chunks[0]?.done).toBeGreaterThan(1_500);
  await runAll(world, ['verify']);
});

test('an undo after a copy that broke off leaves the target as found', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  const before = await world.print();
  await runAll(world, ['inspect', 'hold-writes']);
  const context = world.context({ onProgress: ({ done }, own) => done >= 1_500 && own.abort() });
  await expect(world.run('copy', context)).rejects.toThrow();
  await world.undo('copy');
  expect(await world.print()).toEqual(before);
});

test('a copy whose fence was raised stops, and writes nothing from then on', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  await runAll(world, ['inspect', 'hold-writes']);
  let raised: Promise<unknown> | undefined;
  let told = 0;
  const context = world.context({
    onProgress: ({ done }) => {
      told = done;
      if (done >= 500)
        raised ??= world.ask(`update countdown.fence set epoch = epoch + 1 where target = 'dst'`);
    },
  });
  const failure = await failureOf(world.run('copy', context));
  await raised;
  expect(failure.type).toBe('FenceLost');
  const [copied] = await world.ask('select sum(rows)::int as rows from countdown.checkpoint');
  expect(copied).toEqual({ rows: told });
  expect(told).toBeLessThan(4 * ROWS);
});

test('an attempt with a lower fence than the target has seen can neither copy nor undo', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await runAll(world, ['inspect', 'hold-writes']);
  const late = world.context();
  const lateUndo = world.context();
  await world.run('copy');
  expect((await failureOf(world.run('copy', late))).type).toBe('FenceLost');
  expect((await failureOf(world.undo('copy', lateUndo))).type).toBe('FenceLost');
  expect((await world.probe('copy')).answer).toBe('yes');
});

test('an earlier attempt that sleeps inside a transaction cannot hold up its undo', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  await runAll(world, ['inspect', 'hold-writes', 'copy']);
  const held = world.context();
  const started = Promise.withResolvers<void>();
  const { withPostgres } = await import('../../activities/lib/postgres.ts');
  const frozen = withPostgres('dst', held, async (connection) => {
    await connection.query('BEGIN');
    await connection.query('SELECT 1 FROM countdown.fence FOR UPDATE');
    await connection.query('SELECT count(*) FROM public.users');
    started.resolve();
    const { promise, reject } = Promise.withResolvers<void>();
    connection.client.once('end', () => reject(new Error('The session was ended.')));
    await promise;
  });
  const ended = failureOf(frozen);
  await started.promise;
  expect(await world.undo('copy')).toMatchObject({ verdict: 'pass', summary: '4 tables dropped' });
  await ended;
});

test.each([
  [
    'a changed cell',
    `update songs set seconds = 0.30000001 where id = 6`,
    'songs id=6 seconds: source 0.30000000000000004, target 0.30000001',
  ],
  [
    'a missing row',
    `delete from songs where id = 8 and not exists (select 1 from "Practice Sessions" where song_id = 9)`,
    'songs id=8 is missing in the target',
  ],
  [
    'a row of its own',
    `insert into log values ('2020-01-01', 'extra')`,
    'log (at=2020-01-01 00:00:00, line=extra) is in the target only',
  ],
  [
    'a changed row without a key',
    `update log set line = 'other' where ctid = (select min(ctid) from log)`,
    'line=other) is in the target only',
  ],
  [
    'a NULL for an empty text',
    `update songs set note = null where id = 10`,
    'songs id=10 note: source , target NULL',
  ],
  [
    'a counter that was set back',
    `select setval('users_id_seq', 7)`,
    'users id continues at 8, expected above 6000',
  ],
  ['an index that is gone', `drop index songs_title`, 'songs has 0 indexes, expected 1'],
])('%s is found and named', async (_, sql, named) => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  await runAll(world, UNTIL_COPY);
  await world.ask('alter table "Practice Sessions" drop constraint "Practice Sessions_song_id_fkey"');
  await world.ask(sql);
  const result = await world.run('verify');
  expect(result.verdict).toBe('fail');
  expect(result.summary).toContain(named);
});

function bucketOf(line: string): number {
  return createHash('sha256').update(line).digest().readUInt32LE(0) % 1024;
}

test('rows without a key that change places inside one bucket are found', async () => {
  const twin = Array.from({ length: 20_000 }, (_, place) => `b${place}`).find(
    (line) => bucketOf(line) === bucketOf('a'),
  );
  await using world = await makeImportWorld({
    sql: `CREATE TABLE t (c TEXT); INSERT INTO t VALUES ('a'), ('c')`,
  });
  await runAll(world, UNTIL_COPY);
  await world.ask(`update t set c = '${twin}' where c = 'a'`);
  const result = await world.run('verify');
  expect(result.verdict).toBe('fail');
  expect(result.summary).toContain(
    't (c=a) is missing in the target; t (c=' + twin + ') is in the target only',
  );
});

test('a source that was written to after the hold is no pass, and its undo says so but releases', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(ROWS) });
  await runAll(world, UNTIL_COPY);
  world.change(`update songs set title = 'changed' where id = 2`);
  const verified = await world.run('verify');
  expect(verified.verdict).toBe('fail');
  expect(verified.summary).toContain("'src' has changed since its writes were held");
  await world.undo('copy');
  const undone = await world.undo('hold-writes');
  expect(undone.verdict).toBe('fail');
  expect(undone.summary).toContain("'src' is not as it was when its writes were held");
  expect(world.switchServer.value).toBe('sqlite');
});

test('tables without a row are inconclusive', async () => {
  await using world = await makeImportWorld({ sql: 'CREATE TABLE empty (id INTEGER PRIMARY KEY, x TEXT)' });
  await runAll(world, UNTIL_COPY);
  expect(await world.run('verify')).toMatchObject({ verdict: 'inconclusive' });
});

test('once the target takes writes no undo goes back', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await runAll(world, [...UNTIL_COPY, 'verify', 'switch']);
  world.switchServer.value = 'postgres';
  for (const phase of ['switch', 'copy', 'hold-writes'] as const) {
    const failure = await failureOf(world.undo(phase));
    expect(failure.type).toBe('UndoFailed');
    expect(failure.message).toContain("'dst' is open for writes");
  }
  expect(world.switchServer.value).toBe('postgres');
});

test('the tables that the application reads are not dropped', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await runAll(world, [...UNTIL_COPY, 'verify', 'switch']);
  expect((await failureOf(world.undo('copy'))).type).toBe('UndoFailed');
  expect(await world.ask('select count(*)::int as rows from users')).toEqual([{ rows: 10 }]);
});

test('undo drops what the step made and nothing else', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await runAll(world, UNTIL_COPY);
  await world.ask('create table visitor (id int)');
  await world.undo('copy');
  expect(await world.ask(`select relname from pg_class where relnamespace = 'public'::regnamespace`)).toEqual(
    [{ relname: 'visitor' }],
  );
});

test('a view that somebody made on a table keeps it, and the undo asks for a person', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await runAll(world, UNTIL_COPY);
  await world.ask('create view visitor as select id from public.users');
  const failure = await failureOf(world.undo('copy'));
  expect(failure.type).toBe('UndoFailed');
  expect(failure.message).toContain('other objects depend on them');
  await world.ask('drop view visitor');
  expect(await world.undo('copy')).toMatchObject({ verdict: 'pass' });
});

test('copy refuses while writes are not held', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await world.run('inspect');
  const failure = await failureOf(world.run('copy'));
  expect(failure).toMatchObject({ type: 'PreconditionFailed' });
  expect(failure.message).toContain("says 'sqlite', expected 'sqlite-held'");
});

test('copy refuses a schema that has changed since it was approved', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await runAll(world, ['inspect', 'hold-writes']);
  world.change('ALTER TABLE songs ADD COLUMN key TEXT');
  const failure = await failureOf(world.run('copy'));
  expect(failure.type).toBe('PreconditionFailed');
  expect(failure.message).toContain(
    'its schema, or the class of cells in a column whose type says nothing, has changed since it was inspected',
  );
});

test('a cell that came after the inspection and cannot be carried stops the copy, named', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await world.run('inspect');
  world.change(`UPDATE users SET born = 'yesterday' WHERE id = 3`);
  await world.run('hold-writes');
  const failure = await failureOf(world.run('copy'));
  expect(failure.type).toBe('VerificationFailed');
  expect(failure.message).toContain("users id=3 born holds text 'yesterday', expected a date as YYYY-MM-DD");
});

test('a switch with other values than the four is refused', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  world.switchServer.target.values = ['sqlite', 'postgres'];
  expect((await failureOf(world.run('inspect'))).message).toContain('has 2 values, expected 4');
});

test('inspect refuses a switch that does not stand on the source', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  world.switchServer.value = 'postgres-held';
  expect((await failureOf(world.run('inspect'))).message).toContain(
    "says 'postgres-held', expected 'sqlite'",
  );
});

test('inspect refuses a target whose tables are others than those of the source', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  await world.ask('create table thing (id int)');
  const failure = await failureOf(world.run('inspect'));
  expect(failure).toMatchObject({ type: 'NotSupported' });
  expect(failure.message).toContain(
    'table "songs", which has no table of this name in the target (to go without it: skip: [table songs])',
  );
});

test('inspect changes nothing, not even schema countdown', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  const bytes = await readFile(world.path);
  await world.run('inspect');
  expect(await world.ask(`select nspname from pg_namespace where nspname = 'countdown'`)).toEqual([]);
  expect(await readFile(world.path)).toEqual(bytes);
  expect(world.switchServer.puts).toEqual([]);
});

test('the approval binds to schema, mapping, emptiness and the switch, not to counts', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  const first = await world.run('inspect');
  world.change(`INSERT INTO log VALUES (NULL, 'one more')`);
  const second = await world.run('inspect');
  expect(second.binds).toEqual(first.binds);
  expect(Object.keys(first.binds ?? {})).toEqual(['schema', 'mapping', 'targetEmpty', 'switch']);
  world.change('CREATE TABLE more (id INTEGER PRIMARY KEY)');
  expect((await world.run('inspect')).binds).not.toEqual(first.binds);
});

test('a source that the application writes to is inspected and backed up whole', async () => {
  await using world = await makeImportWorld({ sql: `PRAGMA journal_mode = WAL; ${exampleSql(ROWS)}` });
  using writer = new DatabaseSync(world.path);
  let written = 0;
  const write = (): void => {
    written += 1;
    writer.exec(`INSERT INTO log VALUES (NULL, 'live ${written}')`);
  };
  const inspected = await world.run('inspect', world.context({ onProgress: write }));
  expect(inspected.verdict).toBe('pass');
  expect(written).toBeGreaterThan(10);
  const result = await world.run('backup', world.context({ onProgress: write }));
  using copy = new DatabaseSync(pathOf(result), { readOnly: true });
  expect(copy.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' });
  expect(copy.prepare('SELECT count(*) AS rows FROM users').get()).toEqual({ rows: ROWS });
});

test.each(['inspect', 'backup'] as const)('%s waits for a source that a writer has locked', async (phase) => {
  await using world = await makeImportWorld({ sql: exampleSql(10) });
  using writer = new DatabaseSync(world.path);
  writer.exec('BEGIN EXCLUSIVE');
  let released = false;
  setTimeout(() => {
    released = true;
    writer.exec('COMMIT');
  }, 300);
  expect(await world.run(phase)).toMatchObject({ verdict: 'pass' });
  expect(released).toBe(true);
});

test('the example application moves whole, with dates, decimals, blobs and a counter ahead of its rows', async () => {
  await using folder = await makeTestFolder();
  const path = join(folder.path, 'piano.db');
  generate({ file: path, rows: 3_000 });
  await using world = await makeImportWorld({ path }, { chunkRows: 500 });
  await runAll(world, [...UNTIL_COPY, 'verify', 'switch']);
  expect(world.outputs['database/verify']?.['cellsCompared']).toBe(
    world.outputs['database/inspect']?.['cells'],
  );
  const types = await world.ask(
    `select distinct data_type as type from information_schema.columns where table_schema = 'public' order by 1`,
  );
  expect(types.map(({ type }) => type)).toEqual([
    'bigint',
    'boolean',
    'bytea',
    'date',
    'double precision',
    'numeric',
    'text',
    'timestamp without time zone',
  ]);
});
