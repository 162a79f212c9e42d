/**
 * The statements that make the structure of one database again in an empty one, read from its catalog. What is left out
 * (aggregates, operators, foreign tables and the like) shows when the two are compared, and pg_dump is asked then.
 */
import { NOT_NOTING } from '../catalog.ts';
import type { Connection } from '../postgres.ts';

/** Not the system's, not ours, and not an extension's. */
const own = (catalog: string, alias: string): string =>
  `n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'countdown')
   AND NOT EXISTS (SELECT 1 FROM pg_depend x WHERE x.classid = '${catalog}'::regclass AND x.objid = ${alias}.oid AND x.deptype = 'e')`;

const NAME = `quote_ident(n.nspname) || '.' || quote_ident(c.relname)`;
const IN_CLASS = `FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${own('pg_class', 'c')}`;
const SEQUENCE = `'AS ' || format_type(s.seqtypid, NULL) || ' START ' || s.seqstart || ' INCREMENT ' || s.seqincrement || ' MINVALUE ' || s.seqmin
  || ' MAXVALUE ' || s.seqmax || ' CACHE ' || s.seqcache || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END`;

/** The sequence of an identity column is made with its column. */
const IDENTITY = `EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')`;

const COLUMNS = `(SELECT string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
    || CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END
    || CASE a.attgenerated WHEN 's' THEN ' GENERATED ALWAYS AS (' || pg_get_expr(e.adbin, e.adrelid) || ') STORED' ELSE '' END
    || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, ', ' ORDER BY a.attnum)
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)`;

const OPTIONS = `CASE WHEN c.reloptions IS NULL THEN '' ELSE ' WITH (' || array_to_string(c.reloptions, ', ') || ')' END`;

