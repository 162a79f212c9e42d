/**
 * Reverse capture: while the application writes to PostgreSQL, triggers note the key of every row that it touches, so
 * that a rollback knows which rows the source has to get. A key is noted once, however often its row is written.
 *
 *   release-writes ── startCapture ──▶ open ── the way back ──▶ returned
 *                                        └──── point of no return ── endCapture ──▶ none
 */
import { createHash } from 'node:crypto';
import { counted } from '../counted.ts';
import type { PhaseContext } from '../../phase.ts';
import { fail } from '../fail.ts';
import type { MappedTable, Mapping } from '../mapping.ts';
import type { Connection } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { literal } from './defaults.ts';
import type { Encoding } from './encoding.ts';
import { forget, keep, readKept } from './places.ts';
import type { Owner } from './places.ts';
import { placeOf } from './statements.ts';
import { patiently } from './swap.ts';
import { treeSql } from './table-tree.ts';

const CAPTURE = 'capture';
const RETURNED = 'returned';
const TRIGGER = 'countdown_capture';
const TRUNCATED = 'countdown_capture_all';
/** Settings under which keys of a type have one text, whatever the application's session says. Each costs time with every row. */
const SETTINGS: Partial<Record<Encoding['as'], string>> = {
  date: `SET datestyle = 'ISO, YMD'`,
  bytes: `SET bytea_output = 'hex'`,
};

/** `open`: rows are written that the source may not have. `returned`: the source has them all. */
export type CaptureState = 'none' | 'open' | 'returned';

/** A table with the place in the list of its functions. */
type Captured = { table: MappedTable; place: number };

/** The columns of the target by which a table's rows are known. Empty where it has no primary key. */
export function keyColumns(table: MappedTable): MappedTable['columns'] {
  return (table.source.primaryKey ?? []).flatMap(
    (name) => table.columns.find((column) => column.name === name) ?? [],
  );
}

/** Makes the triggers, and keeps the mapping by which rows can be carried back. Once; both in one transaction. */
export async function startCapture(
  connection: Connection,
  context: PhaseContext,
  { owner, mapping }: { owner: Owner; mapping: Mapping },
): Promise<void> {
  if ((await captureState(connection, owner)) === 'open') return;
  await patiently(connection, context, async () => {
    await dropTriggers(connection, owner);
    // Keys that were noted since all was carried back stay: those rows are still owed.
    await dropFunctions(connection, owner);
    await forget(connection, owner, [RETURNED]);
    for (const [place, table] of mapping.tables.entries())
      await watchTable(connection, owner, { table, place });
    await keep(connection, owner, { kind: CAPTURE, item: 'mapping', value: JSON.stringify(mapping, toText) });
  });
}

