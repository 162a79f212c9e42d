/** Into tables that are there already, and in the place of others. */
import { expect, test } from 'vitest';
import { exampleSql, makeImportWorld } from '../support/import-world.ts';
import type { ImportPhase, ImportWorld } from '../support/import-world.ts';
import { failureOf } from '../support/phase-context.ts';

const CARRY: ImportPhase[] = ['inspect', 'hold-writes', 'copy'];

async function carry(world: ImportWorld): Promise<void> {
  for (const phase of CARRY) await world.run(phase);
  const verified = await world.run('verify');
  expect(verified.verdict, verified.summary).toBe('pass');
}

/** As an application and its migrations keep it in SQLite. */
const SOURCE = `
  CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL); INSERT INTO alembic_version VALUES ('a1b2');
  CREATE TABLE artists (id INTEGER PRIMARY KEY, uid CHAR(32) NOT NULL, name VARCHAR(40) NOT NULL, kind VARCHAR(9), founded DATE, rating NUMERIC(5,2), score FLOAT,
    plays INTEGER, profile JSON, opened TIME, active BOOLEAN NOT NULL, made DATETIME, parent INTEGER REFERENCES artists (id));
  CREATE TABLE "Albums" (id INTEGER PRIMARY KEY, artist_id INTEGER NOT NULL REFERENCES artists (id), Title TEXT, total INTEGER AS (id * 2) VIRTUAL);
  INSERT INTO artists VALUES (9, 'ffffffffffffffffffffffffffffffff', 'Bo', NULL, NULL, -3, NULL, NULL, '"x"', NULL, 0, '2024-01-01T12:00:00.250+02:00', NULL);
  INSERT INTO artists VALUES (3, '0123456789abcdef0123456789ABCDEF', 'Ann ♪', 'band', '2001-02-03', 4.5, 0.1, 7, '{"b": [1, 2.50], "a": null}', '01:02:03.5', 1, '2024-01-01 12:00:00', 9);
  INSERT INTO "Albums" (id, artist_id, Title) VALUES (1, 9, 'One'), (4, 3, NULL);
`;

/** As the same migrations make it in PostgreSQL. */
const TARGET = `
  create table alembic_version (version_num varchar(32) primary key); insert into alembic_version values ('a1b2');
  create type kind as enum ('solo', 'band');
  create table artists (id serial primary key, uid uuid not null unique, name varchar(40) not null, kind kind, founded date, rating numeric(5,2), score double precision,
    plays integer, profile jsonb, opened time, active boolean not null, made timestamptz, parent integer references artists (id), note text not null default 'new');
  create table albums (id bigint generated always as identity primary key, artist_id integer not null constraint of_artist references artists (id) on delete cascade,
    title text, total bigint generated always as (id * 2) stored);
  create table other (id int); insert into other values (1);
  grant select on artists to public;
`;

async function makeWorld(
  options: { source?: string; target?: string; mapping?: Parameters<typeof makeImportWorld>[1] } = {},
): Promise<ImportWorld> {
  const world = await makeImportWorld(
    { sql: SOURCE + (options.source ?? '') },
    { timezone: 'UTC', ...options.mapping },
  );
  await world.ask(TARGET + (options.target ?? ''));
  return world;
}

test('rows go into the tables that are there, each cell as its type holds it', async () => {
  await using world = await makeWorld();
  const before = await world.print();
  await carry(world);
  expect(world.outputs['database/inspect']).toMatchObject({
    mode: 'existing',
    tables: 2,
    rows: 4,
    skipped: [
      `generated or hidden column "Albums"."total" (the target's own schema holds)`,
      `table "alembic_version" (the target's own stays)`,
    ],
  });
  expect(world.outputs['database/copy']).toEqual({ rowsCopied: 4, tablesCreated: 0 });
  expect(await world.ask(`select to_jsonb(a) as row from artists a order by id`)).toEqual([
    {
      row: {
        id: 3,
        uid: '01234567-89ab-cdef-0123-456789abcdef',
        name: 'Ann ♪',
        kind: 'band',
        founded: '2001-02-03',
        rating: 4.5,
        score: 0.1,
        plays: 7,
        profile: { a: null, b: [1, 2.5] },
        opened: '01:02:03.5',
        active: true,
        made: '2024-01-01T12:00:00+00:00',
        parent: 9,
        note: 'new',
      },
    },
    {
      row: {
        id: 9,
        uid: 'ffffffff-ffff-ffff-ffff-ffffffffffff',
        name: 'Bo',
        kind: null,
        founded: null,
        rating: -3,
        score: null,
        plays: null,
        profile: 'x',
        opened: null,
        active: false,
        made: '2024-01-01T10:00:00.25+00:00',
        parent: null,
        note: 'new',
      },
    },
  ]);
  expect(await world.ask('insert into albums (artist_id) values (3) returning id, total')).toEqual([
    { id: '5', total: '10' },
  ]);
  await expect(world.ask('insert into albums (artist_id) values (77)')).rejects.toThrow('of_artist');
  await world.ask('delete from albums where id = 5');

  await world.undo('copy');
  expect(await world.print()).toEqual(before);
  await world.undo('copy');
  expect(await world.print()).toEqual(before);
  await world.run('copy');
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
});

