/** A whole migration judged: findings with their places, what it makes, what it destroys and what its down would lose. */
import type { Migration, Script } from './scripts.ts';
import { type Destroyed, classify, nameOf, tableName } from './classify.ts';
import { type Finding, type LintWorld, RULES, lint } from './lint.ts';
import { type Statement, kindOf } from './sql.ts';
import { type Connection } from '../postgres.ts';
import { quote } from '../sqlite.ts';

const ROWS_ONLY = new Set([
  'InsertStmt',
  'UpdateStmt',
  'DeleteStmt',
  'MergeStmt',
  'SelectStmt',
  'VariableSetStmt',
  'DoStmt',
  'ExplainStmt',
]);

/** What the migrations before this statement made: tables, and columns as `table.column`. */
export type Made = Set<string>;

/** The name of a table as SQL takes it, whatever its letters are. */
export function quotedTable(table: string): string {
  const parts = table.match(/"(?:[^"]|"")*"|[^.]+/g) ?? [];
  return parts.map((part) => (part.startsWith('"') ? part : quote(part))).join('.');
}

/** Notes what a statement makes. */
export function note(made: Made, { node }: Statement): void {
  const add = (table: string): void => {
    made.add(table);
    made.add(table.replace(/^public\./, ''));
  };
  if ('CreateStmt' in node) add(tableName(node.CreateStmt.relation));
  if ('CreateTableAsStmt' in node) add(tableName(node.CreateTableAsStmt.into?.rel));
  if ('RenameStmt' in node && node.RenameStmt.renameType === 'OBJECT_TABLE') {
    const { relation, newname = '' } = node.RenameStmt;
    if (made.has(tableName(relation))) add(newname);
  }
  if (!('AlterTableStmt' in node)) return;
  const table = tableName(node.AlterTableStmt.relation);
  for (const one of node.AlterTableStmt.cmds ?? []) {
    if (!('AlterTableCmd' in one) || one.AlterTableCmd.subtype !== 'AT_AddColumn') continue;
    const { def } = one.AlterTableCmd;
    if (def !== undefined && 'ColumnDef' in def) add(`${table}.${def.ColumnDef.colname ?? ''}`);
  }
}

export function isMade(made: ReadonlySet<string>, { table, column }: Destroyed): boolean {
  if (table === undefined) return false;
  return made.has(table) || (column !== undefined && made.has(`${table}.${column}`));
}

/** The rules' view of the database in which the statement is about to be tried. */
export function lintWorld(connection: Connection, script: Script, made: Made, isForGood: boolean): LintWorld {
  const one = async (sql: string, values: string[]): Promise<string | undefined> => {
    const [row] = await connection.query(sql, values);
    return row?.[0] ?? undefined;
  };
  return {
    created: made,
    isForGood,
    isInTransaction: script.isTransactional,
    changesSchema: script.statements.some(({ node }) => !ROWS_ONLY.has(kindOf(node))),
    columnType: (table, column) =>
      one(
        'SELECT format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped',
        [quotedTable(table), column],
      ),
    isKnownNotNull: async (table, column) =>
      (await one(
        `SELECT true FROM pg_catalog.pg_constraint k WHERE k.conrelid = to_regclass($1) AND k.contype = 'c' AND k.convalidated
           AND pg_get_constraintdef(k.oid) IN ('CHECK ((' || quote_ident($2) || ' IS NOT NULL))', 'CHECK (' || quote_ident($2) || ' IS NOT NULL)')`,
        [quotedTable(table), column],
      )) !== undefined,
    async isVolatile(name) {
      const found = await one(
        `SELECT bool_or(provolatile = 'v') FROM pg_catalog.pg_proc WHERE proname = $1`,
        [name.split('.').at(-1) ?? ''],
      );
      return found === undefined ? undefined : found === 't';
    },
    async tableOf(index) {
      const found = await one(
        'SELECT indrelid::regclass::text FROM pg_catalog.pg_index WHERE indexrelid = to_regclass($1)',
        [quotedTable(index)],
      );
      return found?.replaceAll('"', '');
    },
  };
}