async function watchTable(connection: Connection, owner: Owner, { table, place }: Captured): Promise<void> {
  const on = placeOf(table);
  const keys = keyColumns(table);
  const names = keys.map(({ target }) => quote(target));
  // By their texts: a type may call two texts the same, as citext does. A cast would cut blanks off, and write true for t.
  const list = (row: string): string => names.map((name) => `concat(${row}.${name})`).join(', ');
  const key = (row: string): string => `jsonb_build_array(${list(row)})::text`;
  const into = `INSERT INTO countdown.captured (run, step, "table", id, key)`;
  const own = `${owner.run}, ${literal(owner.step)}, ${literal(table.target)}`;
  const note = (row: string): string =>
    `noted := ${key(row)}; ${into} VALUES (${own}, sha256(convert_to(noted, 'UTF8')), noted) ON CONFLICT DO NOTHING;`;
  const row = functionName(owner, place, 'row');
  const all = functionName(owner, place, 'all');
  const types = new Set(keys.map(({ encoding }) => SETTINGS[encoding.as] ?? ''));
  const safe = `LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp ${[...types].join(' ')}`;
  // The application's user may not reach schema countdown: the functions write there as whoever made them.
  await connection.query(
    `CREATE OR REPLACE FUNCTION ${row}() RETURNS trigger ${safe} AS $do$ DECLARE noted text; BEGIN
       IF TG_OP = 'DELETE' THEN ${note('OLD')} RETURN NULL; END IF;
       IF TG_OP = 'UPDATE' THEN IF ROW(${list('OLD')}) IS DISTINCT FROM ROW(${list('NEW')}) THEN ${note('OLD')} END IF; END IF;
       ${note('NEW')}
       RETURN NULL; END $do$`,
  );
  await connection.query(
    `CREATE OR REPLACE FUNCTION ${all}() RETURNS trigger ${safe} AS $do$ BEGIN
       ${into} SELECT ${own}, sha256(convert_to(k, 'UTF8')), k FROM (SELECT ${key('each')} AS k FROM ${on} AS each) AS every ON CONFLICT DO NOTHING;
       RETURN NULL; END $do$`,
  );
  for (const { name, isPartition } of await treeOf(connection, on)) {
    // A partition has the trigger of its table; a child that merely inherits has none.
    if (!isPartition)
      await connection.query(
        `CREATE OR REPLACE TRIGGER ${TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON ${name} FOR EACH ROW EXECUTE FUNCTION ${row}()`,
      );
    // One partition may be emptied without its table.
    await connection.query(
      `CREATE OR REPLACE TRIGGER ${TRUNCATED} BEFORE TRUNCATE ON ${name} FOR EACH STATEMENT EXECUTE FUNCTION ${all}()`,
    );
    // Also rows that a replication brings, or a session that plays replica.
    for (const trigger of [TRIGGER, TRUNCATED])
      await connection.query(`ALTER TABLE ${name} ENABLE ALWAYS TRIGGER ${trigger}`);
  }
}

/** The table first, so that partitions have its trigger by then. */
async function treeOf(connection: Connection, on: string): Promise<{ name: string; isPartition: boolean }[]> {
  const rows = await connection.query(
    `WITH RECURSIVE ${treeSql([on])} SELECT c.oid::regclass::text, c.relispartition FROM tree JOIN pg_class c ON c.oid = tree.id ORDER BY c.relispartition`,
  );
  return rows.map(([name, isPartition]) => ({ name: name ?? '', isPartition: isPartition === 't' }));
}

/** Tables some of whose triggers are off or gone, so that nothing is known of writes to them. None where nothing is to be noted. */
export async function blindTables(connection: Connection, owner: Owner): Promise<string[]> {
  return await blindAmong(connection, owner, await capturedTables(connection, owner));
}

async function blindAmong(
  connection: Connection,
  owner: Owner,
  tables: readonly MappedTable[],
): Promise<string[]> {
  const places = tables.map((table) => placeOf(table));
  const rows = await connection.query(
    `WITH RECURSIVE ${treeSql(places)}, whole AS (
       SELECT t.tgrelid AS id FROM pg_proc p JOIN pg_trigger t ON t.tgfoid = p.oid
       WHERE p.pronamespace = 'countdown'::regnamespace AND starts_with(p.proname, $1) AND t.tgenabled = 'A' AND t.tgname IN ('${TRIGGER}', '${TRUNCATED}')
       GROUP BY 1 HAVING count(*) = 2)
     SELECT id::regclass::text FROM tree WHERE id NOT IN (SELECT id FROM whole) ORDER BY 1`,
    [functionPrefix(owner)],
  );
  return rows.map(([place]) => place ?? '');
}

/**
 * Puts triggers that somebody turned off or dropped on their tables again. Whether the source has everything is open from
 * then on. Gives the tables.
 */
