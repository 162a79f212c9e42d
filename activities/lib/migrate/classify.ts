/**
 * What a statement does to those who use the database: the strongest lock that it takes and on which tables, whether it
 * rewrites or scans a table under that lock, whether it can stand in a transaction, and what it destroys.
 */
import type { AlterTableCmd, DefElem, Node, RangeVar, WithClause } from 'libpg-query';
import { type Statement, kindOf } from './sql.ts';

/** From the weakest to the strongest, as PostgreSQL orders them. */
export const LOCKS = [
  'none',
  'ACCESS SHARE',
  'ROW SHARE',
  'ROW EXCLUSIVE',
  'SHARE UPDATE EXCLUSIVE',
  'SHARE',
  'SHARE ROW EXCLUSIVE',
  'EXCLUSIVE',
  'ACCESS EXCLUSIVE',
] as const;
export type Lock = (typeof LOCKS)[number];

/** Something that no later statement brings back. */
export type Destroyed = {
  /** In words. */
  what: string;
  /** The table that it is, or is of. */
  table?: string;
  column?: string;
};

export type Classified = {
  lock: Lock;
  /** Tables that are locked so, as the statement names them: `songs`, `public.songs`. */
  tables: string[];
  /** Whether every row is written anew under that lock. */
  rewrites: boolean;
  isTransactional: boolean;
  /** What of the database as it was is gone afterwards. */
  destroys: Destroyed[];
  /** Why nobody can know what it does, as of a DO block. */
  opaque?: string;
};

export function tableName(relation: RangeVar | undefined): string {
  if (relation === undefined) return '';
  const { schemaname, relname = '' } = relation;
  return [schemaname ?? '', relname]
    .filter((part) => part !== '')
    .map(quoted)
    .join('.');
}

