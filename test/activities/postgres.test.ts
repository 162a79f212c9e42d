import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { inTransaction, withPostgres } from '../../activities/lib/postgres.ts';
import type { PostgresTarget } from '../../procedures/environment.ts';
import { failureOf, makePhaseContext, postgresTarget } from '../support/phase-context.ts';
import { makeDatabase } from '../support/postgres.ts';
import { makeTcpProxy } from '../support/tcp-proxy.ts';

async function makeWorld(change: Partial<PostgresTarget> = {}, password?: string) {
  const database = await makeDatabase();
  const { target, secrets } = postgresTarget(database.url);
  const context = makePhaseContext({
    targets: { db: { ...target, ...change } },
    secrets: password === undefined ? secrets : { TEST_PG_PASSWORD: password },
  });
  return {
    context,
    other: makePhaseContext({ targets: { db: target }, secrets }),
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  };
}

test('a session is in UTC, writes ISO dates, and carries the fence in its name', async () => {
  await using world = await makeWorld();
  const rows = await withPostgres('db', world.context, (connection) =>
    connection.query(
      `SELECT '2020-01-01 12:00+02'::timestamptz, 0.1::float8, '\\xff'::bytea, current_setting('application_name')`,
    ),
  );
  const { epoch, seq } = world.context.fence;
  expect(rows).toEqual([['2020-01-01 10:00:00+00', '0.1', '\\xff', `countdown ${epoch}.${seq} db`]]);
});

test('a server that is not there is unreachable', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  const port = typeof address === 'object' ? (address?.port ?? 1) : 1;
  await using world = await makeWorld({ port });
  const failure = await failureOf(withPostgres('db', world.context, async () => undefined));
  expect(failure.type).toBe('Unreachable');
  expect(failure.message).toContain(
    `PostgreSQL 'db' at 127.0.0.1:${port} cannot be reached (connect ECONNREFUSED`,
  );
});

test('a connection that is cut under a statement is unreachable, and its address is named without the password', async () => {
  await using world = await makeWorld();
  const { host, port } = world.context.target('db', 'postgres');
  await using proxy = await makeTcpProxy(`${host}:${port}`);
  await using cut = await makeWorld({ host: '127.0.0.1', port: proxy.port });
  const failure = await failureOf(
    withPostgres('db', cut.context, async (connection) => {
      const sleeping = connection.query('SELECT pg_sleep(600)');
      proxy.cut();
      await sleeping;
    }),
  );
  expect(failure.type).toBe('Unreachable');
  expect(failure.message).toMatch(
    new RegExp(`^PostgreSQL 'db' at ${proxy.address} cannot be reached \\(.+\\)`),
  );
});

test('an error of our own work is not the fault of the server, and stays as it is', async () => {
  await using world = await makeWorld();
  const own = withPostgres('db', world.context, async () => {
    throw new Error('a bug of ours');
  });
  await expect(own).rejects.toThrow(/^a bug of ours$/);
});

test('a server that asks for a password that was not given refuses the connection', async () => {
  await using world = await makeWorld();
  const { password: _, ...target } = world.context.target('db', 'postgres');
  const context = makePhaseContext({ targets: { db: target } });
  expect(await failureOf(withPostgres('db', context, async () => undefined))).toMatchObject({
    type: 'PreconditionFailed',
    message: expect.stringMatching(/^PostgreSQL 'db' at 127\.0\.0\.1:\d+ refused the connection \(/),
  });
});

test('a wrong password, an unknown database and a server without TLS are named, and are no reason to try again', async () => {
  await using wrong = await makeWorld({}, 'guess');
  await using unknown = await makeWorld({ database: 'no_such_database' });
  await using plain = await makeWorld({ tls: 'verify-full' });
  for (const [world, part] of [
    [wrong, 'password authentication failed'],
    [unknown, 'database "no_such_database" does not exist'],
    [plain, 'gives no trusted TLS connection'],
  ] as const) {
    const failure = await failureOf(withPostgres('db', world.context, async () => undefined));
    expect(failure).toMatchObject({ type: 'PreconditionFailed', message: expect.stringContaining(part) });
    expect(failure.message).not.toContain('guess');
  }
});

test('an error of the server keeps its words and its code', async () => {
  await using world = await makeWorld();
  const failure = await failureOf(
    withPostgres('db', world.context, (connection) => connection.query('SELECT 1 / 0')),
  );
  expect(failure).toEqual({
    type: 'PhaseFailed',
    message: "PostgreSQL 'db' said: division by zero (22012).",
  });
});

test('a session that the server ended is unreachable, and may be tried again', async () => {
  await using world = await makeWorld();
  const failure = await failureOf(
    withPostgres('db', world.context, async (connection) => {
      const [row] = await connection.query('SELECT pg_backend_pid()');
      const [ended] = await withPostgres('db', world.other, (second) =>
        second.query('SELECT pg_terminate_backend($1, 5000)', [row?.[0] ?? null]),
      );
      expect(ended).toEqual(['t']);
      await connection.query('SELECT 1');
    }),
  );
  expect(failure.type).toBe('Unreachable');
  expect(failure.message).toMatch(/^PostgreSQL 'db' at 127\.0\.0\.1:\d+ ended the work \(.*57P01\)/);
});

test('a transaction that throws leaves nothing, and the session can go on', async () => {
  await using world = await makeWorld();
  await withPostgres('db', world.context, async (connection) => {
    await connection.query('CREATE TABLE public.t (x int)');
    const broken = inTransaction(connection, async () => {
      await connection.query('INSERT INTO public.t VALUES (1)');
      throw new Error('in the middle');
    });
    await expect(broken).rejects.toThrow('in the middle');
    expect(await connection.query('SELECT count(*) FROM public.t')).toEqual([['0']]);
  });
});

test('a phase that is cancelled ends its long statement, in the server too', async () => {
  await using world = await makeWorld();
  const sleeping = withPostgres('db', world.context, (connection) =>
    connection.query('SELECT pg_sleep(600)'),
  );
  const ended = expect(sleeping).rejects.toThrow('The test cancelled the phase.');
  const sleepers = () =>
    withPostgres('db', world.other, (connection) =>
      connection.query(
        `SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active' AND datname = current_database()`,
      ),
    );
  await expect.poll(sleepers, { timeout: 10_000 }).toEqual([['1']]);
  world.context.abort();
  await ended;
  await expect.poll(sleepers, { timeout: 10_000 }).toEqual([['0']]);
});