/** In the order in which they are made; a statement that comes too early is tried again. */
const STATEMENTS: string[] = [
  `SELECT 'CREATE SCHEMA ' || quote_ident(n.nspname) FROM pg_namespace n WHERE n.nspname <> 'public' AND ${own('pg_namespace', 'n')}`,
  `SELECT 'CREATE EXTENSION IF NOT EXISTS ' || quote_ident(e.extname) || ' SCHEMA ' || quote_ident(n.nspname) || ' VERSION ' || quote_literal(e.extversion)
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql' ORDER BY e.oid`,
  `SELECT 'CREATE TYPE ' || quote_ident(n.nspname) || '.' || quote_ident(t.typname) || ' AS ENUM ('
      || coalesce((SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), '') || ')'
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'e' AND ${own('pg_type', 't')}`,
  `SELECT 'CREATE DOMAIN ' || quote_ident(n.nspname) || '.' || quote_ident(t.typname) || ' AS ' || format_type(t.typbasetype, t.typtypmod)
      || CASE WHEN t.typdefault IS NULL THEN '' ELSE ' DEFAULT ' || t.typdefault END || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'd' AND ${own('pg_type', 't')} ORDER BY t.oid`,
  `SELECT 'ALTER DOMAIN ' || quote_ident(n.nspname) || '.' || quote_ident(t.typname) || ' ADD CONSTRAINT ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN pg_namespace n ON n.oid = t.typnamespace WHERE ${own('pg_type', 't')}`,
  `SELECT 'CREATE TYPE ' || ${NAME} || ' AS (' || coalesce(${COLUMNS}, '') || ')' ${IN_CLASS} AND c.relkind = 'c'`,
  `SELECT 'CREATE ' || CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END || 'SEQUENCE ' || ${NAME} || ' ' || ${SEQUENCE}
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid WHERE ${own('pg_class', 'c')} AND NOT ${IDENTITY}`,
  `SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prokind IN ('f', 'p', 'w') AND ${own('pg_proc', 'p')} ORDER BY p.oid`,
  `SELECT 'CREATE ' || CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END || 'TABLE ' || ${NAME} || ' (' || coalesce(${COLUMNS}, '') || ')'
      || coalesce(' PARTITION BY ' || pg_get_partkeydef(c.oid), '') || ${OPTIONS} ${IN_CLASS} AND c.relkind IN ('r', 'p') ORDER BY c.oid`,
  `SELECT 'ALTER SEQUENCE ' || d.objid::regclass || ' OWNED BY ' || d.refobjid::regclass || '.' || quote_ident(a.attname)
    FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a' AND ${own('pg_class', 'c')}`,
  `SELECT 'ALTER TABLE ONLY ' || ${NAME} || ' ALTER COLUMN ' || quote_ident(a.attname) || ' SET DEFAULT ' || pg_get_expr(e.adbin, e.adrelid)
    FROM pg_attrdef e JOIN pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum JOIN pg_class c ON c.oid = e.adrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attgenerated = '' AND c.relkind IN ('r', 'p') AND ${own('pg_class', 'c')}`,
  `SELECT 'ALTER TABLE ' || q.relid::regclass || ' ALTER COLUMN ' || quote_ident(q.attname) || ' ADD GENERATED ' || CASE q.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END
      || ' AS IDENTITY (SEQUENCE NAME ' || q.sequence::regclass || ' START ' || s.seqstart || ' INCREMENT ' || s.seqincrement || ' MINVALUE ' || s.seqmin || ' MAXVALUE ' || s.seqmax
      || ' CACHE ' || s.seqcache || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END || ')'
    FROM (SELECT d.objid AS sequence, d.refobjid AS relid, a.attname, a.attidentity FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i' AND a.attidentity <> '' AND ${own('pg_class', 'c')}) q
    JOIN pg_sequence s ON s.seqrelid = q.sequence`,
  // Checks before tables are attached to their parents, which want to see them; other keys after it.
  `SELECT 'ALTER TABLE ONLY ' || ${NAME} || ' ADD CONSTRAINT ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'c' AND ${own('pg_class', 'c')}`,
  `SELECT 'ALTER TABLE ' || h.inhparent::regclass || ' ATTACH PARTITION ' || ${NAME} || ' ' || pg_get_expr(c.relpartbound, c.oid)
    FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND c.relispartition AND ${own('pg_class', 'c')} ORDER BY h.inhseqno`,
  `SELECT 'ALTER TABLE ' || ${NAME} || ' INHERIT ' || h.inhparent::regclass
    FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND NOT c.relispartition AND ${own('pg_class', 'c')} ORDER BY h.inhseqno`,
  // Those of partitions first: their parents take them over.
  `SELECT 'ALTER TABLE ' || ${NAME} || ' ADD CONSTRAINT ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype IN ('p', 'u', 'x') AND ${own('pg_class', 'c')} ORDER BY c.relkind DESC, k.oid`,
  `SELECT pg_get_viewdef(c.oid), ${NAME}, c.relkind, c.relispopulated, ${OPTIONS} ${IN_CLASS} AND c.relkind IN ('v', 'm') ORDER BY c.oid`,
  // Over partitions the index takes those over that they have already.
  `SELECT CASE x.relkind WHEN 'I' THEN regexp_replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') ELSE pg_get_indexdef(i.indexrelid) END FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind <> 't' AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AND ${own('pg_class', 'c')} ORDER BY x.relkind DESC, i.indexrelid`,
  `SELECT 'ALTER TABLE ' || ${NAME} || ' ADD CONSTRAINT ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'f' AND k.conparentid = 0 AND ${own('pg_class', 'c')}`,
  `SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND ${NOT_NOTING} AND ${own('pg_class', 'c')}`,
  `SELECT 'ALTER TABLE ' || ${NAME} || CASE t.tgenabled WHEN 'D' THEN ' DISABLE' WHEN 'A' THEN ' ENABLE ALWAYS' ELSE ' ENABLE REPLICA' END || ' TRIGGER ' || quote_ident(t.tgname)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND t.tgenabled <> 'O' AND ${NOT_NOTING} AND ${own('pg_class', 'c')}`,
  `SELECT pg_get_ruledef(r.oid) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.rulename <> '_RETURN' AND ${own('pg_class', 'c')}`,
  `SELECT 'CREATE POLICY ' || quote_ident(p.polname) || ' ON ' || ${NAME} || ' AS ' || CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END
      || ' FOR ' || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END
      || ' TO ' || (SELECT string_agg(CASE WHEN one = 0 THEN 'PUBLIC' ELSE one::regrole::text END, ', ') FROM unnest(p.polroles) one)
      || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '') || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${own('pg_class', 'c')}`,
  `SELECT 'ALTER TABLE ' || ${NAME} || ' ENABLE ROW LEVEL SECURITY' ${IN_CLASS} AND c.relrowsecurity`,
  `SELECT 'ALTER TABLE ' || ${NAME} || ' FORCE ROW LEVEL SECURITY' ${IN_CLASS} AND c.relforcerowsecurity`,
  `SELECT 'ALTER TABLE ' || ${NAME} || ' REPLICA IDENTITY ' || CASE c.relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END ${IN_CLASS} AND c.relkind IN ('r', 'p') AND c.relreplident IN ('f', 'n')`,
  `SELECT 'ALTER TABLE ' || ${NAME} || ' REPLICA IDENTITY USING INDEX ' || quote_ident(x.relname) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.indisreplident AND ${own('pg_class', 'c')}`,
  `SELECT 'ALTER TABLE ' || ${NAME} || ' CLUSTER ON ' || quote_ident(x.relname) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.indisclustered AND ${own('pg_class', 'c')}`,
];

/** Names in them are whole, since the session's search_path holds pg_catalog alone. */
export async function cloneStatements(connection: Connection): Promise<string[]> {
  const statements: string[] = [];
  for (const sql of STATEMENTS) {
    for (const row of await connection.query(sql))
      statements.push(row.length === 1 ? (row[0] ?? '') : view(row));
  }
  return statements.filter((one) => one !== '');
}

function view([definition = '', name, kind, isPopulated, options]: (string | null)[]): string {
  const body = (definition ?? '').replace(/;\s*$/, '');
  const what = kind === 'm' ? 'MATERIALIZED VIEW' : 'VIEW';
  return `CREATE ${what} ${name}${options ?? ''} AS ${body}${kind === 'm' && isPopulated !== 't' ? ' WITH NO DATA' : ''}`;
}
