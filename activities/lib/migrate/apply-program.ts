/** The revisions of a program, one start each. What it did is asked of the database, whatever its exit code says. */
import { performance } from 'node:perf_hooks';
import type { PhaseContext, ProbeResult } from '../../phase.ts';
import { fenced, takeOver } from '../fence.ts';
import { type Connection, withPostgres } from '../postgres.ts';
import type { AppliedReport } from './apply-folder.ts';
import { refuse, refuseUndo } from './codes.ts';
import { addRow, dropRow, makeHistory, ownRows, readHistory } from './history.ts';
import { type Guard, withMigrationLock } from './lock.ts';
import { type MigrateParams, inspectedOf } from './params.ts';
import { NOT_KNOWN, type Program, type ProgramSource, howItEnded, openProgram, said } from './program.ts';
import { digestOfSql } from './program-sql.ts';
import { dropNoted, noteMissing } from './program-state.ts';
import { digestOf, structureOf } from './structure.ts';
import { type Tries, nextTry } from './tries.ts';
import { type Watch, withWatch } from './watch.ts';

/** What clients write of SQLSTATE 55P03, 40P01 and 40001. */
const LOCKED = /lock timeout|LockNotAvailable|55P03|deadlock detected|40P01|could not serialize|40001/i;

export async function applyProgram(
  params: MigrateParams,
  source: ProgramSource,
  context: PhaseContext,
): Promise<AppliedReport> {
  const { pending, revisionBefore, structureBefore, scripts } = inspectedOf(params, context);
  const target = context.target(params.target, 'postgres');
  return await withMigrationLock(params.target, context, async (guard) => {
    const { connection } = guard;
    await makeHistory(connection);
    const program = await openProgram(params, source, { target, connection }, context);
    const revision = await program.where();
    if (revision === revisionBefore && pending.length > 0)
      await assertStructure(connection, params, structureBefore);
    const states = await statesOf(program, revisionBefore, pending);
    const start = startOf(states, { revision, revisionBefore, params });
    await assertScripts(program, pending.slice(start), scripts);
    if (start === 0) await noteMissing(connection, { step: params.step, state: source.state }, context);
    const watching = {
      target: params.target,
      everyMs: params.canaryEveryMs,
      lockTimeoutMs: params.lockTimeoutMs,
      canary: params.canary,
      tables: [],
    };
    return await withWatch(watching, context, async (watch) => {
      let used = 0;
      for (const [index, wanted] of pending.entries()) {
        context.progress({ done: index, total: pending.length, unit: 'revisions', detail: wanted });
        const before = index === 0 ? revisionBefore : (states[index - 1] ?? null);
        const one = { wanted, before, after: states[index] ?? wanted, isDone: index < start };
        used += await applyRevision(one, { params, program, guard, watch }, context);
      }
      return { ...watch.report(), applied: pending.length, lockTriesUsed: used };
    });
  });
}

/** Where the database stands after each of the pending revisions. */
async function statesOf(
  program: Program,
  before: string | null,
  pending: readonly string[],
): Promise<string[]> {
  const states: string[] = [];
  for (const revision of pending) states.push(await program.stateAfter(states.at(-1) ?? before, revision));
  return states;
}

/** The revisions as they were when they were tried. */
async function assertScripts(
  program: Program,
  pending: readonly string[],
  scripts: Readonly<Record<string, string>>,
): Promise<void> {
  for (const revision of pending) {
    for (const [direction, name] of [
      ['upgrade', revision],
      ['downgrade', `${revision}.down`],
    ] as const) {
      const expected = scripts[name];
      if (expected === undefined) continue;
      const sql = await program.sql(direction, revision);
      const now = sql === undefined ? NOT_KNOWN : await digestOfSql(name, sql);
      if (now === expected) continue;
      refuse(
        'ScriptsDrift',
        `The ${direction} of ${revision} has sha256 ${now.slice(0, 12)}, expected ${expected.slice(0, 12)}, with which it was tried and approved; put it back, or plan again`,
      );
    }
  }
}

/** How many of the pending revisions stand already. */
function startOf(
  states: readonly string[],
  {
    revision,
    revisionBefore,
    params,
  }: { revision: string | null; revisionBefore: string | null; params: MigrateParams },
): number {
  if (revision === revisionBefore) return 0;
  const at = revision === null ? -1 : states.indexOf(revision);
  if (at >= 0) return at + 1;
  return refuse(
    'StructureDrift',
    `'${params.target}' stands at ${revision ?? 'its beginning'}, expected ${revisionBefore ?? 'its beginning'} or a revision of the plan; somebody else migrated it; plan again`,
  );
}

async function assertStructure(
  connection: Connection,
  params: MigrateParams,
  expected: string,
): Promise<void> {
  const now = digestOf(await structureOf(connection));
  if (now === expected) return;
  refuse(
    'StructureDrift',
    `The structure of '${params.target}' is ${now.slice(0, 12)}, expected ${expected.slice(0, 12)}, on which the revisions were tried; somebody changed it since; plan again`,
  );
}

