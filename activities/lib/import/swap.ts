/**
 * New tables in the place of old ones of the same name: loaded beside them in a schema of their own, then changed places
 * with in one transaction. The old ones stay in another schema. Table by table, and not by renaming schema public: that
 * would take extensions, functions and rights along.
 */
import type { PhaseContext } from '../../phase.ts';
import { fail } from '../fail.ts';
import { fenced } from '../fence.ts';
import type { Mapping } from '../mapping.ts';
import { sqlState } from '../postgres.ts';
import type { Connection } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { pause } from '../wait.ts';
import { literal } from './defaults.ts';
import { forget, keep, readKept } from './places.ts';
import type { Owner } from './places.ts';

/** Attempts to get locks on tables, the pause between, and how long each waits: readers queue behind it meanwhile. */
const SWAP_TRIES = 10;
const SWAP_RETRY_MS = 500;
const SWAP_LOCK_MS = 1_000;

const SWAPPED = 'swapped';
const PUBLISHED = 'published';

/** Where new tables are loaded, and where the old ones go. */
export function swapSchemas(owner: Owner): { fresh: string; old: string } {
  const suffix = `${owner.run}_${owner.step.replaceAll(/[^a-z0-9]/g, '_')}`.slice(0, 40);
  return { fresh: `countdown_new_${suffix}`, old: `countdown_old_${suffix}` };
}

/** What of these names stands in schema public: tables that would be replaced, and what cannot be, in words. */
export async function findReplaced(
  connection: Connection,
  names: readonly string[],
): Promise<{ replaces: string[]; refused: string[] }> {
  const list = `ARRAY[${names.map(literal).join(', ')}]::name[]`;
  const standing = await connection.query(
    `SELECT c.relname, c.relkind, pg_has_role(c.relowner, 'USAGE'), c.oid,
       EXISTS (SELECT 1 FROM pg_index i WHERE i.indexrelid = c.oid AND (SELECT relname FROM pg_class WHERE oid = i.indrelid) = ANY (${list}))
     FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (${list}) ORDER BY 1`,
  );
  const refused: string[] = [];
  const replaces: string[] = [];
  for (const [name = '', kind, owned, , ofReplaced] of standing) {
    if (kind === 'r' && owned === 't') replaces.push(name ?? '');
    else if (ofReplaced !== 't')
      refused.push(
        `${quote(name ?? '')} in schema public, which is no table of this user, so that it cannot make room`,
      );
  }
  if (replaces.length === 0) return { replaces, refused };
  const oids = `((SELECT array_agg(c.oid) FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (ARRAY[${replaces.map(literal).join(', ')}]::name[]))::oid[])`;
  const dependents = await connection.query(
    `SELECT 'foreign key ' || quote_ident(k.conname) || ' of ' || k.conrelid::regclass FROM pg_constraint k
       WHERE k.contype = 'f' AND k.confrelid = ANY (${oids}) AND k.conrelid <> ALL (${oids})
     UNION SELECT 'view ' || r.ev_class::regclass FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
       WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (${oids}) AND r.ev_class <> ALL (${oids})
     UNION SELECT 'trigger ' || quote_ident(t.tgname) || ' on ' || t.tgrelid::regclass FROM pg_trigger t WHERE t.tgrelid = ANY (${oids}) AND NOT t.tgisinternal
     UNION SELECT 'policy ' || quote_ident(p.polname) || ' on ' || p.polrelid::regclass FROM pg_policy p WHERE p.polrelid = ANY (${oids})
     UNION SELECT 'partition ' || i.inhrelid::regclass FROM pg_inherits i WHERE i.inhparent = ANY (${oids}) OR i.inhrelid = ANY (${oids})
     ORDER BY 1 LIMIT 20`,
  );
  refused.push(
    ...dependents.map(
      ([words]) => `${words}, which holds on to a table that would be replaced; drop it for the time`,
    ),
  );
  return { replaces, refused };
}

/** Puts the new tables into schema public, with the rights, owners and publications of those that they replace. */
export async function swapIn(
  connection: Connection,
  context: PhaseContext,
  { owner, mapping, replaces }: { owner: Owner; mapping: Mapping; replaces: readonly string[] },
): Promise<void> {
  if (replaces.length === 0 || (await readKept(connection, owner, SWAPPED)).length > 0) return;
  const { fresh, old } = swapSchemas(owner);
  await patiently(connection, context, async () => {
    await connection.query(`CREATE SCHEMA ${quote(old)}`);
    for (const { target } of mapping.tables) {
      const table = quote(target);
      await defaultRights(connection, `${quote(fresh)}.${table}`);
      if (!replaces.includes(target)) continue;
      await keepRights(connection, { from: `public.${table}`, to: `${quote(fresh)}.${table}` });
      await keepPublications(connection, owner, { target, fresh });
      await connection.query(`ALTER TABLE public.${table} SET SCHEMA ${quote(old)}`);
    }
    for (const { target } of mapping.tables)
      await connection.query(`ALTER TABLE ${quote(fresh)}.${quote(target)} SET SCHEMA public`);
    await connection.query(`DROP SCHEMA ${quote(fresh)}`);
    for (const name of replaces) await keep(connection, owner, { kind: SWAPPED, item: name, value: old });
  });
}

