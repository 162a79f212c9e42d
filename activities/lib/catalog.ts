/**
 * What a PostgreSQL database looks like: STATE is a digest of its catalog, DATA one of its rows. Left out are the
 * system's schemas and `countdown`, where the fence stays.
 */
import { createHash } from 'node:crypto';
import { inTransaction } from './postgres.ts';
import type { Connection, Rows } from './postgres.ts';
import { quote } from './sqlite.ts';

/** A schema that counts. */
const OURS = `n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'countdown')`;
const RELATION = `JOIN pg_class c ON c.oid = %.REL JOIN pg_namespace n ON n.oid = c.relnamespace AND ${OURS}`;

/** Rights in one order, and those that every new object has where none were given: GRANT and REVOKE come back to where they began. */
function rights(acl: string, type: string, owner: string): string {
  return `(SELECT array_agg(a ORDER BY a::text) FROM unnest(coalesce(${acl}, acldefault(${type}, ${owner}))) AS a)::text`;
}

/** Of triggers `t`: those that do not note rows for the way back of an import. */
export const NOT_NOTING = `t.tgfoid NOT IN (SELECT f.oid FROM pg_proc f JOIN pg_namespace o ON o.oid = f.pronamespace WHERE o.nspname = 'countdown')`;

/** One query for each sort of object; each row is an object with everything about it. Sorted by us, bytewise. */
export const OBJECTS: Record<string, string> = {
  schemas: `SELECT n.nspname, pg_get_userbyid(n.nspowner), ${rights('n.nspacl', `'n'`, 'n.nspowner')} FROM pg_namespace n WHERE ${OURS}`,
  relations: `SELECT n.nspname, c.relname, c.relkind, c.relpersistence, pg_get_userbyid(c.relowner), ${rights('c.relacl', `CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char"`, 'c.relowner')}, c.relrowsecurity,
      c.relforcerowsecurity, c.relreplident, c.reloptions::text, pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${OURS} AND c.relkind <> 't'`,
  columns: `SELECT n.nspname, c.relname, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
      pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation::text, a.attacl::text
    FROM pg_attribute a ${RELATION.replace('%.REL', 'a.attrelid')} LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped`,
  constraints: `SELECT n.nspname, k.conrelid::regclass::text, k.contypid::regtype::text, k.conname, pg_get_constraintdef(k.oid), k.convalidated
    FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE ${OURS}`,
  indexes: `SELECT n.nspname, pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisclustered, i.indisreplident FROM pg_index i ${RELATION.replace('%.REL', 'i.indexrelid')}`,
  sequences: `SELECT n.nspname, c.relname, s.seqtypid::regtype::text, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle
    FROM pg_sequence s ${RELATION.replace('%.REL', 's.seqrelid')}`,
  views: `SELECT n.nspname, c.relname, pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${OURS} AND c.relkind IN ('v', 'm')`,
  rules: `SELECT n.nspname, pg_get_ruledef(r.oid), r.ev_enabled FROM pg_rewrite r ${RELATION.replace('%.REL', 'r.ev_class')} WHERE r.rulename <> '_RETURN'`,
  triggers: `SELECT n.nspname, pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger t ${RELATION.replace('%.REL', 't.tgrelid')}
    WHERE NOT t.tgisinternal AND ${NOT_NOTING}`,
  policies: `SELECT n.nspname, c.relname, p.polname, p.polcmd, p.polpermissive, p.polroles::regrole[]::text, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
    FROM pg_policy p ${RELATION.replace('%.REL', 'p.polrelid')}`,
  functions: `SELECT n.nspname, p.oid::regprocedure::text, p.prokind, pg_get_userbyid(p.proowner), ${rights('p.proacl', `'f'`, 'p.proowner')},
      CASE WHEN p.prokind IN ('f', 'p', 'w') THEN pg_get_functiondef(p.oid) END
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ${OURS}`,
  types: `SELECT n.nspname, t.typname, t.typtype, pg_get_userbyid(t.typowner), ${rights('t.typacl', `'T'`, 't.typowner')}, format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE ${OURS}`,
  enums: `SELECT n.nspname, t.typname, e.enumlabel, e.enumsortorder FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace WHERE ${OURS}`,
  extensions: `SELECT e.extname, e.extversion, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace`,
  'default rights': `SELECT d.defaclobjtype, pg_get_userbyid(d.defaclrole), n.nspname, d.defaclacl::text FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace`,
  publications: `SELECT p.pubname, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate FROM pg_publication p`,
};

export type CatalogPrint = { state: string; data: string | null; tables: number; rows: number };

/** STATE and DATA in one snapshot. DATA is null where there is no table, so that there is nothing to digest. */
export async function fingerprintDatabase(connection: Connection): Promise<CatalogPrint> {
  return await inTransaction(
    connection,
    async () => ({ state: await digestObjects(connection), ...(await digestRows(connection)) }),
    'ISOLATION LEVEL REPEATABLE READ READ ONLY',
  );
}

/** STATE alone, where the rows are in use. */
export async function fingerprintState(connection: Connection): Promise<string> {
  return await inTransaction(
    connection,
    () => digestObjects(connection),
    'ISOLATION LEVEL REPEATABLE READ READ ONLY',
  );
}

async function digestObjects(connection: Connection): Promise<string> {
  const hash = createHash('sha256');
  for (const [sort, sql] of Object.entries(OBJECTS)) {
    const rows = await connection.query(sql);
    hash.update(`${sort}\n${sortRows(rows).join('\n')}\n`);
  }
  return hash.digest('hex');
}

function sortRows(rows: Rows): string[] {
  return rows.map((row) => JSON.stringify(row)).toSorted();
}

/**
 * A digest of every row, made in the server: sums of row digests, so that the order in which rows lie does not count.
 * Sequences count with how far they got.
 */
async function digestRows(
  connection: Connection,
): Promise<{ data: string | null; tables: number; rows: number }> {
  const tables = await connection.query(
    `SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE ${OURS} AND c.relkind IN ('r', 'm', 'S') ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`,
  );
  const lines: string[] = [];
  let count = 0;
  let rows = 0;
  for (const [schema, name, kind] of tables) {
    const table = `${quote(schema ?? '')}.${quote(name ?? '')}`;
    const [row] = await connection.query(
      kind === 'S'
        ? `SELECT last_value, is_called FROM ${table}`
        : `SELECT count(*), sum(('x' || substr(h, 1, 15))::bit(60)::bigint::numeric), sum(('x' || substr(h, 16, 15))::bit(60)::bigint::numeric)
           FROM (SELECT md5(t::text) AS h FROM ${table} AS t) AS hashed`,
    );
    lines.push(JSON.stringify([schema, name, kind, row]));
    if (kind === 'S') continue;
    count += 1;
    rows += Number(row?.[0] ?? 0);
  }
  const data = count === 0 ? null : createHash('sha256').update(lines.join('\n')).digest('hex');
  return { data, tables: count, rows };
}

/** Relations outside the system's schemas and `countdown` that no extension brought; an empty target has none. */
export async function userRelations(connection: Connection): Promise<string[]> {
  const rows = await connection.query(
    `SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE ${OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
     ORDER BY 1 LIMIT 100`,
  );
  return rows.map(([name]) => name ?? '');
}
