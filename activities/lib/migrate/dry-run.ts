/** Up, down, up on the scratch clone: what the migrations do, that the way back is one, and that they can be repeated. */
import type { PhaseContext } from '../../phase.ts';
import { messageOf } from '../fail.ts';
import { type Connection, inTransaction, sqlState } from '../postgres.ts';
import { classify, tableName } from './classify.ts';
import { type Code, named, refuse } from './codes.ts';
import {
  type Made,
  concurrentIndex,
  destroyedBy,
  destroyedOf,
  isMade,
  judge,
  judgeWhole,
  lintWorld,
  SINCE,
  lostByDown,
  note,
  quotedTable,
} from './judge.ts';
import type { Finding } from './lint.ts';
import type { MigrateParams } from './params.ts';
import { goneOf, thingsOf, unnamed } from './identity.ts';
import type { Migration, Script } from './scripts.ts';
import { asNew } from './session.ts';
import { type Statement, shortSql } from './sql.ts';
import { difference, digestOf, lookOf, structureOf, withoutRows } from './structure.ts';
import { isSessionLost } from './tries.ts';

export type Tried = {
  structureBefore: string;
  structureAfter: string;
  /** Lines of the structure that go and come. */
  changes: string[];
  findings: Finding[];
  /** What the downs lose, in words. */
  lossy: string[];
  /** What is gone for good, in words. */
  destroyed: string[];
  /** Files of ups without a down. */
  withoutDown: string[];
  /** Definitions of indexes that are made without a transaction, by name. */
  indexes: Record<string, string>;
  /** Tables and columns that are made, as `table` and `table.column`. */
  made: string[];
};

/** Migrations whose down is tried too; without one the next is tried on top. Throws UpFails, DownFails, DownDiffers, UpDiffers. */
export async function dryRun(
  connection: Connection,
  migrations: readonly Migration[],
  params: Pick<MigrateParams, 'forGood' | 'statementTimeoutMs' | 'lockTimeoutMs'>,
  context: PhaseContext,
): Promise<Tried> {
  const structureBefore = digestOf(await structureOf(connection));
  const first = await lookOf(connection);
  const made: Made = new Set();
  const tried: Omit<Tried, 'structureBefore' | 'structureAfter' | 'changes' | 'made'> = {
    findings: [],
    lossy: [],
    destroyed: [],
    withoutDown: [],
    indexes: {},
  };
  let now = first;
  let things = await thingsOf(connection);
  const original = things;
  for (const [index, migration] of migrations.entries()) {
    context.progress({
      done: index,
      total: migrations.length,
      unit: 'migrations',
      detail: migration.up.file,
    });
    const { up, down } = migration;
    const world = lintWorld(connection, up, made, params.forGood);
    tried.findings.push(...judgeWhole(up, made));
    await asNew(connection, params);
    await runScript(connection, up, 'UpFails', async (statement) => {
      const found = await judge(up, statement, world);
      tried.findings.push(...found);
      tried.destroyed.push(...destroyedOf(found), ...destroyedBy({ ...up, statements: [statement] }, made));
      note(made, statement);
    });
    await noteIndexes(connection, up, tried.indexes);
    const after = await lookOf(connection);
    const afterUp = await thingsOf(connection);
    const gone = goneOf(original, afterUp).filter((one) => !goneOf(original, things).includes(one));
    for (const what of unnamed(gone, tried.destroyed)) tried.destroyed.push(`${up.file} destroys ${what}`);
    if (down === undefined) tried.withoutDown.push(up.file);
    else {
      tried.lossy.push(...lostByDown(migration, tried.findings));
      await asNew(connection, params);
      await runScript(connection, down, 'DownFails');
      const lost = goneOf(afterUp, await thingsOf(connection));
      for (const what of unnamed(lost, tried.lossy)) tried.lossy.push(`${down.file} loses ${what}, ${SINCE}`);
      compare(
        'DownDiffers',
        `${down.file} does not bring back what was there before ${up.file}`,
        now,
        await lookOf(connection),
      );
      assertTakenOut(migration, down, made);
      await asNew(connection, params);
      await runScript(connection, up, 'UpFails');
      compare(
        'UpDiffers',
        `${up.file} does something else when it is run again after ${down.file}`,
        withoutRows(after),
        withoutRows(await lookOf(connection)),
      );
    }
    now = after;
    things = await thingsOf(connection);
  }
  await asNew(connection, params);
  return {
    ...tried,
    structureBefore,
    structureAfter: digestOf(await structureOf(connection)),
    changes: difference(withoutRows(first), withoutRows(now)),
    made: [...made],
  };
}

/** The clone has no rows, so an INSERT of rows that it selects does nothing there: its down is read instead. */
function assertTakenOut({ up }: Migration, down: Script, made: ReadonlySet<string>): void {
  for (const { node, line } of up.statements) {
    if (!('InsertStmt' in node)) continue;
    const table = tableName(node.InsertStmt.relation);
    if (isMade(made, { what: table, table })) continue;
    const isTaken = down.statements.some((one) => {
      const { opaque, destroys } = classify(one);
      return opaque !== undefined || destroys.some((gone) => gone.table === table);
    });
    if (isTaken) continue;
    refuse(
      'DownDiffers',
      `${up.file}:${line} inserts rows into ${table}, and ${down.file} deletes none there, expected it to take them out again; write the DELETE, or put the step below a point-of-no-return`,
    );
  }
}

function compare(code: Code, sentence: string, expected: readonly string[], found: readonly string[]): void {
  const differs = difference(expected, found);
  if (differs.length > 0) {
    refuse(code, `${sentence}: ${named(differs)}, expected no difference; correct it and plan again`);
  }
}

async function runScript(
  connection: Connection,
  script: Script,
  code: Code,
  before: (statement: Statement) => Promise<void> = async () => {},
): Promise<void> {
  const all = async (): Promise<void> => {
    for (const statement of script.statements) {
      await before(statement);
      try {
        await connection.client.query(statement.sql);
      } catch (error) {
        if (isSessionLost(error)) throw error;
        refuse(
          code,
          `${script.file}:${statement.line} fails on the scratch clone: ${messageOf(error)} (${sqlState(error)}), in '${shortSql(statement.sql)}'; correct it and plan again`,
          error,
        );
      }
    }
  };
  if (script.isTransactional) await inTransaction(connection, all);
  else await all();
}

async function noteIndexes(
  connection: Connection,
  script: Script,
  indexes: Record<string, string>,
): Promise<void> {
  for (const statement of script.statements) {
    const found = concurrentIndex(statement);
    if (found === undefined) continue;
    const name = found.index;
    if (name === '') {
      refuse(
        'StatementRefused',
        `${script.file}:${statement.line} makes an index without a name, expected one, so that a broken attempt can be found again; give it a name`,
      );
    }
    indexes[name] = (await indexState(connection, name, found.table))?.definition ?? '';
  }
}

export type IndexState = { definition: string; isValid: boolean; schema: string };

/** An index of a table by its name; undefined where there is none. */
export async function indexState(
  connection: Connection,
  index: string,
  table: string,
): Promise<IndexState | undefined> {
  const [row] = await connection.query(
    `SELECT pg_catalog.pg_get_indexdef(i.indexrelid), i.indisvalid AND i.indisready, n.nspname
     FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relname = $1 AND i.indrelid = to_regclass($2)`,
    [index, quotedTable(table)],
  );
  if (row === undefined) return undefined;
  return { definition: row[0] ?? '', isValid: row[1] === 't', schema: row[2] ?? '' };
}
