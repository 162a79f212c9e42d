/** Advice on the types of new columns: what is cheap to choose now and dear to change later. */
import type { ColumnDef } from 'libpg-query';
import { nameOf, tableName } from './classify.ts';
import type { Found } from './lint.ts';
import type { Statement } from './sql.ts';

export function lintColumns({ node }: Statement): Found[] {
  if ('CreateStmt' in node) {
    const table = tableName(node.CreateStmt.relation);
    return (node.CreateStmt.tableElts ?? []).flatMap((one) =>
      'ColumnDef' in one ? advice(table, one.ColumnDef) : [],
    );
  }
  if (!('AlterTableStmt' in node)) return [];
  const table = tableName(node.AlterTableStmt.relation);
  return (node.AlterTableStmt.cmds ?? []).flatMap((one) => {
    if (!('AlterTableCmd' in one) || one.AlterTableCmd.subtype !== 'AT_AddColumn') return [];
    const { def } = one.AlterTableCmd;
    return def !== undefined && 'ColumnDef' in def ? advice(table, def.ColumnDef) : [];
  });
}

function advice(table: string, { colname = '', typeName, constraints = [] }: ColumnDef): Found[] {
  const type = nameOf(typeName === undefined ? undefined : { TypeName: typeName }).replace(
    /^pg_catalog\./,
    '',
  );
  const object = `${table}.${colname}`;
  const isKey = constraints.some((one) => 'Constraint' in one && one.Constraint.contype === 'CONSTR_PRIMARY');
  if (isKey && ['int4', 'serial', 'serial4', 'int2', 'smallserial', 'serial2'].includes(type)) {
    const found = `makes the key ${object} of type ${type}, which ends at ${type.includes('2') || type.startsWith('small') ? '32767' : '2147483647'}`;
    return [{ rule: 'Int4Key', object, found, rewrite: `${colname} bigint GENERATED ALWAYS AS IDENTITY` }];
  }
  if (type === 'timestamp') {
    const found = `makes ${object} a time without a zone, which means another moment in each session`;
    return [{ rule: 'TimestampWithoutZone', object, found, rewrite: `${colname} timestamptz` }];
  }
  if (type === 'json') {
    const found = `makes ${object} of type json, which has no equality, so that SELECT DISTINCT fails`;
    return [{ rule: 'JsonType', object, found, rewrite: `${colname} jsonb` }];
  }
  if (type === 'bpchar') {
    const found = `makes ${object} of type char, which is filled up with blanks`;
    return [{ rule: 'CharType', object, found, rewrite: `${colname} text, with a check of its length` }];
  }
  return [];
}