/** Within a fenced transaction: the old tables back into schema public, once the new ones are dropped. */
export async function swapBack(connection: Connection, owner: Owner): Promise<void> {
  const { fresh } = swapSchemas(owner);
  const swapped = await readKept(connection, owner, SWAPPED);
  for (const { item, value } of swapped)
    await connection.query(`ALTER TABLE ${quote(value)}.${quote(item)} SET SCHEMA public`);
  for (const { item } of await readKept(connection, owner, PUBLISHED)) {
    const [publication = '', table = ''] = JSON.parse(item) as string[];
    await connection.query(`ALTER PUBLICATION ${quote(publication)} ADD TABLE public.${quote(table)}`);
  }
  const [first] = swapped;
  if (first !== undefined) await connection.query(`DROP SCHEMA ${quote(first.value)}`);
  await connection.query(`DROP SCHEMA IF EXISTS ${quote(fresh)}`);
  await forget(connection, owner, [SWAPPED, PUBLISHED]);
}

/** Tries again while others hold locks: each try waits shortly, so that nobody queues behind it for long. */
export async function patiently(
  connection: Connection,
  context: PhaseContext,
  work: () => Promise<void>,
): Promise<void> {
  for (let turn = 1; ; turn += 1) {
    try {
      return await fenced(connection, context, async () => {
        await connection.query(`SET LOCAL lock_timeout = ${SWAP_LOCK_MS}`);
        await work();
      });
    } catch (error) {
      if (sqlState(error) !== '55P03') throw error;
      if (turn === SWAP_TRIES)
        throw fail(
          'PhaseFailed',
          `The tables of '${connection.name}' stayed locked by another session in ${SWAP_TRIES} tries of ${SWAP_LOCK_MS} ms; end its transaction, then run again.`,
          error,
        );
      await pause(SWAP_RETRY_MS, context.signal);
    }
  }
}

/** What default privileges give to a new table in schema public; in the other schema they gave nothing. */
async function defaultRights(connection: Connection, table: string): Promise<void> {
  const rights = await connection.query(
    `SELECT x.privilege_type, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END, x.is_grantable
     FROM pg_default_acl d, aclexplode(d.defaclacl) x
     WHERE d.defaclobjtype = 'r' AND d.defaclrole = current_user::regrole AND d.defaclnamespace = 'public'::regnamespace`,
  );
  for (const right of rights) await grant(connection, table, right);
}

async function keepRights(connection: Connection, { from, to }: { from: string; to: string }): Promise<void> {
  const rights = await connection.query(
    `SELECT x.privilege_type, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END, x.is_grantable, NULL
     FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = ${literal(from)}::regclass AND x.grantee <> c.relowner
     UNION ALL
     SELECT x.privilege_type, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END, x.is_grantable, quote_ident(a.attname)
     FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = ${literal(from)}::regclass
       AND EXISTS (SELECT 1 FROM pg_attribute n WHERE n.attrelid = ${literal(to)}::regclass AND n.attname = a.attname)`,
  );
  for (const right of rights) await grant(connection, to, right);
  const [role] = await connection.query(
    `SELECT relowner::regrole::text, relowner = current_user::regrole FROM pg_class WHERE oid = ${literal(from)}::regclass`,
  );
  if (role?.[1] !== 't') await connection.query(`ALTER TABLE ${to} OWNER TO ${role?.[0] ?? ''}`);
}

async function grant(connection: Connection, table: string, right: (string | null)[]): Promise<void> {
  const [privilege, grantee, grantable, column = null] = right;
  const columns = column === null ? '' : ` (${column})`;
  const option = grantable === 't' ? ' WITH GRANT OPTION' : '';
  await connection.query(`GRANT ${privilege}${columns} ON ${table} TO ${grantee}${option}`);
}

async function keepPublications(
  connection: Connection,
  owner: Owner,
  { target, fresh }: { target: string; fresh: string },
): Promise<void> {
  const table = `public.${quote(target)}`;
  const found = await connection.query(
    `SELECT p.pubname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = ${literal(table)}::regclass`,
  );
  for (const [name] of found) {
    const publication = quote(name ?? '');
    await connection.query(`ALTER PUBLICATION ${publication} DROP TABLE ${table}`);
    await connection.query(`ALTER PUBLICATION ${publication} ADD TABLE ${quote(fresh)}.${quote(target)}`);
    await keep(connection, owner, { kind: PUBLISHED, item: JSON.stringify([name, target]), value: '' });
  }
}
