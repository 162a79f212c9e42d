/**
 * What a statement would do to an application that is in use, and what to write instead. A finding of level `error`
 * blocks unless the runbook allows it with a reason; one of level `warn` is advice. Tables that the same migrations make
 * are empty and unknown to the application, so most rules leave them alone.
 */
import type { Node } from 'libpg-query';
import { lintAlter } from './lint-alter.ts';
import { lintColumns } from './lint-columns.ts';
import { lintOther } from './lint-other.ts';
import type { Statement } from './sql.ts';

export const RULES = {
  IndexNotConcurrent: 'error',
  ConcurrentInTransaction: 'error',
  ConcurrentIfNotExists: 'error',
  DropIndexNotConcurrent: 'error',
  ReindexNotConcurrent: 'error',
  ForeignKeyValidating: 'error',
  CheckValidating: 'error',
  SetNotNull: 'error',
  UniqueConstraint: 'error',
  ExclusionConstraint: 'error',
  TypeChangeRewrite: 'error',
  VolatileDefault: 'error',
  StoredGenerated: 'error',
  SerialAdd: 'error',
  NotNullWithoutDefault: 'error',
  RenameColumn: 'error',
  RenameTable: 'error',
  RenameSchema: 'error',
  RenameEnumValue: 'error',
  DropColumn: 'error',
  DropTable: 'error',
  DropDatabase: 'error',
  DropCascade: 'error',
  DropNotNull: 'warn',
  TruncateCascade: 'error',
  Truncate: 'error',
  DetachNotConcurrent: 'error',
  RefreshBlocking: 'error',
  ClusterOrVacuumFull: 'error',
  BackfillInSchemaChange: 'error',
  UnbatchedWrite: 'error',
  SeveralTablesLocked: 'error',
  LockTimeoutSet: 'error',
  SearchPathSet: 'warn',
  NotAnalysed: 'warn',
  EmptyMigration: 'warn',
  Int4Key: 'warn',
  TimestampWithoutZone: 'warn',
  JsonType: 'warn',
  CharType: 'warn',
} as const satisfies Record<string, 'error' | 'warn'>;

export type Rule = keyof typeof RULES;

export type Finding = {
  rule: Rule;
  /** The table, index, column or type that it is about. */
  object: string;
  file: string;
  line: number;
  /** What was found and what it does, without a full stop. */
  found: string;
  /** The safe form, as SQL or as a sentence. */
  rewrite: string;
  /** What of the rows of before is gone for good, in words. */
  destroys?: string;
};

/** A finding before its place is known. */
export type Found = Omit<Finding, 'file' | 'line'>;

/** What the rules need to know of the database at the moment before the statement. */
export type LintWorld = {
  /** Tables and columns (`table.column`) that the pending migrations made. */
  created: ReadonlySet<string>;
  /** The type of a column as PostgreSQL writes it; undefined where there is none. */
  columnType(table: string, column: string): Promise<string | undefined>;
  /** Whether a validated check says that the column is not null. */
  isKnownNotNull(table: string, column: string): Promise<boolean>;
  /** Whether a function is volatile; undefined where it is unknown. */
  isVolatile(name: string): Promise<boolean | undefined>;
  /** The table of an index. */
  tableOf(index: string): Promise<string | undefined>;
  /** The statement stands in a transaction with others. */
  isInTransaction: boolean;
  /** Whether the schema is changed in the same transaction. */
  changesSchema: boolean;
  isForGood: boolean;
};

/** All that is wrong with one statement. */
export async function lint(statement: Statement, world: LintWorld): Promise<Found[]> {
  return [
    ...(await lintAlter(statement, world)),
    ...lintColumns(statement),
    ...(await lintOther(statement, world)),
  ];
}

/** Whether it is a table that the pending migrations make. */
export function isNew(world: LintWorld, table: string): boolean {
  return world.created.has(table) || world.created.has(table.replace(/^public\./, ''));
}

/** The first argument of each call of a function, where it is a text. */
export function callsWith(expression: Node | undefined, name: string): string[] {
  return callNodes(expression).flatMap(({ funcname = [], args = [] }) => {
    const last = funcname.at(-1);
    if (last?.String?.sval !== name) return [];
    const [first] = args;
    return first?.A_Const?.sval?.sval ?? [];
  });
}

/** Names of functions that an expression calls. */
export function callsOf(expression: Node | undefined): string[] {
  return callNodes(expression).map(({ funcname = [] }) =>
    funcname.map((one) => one.String?.sval ?? '').join('.'),
  );
}

type Call = {
  funcname?: { String?: { sval?: string } }[];
  args?: { A_Const?: { sval?: { sval?: string } } }[];
};

function callNodes(expression: Node | undefined): Call[] {
  const found: Call[] = [];
  const look = (value: unknown): void => {
    if (Array.isArray(value)) return value.forEach(look);
    if (value === null || typeof value !== 'object') return;
    for (const [key, inner] of Object.entries(value)) {
      if (key === 'FuncCall') found.push(inner as Call);
      look(inner);
    }
  };
  look(expression);
  return found;
}
