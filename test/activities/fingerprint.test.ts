import { expect, test } from 'vitest';
import { fingerprint } from '../../activities/fingerprint.ts';
import { exampleSql, makeImportWorld } from '../support/import-world.ts';

test('an empty database has a state and no data, and schema countdown does not count', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(3) });
  const before = await world.print();
  expect(before).toMatchObject({ data: null, summary: 'no tables' });
  await world.ask(
    'create schema countdown; create table countdown.fence (x int); insert into countdown.fence values (1)',
  );
  expect(await world.print()).toEqual(before);
});

const BASE = `
  create table a (id bigint primary key, name text default 'x');
  insert into a values (1, 'one'), (2, 'two');
  create view v as select id from a;
  create function f() returns int language sql as 'select 1';
  create type mood as enum ('good', 'bad');
  create sequence s`;

test.each([
  ['a new table', 'create table b (id int)'],
  ['a new column', 'alter table a add more text'],
  ['another type', 'alter table a alter name type varchar(9)'],
  ['another default', `alter table a alter name set default 'y'`],
  ['a constraint', 'alter table a add check (id > 0) not valid'],
  ['a validated constraint', 'alter table a alter name set not null'],
  ['an index', 'create index on a (name)'],
  ['another view', 'create or replace view v as select id + 0 as id from a'],
  ['another function', `create or replace function f() returns int language sql as 'select 2'`],
  ['a trigger function', `create function g() returns trigger language plpgsql as 'begin return new; end'`],
  ['a new label', `alter type mood add value 'odd'`],
  ['another step of a sequence', 'alter sequence s increment 2'],
  ['a grant', 'grant select on a to public'],
  ['a schema', 'create schema other'],
  ['row level security', 'alter table a enable row level security'],
  ['an extension of the catalog', 'create publication p for table a'],
])('%s changes the state of a database, but not its data', async (_, sql) => {
  await using world = await makeImportWorld({ sql: exampleSql(1) });
  await world.ask(BASE);
  const before = await world.print();
  await world.ask(sql);
  const after = await world.print();
  expect(after.state).not.toBe(before.state);
});

test.each([
  ['a changed row', `update a set name = 'uno' where id = 1`],
  ['a swapped value', `update a set name = case id when 1 then 'two' else 'one' end`],
  ['a row more', `insert into a values (3, 'three')`],
  ['a sequence that went on', `select nextval('s')`],
])('%s changes the data of a database, but not its state', async (_, sql) => {
  await using world = await makeImportWorld({ sql: exampleSql(1) });
  await world.ask(BASE);
  const before = await world.print();
  await world.ask(sql);
  const after = await world.print();
  expect(after.state).toBe(before.state);
  expect(after.data).not.toBe(before.data);
});

test('rows that lie in another order are the same data', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(1) });
  await world.ask(BASE);
  const before = await world.print();
  await world.ask(`update a set name = 'x' where id = 1; update a set name = 'one' where id = 1`);
  expect(await world.print()).toEqual(before);
});

test('the state of a SQLite file is its schema and user_version, not its rows', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(3) });
  const take = () => fingerprint.sqlite({ target: 'src' }, world.context());
  const before = await take();
  expect(before.data).toBeNull();
  world.change(`DELETE FROM "Practice Sessions"`);
  expect(await take()).toEqual(before);
  world.change('PRAGMA user_version = 7');
  const versioned = await take();
  expect(versioned.state).not.toBe(before.state);
  world.change('CREATE TABLE more (id INTEGER PRIMARY KEY)');
  expect((await take()).state).not.toBe(versioned.state);
});

test('the state of a switch is its value, and taking it sets nothing', async () => {
  await using world = await makeImportWorld({ sql: exampleSql(1) });
  expect(await fingerprint.switch({ target: 'mode' }, world.context())).toEqual({
    state: 'sqlite',
    data: null,
    summary: 'says sqlite',
  });
  expect(world.switchServer.puts).toEqual([]);
});