/** What is wrong with one statement of a script. */
export async function judge(script: Script, statement: Statement, world: LintWorld): Promise<Finding[]> {
  const found = await lint(statement, world);
  return found.map((one) => ({ ...one, file: script.file, line: statement.line }));
}

/** One transaction is to keep one table from everybody, not several while it waits for the next. */
export function judgeWhole(script: Script, made: Made): Finding[] {
  if (script.statements.length === 0) {
    const found = 'has no statement';
    const rewrite = 'write what it is to do, or leave the number out';
    return [{ rule: 'EmptyMigration', object: script.file, file: script.file, line: 1, found, rewrite }];
  }
  if (!script.isTransactional) return [];
  const tables = lockedTables(script).filter((one) => !made.has(one));
  if (tables.length < 2) return [];
  return [
    {
      rule: 'SeveralTablesLocked',
      object: tables.join(', '),
      file: script.file,
      line: 1,
      found: `locks ${tables.join(' and ')} against every query in one transaction, the first one while it waits for the next`,
      rewrite: 'write a migration for each table',
    },
  ];
}

/** Tables that a script locks against every query. */
export function lockedTables(script: Script): string[] {
  const tables = script.statements.flatMap((one) => {
    const { lock, tables: own } = classify(one);
    return lock === 'ACCESS EXCLUSIVE' ? own : [];
  });
  return [...new Set(tables)];
}

/** What of the database as it was before all of the migrations is gone after the up: no down brings it back. */
export function destroyedBy(script: Script, made: ReadonlySet<string>): string[] {
  return script.statements.flatMap((one) =>
    classify(one)
      .destroys.filter((what) => !isMade(made, what))
      .map(({ what }) => `${script.file}:${one.line} destroys ${what}`),
  );
}

/** What a way back loses of a thing. */
export const SINCE = 'with all that was written there since';

/** What a finding says that is gone for good. */
export function destroyedOf(findings: readonly Finding[]): string[] {
  return findings.flatMap(({ file, line, destroys }) =>
    destroys === undefined ? [] : [`${file}:${line} destroys ${destroys}`],
  );
}

/** What the down would lose of what was written since. */
export function lostByDown({ up, down }: Migration, findings: readonly Finding[]): string[] {
  const changed = findings
    .filter(({ rule, file }) => rule === 'TypeChangeRewrite' && file === up.file)
    .map(
      ({ object, file, line }) =>
        `${file}:${line} changes the type of ${object}, and what does not fit goes on the way back`,
    );
  const lost = (down?.statements ?? []).flatMap((one) =>
    classify(one).destroys.map(({ what }) => `${down?.file}:${one.line} loses ${what}, ${SINCE}`),
  );
  return [...changed, ...lost];
}

export type Allowed = { rule: string; object?: string; because: string; until?: string };

/** Blocking first. A finding may stand where the runbook allows it and its date has not passed. */
export function sorted(
  findings: readonly Finding[],
  allow: readonly Allowed[],
  now: Date,
): { blocking: Finding[]; advice: Finding[]; allowed: Finding[] } {
  const today = now.toISOString().slice(0, 10);
  const isAllowed = ({ rule, object }: Finding): boolean =>
    allow.some(
      (one) =>
        one.rule === rule &&
        (one.object === undefined || one.object === object) &&
        (one.until === undefined || one.until >= today),
    );
  const allowed = findings.filter(isAllowed);
  const rest = findings.filter((one) => !isAllowed(one));
  return {
    blocking: rest.filter(({ rule }) => RULES[rule] === 'error'),
    advice: rest.filter(({ rule }) => RULES[rule] === 'warn'),
    allowed,
  };
}

export function findingText({ rule, file, line, found, rewrite }: Finding): string {
  return `${file}:${line} ${found}; write: ${rewrite} (${rule})`;
}

/** The name and table of an index that is made without a transaction. */
export function concurrentIndex({ node }: Statement): { index: string; table: string } | undefined {
  if (!('IndexStmt' in node) || node.IndexStmt.concurrent !== true) return undefined;
  return { index: node.IndexStmt.idxname ?? '', table: tableName(node.IndexStmt.relation) };
}

/** The objects of a DROP. */
export function dropped({ node }: Statement): string[] {
  return 'DropStmt' in node ? (node.DropStmt.objects ?? []).map(nameOf) : [];
}
