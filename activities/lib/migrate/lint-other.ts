/** Rules for everything but ALTER TABLE: indexes, renames, drops, rows, and what takes our guards away. */
import type { Node } from 'libpg-query';
import { classify, hasOption, nameOf, rowStatements, tableName } from './classify.ts';
import { type Found, type LintWorld, callsOf, callsWith, isNew } from './lint.ts';
import type { Statement } from './sql.ts';

export async function lintOther(statement: Statement, world: LintWorld): Promise<Found[]> {
  const { node } = statement;
  const found = [
    ...lintIndex(node, world),
    ...(await lintDrop(node, world)),
    ...lintRename(node, world),
    ...lintRows(node, world),
    ...lintMaintenance(node),
    ...lintSettings(node),
  ];
  const { isTransactional, opaque } = classify(statement);
  if (!isTransactional && world.isInTransaction) {
    found.push({
      rule: 'ConcurrentInTransaction',
      object: tablesOf(statement),
      found: 'cannot stand in a transaction, where PostgreSQL refuses it',
      rewrite:
        'put it in a migration of its own, outside of a transaction (Alembic: with op.get_context().autocommit_block())',
    });
  }
  for (const call of 'SelectStmt' in node ? callsOf(node) : []) {
    if (call.endsWith('set_config') || (await world.isVolatile(call)) === false) continue;
    found.push({
      rule: 'NotAnalysed',
      object: call,
      found: `calls ${call}(), which may do anything`,
      rewrite: 'write what it does as SQL, or read it with the same eyes',
    });
  }
  if (opaque !== undefined) {
    found.push({
      rule: 'NotAnalysed',
      object: tablesOf(statement),
      found: `cannot be judged, as ${opaque}`,
      rewrite: 'write plain SQL, or read it with the same eyes',
    });
  }
  return found;
}

function tablesOf(statement: Statement): string {
  return classify(statement).tables.join(', ') || 'statement';
}

function lintIndex(node: Node, world: LintWorld): Found[] {
  if ('ReindexStmt' in node && !hasOption(node.ReindexStmt.params, 'concurrently')) {
    const object = tableName(node.ReindexStmt.relation);
    const found = `builds ${object} anew while its table takes no write`;
    return [
      {
        rule: 'ReindexNotConcurrent',
        object,
        found,
        rewrite: `REINDEX … CONCURRENTLY ${object}, in a file of its own`,
      },
    ];
  }
  if (!('IndexStmt' in node)) return [];
  const { relation, idxname = '', concurrent, unique, if_not_exists: ifNotExists } = node.IndexStmt;
  const table = tableName(relation);
  if (concurrent !== true) {
    if (isNew(world, table)) return [];
    const rewrite = `CREATE ${unique === true ? 'UNIQUE ' : ''}INDEX CONCURRENTLY ${idxname} ON ${table} (…), in a file of its own`;
    return [
      {
        rule: 'IndexNotConcurrent',
        object: table,
        found: `builds an index of ${table} while the table takes no write`,
        rewrite,
      },
    ];
  }
  if (ifNotExists !== true) return [];
  return [
    {
      rule: 'ConcurrentIfNotExists',
      object: idxname === '' ? table : idxname,
      found: `takes an index ${idxname} that was left invalid for a good one, and says nothing`,
      rewrite: 'take IF NOT EXISTS away: an index that a broken attempt left is found and dropped',
    },
  ];
}

async function lintDrop(node: Node, world: LintWorld): Promise<Found[]> {
  if ('DropdbStmt' in node) {
    const object = node.DropdbStmt.dbname ?? '';
    return [
      {
        rule: 'DropDatabase',
        object,
        found: `drops database ${object}`,
        rewrite: 'take it away: no migration drops a database',
      },
    ];
  }
  if (!('DropStmt' in node)) return [];
  const { removeType, objects = [], behavior, concurrent } = node.DropStmt;
  const names = objects.map(nameOf);
  const found: Found[] = [];
  if (removeType === 'OBJECT_TABLE' && !world.isForGood) {
    for (const object of names.filter((one) => !isNew(world, one))) {
      const what = `drops table ${object}, which the running release may read and no undo can bring back`;
      found.push({
        rule: 'DropTable',
        object,
        found: what,
        rewrite: 'put the step below a point-of-no-return, once nothing uses the table',
      });
    }
  }
  if (removeType === 'OBJECT_INDEX' && concurrent !== true) {
    for (const object of names) {
      const table = await world.tableOf(object);
      if (table !== undefined && isNew(world, table)) continue;
      const what = `drops index ${object} under a lock that stops every query of its table`;
      found.push({
        rule: 'DropIndexNotConcurrent',
        object,
        found: what,
        rewrite: `DROP INDEX CONCURRENTLY ${object}, in a file of its own`,
      });
    }
  }
  if (behavior === 'DROP_CASCADE') {
    const object = names.join(', ');
    const what = `drops whatever depends on ${object}, which nobody listed`;
    found.push({
      rule: 'DropCascade',
      object,
      found: what,
      rewrite: 'drop what depends on it by name first, and take CASCADE away',
    });
  }
  return found;
}

const RENAMES = {
  OBJECT_COLUMN: 'RenameColumn',
  OBJECT_TABLE: 'RenameTable',
  OBJECT_VIEW: 'RenameTable',
  OBJECT_SCHEMA: 'RenameSchema',
} as const;

