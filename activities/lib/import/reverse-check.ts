/** What must hold so that rows can come back: looked at by `inspect`, before anything is changed. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { MappedColumn, MappedTable, Mapping } from '../mapping.ts';
import type { Connection } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import type { SourceSchema } from '../sqlite-schema.ts';
import { keyColumns } from './capture.ts';
import type { Encoding } from './encoding.ts';
import { extraColumns, unloggedTables } from './extra-columns.ts';
import { skipLine } from './lines.ts';

/** Keys that have one text on either side, so that a row is found by it. */
const KEYS: Encoding['as'][] = ['integer', 'text', 'bytes', 'date', 'uuid', 'enum', 'boolean'];

/** Digits after the second that a Julian day gives back. */
const JULIAN_DIGITS = 3;

const WITHOUT = 'or go without reverseCapture, with a point of no return before writes are let in';

/** What of tables that are there already has no way back, each in words. */
export async function refuseExtras(
  connection: Connection,
  mapping: Mapping,
  skip: readonly string[],
): Promise<string[]> {
  if (mapping.mode !== 'existing') return [];
  const extras = await extraColumns(connection, mapping, skip);
  const unlogged = await unloggedTables(connection, mapping);
  return [
    ...extras.map(
      ({ table, name, line }) =>
        `column ${quote(table.target)}.${quote(name)} of the target, which the source does not have, so that what is written there could not come back; drop it, leave it behind (${skipLine(line)}), ${WITHOUT}`,
    ),
    ...unlogged.map(
      (name) =>
        `table ${quote(name)} of the target, which is unlogged, so that a crash of the server would take what it acknowledged; SET LOGGED, ${WITHOUT}`,
    ),
  ];
}

/** Each in words; empty where every row that PostgreSQL takes could be carried back. */
export async function refuseReverse(mapping: Mapping, schema: SourceSchema, path: string): Promise<string[]> {
  const refused = mapping.tables.flatMap((table) => [
    ...refuseKey(table),
    ...table.columns.flatMap((column) => refuseColumn(table, column)),
    ...refuseLeftBehind(table, schema),
  ]);
  for (const { words } of schema.unsupported.filter((one) => one.words.startsWith('virtual table')))
    refused.push(`${words}, whose index would not know the rows that are carried back; drop it, ${WITHOUT}`);
  for (const name of [path, dirname(path)]) {
    const isWritable = await access(name, constants.W_OK).then(
      () => true,
      () => false,
    );
    if (!isWritable)
      refused.push(
        `its ${name === path ? 'file' : 'folder'}, which this worker may not write; give it the right to, ${WITHOUT}`,
      );
  }
  return refused;
}

function refuseKey(table: MappedTable): string[] {
  const keys = keyColumns(table);
  const label = `table ${quote(table.source.name)}`;
  if (keys.length === 0)
    return [
      `${label}, which has no primary key, so that no row of it could be found again; give it one, ${WITHOUT}`,
    ];
  return keys
    .filter(({ encoding, quarantine }) => quarantine || !isKey(encoding))
    .map(
      ({ name, type }) =>
        `${label}, whose key ${quote(name)} of type ${type} has no one text on either side; ${WITHOUT.slice('or '.length)}`,
    );
}

function isKey(encoding: Encoding): boolean {
  // Where numbers are carried as their text, nobody knows which of both a key was.
  return KEYS.includes(encoding.as) && !(encoding.as === 'text' && encoding.any === true);
}

function refuseColumn({ source }: MappedTable, column: MappedColumn): string[] {
  const label = `column ${quote(source.name)}.${quote(column.name)}`;
  const own = source.columns.find(({ name }) => name === column.name);
  if (column.quarantine)
    return [
      `${label}, whose cells may go into quarantine, from where none comes back; map it to text or bytea, ${WITHOUT}`,
    ];
  if (own?.generated === true && !column.computed)
    return [
      `${label}, which the source computes and the target does not; leave it behind (skip: [column ${source.name}.${column.name}]), ${WITHOUT}`,
    ];
  if (own?.notNull === true && !column.notNull)
    return [
      `${label}, which may be NULL in the target but not in the source; make it NOT NULL there, ${WITHOUT}`,
    ];
  const { encoding } = column;
  const isMoment = encoding.as === 'timestamp' || encoding.as === 'timestamptz';
  if (isMoment && encoding.form === 'julian-day' && (encoding.digits ?? JULIAN_DIGITS + 1) > JULIAN_DIGITS)
    return [
      `${label}, whose Julian days hold no microseconds as ${column.type} does; let the target have ${encoding.as}(${JULIAN_DIGITS}), ${WITHOUT}`,
    ];
  return [];
}

/** A new row of the target says nothing about columns that were left behind. */
function refuseLeftBehind({ source, columns }: MappedTable, schema: SourceSchema): string[] {
  const whole = schema.tables.find(({ name }) => name === source.name);
  return (whole?.columns ?? [])
    .filter(
      ({ name, notNull, generated, defaultSql }) =>
        notNull && !generated && defaultSql === null && !columns.some((column) => column.name === name),
    )
    .map(
      ({ name }) =>
        `column ${quote(source.name)}.${quote(name)}, which is left behind, NOT NULL and without a default: a new row could not come back; carry it, ${WITHOUT}`,
    );
}
