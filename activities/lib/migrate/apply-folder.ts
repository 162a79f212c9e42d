/** The migrations of a folder, one after the other, each once; and down again by what the history keeps. */
import { performance } from 'node:perf_hooks';
import type { PhaseContext, ProbeResult } from '../../phase.ts';
import { fenced, takeOver } from '../fence.ts';
import { type Connection, withPostgres } from '../postgres.ts';
import { takeAway } from './alone.ts';
import { refuse } from './codes.ts';
import { compareVersions } from './file-names.ts';
import { type Applied, addRow, dropRow, makeHistory, ownRows, readHistory, sameVersion } from './history.ts';
import { lockedTables } from './judge.ts';
import { withMigrationLock } from './lock.ts';
import { runOne } from './one.ts';
import { type Inspected, type MigrateParams, inspectedOf } from './params.ts';
import { type Migration, type Script, readScript } from './scripts.ts';
import { openFolder } from './source-folder.ts';
import { asUser } from './session.ts';
import { sha256 } from './sql.ts';
import { digestOf, structureOf } from './structure.ts';
import type { Tries } from './tries.ts';
import { type WatchReport, withWatch } from './watch.ts';

/** The step under which a baseline stands in the history: no undo of a step takes it away. */
const BASELINE = '@baseline';

export type AppliedReport = WatchReport & { applied: number; lockTriesUsed: number };

/** Applies what inspect found pending and nothing else. */
export async function applyFolder(
  params: MigrateParams,
  path: string,
  context: PhaseContext,
): Promise<AppliedReport> {
  const inspected = inspectedOf(params, context);
  const migrations = await readAgain(params, path, inspected);
  return await withMigrationLock(params.target, context, async (guard) => {
    await makeHistory(guard.connection);
    const done = doneOf(await readHistory(guard.connection, params.source));
    await assertStructure(guard.connection, params, inspected, done, context);
    await noteBaseline(guard.connection, params, path, context);
    const tables = migrations.flatMap(({ up }) => lockedTables(up));
    const watching = {
      target: params.target,
      everyMs: params.canaryEveryMs,
      lockTimeoutMs: params.lockTimeoutMs,
      canary: params.canary,
      tables,
    };
    return await withWatch(watching, context, async (watch) => {
      const tries: Tries = { used: 0, startedAt: performance.now() };
      for (const [index, migration] of migrations.entries()) {
        context.progress({
          done: index,
          total: migrations.length,
          unit: 'migrations',
          detail: migration.up.file,
        });
        if (done.has(migration.version)) continue;
        await guard.assertHeld();
        const own: Tries = { used: 0, startedAt: performance.now() };
        const options = { params, watch, tries: own, indexes: inspected.indexes, isUndo: false };
        await runOne(migration.up, booksOf(migration, params, context), options, context);
        tries.used += own.used;
      }
      context.progress({ done: migrations.length, total: migrations.length, unit: 'migrations' });
      return { ...watch.report(), applied: migrations.length, lockTriesUsed: tries.used };
    });
  });
}

function doneOf(history: readonly Applied[]): Set<string> {
  return new Set(history.filter(({ state }) => state === 'done').map(({ version }) => version));
}

/** The files as they were when they were tried. */
async function readAgain(
  params: MigrateParams,
  path: string,
  { pending, scripts }: Inspected,
): Promise<Migration[]> {
  const folder = await openFolder(path, params.source);
  const migrations: Migration[] = [];
  for (const version of pending) migrations.push(await folder.migration(version));
  for (const { up, down } of migrations) {
    for (const script of down === undefined ? [up] : [up, down]) {
      if (scripts[script.file] === script.sha256) continue;
      refuse(
        'ScriptsDrift',
        `${script.file} has sha256 ${script.sha256.slice(0, 12)}, expected ${scripts[script.file]?.slice(0, 12) ?? 'no such file'}, with which it was tried and approved; put it back, or plan again`,
      );
    }
  }
  return migrations;
}

/** Before the first change the target is what the clone was made of. */
async function assertStructure(
  connection: Connection,
  params: MigrateParams,
  { structureBefore, pending }: Inspected,
  done: ReadonlySet<string>,
  context: PhaseContext,
): Promise<void> {
  const history = await readHistory(connection, params.source);
  const isBegun = ownRows(history, { run: context.run, step: params.step }).length > 0;
  if (isBegun || pending.every((version) => done.has(version))) return;
  const now = digestOf(await structureOf(connection));
  if (now === structureBefore) return;
  refuse(
    'StructureDrift',
    `The structure of '${params.target}' is ${now.slice(0, 12)}, expected ${structureBefore.slice(0, 12)}, on which the migrations were tried; somebody changed it since; plan again`,
  );
}

