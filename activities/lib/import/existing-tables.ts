/**
 * Loading into tables that are there already: their foreign keys are held off meanwhile, and where their counters stood
 * is kept, so that undo leaves them as they were found.
 */
import type { PhaseContext } from '../../phase.ts';
import { fail } from '../fail.ts';
import { fenced } from '../fence.ts';
import type { Mapping } from '../mapping.ts';
import type { Connection, Rows } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { literal } from './defaults.ts';
import { forget, keep, readKept } from './places.ts';
import type { Owner } from './places.ts';
import { placeOf } from './statements.ts';
import type { Finish } from './statements.ts';

const PREPARED = 'prepared';
const FOREIGN = 'foreign';
const COUNTER = 'counter';
const EMPTIED = 'emptied';

/** Whether the tables were prepared for this step. */
export async function isPrepared(connection: Connection, owner: Owner): Promise<boolean> {
  return (await readKept(connection, owner, PREPARED)).length > 0;
}

/** Holds the foreign keys off and notes where the counters stand. Refuses tables that have rows by now. */
export async function prepareExisting(
  connection: Connection,
  context: PhaseContext,
  { owner, mapping }: { owner: Owner; mapping: Mapping },
): Promise<void> {
  if (await isPrepared(connection, owner)) return;
  await fenced(connection, context, async () => {
    await forgetEmptied(connection, owner);
    for (const table of mapping.tables) {
      const on = placeOf(table);
      await connection.query(`LOCK TABLE ${on} IN SHARE ROW EXCLUSIVE MODE`);
      const [any] = await connection.query(`SELECT EXISTS (SELECT 1 FROM ${on})`);
      if (any?.[0] === 't')
        throw fail(
          'PreconditionFailed',
          `Table ${quote(table.target)} of '${connection.name}' has rows, expected none as when it was inspected; empty it, then run again.`,
        );
      for (const { column, sequence } of await countersOf(connection, on)) {
        const [at] = await connection.query(`SELECT last_value, is_called FROM ${sequence}`);
        const value = JSON.stringify({ last: at?.[0], called: at?.[1] === 't' });
        await keep(connection, owner, { kind: COUNTER, item: sequence, value });
        await keep(connection, owner, { kind: PREPARED, item: `${table.target}.${column}`, value: sequence });
      }
      await keep(connection, owner, { kind: PREPARED, item: table.target, value: '' });
    }
    for (const { on, name, definition } of await foreignKeysOf(connection, mapping)) {
      const add = `ALTER TABLE ${on} ADD CONSTRAINT ${quote(name)} ${definition}`;
      await keep(connection, owner, { kind: FOREIGN, item: `${on} ${name}`, value: add });
      await connection.query(`ALTER TABLE ${on} DROP CONSTRAINT ${quote(name)}`);
    }
  });
}

type ForeignKey = { on: string; name: string; definition: string };

async function foreignKeysOf(connection: Connection, mapping: Mapping): Promise<ForeignKey[]> {
  const names = mapping.tables.map((table) => `${literal(placeOf(table))}::regclass`).join(', ');
  const rows = await connection.query(
    `SELECT 'public.' || quote_ident(c.relname), k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
     WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid IN (${names}) ORDER BY 1, 2`,
  );
  return rows.map(([on, name, definition]) => ({
    on: on ?? '',
    name: name ?? '',
    definition: definition ?? '',
  }));
}

/** Columns that number new rows, with their sequences. */
export async function countersOf(
  connection: Connection,
  on: string,
): Promise<{ column: string; sequence: string }[]> {
  const rows = await connection.query(
    `SELECT a.attname, coalesce(pg_get_serial_sequence(${literal(on)}, a.attname),
       substring(pg_get_expr(d.adbin, d.adrelid) FROM '^nextval\\(''(.*)''::regclass\\)$'))
     FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = ${literal(on)}::regclass AND a.attnum > 0 AND NOT a.attisdropped`,
  );
  return rows.flatMap(([column = null, sequence = null]) =>
    column === null || sequence === null ? [] : [{ column, sequence }],
  );
}

