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
import { PUBLISHED, defaultRights, keepPublications, keepRights, keepSettings } from './rights.ts';

/** Attempts to get locks on tables, the pause between, and how long each waits: readers queue behind it meanwhile. */
const SWAP_TRIES = 10;
const SWAP_RETRY_MS = 500;
const SWAP_LOCK_MS = 1_000;

const SWAPPED = 'swapped';

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
    `SELECT c.relname, c.relkind::text, pg_has_role(c.relowner, 'USAGE'),
       (SELECT e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
       EXISTS (SELECT 1 FROM pg_index i WHERE i.indexrelid = c.oid AND (SELECT relname FROM pg_class WHERE oid = i.indrelid) = ANY (${list}))
     FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (${list})
     UNION ALL SELECT t.typname, 'type', NULL, NULL, false FROM pg_type t
     WHERE t.typnamespace = 'public'::regnamespace AND t.typrelid = 0 AND t.typname = ANY (${list}) ORDER BY 1`,
  );
  const refused: string[] = [];
  const replaces: string[] = [];
  for (const [name = '', kind, owned, extension = null, ofReplaced] of standing) {
    if (kind === 'type')
      refused.push(`type ${quote(name ?? '')} in schema public, whose name a table would need; rename it`);
    else if (extension !== null)
      refused.push(
        `${quote(name ?? '')} in schema public, which belongs to extension ${quote(extension)}, so that it cannot make room`,
      );
    else if (kind === 'r' && owned === 't') replaces.push(name ?? '');
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
     UNION SELECT 'row-level security of ' || c.oid::regclass FROM pg_class c WHERE c.oid = ANY (${oids}) AND c.relrowsecurity
     UNION SELECT 'rule ' || quote_ident(r.rulename) || ' on ' || r.ev_class::regclass FROM pg_rewrite r WHERE r.ev_class = ANY (${oids})
     UNION SELECT 'subscription ' || quote_ident(s.subname) FROM pg_subscription_rel l JOIN pg_subscription s ON s.oid = l.srsubid WHERE l.srrelid = ANY (${oids})
     UNION SELECT 'replica identity of ' || c.oid::regclass || ' by an index' FROM pg_class c WHERE c.oid = ANY (${oids}) AND c.relreplident = 'i'
     UNION SELECT 'function ' || d.objid::regprocedure FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
       AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (${oids})
         OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT unnest(ARRAY[c.reltype, t.typarray]) FROM pg_class c JOIN pg_type t ON t.oid = c.reltype WHERE c.oid = ANY (${oids})))
     UNION SELECT 'column ' || d.objid::regclass || '.' || quote_ident(a.attname) FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.objid AND a.attnum = d.objsubid
       WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_type'::regclass
         AND d.refobjid IN (SELECT unnest(ARRAY[c.reltype, t.typarray]) FROM pg_class c JOIN pg_type t ON t.oid = c.reltype WHERE c.oid = ANY (${oids}))
     UNION SELECT 'statistics ' || quote_ident(s.stxname) || ' on ' || s.stxrelid::regclass FROM pg_statistic_ext s WHERE s.stxrelid = ANY (${oids})
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

/** Puts the new tables into schema public, with the rights, owners, publications, settings and comments of those that they replace. */
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
      const to = `${quote(fresh)}.${table}`;
      if (!replaces.includes(target)) {
        await defaultRights(connection, to);
        continue;
      }
      const places = { from: `public.${table}`, to };
      // Before the owner changes, who alone may set them then.
      await keepSettings(connection, places);
      await keepRights(connection, { ...places, schema: quote(fresh) });
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
  for (const { item, value } of await readKept(connection, owner, PUBLISHED)) {
    const [publication = '', table = ''] = JSON.parse(item) as string[];
    await connection.query(
      `ALTER PUBLICATION ${quote(publication)} ADD TABLE public.${quote(table)}${value}`,
    );
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