type At = { params: MigrateParams; program: Program; guard: Guard; watch: Watch };

async function applyRevision(
  {
    wanted,
    before,
    after,
    isDone,
  }: { wanted: string; before: string | null; after: string; isDone: boolean },
  { params, program, guard, watch }: At,
  context: PhaseContext,
): Promise<number> {
  const { connection } = guard;
  const row = (state: 'started' | 'done') => ({
    source: params.source,
    version: wanted,
    name: wanted,
    sha256: '',
    up: null,
    down: null,
    before,
    step: params.step,
    state,
  });
  const tries: Tries = { used: 0, startedAt: performance.now() };
  if (!isDone) {
    await fenced(connection, context, () => addRow(connection, row('started'), context));
    for (;;) {
      await guard.assertHeld();
      await dropBroken(connection);
      const done = await program.up(wanted);
      const revision = await program.where();
      if (revision === after) break;
      if (!LOCKED.test(done.stderr + done.stdout)) {
        refuse(
          'StatementFails',
          `'${params.source}' to ${wanted} ${howItEnded(done)}, and the database stands at ${revision ?? 'its beginning'}, expected ${after}: ${said(done)}; correct it and plan again`,
        );
      }
      await nextTry(`'${params.source}' to ${wanted}`, tries, params, watch, context);
    }
  }
  await fenced(connection, context, () => addRow(connection, row('done'), context));
  return tries.used;
}

/** inspect refuses to begin where an index is invalid, so one that is invalid now was left by a broken attempt of ours. */
async function dropBroken(connection: Connection): Promise<void> {
  const rows = await connection.query(
    `SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname !~ '^pg_'
       AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)`,
  );
  for (const [index] of rows) await connection.client.query(`DROP INDEX CONCURRENTLY ${index}`);
}

export async function probeProgram(
  params: MigrateParams,
  source: ProgramSource,
  context: PhaseContext,
): Promise<ProbeResult> {
  const { pending, revisionBefore } = inspectedOf(params, context);
  const target = context.target(params.target, 'postgres');
  return await withPostgres(params.target, context, async (connection) => {
    await takeOver(connection, context);
    const program = await openProgram(params, source, { target, connection }, context);
    const revision = await program.where();
    const own = ownRows(await readHistory(connection, params.source), {
      run: context.run,
      step: params.step,
    });
    const states = await statesOf(program, revisionBefore, pending);
    const summary = `${params.target} stands at ${revision ?? 'its beginning'}`;
    const isWhole = own.length === pending.length && own.every(({ state }) => state === 'done');
    if (pending.length > 0 && revision === states.at(-1) && isWhole) return { answer: 'yes', summary };
    if (revision === revisionBefore) return { answer: own.length === 0 ? 'no' : 'partly', summary };
    return { answer: revision !== null && states.includes(revision) ? 'partly' : 'unknown', summary };
  });
}

/** Down to where each revision of this step began, the last one first. */
export async function undoProgram(
  params: MigrateParams,
  source: ProgramSource,
  context: PhaseContext,
): Promise<number> {
  const target = context.target(params.target, 'postgres');
  return await withMigrationLock(params.target, context, async (guard) => {
    const { connection } = guard;
    const rows = ownRows(await readHistory(connection, params.source), {
      run: context.run,
      step: params.step,
    });
    if (rows.length === 0) return 0;
    const program = await openProgram(params, source, { target, connection }, context);
    const watching = {
      target: params.target,
      everyMs: params.canaryEveryMs,
      lockTimeoutMs: params.lockTimeoutMs,
      canary: undefined,
      tables: [],
    };
    await withWatch(watching, context, async (watch) => {
      for (const [index, { version, before }] of rows.entries()) {
        context.progress({ done: index, total: rows.length, unit: 'revisions', detail: version });
        await undoRevision({ version, before }, { params, program, guard, watch }, context);
        await fenced(connection, context, () => dropRow(connection, params.source, version));
      }
    });
    await dropNoted(connection, params.step, context);
    return rows.length;
  });
}

async function undoRevision(
  { version, before }: { version: string; before: string | null },
  { params, program, guard, watch }: At,
  context: PhaseContext,
): Promise<void> {
  const tries: Tries = { used: 0, startedAt: performance.now() };
  for (;;) {
    await guard.assertHeld();
    await dropBroken(guard.connection);
    const now = await program.where();
    if (now === before) return;
    const after = await program.stateAfter(before, version);
    if (now !== after) {
      refuseUndo(
        'StructureDrift',
        `'${params.target}' stands at ${now ?? 'its beginning'}, expected ${after}, which is to be taken back; somebody else migrated it; take it back by hand`,
      );
    }
    const done = await program.down(version, before);
    const revision = await program.where();
    if (revision === before) return;
    if (!LOCKED.test(done.stderr + done.stdout)) {
      refuseUndo(
        'StatementFails',
        `'${params.source}' down from ${version} ${howItEnded(done)}: ${said(done)}; take it back by hand, or try again`,
      );
    }
    await nextTry(`'${params.source}' down from ${version}`, tries, params, watch, context);
  }
}
