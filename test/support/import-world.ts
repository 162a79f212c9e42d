/** A SQLite file, an empty PostgreSQL database and a switch: the world in which database.import works. */
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import pg from 'pg';
import { databaseImport } from '../../activities/database-import.ts';
import type { ImportParams } from '../../activities/lib/import-source.ts';
import { fingerprint } from '../../activities/fingerprint.ts';
import type { FingerprintResult, PhaseResult, ProbeResult } from '../../activities/phase.ts';
import type { Target } from '../../procedures/environment.ts';
import type { Json } from '../../procedures/plan.ts';
import { makePhaseContext, makeTestFolder, postgresTarget } from './phase-context.ts';
import type { TestContext, TestContextOptions } from './phase-context.ts';
import { makeDatabase } from './postgres.ts';
import type { TestDatabase } from './postgres.ts';
import { startSwitchServer } from './switch-server.ts';
import type { SwitchServer } from './switch-server.ts';

export type ImportPhase = keyof typeof databaseImport;

export const IMPORT_VALUES = ['sqlite', 'sqlite-held', 'postgres-held', 'postgres'];

export type ImportWorld = AsyncDisposable & {
  path: string;
  switchServer: SwitchServer;
  /** What the step says. */
  params: ImportParams;
  /** Outputs of phases that ran or were undone, as the interceptor would load them. */
  outputs: Record<string, Record<string, Json>>;
  /** A context of this world, with the next fence. */
  context(options?: Partial<TestContextOptions>): TestContext;
  /** Runs a phase and keeps its output. */
  run(phase: ImportPhase, context?: TestContext): Promise<PhaseResult>;
  probe(phase: ImportPhase, context?: TestContext): Promise<ProbeResult>;
  undo(phase: ImportPhase, context?: TestContext): Promise<PhaseResult>;
  /** The fingerprint of the target. */
  print(): Promise<FingerprintResult>;
  /** Asks the target. */
  ask(sql: string): Promise<Record<string, unknown>[]>;
  /** Changes the source. */
  change(sql: string): void;
};

/** What the step says, and a database that outlives the world. */
export type ImportWorldOptions = Partial<ImportParams> & { database?: TestDatabase };

/** Makes the world; `sql` makes the source, or `path` names a file that is there already. A given database outlives it. */
export async function makeImportWorld(
  source: { sql: string } | { path: string },
  { chunkRows = 100, database: given, ...step }: ImportWorldOptions = {},
): Promise<ImportWorld> {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(await makeTestFolder());
  const database = given ?? stack.use(await makeDatabase());
  const switchServer = stack.use(await startSwitchServer(IMPORT_VALUES));
  const path = 'path' in source ? source.path : join(folder.path, 'app.db');
  const { target, secrets } = postgresTarget(database.url);
  const targets: Record<string, Target> = {
    src: { kind: 'sqlite', path },
    dst: target,
    mode: switchServer.target,
  };
  const params: ImportParams = {
    step: 'database',
    source: 'src',
    target: 'dst',
    switch: 'mode',
    chunkRows,
    schema: 'auto',
    mapping: {},
    skip: [],
    timezone: null,
    reverseCapture: false,
    ...step,
  };
  const outputs: ImportWorld['outputs'] = {};
  const world: ImportWorld = {
    path,
    switchServer,
    params,
    outputs,
    context: (options = {}) =>
      makePhaseContext({
        targets,
        secrets: { ...secrets, TEST_SWITCH_TOKEN: switchServer.token },
        folder: join(folder.path, 'run'),
        outputs,
        ...options,
      }),
    async run(phase, context = world.context()) {
      const result = await databaseImport[phase].run(params, context);
      outputs[`${params.step}/${phase}`] = result.output ?? {};
      return result;
    },
    async probe(phase, context = world.context()) {
      const { probe } = databaseImport[phase];
      if (probe === undefined) throw new Error(`Phase ${phase} has no probe.`);
      return await probe(params, context);
    },
    async undo(phase, context = world.context()) {
      const { undo } = databaseImport[phase];
      if (undo === undefined) throw new Error(`Phase ${phase} has no undo.`);
      const result = await undo(params, context);
      if (result.output === undefined) delete outputs[`${params.step}/${phase}`];
      else outputs[`${params.step}/${phase}`] = result.output;
      return result;
    },
    print: () => fingerprint.postgres({ target: 'dst' }, world.context()),
    async ask(sql) {
      const client = new pg.Client({ connectionString: database.url });
      await client.connect();
      try {
        const result = await client.query<Record<string, unknown>>(sql);
        return result.rows;
      } finally {
        await client.end();
      }
    },
    change(sql) {
      using db = new DatabaseSync(path);
      db.exec(sql);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
  if ('sql' in source) world.change(source.sql);
  return world;
}

/** Songs, users and sessions: every type that the mapping has, NULLs, and a counter ahead of its rows. */
export function exampleSql(rows: number): string {
  return `
    CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE, born DATE, admin BOOLEAN NOT NULL DEFAULT 0, picture BLOB);
    CREATE TABLE songs (id INTEGER PRIMARY KEY, title VARCHAR(200) NOT NULL, price NUMERIC(10,2), seconds REAL, added DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
      note TEXT DEFAULT 'it''s \\ new');
    CREATE TABLE "Practice Sessions" (user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE, song_id INTEGER NOT NULL REFERENCES songs,
      day DATE NOT NULL, minutes INT NOT NULL DEFAULT -1, PRIMARY KEY (user_id, song_id, day));
    CREATE TABLE log (at DATETIME, line TEXT);
    CREATE INDEX songs_title ON songs (title, added DESC);
    CREATE UNIQUE INDEX users_pkey ON users (email, id);
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO users SELECT i, 'user' || i || '@example.com', date('2000-01-01', i || ' days'), i % 2, CASE WHEN i % 3 = 0 THEN NULL ELSE randomblob(i % 40) END FROM n;
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO songs SELECT i * 2, 'Song ' || i || ' ♪ ' || char(9, 10, 92) || char(128512), i / 100.0, CASE i % 7 WHEN 0 THEN NULL ELSE i * 0.1 END,
      strftime('%Y-%m-%d %H:%M:%f', '2020-01-01', i || ' minutes'), CASE i % 5 WHEN 0 THEN '' WHEN 1 THEN NULL ELSE '\\N' END FROM n;
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO "Practice Sessions" SELECT i, i * 2, '2024-02-29', i FROM n;
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO log SELECT '2020-01-01T00:00:00', 'line ' || (i % 10) FROM n;
    UPDATE sqlite_sequence SET seq = ${rows + 5000} WHERE name = 'users';
  `;
}
