import { expect, test } from 'vitest';
import { Client } from 'pg';
import { sqlCheck } from '../../activities/sql-check.ts';
import type { Json } from '../../procedures/plan.ts';
import { parseExpectation } from '../../procedures/expect.ts';
import { failureOf, makePhaseContext, postgresTarget } from '../support/phase-context.ts';
import { makeDatabase } from '../support/postgres.ts';

type Asked = { expect: Json; of?: 'value' | 'rows'; values?: Json[]; timeoutMs?: number };

function paramsOf(query: string, { expect: words, of = 'value', values = [], timeoutMs = 5_000 }: Asked) {
  const expectation = parseExpectation(words);
  if ('expected' in expectation) throw new Error(`${JSON.stringify(words)} was refused.`);
  return { target: 'db', query, values, of, expect: expectation, timeoutMs };
}

async function makeWorld() {
  const database = await makeDatabase();
  const { target, secrets } = postgresTarget(database.url);
  const context = () => makePhaseContext({ targets: { db: target }, secrets });
  const ask = async (sql: string) => {
    const client = new Client({ connectionString: database.url });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  };
  await ask(
    'create table songs (id int primary key, title text); insert into songs values (1, $$a$$), (2, $$b$$), (3, null)',
  );
  /** A user of this database alone, who may connect and nothing else. */
  const user = async (suffix: string) => {
    const name = `${database.name}_${suffix}`;
    await ask(`create role ${name} login password 'test'`);
    return {
      context: () =>
        makePhaseContext({
          targets: { db: { ...target, user: name } },
          secrets: { TEST_PG_PASSWORD: 'test' },
        }),
      [Symbol.asyncDispose]: async () => void (await ask(`drop role ${name}`)),
    };
  };
  return {
    ask,
    context,
    user,
    check: (query: string, asked: Asked) => sqlCheck.check.run(paramsOf(query, asked), context()),
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  };
}

test.each<[string, Json, string, string]>([
  ['select count(*) from songs', 'at least 3', 'pass', "db: found '3', expected at least 3"],
  ['select count(*) from songs', 'above 3', 'fail', "db: found '3', expected above 3"],
  ['select 62.5::numeric', 'above 60%', 'pass', "db: found '62.5', expected above 60%"],
  [`select interval '1.5 seconds'`, 'below 2s', 'pass', "db: found '1500', expected below 2s"],
  [`select interval '-1 day -00:00:00.25'`, 'below 0ms', 'pass', "db: found '-86400250', expected below 0ms"],
  [`select interval '1 month'`, 'below 2s', 'inconclusive', "db: found '1 mon', expected below 2s"],
  ['select not pg_is_in_recovery()', true, 'pass', "db: found 'true', expected true"],
  ['select pg_is_in_recovery()', true, 'fail', "db: found 'false', expected true"],
  [`select 'NaN'::float8`, 'at most 5', 'inconclusive', "db: found 'NaN', expected at most 5"],
  [
    'select title from songs where id = 9',
    'at most 5',
    'inconclusive',
    'db: found no row, expected at most 5',
  ],
  ['select title from songs where id = 3', 'a', 'inconclusive', 'db: found NULL, expected a'],
  ['select max(title) from songs; ', 'b', 'pass', "db: found 'b', expected b"],
  [
    'with n as (select 9007199254740993 as i) select i from n -- the end',
    'at most 9007199254740992',
    'fail',
    "db: found '9007199254740993', expected at most 9007199254740992",
  ],
])('%s, expected %s, is %s', async (query, words, verdict, summary) => {
  await using world = await makeWorld();
  expect(await world.check(query, { expect: words })).toMatchObject({ verdict, summary });
});

test('rows are counted, and no row is a count', async () => {
  await using world = await makeWorld();
  expect(await world.check('select * from songs', { of: 'rows', expect: 'at least 3' })).toEqual({
    verdict: 'pass',
    summary: 'db: found 3 rows, expected at least 3',
    output: { value: null, rows: 3 },
  });
  const none = await world.check('select 1 from songs where id > 9', { of: 'rows', expect: 0 });
  expect(none).toMatchObject({ verdict: 'pass', output: { rows: 0 } });
});

