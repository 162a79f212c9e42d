/** Rules for ALTER TABLE: what scans, rewrites or locks a table that is in use. */
import type { AlterTableCmd, ColumnDef, Constraint } from 'libpg-query';
import { nameOf, tableName } from './classify.ts';
import { type Found, type LintWorld, callsOf, isNew } from './lint.ts';
import type { Statement } from './sql.ts';
import { isPlainCast, isWidening, keepsValues, typeText } from './type-change.ts';

export async function lintAlter({ node }: Statement, world: LintWorld): Promise<Found[]> {
  if (!('AlterTableStmt' in node)) return [];
  const { relation, cmds = [] } = node.AlterTableStmt;
  const table = tableName(relation);
  if (isNew(world, table)) return [];
  const found: Found[] = [];
  for (const one of cmds) {
    if ('AlterTableCmd' in one) found.push(...(await lintPart(table, one.AlterTableCmd, world)));
  }
  return found;
}

async function lintPart(table: string, cmd: AlterTableCmd, world: LintWorld): Promise<Found[]> {
  const { subtype, def, name = '' } = cmd;
  const column = `${table}.${name}`;
  switch (subtype) {
    case 'AT_AddColumn':
      return def !== undefined && 'ColumnDef' in def ? addColumn(table, def.ColumnDef, world) : [];
    case 'AT_AddConstraint':
      return def !== undefined && 'Constraint' in def ? addConstraint(table, def.Constraint) : [];
    case 'AT_SetNotNull':
      return (await world.isKnownNotNull(table, name)) ? [] : [setNotNull(table, name)];
    case 'AT_AlterColumnType':
      return changeType(table, cmd, world);
    case 'AT_DropColumn':
      return world.isForGood || world.created.has(column)
        ? []
        : [
            {
              rule: 'DropColumn',
              object: column,
              found: `drops column ${column}, which the running release may read and no undo can bring back`,
              rewrite: 'put the step below a point-of-no-return, once nothing uses the column',
            },
          ];
    case 'AT_DropNotNull':
      return [
        {
          rule: 'DropNotNull',
          object: column,
          found: `lets ${column} be NULL, which the running release may not expect`,
          rewrite: 'see that every reader takes NULL first',
        },
      ];
    case 'AT_DetachPartition':
      return def !== undefined && 'PartitionCmd' in def && def.PartitionCmd.concurrent !== true
        ? [
            {
              rule: 'DetachNotConcurrent',
              object: table,
              found: `detaches a partition of ${table} under a lock that stops every query`,
              rewrite: `ALTER TABLE ${table} DETACH PARTITION … CONCURRENTLY, in a file of its own`,
            },
          ]
        : [];
    default:
      return [];
  }
}

function setNotNull(table: string, column: string): Found {
  const check = `${column}_not_null`;
  return {
    rule: 'SetNotNull',
    object: `${table}.${column}`,
    found: `reads all of ${table} under a lock that stops every query, to see that ${column} is not NULL`,
    rewrite: `ALTER TABLE ${table} ADD CONSTRAINT ${check} CHECK (${column} IS NOT NULL) NOT VALID; in later files: VALIDATE CONSTRAINT ${check}, SET NOT NULL, DROP CONSTRAINT ${check}`,
  };
}

const SERIALS = ['serial', 'bigserial', 'smallserial', 'serial4', 'serial8', 'serial2'];

async function addColumn(table: string, def: ColumnDef, world: LintWorld): Promise<Found[]> {
  const column = `${table}.${def.colname ?? ''}`;
  const type = nameOf(def.typeName === undefined ? undefined : { TypeName: def.typeName });
  const constraints = (def.constraints ?? []).flatMap((one) => ('Constraint' in one ? [one.Constraint] : []));
  const of = (kind: string) => constraints.find(({ contype }) => contype === kind);
  const found: Found[] = [];
  if (SERIALS.includes(type) || of('CONSTR_IDENTITY') !== undefined) {
    found.push({
      rule: 'SerialAdd',
      object: column,
      found: `adds ${column} with a counter, which writes every row of ${table} anew`,
      rewrite:
        'add a plain bigint column, give it a default of nextval for new rows, and backfill the old ones',
    });
  }
  if (of('CONSTR_GENERATED') !== undefined) {
    found.push({
      rule: 'StoredGenerated',
      object: column,
      found: `adds ${column} as a stored expression, which writes every row of ${table} anew`,
      rewrite: 'add a plain column, fill new rows by a trigger, and backfill the old ones',
    });
  }
  const standard = of('CONSTR_DEFAULT');
  for (const name of callsOf(standard?.raw_expr)) {
    if ((await world.isVolatile(name)) === false) continue;
    found.push({
      rule: 'VolatileDefault',
      object: column,
      found: `adds ${column} with the default ${name}(), which differs for each row, so every row of ${table} is written anew`,
      rewrite: `ADD COLUMN without a default; ALTER COLUMN … SET DEFAULT ${name}(); backfill the old rows`,
    });
  }
  if (of('CONSTR_NOTNULL') !== undefined && standard === undefined && of('CONSTR_GENERATED') === undefined) {
    found.push({
      rule: 'NotNullWithoutDefault',
      object: column,
      found: `adds ${column} NOT NULL without a default, which fails as soon as ${table} has a row`,
      rewrite: `add it with a DEFAULT, or without NOT NULL and backfill it`,
    });
  }
  return [...found, ...constraints.flatMap((one) => addConstraint(table, one, def.colname))];
}

