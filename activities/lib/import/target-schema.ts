/** The tables of schema public in a target, as far as an import must know them. */
import type { Connection, Rows } from '../postgres.ts';
import type { Encoding } from './encoding.ts';
import type { MomentForm } from './moments.ts';
import type { MappingWord } from '../../../procedures/mapping-words.ts';
import type { Rule } from './rules.ts';

export type TargetColumn = {
  name: string;
  /** As `format_type` writes it. */
  type: string;
  /** Name of the base type, of a domain the one behind it. */
  base: string;
  /** As PostgreSQL keeps it; -1 for none. */
  modifier: number;
  /** Labels of an enum, in their order. */
  labels: string[];
  notNull: boolean;
  /** A default or an identity. */
  filled: boolean;
  /** An identity, or a default from a sequence. */
  counted: boolean;
  computed: boolean;
};

export type TargetTable = {
  name: string;
  rows: boolean;
  /** The session's user has the rights of its owner. */
  owned: boolean;
  /** Its rows do not survive a crash of the server. */
  unlogged: boolean;
  columns: TargetColumn[];
  /** What would change or refuse rows while they are loaded, each in words. */
  hindrances: string[];
};

const OURS = `c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')`;

/** Names of the tables in schema public that no extension brought. */
export async function targetTableNames(connection: Connection): Promise<string[]> {
  const rows = await connection.query(`SELECT c.relname FROM pg_class c WHERE ${OURS} ORDER BY 1`);
  return rows.map(([name]) => name ?? '');
}

/** Every table of schema public with what an import must know of it. */
export async function readTargetTables(connection: Connection): Promise<TargetTable[]> {
  const tables = await connection.query(
    `SELECT c.oid, c.relname, pg_has_role(c.relowner, 'USAGE'), quote_ident(c.relname),
       c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE')), c.relpersistence = 'u'
     FROM pg_class c WHERE ${OURS} ORDER BY c.relname COLLATE "C"`,
  );
  const columns = await connection.query(
    `SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod), coalesce(b.typname, t.typname),
       CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE t.typtypmod END,
       (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder)::text FROM pg_enum e WHERE e.enumtypid = t.oid),
       a.attnotnull OR t.typnotnull, a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
       a.attidentity <> '' OR coalesce(pg_get_expr(f.adbin, f.adrelid), '') LIKE 'nextval(%', a.attgenerated <> ''
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
       LEFT JOIN pg_type b ON b.oid = t.typbasetype LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
     WHERE ${OURS} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`,
  );
  const triggers = await connection.query(
    `SELECT t.tgrelid, 'trigger ' || quote_ident(t.tgname) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
     WHERE ${OURS} AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 4 > 0
     UNION ALL SELECT r.ev_class, 'rule ' || quote_ident(r.rulename) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
     WHERE ${OURS} AND r.ev_enabled IN ('O', 'A')`,
  );
  const found: TargetTable[] = [];
  for (const [oid = null, name, owned, quoted, guarded, unlogged] of tables) {
    const [any] = await connection.query(`SELECT EXISTS (SELECT 1 FROM public.${quoted ?? ''})`);
    found.push({
      name: name ?? '',
      owned: owned === 't',
      unlogged: unlogged === 't',
      rows: any?.[0] === 't',
      columns: byTable(columns, oid).map(columnOf),
      hindrances: [
        ...byTable(triggers, oid).map(([, words]) => words ?? ''),
        ...(guarded === 't' ? ['row-level security'] : []),
      ],
    });
  }
  return found;
}

function byTable(rows: Rows, oid: string | null): Rows {
  return rows.filter((row) => row[0] === oid);
}

function columnOf(row: (string | null)[]): TargetColumn {
  const labels: unknown = JSON.parse(row[5] ?? '[]');
  return {
    name: row[1] ?? '',
    type: row[2] ?? '',
    base: row[3] ?? '',
    modifier: Number(row[4]),
    labels: Array.isArray(labels) ? labels.map(String) : [],
    notNull: row[6] === 't',
    filled: row[7] === 't',
    counted: row[8] === 't',
    computed: row[9] === 't',
  };
}

/** What decides about the cells of a column besides its type. */
export type ColumnWishes = { word?: MappingWord; zone?: string; blob: boolean };

/** How the cells of a column of this type are carried. Undefined where its type cannot be. */
export function targetRule(column: TargetColumn, wishes: ColumnWishes): Rule | undefined {
  const encoding =
    column.labels.length > 0 ? { as: 'enum' as const, values: column.labels } : encodingOf(column, wishes);
  return encoding === undefined ? undefined : { type: column.type, encoding };
}

/** Bytes that PostgreSQL's own header takes in a modifier. */
const HEADER = 4;

function encodingOf({ base, modifier }: TargetColumn, wishes: ColumnWishes): Encoding | undefined {
  switch (base) {
    case 'int2':
      return { as: 'integer', bits: 16 };
    case 'int4':
      return { as: 'integer', bits: 32 };
    case 'int8':
      return { as: 'integer', bits: 64 };
    case 'float4':
      return { as: 'short-real' };
    case 'float8':
      return { as: 'real' };
    case 'numeric':
      return modifier < HEADER
        ? { as: 'numeric' }
        : { as: 'numeric', precision: (modifier - HEADER) >> 16, scale: (modifier - HEADER) & 0x7ff };
    case 'bool':
      return { as: 'boolean' };
    case 'date':
      return { as: 'date' };
    case 'time':
      return { as: 'time', ...(modifier < 0 ? {} : { digits: modifier }) };
    case 'timestamp':
    case 'timestamptz':
      return {
        as: base,
        form: formOf(wishes.word),
        ...(modifier < 0 ? {} : { digits: modifier }),
        ...(wishes.zone === undefined ? {} : { zone: wishes.zone }),
      };
    case 'text':
    case 'citext':
    case 'varchar':
    case 'bpchar':
      return {
        as: 'text',
        ...(wishes.word === 'text' ? { any: true } : {}),
        ...(modifier < HEADER ? {} : { lengthMax: modifier - HEADER }),
        ...(base === 'bpchar' ? { exactly: true } : {}),
      };
    case 'bytea':
      if (wishes.word === 'bytea') return { as: 'bytes', any: true };
      return { as: 'bytes', ...(wishes.blob ? { texts: true } : {}) };
    case 'uuid':
    case 'json':
    case 'jsonb':
      return { as: base };
    default:
      return undefined;
  }
}

function formOf(word: MappingWord | undefined): MomentForm {
  return word === 'epoch-seconds' || word === 'epoch-milliseconds' || word === 'julian-day' ? word : 'iso';
}

/** Whether a line of `mapping` can be had with a column of this type. */
export function suits(word: MappingWord, rule: Rule): boolean {
  const { as } = rule.encoding;
  const words: Record<string, readonly MappingWord[]> = {
    integer: ['bigint', 'integer', 'smallint'],
    real: ['double precision'],
    'short-real': ['double precision'],
    numeric: ['numeric'],
    boolean: ['boolean'],
    date: ['date'],
    time: ['time'],
    timestamp: ['timestamp', 'epoch-seconds', 'epoch-milliseconds', 'julian-day'],
    timestamptz: ['timestamptz', 'epoch-seconds', 'epoch-milliseconds', 'julian-day'],
    text: ['text'],
    bytes: ['bytea'],
    uuid: ['uuid'],
    json: ['json'],
    jsonb: ['jsonb'],
  };
  return word === 'quarantine' || words[as]?.includes(word) === true;
}
