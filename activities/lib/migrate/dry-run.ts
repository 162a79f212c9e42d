/** Up, down, up on the scratch clone: what the migrations do, that the way back is one, and that they can be repeated. */
import type { PhaseContext } from '../../phase.ts';
import { messageOf } from '../fail.ts';
import { type Connection, inTransaction, sqlState } from '../postgres.ts';
import { type Code, named, refuse } from './codes.ts';
import {
  type Made,
  concurrentIndex,
  destroyedBy,
  judge,
  judgeWhole,
  lintWorld,
  lostByDown,
  note,
  quotedTable,
} from './judge.ts';
import type { Finding } from './lint.ts';
import type { Migration, Script } from './scripts.ts';
import { type Statement, shortSql } from './sql.ts';
import { difference, digestOf, structureOf } from './structure.ts';

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
  { isForGood }: { isForGood: boolean },
  context: PhaseContext,
): Promise<Tried> {
  const first = await structureOf(connection);
  const made: Made = new Set();
  const tried: Omit<Tried, 'structureBefore' | 'structureAfter' | 'changes' | 'made'> = {
    findings: [],
    lossy: [],
    destroyed: [],
    withoutDown: [],
    indexes: {},
  };
  let now = first;
  for (const [index, migration] of migrations.entries()) {
    context.progress({
      done: index,
      total: migrations.length,
      unit: 'migrations',
      detail: migration.up.file,
    });
    const { up, down } = migration;
    const world = lintWorld(connection, up, made, isForGood);
    tried.findings.push(...judgeWhole(up, made));
    await runScript(connection, up, 'UpFails', async (statement) => {
      tried.findings.push(...(await judge(up, statement, world)));
      tried.destroyed.push(...destroyedBy({ ...up, statements: [statement] }, made));
      note(made, statement);
    });
    await noteIndexes(connection, up, tried.indexes);
    const after = await structureOf(connection);
    if (down === undefined) tried.withoutDown.push(up.file);
    else {
      tried.lossy.push(...lostByDown(migration, tried.findings));
      await runScript(connection, down, 'DownFails');
      compare(
        'DownDiffers',
        `${down.file} does not bring back what was there before ${up.file}`,
        now,
        await structureOf(connection),
      );
      await runScript(connection, up, 'UpFails');
      compare(
        'UpDiffers',
        `${up.file} does something else when it is run again after ${down.file}`,
        after,
        await structureOf(connection),
      );
    }
    now = after;
  }
  return {
    ...tried,
    structureBefore: digestOf(first),
    structureAfter: digestOf(now),
    changes: difference(first, now),
    made: [...made],
  };
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
        if (sqlState(error) === undefined) throw error;
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