export async function watchAgain(
  connection: Connection,
  context: PhaseContext,
  owner: Owner,
): Promise<string[]> {
  const tables = await capturedTables(connection, owner);
  const blind = await blindAmong(connection, owner, tables);
  if (blind.length === 0) return blind;
  await patiently(connection, context, async () => {
    await forget(connection, owner, [RETURNED]);
    for (const [place, table] of tables.entries()) await watchTable(connection, owner, { table, place });
  });
  return blind;
}

/** Within a transaction: nobody else reads or writes the tables from now on. Throws UndoFailed where writes to one were not noted. */
export async function lockCaptured(connection: Connection, owner: Owner): Promise<void> {
  const tables = await capturedTables(connection, owner);
  const places = tables.map((table) => literal(placeOf(table))).join(', ');
  // Where somebody dropped one by hand there is nothing left to keep from him.
  const there = await connection.query(
    `SELECT to_regclass(place)::text FROM unnest(ARRAY[${places}]::text[]) AS place WHERE to_regclass(place) IS NOT NULL`,
  );
  if (there.length > 0)
    await connection.query(`LOCK TABLE ${there.map(([name]) => name).join(', ')} IN ACCESS EXCLUSIVE MODE`);
  const blind = await blindAmong(connection, owner, tables);
  if (blind.length > 0)
    throw fail(
      'UndoFailed',
      `Triggers of ${blind.join(', ')} in '${connection.name}' are off or gone, so that writes to it may be noted nowhere; try again while the source is held: they are put on again, and every cell is compared.`,
    );
}

function functionName(owner: Owner, place: number, what: 'row' | 'all'): string {
  return `countdown.${quote(`${functionPrefix(owner)}${place}_${what}`)}`;
}

/** Steps may be called alike up to signs that a name cannot hold. */
function functionPrefix({ run, step }: Owner): string {
  return `capture_${run}_${createHash('sha256').update(step).digest('hex').slice(0, 8)}_`;
}

/** Tables with triggers of this step, wherever they stand by now, by their ids. */
export async function watchedTables(connection: Connection, owner: Owner): Promise<string[]> {
  const found = await connection.query(`SELECT DISTINCT t.tgrelid ${TRIGGERS}`, [functionPrefix(owner)]);
  return found.map(([id]) => id ?? '');
}

/** Triggers of this step; those of partitions that come with the one of their table go with it. */
const TRIGGERS = `FROM pg_proc p JOIN pg_trigger t ON t.tgfoid = p.oid
  WHERE p.pronamespace = 'countdown'::regnamespace AND starts_with(p.proname, $1) AND t.tgparentid = 0`;

/** Within a transaction: drops the triggers of this step on one table, or on all. Gives their number. */
export async function dropTriggers(connection: Connection, owner: Owner, table?: string): Promise<number> {
  const found = await connection.query(
    `SELECT quote_ident(t.tgname), t.tgrelid::regclass::text ${TRIGGERS} AND t.tgrelid = coalesce($2::oid, t.tgrelid)`,
    [functionPrefix(owner), table ?? null],
  );
  for (const [name, on] of found) await connection.query(`DROP TRIGGER ${name} ON ${on}`);
  return found.length;
}

async function dropFunctions(connection: Connection, owner: Owner): Promise<void> {
  const found = await connection.query(
    `SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'countdown'::regnamespace AND starts_with(proname, $1)`,
    [functionPrefix(owner)],
  );
  for (const [procedure] of found) await connection.query(`DROP FUNCTION ${procedure}`);
}

/** What is known of the rows written since the release. */
export async function captureState(connection: Connection, owner: Owner): Promise<CaptureState> {
  if ((await readKept(connection, owner, RETURNED)).length > 0) return 'returned';
  return (await isCapturing(connection, owner)) ? 'open' : 'none';
}

/** The mapping as it was when writes were let in. */
export async function capturedMapping(connection: Connection, owner: Owner): Promise<Mapping> {
  const [kept] = await readKept(connection, owner, CAPTURE);
  if (kept === undefined)
    throw fail('UndoFailed', `No reverse capture of ${owner.step} stands in '${connection.name}'.`);
  return mappingIn(kept.value);
}