/** What comes after the rows: counters, then the foreign keys as they were, looked through. */
export async function finishExisting(
  connection: Connection,
  { owner, mapping }: { owner: Owner; mapping: Mapping },
): Promise<Finish[]> {
  const finish: Finish[] = [];
  for (const table of mapping.tables) {
    const on = placeOf(table);
    for (const { column, sequence } of await countersOf(connection, on)) {
      const known =
        table.columns.find(({ target }) => target === column)?.name === table.source.rowidAlias
          ? (table.source.sequence ?? 0)
          : 0;
      const sql = `SELECT setval(${literal(sequence)}, greatest(top, seqmin), top >= seqmin)
        FROM (SELECT greatest(coalesce(max(${quote(column)}), 0), ${known}) AS top FROM ${on}) AS known, pg_sequence
        WHERE seqrelid = ${literal(sequence)}::regclass`;
      finish.push({ kind: 'counter', table: table.target, sql });
    }
  }
  const parted = await connection.query(
    `SELECT 'public.' || quote_ident(relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'p'`,
  );
  for (const { item, value } of await readKept(connection, owner, FOREIGN)) {
    // A partitioned table takes a key only with a look at the rows.
    if (parted.some(([on]) => item.startsWith(`${on} `))) {
      finish.push({ kind: 'foreign', table: item, sql: value });
      continue;
    }
    const sql = value.endsWith(' NOT VALID') ? value : `${value} NOT VALID`;
    finish.push({ kind: 'foreign', table: item, sql });
    if (sql !== value)
      finish.push({ kind: 'validate', table: item, sql: altered(value, 'VALIDATE CONSTRAINT') });
  }
  return [
    ...finish,
    ...mapping.tables.map((table): Finish => ({
      kind: 'analyze',
      table: table.target,
      sql: `ANALYZE ${placeOf(table)}`,
    })),
  ];
}

/** `ALTER TABLE … ADD CONSTRAINT "x" …` with another verb. */
function altered(add: string, verb: string): string {
  return add.replace(/ ADD CONSTRAINT ("(?:[^"]|"")*") .*$/s, ` ${verb} $1`);
}

/**
 * Takes the rows out again and puts back foreign keys and counters. `remember`: keeps which tables were emptied, for
 * `emptiedWithRows`. Gives the number of tables emptied.
 */
export async function emptyExisting(
  connection: Connection,
  owner: Owner,
  { remember }: { remember: boolean },
): Promise<number> {
  const tables = (await readKept(connection, owner, PREPARED)).filter(({ value }) => value === '');
  if (tables.length === 0) return 0;
  const places = tables.map(({ item }) => `public.${quote(item)}`);
  const foreign = await readKept(connection, owner, FOREIGN);
  for (const { value } of foreign) await connection.query(altered(value, 'DROP CONSTRAINT IF EXISTS'));
  const regclasses = places.map((place) => `${literal(place)}::regclass`).join(', ');
  const outside = await connection.query(
    `SELECT k.conrelid::regclass::text, (SELECT string_agg(quote_ident(a.attname) || ' IS NOT NULL', ' AND ') FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))
     FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid IN (${regclasses}) AND k.conrelid NOT IN (${regclasses})`,
  );
  await refuseReferring(connection, outside);
  // Others that refer to a table may not let it be truncated; its rows are all ours.
  if (outside.length > 0) for (const place of places) await connection.query(`DELETE FROM ${place}`);
  else await connection.query(`TRUNCATE ${places.join(', ')}`);
  for (const { value } of foreign) await connection.query(value);
  for (const { item, value } of await readKept(connection, owner, COUNTER)) {
    const at: unknown = JSON.parse(value);
    const { last, called } = at as { last: string; called: boolean };
    await connection.query(`SELECT setval(${literal(item)}, ${BigInt(last)}, ${called})`);
  }
  await forget(connection, owner, [PREPARED, FOREIGN, COUNTER]);
  if (remember)
    for (const place of places) await keep(connection, owner, { kind: EMPTIED, item: place, value: '' });
  return tables.length;
}

/** Rows of other tables came after the copy, since nothing was there that they could refer to: a cascade would take them along. */
async function refuseReferring(connection: Connection, outside: Rows): Promise<void> {
  for (const [on, refers] of outside) {
    const [any] = await connection.query(`SELECT EXISTS (SELECT 1 FROM ${on} WHERE ${refers})`);
    if (any?.[0] === 't')
      throw fail(
        'UndoFailed',
        `Table ${on} of '${connection.name}' has rows that refer to rows that would be taken out, expected none; keep them elsewhere and delete them, then try again.`,
      );
  }
}

/** Within a transaction: forgets which tables were emptied. */
export async function forgetEmptied(connection: Connection, owner: Owner): Promise<void> {
  await forget(connection, owner, [EMPTIED]);
}

/** Tables that were emptied and have rows again: somebody writes to them beside the application. */
export async function emptiedWithRows(connection: Connection, owner: Owner): Promise<string[]> {
  const found: string[] = [];
  for (const { item } of await readKept(connection, owner, EMPTIED)) {
    const [there] = await connection.query(`SELECT to_regclass(${literal(item)})`);
    if (there?.[0] === null) continue;
    const [any] = await connection.query(`SELECT EXISTS (SELECT 1 FROM ${item})`);
    if (any?.[0] === 't') found.push(item);
  }
  return found;
}