function addConstraint(table: string, constraint: Constraint, column?: string): Found[] {
  const name = constraint.conname ?? `${column ?? 'name'}_check`;
  const isValidated = constraint.skip_validation !== true;
  switch (constraint.contype) {
    case 'CONSTR_FOREIGN':
      return isValidated
        ? [
            {
              rule: 'ForeignKeyValidating',
              object: table,
              found: `checks every row of ${table} against ${tableName(constraint.pktable)} while both take no write`,
              rewrite: `ALTER TABLE ${table} ADD CONSTRAINT ${name} FOREIGN KEY … NOT VALID; in a later file: ALTER TABLE ${table} VALIDATE CONSTRAINT ${name}`,
            },
          ]
        : [];
    case 'CONSTR_CHECK':
      return isValidated
        ? [
            {
              rule: 'CheckValidating',
              object: table,
              found: `checks every row of ${table} under a lock that stops every query`,
              rewrite: `ALTER TABLE ${table} ADD CONSTRAINT ${name} CHECK (…) NOT VALID; in a later file: ALTER TABLE ${table} VALIDATE CONSTRAINT ${name}`,
            },
          ]
        : [];
    case 'CONSTR_UNIQUE':
    case 'CONSTR_PRIMARY':
      return constraint.indexname === undefined || constraint.indexname === ''
        ? [
            {
              rule: 'UniqueConstraint',
              object: table,
              found: `builds the index of a key of ${table} under a lock that stops every query`,
              rewrite: `CREATE UNIQUE INDEX CONCURRENTLY … in a file of its own; in a later file: ALTER TABLE ${table} ADD CONSTRAINT ${name} ${constraint.contype === 'CONSTR_UNIQUE' ? 'UNIQUE' : 'PRIMARY KEY'} USING INDEX …`,
            },
          ]
        : [];
    case 'CONSTR_EXCLUSION':
      return [
        {
          rule: 'ExclusionConstraint',
          object: table,
          found: `builds an exclusion constraint of ${table} under a lock that stops every query; there is no safe form`,
          rewrite: 'give the step a window, and allow it with the reason',
        },
      ];
    default:
      return [];
  }
}

/** Changes that PostgreSQL makes without writing the rows anew: a longer varchar, varchar to text, a wider numeric. */
async function changeType(table: string, cmd: AlterTableCmd, world: LintWorld): Promise<Found[]> {
  const { name = '', def } = cmd;
  const column = def !== undefined && 'ColumnDef' in def ? def.ColumnDef : undefined;
  const before = await world.columnType(table, name);
  const after = column === undefined ? undefined : typeText(column);
  const isPlain = isPlainCast(column, name);
  if (isPlain && before !== undefined && after !== undefined && isWidening(before, after)) return [];
  const isKept = isPlain && before !== undefined && after !== undefined && keepsValues(before, after);
  return [
    {
      ...(isKept || world.created.has(`${table}.${name}`)
        ? {}
        : { destroys: `values of ${table}.${name}, which become ${after ?? 'another type'}` }),
      rule: 'TypeChangeRewrite',
      object: `${table}.${name}`,
      found: `changes ${table}.${name} from ${before ?? 'its type'} to ${after ?? 'another'}, which writes every row anew under a lock that stops every query`,
      rewrite:
        'add a new column of the new type, fill new rows by a trigger, backfill the old ones, and switch the readers',
    },
  ];
}