async function noteBaseline(
  connection: Connection,
  params: MigrateParams,
  path: string,
  context: PhaseContext,
): Promise<void> {
  const { baseline, source } = params;
  if (baseline === undefined) return;
  const folder = await openFolder(path, source);
  const known = await readHistory(connection, source);
  for (const version of folder.versions) {
    if (compareVersions(version, baseline) > 0 || known.some((one) => sameVersion(one.version, version)))
      continue;
    const checksum = await folder.checksum(version);
    const row = {
      source,
      version,
      name: 'baseline',
      sha256: checksum,
      up: null,
      down: null,
      before: null,
      step: BASELINE,
      state: 'done' as const,
    };
    await fenced(connection, context, () => addRow(connection, row, context));
  }
}

function booksOf({ version, name, up, down }: Migration, params: MigrateParams, context: PhaseContext) {
  const row = (state: 'started' | 'done') => ({
    source: params.source,
    version,
    name,
    sha256: up.sha256,
    up: up.sql,
    down: down?.sql ?? null,
    before: null,
    step: params.step,
    state,
  });
  return {
    begin: (connection: Connection) => addRow(connection, row('started'), context),
    finish: (connection: Connection) => addRow(connection, row('done'), context),
    isFinished: async (connection: Connection) =>
      (await readHistory(connection, params.source)).some(
        (one) => one.version === version && one.state === 'done' && one.run === context.run,
      ),
  };
}

/** By the history alone: the rows are written with the migrations. */
export async function probeFolder(params: MigrateParams, context: PhaseContext): Promise<ProbeResult> {
  const { pending } = inspectedOf(params, context);
  return await withPostgres(params.target, context, async (connection) => {
    await takeOver(connection, context);
    const rows = ownRows(await readHistory(connection, params.source), {
      run: context.run,
      step: params.step,
    });
    const done = rows.filter(({ state }) => state === 'done').length;
    const summary = `${done} of ${pending.length} migrations are applied`;
    if (rows.length === 0) return { answer: 'no', summary };
    return { answer: done === pending.length ? 'yes' : 'partly', summary };
  });
}

/** Down by the scripts that were tried, the last migration first. Gives how many there were. */
export async function undoFolder(params: MigrateParams, context: PhaseContext): Promise<number> {
  return await withMigrationLock(params.target, context, async (guard) => {
    const { connection } = guard;
    const rows = ownRows(await readHistory(connection, params.source), {
      run: context.run,
      step: params.step,
    });
    if (rows.length === 0) return 0;
    const watching = {
      target: params.target,
      everyMs: params.canaryEveryMs,
      lockTimeoutMs: params.lockTimeoutMs,
      canary: undefined,
      tables: [],
    };
    await withWatch(watching, context, async (watch) => {
      for (const [index, row] of rows.entries()) {
        context.progress({ done: index, total: rows.length, unit: 'migrations', detail: row.version });
        await guard.assertHeld();
        const tries: Tries = { used: 0, startedAt: performance.now() };
        await undoOne(row, { params, watch, tries, indexes: {}, isUndo: true }, context);
      }
    });
    return rows.length;
  });
}

async function undoOne(
  row: Applied,
  options: Parameters<typeof runOne>[2],
  context: PhaseContext,
): Promise<void> {
  const { params } = options;
  const { version } = row;
  const script = await downOf(row);
  const books = {
    finish: (connection: Connection) => dropRow(connection, params.source, version),
    isFinished: async (connection: Connection) =>
      !(await readHistory(connection, params.source)).some((one) => one.version === version),
  };
  if (row.state === 'started' && (await takenAway(row, params, context))) {
    const nothing: Script = { ...script, statements: [], isTransactional: true };
    return await runOne(nothing, books, options, context);
  }
  await runOne(script, books, options, context);
}

async function downOf({ version, name, down }: Applied): Promise<Script> {
  const file = `${version}_${name}.down.sql`;
  if (down === null) return { file, sql: '', sha256: sha256(''), statements: [], isTransactional: true };
  return await readScript(file, down);
}

/** A script that stands alone and was broken off: what it made half-way is read from the catalog. */
async function takenAway(
  { version, name, up }: Applied,
  params: MigrateParams,
  context: PhaseContext,
): Promise<boolean> {
  if (up === null) return false;
  const script = await readScript(`${version}_${name}.up.sql`, up);
  return await withPostgres(params.target, context, async (connection) => {
    await asUser(connection, params, params.lockTimeoutMs);
    return await takeAway(connection, script);
  });
}
