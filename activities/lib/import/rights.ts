/** Rights, owners, publications and comments of a table that another one takes the place of. */
import type { Connection } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { literal } from './defaults.ts';
import { keep } from './places.ts';
import type { Owner } from './places.ts';

/** Publications that a table was taken out of, for the way back. */
export const PUBLISHED = 'published';

const GRANTEE = `CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END`;

/** What default privileges give to a new table in schema public, and to its counters; in the other schema they gave nothing. */
export async function defaultRights(connection: Connection, table: string): Promise<void> {
  const rights = await connection.query(
    `SELECT x.privilege_type, ${GRANTEE}, x.is_grantable, NULL, d.defaclobjtype
     FROM pg_default_acl d, aclexplode(d.defaclacl) x
     WHERE d.defaclobjtype IN ('r', 'S') AND d.defaclrole = current_user::regrole AND d.defaclnamespace = 'public'::regnamespace`,
  );
  const sequences = await sequencesOf(connection, table);
  for (const right of rights) {
    if (right[4] === 'r') await grant(connection, table, right);
    else for (const { sequence } of sequences) await grant(connection, `SEQUENCE ${sequence}`, right);
  }
}

/** Exactly the rights and the owner of the table that is replaced: default privileges add none to them. */
export async function keepRights(
  connection: Connection,
  { from, to, schema }: { from: string; to: string; schema: string },
): Promise<void> {
  const rights = await connection.query(
    `SELECT x.privilege_type, ${GRANTEE}, x.is_grantable, NULL
     FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = ${literal(from)}::regclass AND x.grantee <> c.relowner
     UNION ALL
     SELECT x.privilege_type, ${GRANTEE}, x.is_grantable, quote_ident(a.attname)
     FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = ${literal(from)}::regclass
       AND EXISTS (SELECT 1 FROM pg_attribute n WHERE n.attrelid = ${literal(to)}::regclass AND n.attname = a.attname)`,
  );
  await revokeAll(connection, to);
  for (const right of rights) await grant(connection, to, right);
  await keepCounterRights(connection, { from, to });
  const [role] = await connection.query(
    `SELECT relowner::regrole::text, relowner = current_user::regrole, relreplident FROM pg_class WHERE oid = ${literal(from)}::regclass`,
  );
  if (role?.[2] === 'f' || role?.[2] === 'n')
    await connection.query(`ALTER TABLE ${to} REPLICA IDENTITY ${role[2] === 'f' ? 'FULL' : 'NOTHING'}`);
  if (role?.[1] === 't') return;
  // Whoever gets a table must be able to make one where it stands.
  await connection.query(`GRANT USAGE, CREATE ON SCHEMA ${schema} TO ${role?.[0] ?? ''}`);
  await connection.query(`ALTER TABLE ${to} OWNER TO ${role?.[0] ?? ''}`);
}

/** Storage settings and comments: of the table, and of the columns that both have. */
export async function keepSettings(
  connection: Connection,
  { from, to }: { from: string; to: string },
): Promise<void> {
  const settings = await connection.query(
    `SELECT quote_ident(o.option_name) || ' = ' || quote_literal(o.option_value) FROM pg_class c, pg_options_to_table(c.reloptions) o WHERE c.oid = ${literal(from)}::regclass`,
  );
  for (const [setting] of settings) await connection.query(`ALTER TABLE ${to} SET (${setting})`);
  const comments = await connection.query(
    `SELECT quote_ident(a.attname), quote_literal(d.description) FROM pg_description d
       LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
     WHERE d.classoid = 'pg_class'::regclass AND d.objoid = ${literal(from)}::regclass AND (d.objsubid = 0
       OR EXISTS (SELECT 1 FROM pg_attribute n WHERE n.attrelid = ${literal(to)}::regclass AND n.attname = a.attname AND n.attnum > 0))`,
  );
  for (const [column, words] of comments)
    await connection.query(
      `COMMENT ON ${column === null ? `TABLE ${to}` : `COLUMN ${to}.${column}`} IS ${words}`,
    );
}

/** The counter of a column keeps the rights that the old one of the same column had. */
async function keepCounterRights(
  connection: Connection,
  { from, to }: { from: string; to: string },
): Promise<void> {
  const before = await sequencesOf(connection, from);
  for (const { column, sequence } of await sequencesOf(connection, to)) {
    await revokeAll(connection, `SEQUENCE ${sequence}`, sequence);
    const old = before.find((one) => one.column === column)?.sequence;
    if (old === undefined) continue;
    const rights = await connection.query(
      `SELECT x.privilege_type, ${GRANTEE}, x.is_grantable FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = ${literal(old)}::regclass AND x.grantee <> c.relowner`,
    );
    for (const right of rights) await grant(connection, `SEQUENCE ${sequence}`, right);
  }
}

async function sequencesOf(
  connection: Connection,
  table: string,
): Promise<{ column: string; sequence: string }[]> {
  const rows = await connection.query(
    `SELECT a.attname, s.oid::regclass::text FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
       JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjid = ${literal(table)}::regclass`,
  );
  return rows.map(([column, sequence]) => ({ column: column ?? '', sequence: sequence ?? '' }));
}

async function revokeAll(connection: Connection, what: string, relation = what): Promise<void> {
  const grantees = await connection.query(
    `SELECT DISTINCT ${GRANTEE} FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = ${literal(relation)}::regclass AND x.grantee <> c.relowner`,
  );
  for (const [grantee] of grantees) await connection.query(`REVOKE ALL ON ${what} FROM ${grantee}`);
}

async function grant(connection: Connection, on: string, right: (string | null)[]): Promise<void> {
  const [privilege, grantee, grantable, column = null] = right;
  const columns = column === null ? '' : ` (${column})`;
  const option = grantable === 't' ? ' WITH GRANT OPTION' : '';
  await connection.query(`GRANT ${privilege}${columns} ON ${on} TO ${grantee}${option}`);
}

/** Servers from 15 on publish some columns and rows of a table only, where they are told to. */
const PARTS_VERSION = 150_000;

/** Publishes the new table where the old one was, with the same columns and rows. */
export async function keepPublications(
  connection: Connection,
  owner: Owner,
  { target, fresh }: { target: string; fresh: string },
): Promise<void> {
  const table = `public.${quote(target)}`;
  const [version] = await connection.query(`SELECT current_setting('server_version_num')`);
  const parts =
    Number(version?.[0]) >= PARTS_VERSION
      ? `(SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)), pg_get_expr(r.prqual, r.prrelid)`
      : 'NULL, NULL';
  const found = await connection.query(
    `SELECT p.pubname, ${parts} FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = ${literal(table)}::regclass`,
  );
  for (const [name = '', columns = null, rows = null] of found) {
    const publication = quote(name ?? '');
    const clause = `${columns === null ? '' : ` (${columns})`}${rows === null ? '' : ` WHERE (${rows})`}`;
    await connection.query(`ALTER PUBLICATION ${publication} DROP TABLE ${table}`);
    await connection.query(
      `ALTER PUBLICATION ${publication} ADD TABLE ${quote(fresh)}.${quote(target)}${clause}`,
    );
    await keep(connection, owner, { kind: PUBLISHED, item: JSON.stringify([name, target]), value: clause });
  }
}