/** In double quotes where a dot or a quote in it would be taken for something else. */
function quoted(name: string): string {
  return /[".]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name;
}

/** The text of a name in parts, as DropStmt and TypeName hold it. */
export function nameOf(node: Node | undefined): string {
  if (node === undefined) return '';
  if ('String' in node) return node.String.sval ?? '';
  if ('List' in node) return (node.List.items ?? []).map((one) => quoted(nameOf(one))).join('.');
  if ('TypeName' in node) return (node.TypeName.names ?? []).map(nameOf).join('.');
  if ('ObjectWithArgs' in node) return (node.ObjectWithArgs.objname ?? []).map(nameOf).join('.');
  return '';
}

/** Whether an option stands in a statement's list, as CONCURRENTLY of REINDEX. */
export function hasOption(options: readonly Node[] | undefined, name: string): boolean {
  return (options ?? []).some((one) => 'DefElem' in one && isOn(one.DefElem, name));
}

function isOn({ defname, arg }: DefElem, name: string): boolean {
  if (defname !== name) return false;
  if (arg === undefined) return true;
  if ('Boolean' in arg) return arg.Boolean.boolval === true;
  if ('String' in arg) return !['false', 'off', '0'].includes(arg.String.sval ?? '');
  return !('Integer' in arg) || arg.Integer.ival === 1;
}

const LIGHT: Classified = { lock: 'none', tables: [], rewrites: false, isTransactional: true, destroys: [] };

export function classify({ node }: Statement): Classified {
  if ('AlterTableStmt' in node) {
    const { relation, cmds = [], objtype } = node.AlterTableStmt;
    const table = tableName(relation);
    const parts = cmds.flatMap((one) => ('AlterTableCmd' in one ? [one.AlterTableCmd] : []));
    return alterTable(table, parts, objtype === 'OBJECT_TABLE');
  }
  if ('IndexStmt' in node) {
    const { relation, concurrent } = node.IndexStmt;
    const lock = concurrent === true ? 'SHARE UPDATE EXCLUSIVE' : 'SHARE';
    return { ...LIGHT, lock, tables: [tableName(relation)], isTransactional: concurrent !== true };
  }
  if ('DropStmt' in node) return drop(node.DropStmt);
  if ('RenameStmt' in node) {
    const { relation } = node.RenameStmt;
    return relation === undefined
      ? LIGHT
      : { ...LIGHT, lock: 'ACCESS EXCLUSIVE', tables: [tableName(relation)] };
  }
  if ('TruncateStmt' in node) {
    const tables = (node.TruncateStmt.relations ?? []).flatMap((one) =>
      'RangeVar' in one ? [tableName(one.RangeVar)] : [],
    );
    return {
      ...LIGHT,
      lock: 'ACCESS EXCLUSIVE',
      tables,
      destroys: tables.map((table) => ({ what: `the rows of table ${table}`, table })),
    };
  }
  return maintenance(node) ?? allRows(node) ?? others(node);
}

/** A statement on rows and those in its WITH; EXPLAIN ANALYZE and CREATE TABLE AS run what stands in them. */
export function rowStatements(node: Node): Node[] {
  if ('ExplainStmt' in node) {
    const { query, options } = node.ExplainStmt;
    return query !== undefined && hasOption(options, 'analyze') ? rowStatements(query) : [];
  }
  if ('CreateTableAsStmt' in node)
    return node.CreateTableAsStmt.query === undefined ? [] : rowStatements(node.CreateTableAsStmt.query);
  const [body] = ROW_KINDS.flatMap((kind) => {
    const found: unknown = (node as Record<string, unknown>)[kind];
    return found === undefined ? [] : [found as { withClause?: WithClause }];
  });
  if (body === undefined) return [];
  const inner = (body.withClause?.ctes ?? []).flatMap((one) =>
    'CommonTableExpr' in one && one.CommonTableExpr.ctequery !== undefined
      ? rowStatements(one.CommonTableExpr.ctequery)
      : [],
  );
  return 'SelectStmt' in node ? inner : [...inner, node];
}

const ROW_KINDS = ['SelectStmt', 'InsertStmt', 'UpdateStmt', 'DeleteStmt', 'MergeStmt'] as const;

function allRows(node: Node): Classified | undefined {
  if ('CopyStmt' in node) return rows(node);
  const all = rowStatements(node).flatMap((one) => rows(one) ?? []);
  if (all.length === 0) return undefined;
  return {
    ...LIGHT,
    lock: 'ROW EXCLUSIVE',
    tables: [...new Set(all.flatMap(({ tables }) => tables))],
    destroys: all.flatMap(({ destroys }) => destroys),
  };
}

function drop(stmt: Extract<Node, { DropStmt: unknown }>['DropStmt']): Classified {
  const names = (stmt.objects ?? []).map(nameOf);
  const concurrent = stmt.concurrent === true;
  switch (stmt.removeType) {
    case 'OBJECT_TABLE':
    case 'OBJECT_MATVIEW':
    case 'OBJECT_FOREIGN_TABLE':
    case 'OBJECT_SEQUENCE':
    case 'OBJECT_SCHEMA': {
      const what = stmt.removeType.slice('OBJECT_'.length).toLowerCase().replace('_', ' ');
      const isTable = stmt.removeType === 'OBJECT_TABLE';
      const destroys = names.map((one) => ({ what: `${what} ${one}`, ...(isTable ? { table: one } : {}) }));
      return { ...LIGHT, lock: 'ACCESS EXCLUSIVE', tables: isTable ? names : [], destroys };
    }
    case 'OBJECT_TYPE':
    case 'OBJECT_DOMAIN':
    case 'OBJECT_EXTENSION': {
      // Columns of it go only with CASCADE.
      const destroys =
        stmt.behavior === 'DROP_CASCADE'
          ? names.map((one) => ({ what: `${one} and the columns that need it` }))
          : [];
      return { ...LIGHT, lock: 'ACCESS EXCLUSIVE', destroys };
    }
    case 'OBJECT_INDEX':
      return {
        ...LIGHT,
        lock: concurrent ? 'SHARE UPDATE EXCLUSIVE' : 'ACCESS EXCLUSIVE',
        isTransactional: !concurrent,
      };
    default:
      return { ...LIGHT, lock: 'ACCESS EXCLUSIVE' };
  }
}

/** Subtypes of ALTER TABLE with a weaker lock than ACCESS EXCLUSIVE. */
const WEAKER: Record<string, Lock> = {
  AT_ValidateConstraint: 'SHARE UPDATE EXCLUSIVE',
  AT_SetStatistics: 'SHARE UPDATE EXCLUSIVE',
  AT_ClusterOn: 'SHARE UPDATE EXCLUSIVE',
  AT_DropCluster: 'SHARE UPDATE EXCLUSIVE',
  AT_SetRelOptions: 'SHARE UPDATE EXCLUSIVE',
  AT_ResetRelOptions: 'SHARE UPDATE EXCLUSIVE',
  AT_AttachPartition: 'SHARE UPDATE EXCLUSIVE',
  AT_EnableTrig: 'SHARE ROW EXCLUSIVE',
  AT_DisableTrig: 'SHARE ROW EXCLUSIVE',
  AT_EnableAlwaysTrig: 'SHARE ROW EXCLUSIVE',
  AT_EnableReplicaTrig: 'SHARE ROW EXCLUSIVE',
};

const REWRITING = new Set<string>([
  'AT_AlterColumnType',
  'AT_SetLogged',
  'AT_SetUnLogged',
  'AT_SetTableSpace',
  'AT_SetAccessMethod',
]);

function alterTable(table: string, cmds: readonly AlterTableCmd[], isTable: boolean): Classified {
  const locks = cmds.map(lockOf);
  const lock = LOCKS[Math.max(0, ...locks.map((one) => LOCKS.indexOf(one)))] ?? 'ACCESS EXCLUSIVE';
  const isConcurrent = cmds.some(
    ({ def }) => def !== undefined && 'PartitionCmd' in def && def.PartitionCmd.concurrent === true,
  );
  return {
    lock,
    tables: isTable ? [table] : [],
    rewrites: cmds.some(({ subtype }) => REWRITING.has(String(subtype))),
    isTransactional: !isConcurrent,
    destroys: cmds.flatMap(({ subtype, name: column = '' }) =>
      subtype === 'AT_DropColumn' ? [{ what: `column ${table}.${column}`, table, column }] : [],
    ),
  };
}

function lockOf({ subtype, def }: AlterTableCmd): Lock {
  const constraint = def !== undefined && 'Constraint' in def ? def.Constraint : undefined;
  if (subtype === 'AT_AddConstraint' && constraint?.contype === 'CONSTR_FOREIGN')
    return 'SHARE ROW EXCLUSIVE';
  if (subtype === 'AT_DetachPartition' && def !== undefined && 'PartitionCmd' in def) {
    return def.PartitionCmd.concurrent === true ? 'SHARE UPDATE EXCLUSIVE' : 'ACCESS EXCLUSIVE';
  }
  return WEAKER[String(subtype)] ?? 'ACCESS EXCLUSIVE';
}

/** REINDEX, VACUUM, CLUSTER, REFRESH, ALTER TYPE … ADD VALUE: most of them cannot stand in a transaction. */
function maintenance(node: Node): Classified | undefined {
  if ('ReindexStmt' in node) {
    const { relation, params } = node.ReindexStmt;
    const concurrent = hasOption(params, 'concurrently');
    const lock = concurrent ? 'SHARE UPDATE EXCLUSIVE' : 'ACCESS EXCLUSIVE';
    return {
      ...LIGHT,
      lock,
      tables: relation === undefined ? [] : [tableName(relation)],
      isTransactional: !concurrent,
    };
  }
  if ('VacuumStmt' in node) {
    const { options, is_vacuumcmd: isVacuum, rels = [] } = node.VacuumStmt;
    const full = hasOption(options, 'full');
    const tables = rels.flatMap((one) =>
      'VacuumRelation' in one ? [tableName(one.VacuumRelation.relation)] : [],
    );
    const lock = full ? 'ACCESS EXCLUSIVE' : 'SHARE UPDATE EXCLUSIVE';
    return { ...LIGHT, lock, tables, rewrites: full, isTransactional: isVacuum !== true };
  }
  if ('ClusterStmt' in node) {
    return {
      ...LIGHT,
      lock: 'ACCESS EXCLUSIVE',
      tables: [tableName(node.ClusterStmt.relation)],
      rewrites: true,
    };
  }
  if ('RefreshMatViewStmt' in node) {
    const { relation, concurrent } = node.RefreshMatViewStmt;
    const lock = concurrent === true ? 'EXCLUSIVE' : 'ACCESS EXCLUSIVE';
    return { ...LIGHT, lock, tables: [tableName(relation)] };
  }
  if ('AlterEnumStmt' in node) return { ...LIGHT, isTransactional: node.AlterEnumStmt.oldVal !== undefined };
  return undefined;
}

function valuesOf(table: string, targets: readonly Node[] | undefined): Destroyed[] {
  const columns = (targets ?? []).flatMap((one) => ('ResTarget' in one ? [one.ResTarget.name ?? ''] : []));
  return columns.map((column) => ({ what: `values of ${table}.${column}`, table, column }));
}

function light(relation: RangeVar | undefined, destroys: (table: string) => Destroyed[]): Classified {
  const table = tableName(relation);
  return { ...LIGHT, lock: 'ROW EXCLUSIVE', tables: [table], destroys: destroys(table) };
}

/** Statements on rows. What an UPDATE or DELETE changes cannot be brought back by a down. */
function rows(node: Node): Classified | undefined {
  if ('InsertStmt' in node) {
    const { relation, onConflictClause } = node.InsertStmt;
    return light(relation, (table) => valuesOf(table, onConflictClause?.targetList));
  }
  if ('UpdateStmt' in node) {
    const { relation, targetList } = node.UpdateStmt;
    return light(relation, (table) => valuesOf(table, targetList));
  }
  if ('DeleteStmt' in node) {
    return light(node.DeleteStmt.relation, (table) => [{ what: `rows of table ${table}`, table }]);
  }
  if ('MergeStmt' in node) {
    return light(node.MergeStmt.relation, (table) => [{ what: `values of table ${table}`, table }]);
  }
  if ('CopyStmt' in node) return light(node.CopyStmt.relation, () => []);
  return undefined;
}

const HIDDEN = new Set(['DoStmt', 'CallStmt', 'ExecuteStmt']);

function others(node: Node): Classified {
  if ('CreateTrigStmt' in node) {
    return { ...LIGHT, lock: 'SHARE ROW EXCLUSIVE', tables: [tableName(node.CreateTrigStmt.relation)] };
  }
  if ('LockStmt' in node) {
    const tables = (node.LockStmt.relations ?? []).flatMap((one) =>
      'RangeVar' in one ? [tableName(one.RangeVar)] : [],
    );
    return { ...LIGHT, lock: 'ACCESS EXCLUSIVE', tables };
  }
  if (HIDDEN.has(kindOf(node))) return { ...LIGHT, opaque: 'it runs code that is not SQL' };
  return LIGHT;
}
