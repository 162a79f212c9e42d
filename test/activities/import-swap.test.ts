/** In the place of tables that are there: what holds on to them is named, and what belongs to them stays exactly. */
import { expect, test } from 'vitest';
import pg from 'pg';
import { makeImportWorld } from '../support/import-world.ts';
import type { ImportWorld } from '../support/import-world.ts';
import { failureOf } from '../support/phase-context.ts';
import { makeDatabase } from '../support/postgres.ts';

const SOURCE = `CREATE TABLE songs (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT); INSERT INTO songs VALUES (1, 'new'); CREATE TABLE fresh (id INTEGER PRIMARY KEY)`;
const OLD = `create table songs (id serial primary key, title text); insert into songs (title) values ('old');`;

async function makeWorld(target: string): Promise<ImportWorld> {
  const world = await makeImportWorld({ sql: SOURCE }, { schema: 'create' });
  await world.ask(target);
  return world;
}

test.each([
  ['a rule', 'create rule quiet as on delete to songs do instead nothing', 'rule quiet on public.songs'],
  ['row-level security', 'alter table songs enable row level security', 'row-level security of public.songs'],
  [
    'a function over its rows',
    'create function first(songs) returns text language sql as $$select $1.title$$',
    'function public.first(public.songs)',
  ],
  [
    'a function that names it',
    'create function titles() returns setof text begin atomic select title from songs; end',
    'function public.titles()',
  ],
  ['a column of its rows', 'create table kept (song songs)', 'column public.kept.song'],
  ['a materialized view', 'create materialized view seen as select * from songs', 'view public.seen'],
  [
    'a foreign key',
    'create table fans (song int references songs)',
    'foreign key fans_song_fkey of public.fans',
  ],
  [
    'a trigger',
    'create function touch() returns trigger language plpgsql as $$begin return new; end$$; create trigger touched after update on songs for each row execute function touch()',
    'trigger touched on public.songs',
  ],
  [
    'a statistics object',
    'create statistics pair on id, title from songs',
    'statistics pair on public.songs',
  ],
  ['a child', 'create table hits () inherits (songs)', 'partition public.hits'],
  [
    'an index for replication',
    'alter table songs replica identity using index songs_pkey',
    'replica identity of public.songs by an index',
  ],
])('%s that holds on to a table is named before anything is changed', async (_, change, named) => {
  await using world = await makeWorld(`${OLD} ${change}`);
  const { type, message } = await failureOf(world.run('inspect'));
  expect(message).toContain(
    `${named}, which holds on to a table that would be replaced; drop it for the time`,
  );
  expect(type).toBe('NotSupported');
});

test.each([
  [
    'a type',
    `create type songs as enum ('a')`,
    'type "songs" in schema public, whose name a table would need; rename it',
  ],
  ['a sequence', 'create sequence songs', '"songs" in schema public, which is no table of this user'],
  [
    'a partitioned table',
    'create table songs (id int) partition by range (id)',
    '"songs" in schema public, which is no table of this user',
  ],
])('%s of the name of a table is refused', async (_, target, named) => {
  await using world = await makeWorld(target);
  expect((await failureOf(world.run('inspect'))).message).toContain(named);
});

test('a table that an extension brought makes no room', async () => {
  await using world = await makeImportWorld(
    {
      sql: 'CREATE TABLE pg_stat_statements (id INTEGER PRIMARY KEY); CREATE TABLE songs (id INTEGER PRIMARY KEY)',
    },
    { schema: 'create' },
  );
  await world.ask(`${OLD} create extension pg_stat_statements schema public`);
  expect((await failureOf(world.run('inspect'))).message).toContain(
    '"pg_stat_statements" in schema public, which belongs to extension "pg_stat_statements", so that it cannot make room',
  );
});

const RIGHTS = `select grantee::regrole::text as who, privilege_type as may, is_grantable as gives, relname as what from pg_class c, aclexplode(relacl)
  where relnamespace = 'public'::regnamespace and grantee <> relowner order by 1, 4, 2`;

