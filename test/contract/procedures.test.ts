import { access, readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { scratchName } from '../../activities/lib/migrate/scratch.ts';
import { phaseActivities } from '../../activities/index.ts';
import { PROCEDURE_NAMES } from '../../procedures/index.ts';
import { IMPORT_VALUES, exampleSql, makeImportWorld } from '../support/import-world.ts';
import { EXAMPLE, SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import { makePhaseContext, makeTestFolder, postgresTarget } from '../support/phase-context.ts';
import { makeDatabase } from '../support/postgres.ts';
import { startSwitchServer } from '../support/switch-server.ts';
import { type ContractKind, type ContractWorld, describeProcedure } from './procedure.ts';

const KINDS: ContractKind[] = [
  { kind: 'http.check', make: makeHttpWorld },
  { kind: 'notify', make: makeReceiverWorld },
  { kind: 'app.switch', make: makeSwitchWorld },
  { kind: 'database.import', make: () => makeDatabaseWorld(exampleSql(50)) },
  { kind: 'database.import', form: 'with reverse capture', make: makeCaptureWorld },
  { kind: 'database.import', form: 'into tables that are there', make: makeExistingWorld },
  { kind: 'database.migrate', make: makeMigrationsWorld },
  { kind: 'command', make: makeCommandWorld },
  { kind: 'sql.check', make: makeSqlWorld },
];

test('every kind that has activities is held to the contract', () => {
  const acting = PROCEDURE_NAMES.filter((kind) =>
    Object.keys(phaseActivities()).some((activity) => activity.startsWith(`${kind}/`)),
  );
  expect([...new Set(KINDS.map(({ kind }) => kind))].toSorted()).toEqual(acting.toSorted());
});

for (const kind of KINDS) describeProcedure(kind);

/** Counts what would change something. */
async function makeHttpWorld(): Promise<ContractWorld> {
  let changed = 0;
  const server = createServer((request, response) => {
    if (request.method !== 'GET') changed += 1;
    response.writeHead(200, { 'x-release': '1' }).end('ready');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port.');
  const targets = { app: { kind: 'http' as const, url: `http://127.0.0.1:${address.port}` } };
  return {
    targets,
    step: '{ id: ready, uses: http.check, with: { target: app, requests: [{ get: /ready, headers: [X-Release] }] } }',
    context: (options) => makePhaseContext({ targets, ...options }),
    look: () => Promise.resolve(changed),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A receiver of messages: what it is told is no change, anything else is. */
async function makeReceiverWorld(): Promise<ContractWorld> {
  const others: string[] = [];
  const server = createServer((request, response) => {
    const isMessage = request.method === 'POST' && request.url === '/hook';
    if (!isMessage) others.push(`${request.method} ${request.url}`);
    request.resume().on('end', () => response.writeHead(isMessage ? 200 : 405).end('ok'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port.');
  const targets = { hook: { kind: 'http' as const, url: `http://127.0.0.1:${address.port}/hook` } };
  return {
    targets,
    step: '{ id: tell, uses: notify, with: { target: hook, text: The run starts., say: { rows: 5 } } }',
    context: (options) => makePhaseContext({ targets, ...options }),
    look: () => Promise.resolve([...others]),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function makeSwitchWorld(): Promise<ContractWorld> {
  const server = await startSwitchServer(['off', 'on']);
  const targets = { mode: server.target };
  return {
    targets,
    step: '{ id: open, uses: app.switch, with: { switch: mode, to: on } }',
    context: (options) =>
      makePhaseContext({ targets, secrets: { TEST_SWITCH_TOKEN: server.token }, ...options }),
    look: () => Promise.resolve(server.value),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Every table with a key, so that its rows can be found again; the line ends the capture. */
async function makeCaptureWorld(): Promise<ContractWorld> {
  const world = await makeDatabaseWorld(
    exampleSql(50)
      .replace('CREATE TABLE log (at', 'CREATE TABLE log (id INTEGER PRIMARY KEY, at')
      .replace('INSERT INTO log SELECT', 'INSERT INTO log (at, line) SELECT'),
  );
  return Object.assign(world, {
    step: world.step.replace('chunkRows: 20', 'chunkRows: 20, reverseCapture: true'),
    below:
      '{ id: keep, uses: point-of-no-return, with: { because: That is it. }, approval: { from: { sre: 1 } } }',
  });
}

/** Tables that a migration made, with a foreign key, a counter and rows of nobody. */
async function makeExistingWorld(): Promise<ContractWorld> {
  const world = await makeDatabaseWorld(`
    CREATE TABLE songs (id INTEGER PRIMARY KEY, title TEXT NOT NULL);
    CREATE TABLE takes (id INTEGER PRIMARY KEY AUTOINCREMENT, song INTEGER REFERENCES songs, at DATETIME, ok BOOLEAN);
    INSERT INTO songs VALUES (3, 'a'), (9, 'b'); INSERT INTO takes (song, at, ok) VALUES (3, '2024-01-01 10:00:00', 1), (9, NULL, 0);`);
  await world.ask(`
    CREATE TABLE songs (id serial PRIMARY KEY, title varchar(20) NOT NULL);
    CREATE TABLE takes (id serial PRIMARY KEY, song integer REFERENCES songs, at timestamptz, ok boolean);
    CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('a1')`);
  return Object.assign(world, { step: world.step.replace('chunkRows: 20', 'chunkRows: 1, timezone: UTC') });
}

async function makeDatabaseWorld(
  sql: string,
): Promise<ContractWorld & { ask(sql: string): Promise<unknown> }> {
  const world = await makeImportWorld({ sql });
  const { targets } = world.context().environment;
  return {
    targets,
    step: '{ id: database, uses: database.import, with: { source: src, target: dst, switch: mode, chunkRows: 20 } }',
    context: (options) => world.context(options),
    async look() {
      const { state, data } = await world.print();
      using source = new DatabaseSync(world.path, { readOnly: true });
      const songs = source.prepare('select count(*) as rows, sum(id) as ids from songs').get();
      const mode = IMPORT_VALUES.indexOf(world.switchServer.value);
      return { state, data, songs: { ...songs }, mode };
    },
    ask: (text) => world.ask(text),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

/** A table in use: a new column that is filled page by page, an index and a new table beside it. */
async function makeMigrationsWorld(): Promise<ContractWorld> {
  const world = await makeMigrateWorld({ sql: SONGS, files: EXAMPLE });
  const backfill = `backfill: { table: songs, set: { genre: "'unknown'" }, where: genre IS NULL, pageRows: 100 }`;
  const scratch = scratchName({ run: 1, step: 'schema', of: world.context().target('db', 'postgres') });
  const check = `verify: [{ name: filled, query: select count(*) from songs where genre is null, expect: 0 }]`;
  return {
    targets: world.targets,
    step: `{ id: schema, uses: database.migrate, with: { target: db, source: files, lossyDown: true, ${backfill}, ${check} } }`,
    context: (options) => world.context(options),
    async look() {
      const { state, data } = await world.print();
      const databases = await world.ask(
        `select count(*)::int as scratch from pg_database where datname = '${scratch}'`,
      );
      return { state, data, databases };
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

/** A flag that is a file: made, taken away and looked for by programs that every system has. */
async function makeCommandWorld(): Promise<ContractWorld> {
  const folder = await makeTestFolder();
  const env = { PATH: '/usr/bin:/bin' };
  const targets = {
    flag: {
      kind: 'command' as const,
      argv: ['touch', '--'],
      undo: ['rm', '-f', '--'],
      probe: ['test', '-e'],
      cwd: folder.path,
      env,
      exits: {},
      effect: 'costly' as const,
      timeoutMs: 20_000,
    },
  };
  for (const name of ['touch', 'rm', 'test']) await findIn(env.PATH, name);
  return {
    targets,
    step: '{ id: flag, uses: command, with: { run: flag, args: [maintenance.flag] } }',
    context: (options) => makePhaseContext({ targets, folder: folder.path, ...options }),
    look: async () => (await readdir(folder.path)).toSorted(),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

async function findIn(path: string, name: string): Promise<void> {
  await Promise.any(path.split(':').map((folder) => access(join(folder, name))));
}

async function makeSqlWorld(): Promise<ContractWorld> {
  const database = await makeDatabase();
  const { target, secrets } = postgresTarget(database.url);
  const targets = { db: target };
  const ask = async (sql: string) => {
    const client = new Client({ connectionString: database.url });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  };
  await ask('create table songs as select i as id from generate_series(1, 5) as i');
  return {
    targets,
    step: '{ id: songs, uses: sql.check, with: { target: db, query: select count(*) from songs, expect: at least 5 } }',
    context: (options) => makePhaseContext({ targets, secrets, ...options }),
    look: () =>
      ask(`select (select array_agg(nspname::text order by 1) from pg_namespace where nspname !~ '^pg_') as schemas,
        (select count(*)::int from pg_class where relnamespace = 'public'::regnamespace) as relations, count(*)::int as rows, sum(id)::int as ids from songs`),
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  };
}