/** The tables of that mapping. None where nothing is to be noted. */
async function capturedTables(connection: Connection, owner: Owner): Promise<MappedTable[]> {
  const [kept] = await readKept(connection, owner, CAPTURE);
  return kept === undefined ? [] : mappingIn(kept.value).tables;
}

/** Keys that were noted and are not carried back yet. */
export async function capturedCount(connection: Connection, owner: Owner): Promise<number> {
  const [row] = await connection.query(
    'SELECT count(*) FROM countdown.captured WHERE run = $1 AND step = $2',
    [owner.run, owner.step],
  );
  return Number(row?.[0] ?? 0);
}

/**
 * Within the transaction that read them: the keys are carried back, and `sourceDigest` is what the source holds now. The
 * triggers stay, so that a write past the application is noticed.
 */
export async function closeCapture(
  connection: Connection,
  owner: Owner,
  sourceDigest: string,
): Promise<void> {
  await connection.query('DELETE FROM countdown.captured WHERE run = $1 AND step = $2', [
    owner.run,
    owner.step,
  ]);
  await forget(connection, owner, [RETURNED]);
  await keep(connection, owner, { kind: RETURNED, item: 'digest', value: sourceDigest });
}

/** What the source held once all was carried back; undefined where nothing was. */
export async function returnedDigest(connection: Connection, owner: Owner): Promise<string | undefined> {
  const [kept] = await readKept(connection, owner, RETURNED);
  return kept?.value;
}

/** Within a transaction: nothing of the capture is left but, where asked, what the source held when all was carried back. */
export async function forgetCapture(
  connection: Connection,
  owner: Owner,
  { returned }: { returned: 'keep' | 'forget' },
): Promise<number> {
  const triggers = await dropTriggers(connection, owner);
  await dropFunctions(connection, owner);
  await connection.query('DELETE FROM countdown.captured WHERE run = $1 AND step = $2', [
    owner.run,
    owner.step,
  ]);
  await forget(connection, owner, returned === 'keep' ? [CAPTURE] : [CAPTURE, RETURNED]);
  return triggers;
}

/** Whether writes are still watched. Not any more once the undo of `copy` has taken the tables back. */
export async function isCapturing(connection: Connection, owner: Owner): Promise<boolean> {
  return (await readKept(connection, owner, CAPTURE)).length > 0;
}

/** Within a transaction: what the source held once all was carried back counts no more. */
export async function forgetReturned(connection: Connection, owner: Owner): Promise<void> {
  await forget(connection, owner, [RETURNED]);
}

/** Throws UndoFailed where the target holds writes that the source does not have: going on would lose them. */
export async function assertReturned(connection: Connection, owner: Owner): Promise<void> {
  const state = await captureState(connection, owner);
  if (state === 'none') return;
  if (state === 'open')
    throw fail(
      'UndoFailed',
      `'${connection.name}' holds writes that are not carried back to the source yet; take back release-writes first, so that none is lost. Where that was done by hand, delete its rows from countdown.captured, then try again.`,
    );
  const late = await capturedCount(connection, owner);
  if (late > 0)
    throw fail(
      'UndoFailed',
      `${counted(late, 'row')} of '${connection.name}' ${late === 1 ? 'was' : 'were'} written after all was carried back, though writes are held; find what writes to it beside the application, and try again while the source is held, or carry what countdown.captured lists over by hand and delete it there.`,
    );
}

function mappingIn(text: string): Mapping {
  return JSON.parse(text, fromText);
}

/** A mapping holds one number that JSON has no form for. */
function toText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? { bigint: String(value) } : value;
}

function fromText(_key: string, value: unknown): unknown {
  const isBig = typeof value === 'object' && value !== null && 'bigint' in value;
  return isBig ? BigInt(String(value.bigint)) : value;
}