test('values stand where $1 stands, and are never read as SQL', async () => {
  await using world = await makeWorld();
  const query = 'select count(*) from songs where title = $1 and id < $2';
  expect(await world.check(query, { expect: 1, values: ['a', 5] })).toMatchObject({ verdict: 'pass' });
  const hostile = ["' or true --", 5];
  expect(await world.check(query, { expect: 0, values: hostile })).toMatchObject({ verdict: 'pass' });
});

test.each([
  ['delete from songs returning 1', 'syntax error'],
  ['with gone as (delete from songs returning 1) select count(*) from gone', 'data-modifying'],
  ['select 1; delete from songs', 'cannot insert multiple commands'],
  ['select 1; commit; delete from songs', 'cannot insert multiple commands'],
  ['select id into other from songs', 'INTO is not allowed here'],
  ['select id from songs for update', 'read-only'],
  [`select nextval('numbers')`, 'read-only'],
  ['select breakout()', 'must be set before any query'],
  ['select missing from songs', 'missing'],
])('%s is refused, and changes nothing', async (query, part) => {
  await using world = await makeWorld();
  await world.ask(`create sequence numbers;
    create function breakout() returns int language plpgsql as $$ begin
      perform set_config('transaction_read_only', 'off', true); delete from songs; return 1; end $$`);
  const failure = await failureOf(world.check(query, { expect: 'at least 0' }));
  expect(failure.type).toBe('PreconditionFailed');
  expect(failure.message).toContain(part);
  expect(
    await world.ask(`select count(*)::int as rows, (select is_called from numbers) as called from songs`),
  ).toEqual([{ rows: 3, called: false }]);
});

test('more than one row or column is refused, however many there are', async () => {
  await using world = await makeWorld();
  const wide = await failureOf(world.check('select 1, 2', { expect: 1 }));
  expect(wide.message).toContain("gave 2 columns of 'db', expected one row of one column");
  const long = await failureOf(world.check('select generate_series(1, 1000000000)', { expect: 1 }));
  expect(long.message).toContain('gave more than one row');
});

test('a query without an answer in its time is inconclusive', async () => {
  await using world = await makeWorld();
  const result = await world.check('select pg_sleep(60)', { expect: 1, timeoutMs: 100 });
  expect(result.verdict).toBe('inconclusive');
  expect(result.summary).toContain('no answer within 100 ms');
});

test('a check that is cancelled ends at once', async () => {
  await using world = await makeWorld();
  const context = world.context();
  const running = sqlCheck.check.run(
    paramsOf('select pg_sleep(60)', { expect: 1, timeoutMs: 60_000 }),
    context,
  );
  await expect
    .poll(
      () =>
        world.ask(
          `select 1 from pg_stat_activity where query like 'FETCH%' and application_name like 'countdown%'`,
        ),
      { timeout: 10_000 },
    )
    .toHaveLength(1);
  context.abort();
  await expect(running).rejects.toThrow('The test cancelled the phase.');
});

test('a user without the right to select is told so', async () => {
  await using world = await makeWorld();
  await using user = await world.user('reader');
  const failure = await failureOf(
    sqlCheck.check.run(paramsOf('select count(*) from songs', { expect: 3 }), user.context()),
  );
  expect(failure).toEqual({
    type: 'PreconditionFailed',
    message:
      "PostgreSQL 'db' refused the query (permission denied for table songs, 42501); grant the target’s user the right to select.",
  });
});

test('an expectation that outputs made is parsed when it is asked', async () => {
  await using world = await makeWorld();
  const params = {
    ...paramsOf('select count(*) from songs', { expect: 0 }),
    expect: { words: 'at least 3' },
  };
  expect(await sqlCheck.check.run(params, world.context())).toMatchObject({ verdict: 'pass' });
  const failure = await failureOf(
    sqlCheck.check.run({ ...params, expect: { words: ['x'] } }, world.context()),
  );
  expect(failure.type).toBe('PreconditionFailed');
});
