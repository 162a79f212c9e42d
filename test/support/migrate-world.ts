/** A database in use, a folder of migrations, and the phases of database.migrate on them as a run would call them. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { databaseMigrate } from '../../activities/database-migrate.ts';
import { fingerprint } from '../../activities/fingerprint.ts';
import type { MigrateParams } from '../../activities/lib/migrate/params.ts';
import type { PhaseActivities, PhaseResult, ProbeResult } from '../../activities/phase.ts';
import type { MigrationsTarget, Target } from '../../procedures/environment.ts';
import type { Json } from '../../procedures/plan.ts';
import { makePhaseContext, makeTestFolder, postgresTarget } from './phase-context.ts';
import type { TestContext, TestContextOptions } from './phase-context.ts';
import { makeDatabase } from './postgres.ts';

export type MigratePhase = keyof typeof databaseMigrate;

/** Texts of files by their names. */
export type Files = Record<string, string>;

export type MigrateWorld = AsyncDisposable & {
  url: string;
  targets: Record<string, Target>;
  secrets: Record<string, string>;
  folder: string;
  outputs: Record<string, Record<string, Json>>;
  params: MigrateParams;
  context(options?: Partial<TestContextOptions>): TestContext;
  run(phase: MigratePhase, context?: TestContext): Promise<PhaseResult>;
  probe(phase: MigratePhase, context?: TestContext): Promise<ProbeResult>;
  undo(phase: MigratePhase, context?: TestContext): Promise<PhaseResult>;
  /** STATE and DATA of the database. */
  print(): Promise<{ state: string; data: string | null }>;
  ask(sql: string): Promise<Record<string, unknown>[]>;
  /** A session of somebody else's. */
  session(name?: string): Promise<AsyncDisposable & { query(sql: string): Promise<unknown> }>;
  write(files: Files): Promise<void>;
  remove(file: string): Promise<void>;
};

export type MigrateWorldOptions = {
  files?: Files;
  /** What the database has before. */
  sql?: string;
  params?: Partial<MigrateParams>;
  /** Instead of the folder. */
  source?: MigrationsTarget['source'];
};

const activitiesOf = (phase: MigratePhase): PhaseActivities<MigrateParams> => databaseMigrate[phase];

const PARAMS: MigrateParams = {
  step: 'schema',
  target: 'db',
  source: 'files',
  forGood: false,
  lossyDown: false,
  lockTimeoutMs: 200,
  lockTries: 5,
  statementTimeoutMs: 0,
  allow: [],
  canaryEveryMs: 20,
  verify: [],
};

export const SONGS = `CREATE TABLE songs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text NOT NULL, seconds int);
  INSERT INTO songs (title, seconds) SELECT 'Song ' || i, i % 300 FROM generate_series(1, 500) AS i;`;

export async function makeMigrateWorld(options: MigrateWorldOptions = {}): Promise<MigrateWorld> {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(await makeTestFolder());
  const database = stack.use(await makeDatabase());
  const path = join(folder.path, 'migrations');
  const { target, secrets } = postgresTarget(database.url);
  const targets: Record<string, Target> = {
    db: target,
    files: { kind: 'migrations', source: options.source ?? { is: 'folder', path } },
  };
  const params = { ...PARAMS, ...options.params };
  const outputs: MigrateWorld['outputs'] = {};
  const world: MigrateWorld = {
    url: database.url,
    targets,
    secrets,
    folder: path,
    outputs,
    params,
    context: (more = {}) =>
      makePhaseContext({ targets, secrets, folder: join(folder.path, 'run'), outputs, ...more }),
    async run(phase, context = world.context()) {
      const result = await activitiesOf(phase).run(params, context);
      outputs[`${params.step}/${phase}`] = result.output ?? {};
      return result;
    },
    async probe(phase, context = world.context()) {
      const { probe } = activitiesOf(phase);
      if (probe === undefined) throw new Error(`Phase ${phase} has no probe.`);
      return await probe(params, context);
    },
    async undo(phase, context = world.context()) {
      const { undo } = activitiesOf(phase);
      if (undo === undefined) throw new Error(`Phase ${phase} has no undo.`);
      return await undo(params, context);
    },
    async print() {
      const { state, data } = await fingerprint.postgres({ target: 'db' }, world.context());
      return { state, data };
    },
    async ask(sql) {
      await using session = await world.session();
      const { rows } = (await session.query(sql)) as { rows: Record<string, unknown>[] };
      return rows;
    },
    async session(name = 'test') {
      const client = new Client({ connectionString: database.url, application_name: name });
      client.on('error', () => undefined);
      await client.connect();
      return { query: (sql) => client.query(sql), [Symbol.asyncDispose]: () => client.end() };
    },
    async write(files) {
      await mkdir(path, { recursive: true });
      for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
    },
    remove: (file) => rm(join(path, file)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
  await world.write(options.files ?? {});
  if (options.sql !== undefined) await world.ask(options.sql);
  return world;
}

/** Three migrations of a library in use: a new column with its default, an index without a lock, a new table. */
export const EXAMPLE: Files = {
  '0001_add_genre.up.sql': `ALTER TABLE songs ADD COLUMN genre text;`,
  '0001_add_genre.down.sql': `ALTER TABLE songs DROP COLUMN genre;`,
  '0002_index_title.up.sql': `CREATE INDEX CONCURRENTLY songs_title ON songs (title);`,
  '0002_index_title.down.sql': `DROP INDEX CONCURRENTLY songs_title;`,
  '0003_add_lists.up.sql': `-- lists of songs\nCREATE TABLE lists (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);\nCREATE INDEX lists_name ON lists (name);`,
  '0003_add_lists.down.sql': `DROP TABLE lists;`,
};