test('a copy that broke off goes on, and its undo leaves what others keep', async () => {
  await using world = await makeImportWorld(
    { sql: exampleSql(100) },
    { chunkRows: 20, skip: ['counter songs.id'] },
  );
  await world.ask(`create table users (id bigserial primary key, email text not null unique, born date, admin boolean not null, picture bytea);
    create table songs (id int primary key default 0, title varchar(200) not null, price numeric(10,2), seconds double precision, added timestamp(3) not null, note text);
    create table "Practice Sessions" (user_id int not null references users, song_id int not null references songs, day date not null, minutes smallint not null);
    create table log (at timestamp, line text);
    create table fans (song int references songs);
    select setval('users_id_seq', 77)`);
  const before = await world.print();
  await world.run('inspect', world.context());
  await world.run('hold-writes');
  const context = world.context({
    onProgress: ({ done, unit }, own) => unit === 'rows' && done >= 200 && own.abort(),
  });
  await expect(world.run('copy', context)).rejects.toThrow();
  expect((await world.probe('copy')).answer).toBe('partly');
  await world.run('copy');
  expect((await world.probe('copy')).answer).toBe('yes');
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
  await world.undo('copy');
  expect(await world.print()).toEqual(before);
});

test.each([
  [
    'a table that is missing',
    'drop table albums',
    'table "Albums", which has no table of this name in the target (to go without it: skip: [table Albums])',
  ],
  [
    'a column that is missing',
    'alter table artists drop column plays',
    'column "artists"."plays", which has no column of this name in the target (to go without it: skip: [column artists.plays])',
  ],
  [
    'one NOT NULL column too many',
    'alter table albums add column label text not null',
    'column "albums"."label" of the target, which is NOT NULL without a default',
  ],
  [
    'a trigger',
    'create function touch() returns trigger language plpgsql as $$begin return new; end$$; create trigger touched before insert on albums for each row execute function touch()',
    'trigger touched on table "albums" of the target',
  ],
  [
    'a rule',
    'create rule quiet as on insert to albums do instead nothing',
    'rule quiet on table "albums" of the target',
  ],
  [
    'rows',
    `insert into artists values (1, gen_random_uuid(), 'x', null, null, null, null, null, null, null, true)`,
    'TargetNotEmpty: table "artists" of the target, which has rows',
  ],
  [
    'a type that no cell can be carried to',
    'alter table artists alter column opened type interval',
    'column "artists"."opened", whose type in the target is interval',
  ],
  [
    'a revision of its own',
    `update alembic_version set version_num = 'zzzz'`,
    `alembic_version, which says 'a1b2' in the source and 'zzzz' in the target`,
  ],
  [
    'a key that counts no further',
    'alter table albums alter column id drop identity',
    '"Albums"."id", which numbers new rows by itself and has neither identity nor sequence in the target (to go without it: skip: [counter Albums.id])',
  ],
])('a target with %s is refused', async (_, change, named) => {
  await using world = await makeWorld({ target: `;${change}` });
  const failure = await failureOf(world.run('inspect'));
  expect(failure.message).toContain(named);
  expect(failure.type).toBe('NotSupported');
});