function lintRename(node: Node, world: LintWorld): Found[] {
  if (
    'AlterEnumStmt' in node &&
    node.AlterEnumStmt.oldVal !== undefined &&
    node.AlterEnumStmt.oldVal !== ''
  ) {
    const object = (node.AlterEnumStmt.typeName ?? []).map(nameOf).join('.');
    const found = `renames value '${node.AlterEnumStmt.oldVal}' of ${object}, which the running release goes on writing`;
    return [
      {
        rule: 'RenameEnumValue',
        object,
        found,
        rewrite: 'add the new value, move readers and writers over, and leave the old one',
      },
    ];
  }
  if (!('RenameStmt' in node)) return [];
  const { renameType, relation, subname = '', newname = '' } = node.RenameStmt;
  const rule = RENAMES[renameType as keyof typeof RENAMES];
  const table = tableName(relation);
  if (rule === undefined || isNew(world, table)) return [];
  const object = rule === 'RenameColumn' ? `${table}.${subname}` : rule === 'RenameSchema' ? subname : table;
  const rewrite =
    rule === 'RenameColumn'
      ? `add ${newname}, fill it by a trigger and a backfill, move readers over, and drop ${subname} below a point-of-no-return`
      : rule === 'RenameTable'
        ? `rename it and make a view ${table} in the same file, or leave the name`
        : 'leave the name, and move the tables one after the other';
  return [
    {
      rule,
      object,
      found: `renames ${object} to ${newname}, which the running release does not know`,
      rewrite,
    },
  ];
}

function lintRows(node: Node, world: LintWorld): Found[] {
  if ('TruncateStmt' in node) {
    const tables = classify({ node, sql: '', line: 1 }).tables.filter((one) => !isNew(world, one));
    const object = tables.join(', ');
    if (node.TruncateStmt.behavior === 'DROP_CASCADE') {
      const found = `empties ${object} and every table that refers to it`;
      return [{ rule: 'TruncateCascade', object, found, rewrite: 'name each table, and take CASCADE away' }];
    }
    if (tables.length === 0 || world.isForGood) return [];
    const found = `empties ${object}, which no undo can bring back`;
    return [{ rule: 'Truncate', object, found, rewrite: 'put the step below a point-of-no-return' }];
  }
  return rowStatements(node).flatMap((one) => lintRow(one, world));
}

function lintRow(node: Node, world: LintWorld): Found[] {
  const changed = changedRows(node);
  if (changed === undefined || isNew(world, changed.table)) return [];
  const { table, verb, hasWhere } = changed;
  const rewrite = 'use backfill of the step: pages of a few rows, each with its checkpoint';
  if (world.changesSchema) {
    const found = `${verb} rows of ${table} while the same transaction holds locks of its schema change`;
    return [{ rule: 'BackfillInSchemaChange', object: table, found, rewrite }];
  }
  if (hasWhere) return [];
  const found = `${verb} every row of ${table} in one transaction`;
  return [{ rule: 'UnbatchedWrite', object: table, found, rewrite }];
}

function changedRows(node: Node): { table: string; verb: string; hasWhere: boolean } | undefined {
  if ('UpdateStmt' in node) {
    const { relation, whereClause } = node.UpdateStmt;
    return { table: tableName(relation), verb: 'updates', hasWhere: whereClause !== undefined };
  }
  if ('DeleteStmt' in node) {
    const { relation, whereClause } = node.DeleteStmt;
    return { table: tableName(relation), verb: 'deletes', hasWhere: whereClause !== undefined };
  }
  return undefined;
}

function lintMaintenance(node: Node): Found[] {
  if ('RefreshMatViewStmt' in node && node.RefreshMatViewStmt.concurrent !== true) {
    const object = tableName(node.RefreshMatViewStmt.relation);
    const found = `fills ${object} anew while nobody can read it`;
    return [
      { rule: 'RefreshBlocking', object, found, rewrite: `REFRESH MATERIALIZED VIEW CONCURRENTLY ${object}` },
    ];
  }
  const isFull = 'VacuumStmt' in node && hasOption(node.VacuumStmt.options, 'full');
  if (!isFull && !('ClusterStmt' in node)) return [];
  const tables = classify({ node, sql: '', line: 1 }).tables.join(', ');
  const object = tables === '' ? 'every table' : tables;
  const found = `writes ${object} anew while nobody can read it`;
  return [
    {
      rule: 'ClusterOrVacuumFull',
      object,
      found,
      rewrite: 'leave it to autovacuum, or use a tool that works beside the queries',
    },
  ];
}

const GUARDS = ['lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout'];

function settingOf(node: Node): string[] {
  if ('VariableSetStmt' in node) {
    const { name = '', kind } = node.VariableSetStmt;
    return [kind === 'VAR_RESET_ALL' ? 'all' : name.toLowerCase()];
  }
  return callsWith(node, 'set_config').map((first) => first.toLowerCase());
}

/** ALTER … SET in a DO block or a function is code, which nobody judges; set_config of a select is read. */
function lintSettings(node: Node): Found[] {
  return settingOf(node).flatMap(lintSetting);
}

function lintSetting(name: string): Found[] {
  if (name === 'all' || GUARDS.includes(name)) {
    const found = `${name === 'all' ? 'resets every setting' : `sets ${name}`}, which the step sets itself so that no query waits for long`;
    return [
      {
        rule: 'LockTimeoutSet',
        object: name,
        found,
        rewrite: 'take it away, and write lockTimeout or statementTimeout in the step',
      },
    ];
  }
  if (name !== 'search_path') return [];
  const found = 'sets search_path, so that names mean something else in the files behind it';
  return [{ rule: 'SearchPathSet', object: name, found, rewrite: 'write the schema before each name' }];
}