test('rights stay exactly as they were: default privileges add none, counters and published parts keep theirs', async () => {
  await using world = await makeWorld(
    `${OLD} create role swap_reader; create role swap_clerk;
     alter default privileges in schema public grant select on tables to swap_clerk; alter default privileges in schema public grant usage on sequences to swap_clerk;
     alter default privileges grant insert on tables to swap_clerk;
     grant select on songs to swap_reader with grant option; grant usage on sequence songs_id_seq to swap_reader;
     alter table songs replica identity full; create publication part for table songs (id) where (id > 5);`,
  );
  const published =
    'select pubname, schemaname, tablename, attnames::text, rowfilter from pg_publication_tables';
  try {
    const before = await world.print();
    const publishedBefore = await world.ask(published);
    for (const phase of ['inspect', 'hold-writes', 'copy'] as const) await world.run(phase);
    expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
    expect(await world.ask(RIGHTS)).toEqual([
      { who: 'swap_clerk', may: 'INSERT', gives: false, what: 'fresh' },
      { who: 'swap_clerk', may: 'SELECT', gives: false, what: 'fresh' },
      { who: 'swap_clerk', may: 'USAGE', gives: false, what: 'fresh_id_seq' },
      { who: 'swap_reader', may: 'SELECT', gives: true, what: 'songs' },
      { who: 'swap_reader', may: 'USAGE', gives: false, what: 'songs_id_seq' },
    ]);
    expect(await world.ask(published)).toEqual(publishedBefore);
    expect(
      await world.ask(`select relreplident as identity from pg_class where oid = 'songs'::regclass`),
    ).toEqual([{ identity: 'f' }]);
    await world.undo('copy');
    expect(await world.print()).toEqual(before);
    expect(await world.ask(published)).toEqual(publishedBefore);
  } finally {
    await world.ask('drop owned by swap_reader, swap_clerk cascade; drop role swap_reader, swap_clerk');
  }
});

test('storage settings and comments of tables and columns stay', async () => {
  await using world = await makeWorld(
    `${OLD} alter table songs add column gone int; alter table songs set (fillfactor = 70, autovacuum_enabled = false);
     comment on table songs is 'What it''s about'; comment on column songs.title is 'as on the cover'; comment on column songs.gone is 'not any more'`,
  );
  for (const phase of ['inspect', 'hold-writes', 'copy'] as const) await world.run(phase);
  const settings = `select reloptions, obj_description(oid) as words, col_description(oid, 2) as column from pg_class where oid = 'songs'::regclass`;
  expect(await world.ask(`select title from songs`)).toEqual([{ title: 'new' }]);
  expect(await world.ask(settings)).toEqual([
    {
      reloptions: ['fillfactor=70', 'autovacuum_enabled=false'],
      words: `What it's about`,
      column: 'as on the cover',
    },
  ]);
});

test('a user who is no superuser puts new tables in the place of those of a role of his', async () => {
  await using database = await makeDatabase();
  const admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  try {
    await admin.query(
      `create role swap_app; create role swap_user login password 'pw'; grant swap_app to swap_user;
       grant create, temporary on database ${database.name} to swap_user; grant create, usage on schema public to swap_user, swap_app;
       ${OLD} alter table songs owner to swap_app`,
    );
    const url = new URL(database.url);
    url.username = 'swap_user';
    url.password = 'pw';
    await using world = await makeImportWorld(
      { sql: SOURCE },
      { schema: 'create', database: { ...database, url: url.href } },
    );
    const before = await world.print();
    for (const phase of ['inspect', 'hold-writes', 'copy'] as const) await world.run(phase);
    expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
    expect(
      await world.ask(
        `select relowner::regrole::text as owner from pg_class where oid = 'public.songs'::regclass`,
      ),
    ).toEqual([{ owner: 'swap_app' }]);
    await world.undo('copy');
    expect(await world.print()).toEqual(before);
  } finally {
    await admin.query('drop owned by swap_user, swap_app cascade; drop role swap_user, swap_app');
    await admin.end();
  }
});