test.each([
  [
    'an enum without the value',
    `UPDATE artists SET kind = 'choir' WHERE id = 3`,
    `EnumValue: artists id=3 kind holds text 'choir', expected one of solo, band`,
  ],
  [
    'an integer too small',
    'UPDATE artists SET plays = 2147483648 WHERE id = 3',
    'IntegerOverflow: artists id=3 plays holds integer 2147483648, expected an integer of 32 bits',
  ],
  [
    'a numeric that would round',
    'UPDATE artists SET rating = 1.234 WHERE id = 3',
    'DecimalPrecision: artists id=3 rating holds real 1.234, expected a number that numeric(5,2) holds without rounding',
  ],
  [
    'a varchar too short',
    `UPDATE artists SET name = printf('%.*c', 41, 'x') WHERE id = 3`,
    'TooLong: artists id=3 name',
  ],
  [
    'a UUID that is none',
    `UPDATE artists SET uid = 'abc' WHERE id = 3`,
    `MixedClass: artists id=3 uid holds text 'abc', expected a UUID`,
  ],
  [
    'JSON that names a key twice',
    `UPDATE artists SET profile = '{"a":1,"a":2}' WHERE id = 3`,
    'artists id=3 profile holds text',
  ],
])('a column of the target with %s refuses the cell', async (_, change, named) => {
  await using world = await makeWorld({ source: `;${change};` });
  const failure = await failureOf(world.run('inspect'));
  expect(failure.message).toContain(named);
});

test('moments without an offset need a timezone where the target wants one', async () => {
  await using world = await makeWorld({ mapping: { timezone: null } });
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain(`TimezoneUndeclared: artists id=3 made holds text '2024-01-01 12:00:00'`);
  expect(message).toContain('(timezone: UTC, or the offset that holds)');
});

const OLD = `
  create role import_reader; create role import_owner; grant import_owner to current_user;
  create table songs (id int primary key, title text); insert into songs values (1, 'old');
  create table users (id int); create view standing as select 1 as one;
  grant select, update (title) on songs to import_reader with grant option; alter table users owner to import_owner;
  alter default privileges in schema public grant select on tables to import_reader;
  create publication told for table songs, users;
`;

test('new tables take the place of old ones with their rights, owners and publications, and undo brings the old ones back', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(50) }, { schema: 'create' });
  try {
    await world.ask(OLD);
    const before = await world.print();
    const published = 'select pubname, schemaname, tablename from pg_publication_tables order by 1, 3';
    const publishedBefore = await world.ask(published);
    await carry(world);
    expect(world.outputs['database/inspect']).toMatchObject({ mode: 'create', replaces: ['songs', 'users'] });
    expect(await world.ask('select count(*)::int as rows from songs')).toEqual([{ rows: 50 }]);
    expect(await world.ask('select title from countdown_old_1_database.songs')).toEqual([{ title: 'old' }]);
    expect(await world.ask(published)).toEqual(publishedBefore);
    expect(
      await world.ask(
        `select has_table_privilege('import_reader', 'songs', 'select with grant option') as a, has_column_privilege('import_reader', 'songs', 'title', 'update') as b,
           has_table_privilege('import_reader', 'log', 'select') as c, pg_get_userbyid(relowner) = 'import_owner' as d from pg_class where oid = 'users'::regclass`,
      ),
    ).toEqual([{ a: true, b: true, c: true, d: true }]);
    await world.undo('copy');
    expect(await world.print()).toEqual(before);
    expect(await world.ask(published)).toEqual(publishedBefore);
  } finally {
    await world.ask(
      'drop owned by import_reader, import_owner cascade; drop role import_reader, import_owner',
    );
  }
});

test('a table that a view holds on to makes no room, and neither does a view', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(5) }, { schema: 'create' });
  await world.ask(
    'create table songs (id int); create view seen as select id from songs; create view log as select 1 as one',
  );
  const { message } = await failureOf(world.run('inspect'));
  expect(message).toContain('view public.seen, which holds on to a table that would be replaced');
  expect(message).toContain('"log" in schema public, which is no table of this user');
});

test('a swap that finds its tables locked waits shortly, tries again, and says who must end', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(5) }, { schema: 'create' });
  await world.ask('create table songs (id int)');
  await world.run('inspect');
  await world.run('hold-writes');
  const { promise, resolve } = Promise.withResolvers<void>();
  const { withPostgres } = await import('../../activities/lib/postgres.ts');
  const locked = Promise.withResolvers<void>();
  const holder = withPostgres(
    'dst',
    { ...world.context(), fence: { epoch: 9_999, seq: 1 } },
    async (connection) => {
      await connection.query('BEGIN');
      await connection.query('SELECT * FROM public.songs');
      locked.resolve();
      await promise;
      await connection.query('COMMIT');
    },
  );
  await locked.promise;
  const copying = world.run('copy');
  await expect
    .poll(() => world.ask(`select 1 from pg_locks where not granted`), { timeout: 20_000 })
    .toHaveLength(1);
  resolve();
  await holder;
  expect((await copying).verdict).toBe('pass');
});
