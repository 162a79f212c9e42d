/**
 * The comparison proves itself: some rows of each table go into a scratch copy with one byte flipped, and the comparison
 * must find exactly that. One that sees nothing there is no evidence for the rest.
 */
import { finished } from 'node:stream/promises';
import { from as copyFrom } from 'pg-copy-streams';
import type { PhaseContext } from '../../phase.ts';
import { compareTable, readingOrder } from '../compare.ts';
import type { MappedTable, Mapping } from '../mapping.ts';
import { inTransaction } from '../postgres.ts';
import type { Connection } from '../postgres.ts';
import { encodePage } from '../rows.ts';
import { quote, readPages } from '../sqlite.ts';
import type { Source } from '../sqlite.ts';
import { NULL_FIELD, escapeField, unescapeField } from './encoding.ts';
import type { Encoding } from './encoding.ts';
import { Offenders } from './offenders.ts';
import { placeOf } from './statements.ts';

/** Rows of a scratch copy, and tables that get one. */
const ROWS = 200;
const TABLES_MAX = 20;
const SCRATCH = 'pg_temp.countdown_proof';

export type Proof = { proved: number; blind: string[] };

/** Flips a byte in a scratch copy of each table that has rows, and holds the comparison to it. */
export async function proveComparison(
  connection: Connection,
  context: PhaseContext,
  { mapping, source }: { mapping: Mapping; source: Source },
): Promise<Proof> {
  const proof: Proof = { proved: 0, blind: [] };
  for (const table of mapping.tables) {
    if (proof.proved + proof.blind.length === TABLES_MAX) break;
    const flipped = await flippedRows(source, table, context.signal);
    if (flipped === undefined) continue;
    const found = await inTransaction(connection, async () => {
      const columns = table.columns.map(({ target }) => quote(target)).join(', ');
      await connection.query(
        `CREATE TEMP TABLE countdown_proof ON COMMIT DROP AS SELECT ${columns} FROM ${placeOf(table)} WITH NO DATA`,
      );
      await load(connection, table, flipped.lines);
      return await compareTable({
        source,
        target: connection,
        table,
        relation: SCRATCH,
        rowsMax: ROWS,
        chunkRows: ROWS,
        signal: context.signal,
      });
    });
    const seen =
      found.differencesTotal > 0 && found.differences.every((text) => text.startsWith(table.source.name));
    const named = found.differences.some((text) => text.includes(flipped.column));
    if (seen && named && found.differencesTotal <= 2) proof.proved += 1;
    else
      proof.blind.push(
        `${table.source.name} ${flipped.column}: ${found.differencesTotal} differences found, expected the one that was made`,
      );
  }
  return proof;
}

/** The first rows with one field changed in one byte; undefined where there is none that can be. */
async function flippedRows(
  source: Source,
  table: MappedTable,
  signal: AbortSignal,
): Promise<{ lines: string[]; column: string } | undefined> {
  // In the order in which the comparison reads them.
  const order = readingOrder(table);
  for await (const page of readPages(source, table.source, { order, rowsMax: ROWS, signal })) {
    const { lines } = encodePage(source, table, page, new Offenders());
    // The last row and the last columns first: what comes late is missed most easily. Keys last: they move a row.
    const places = [...table.columns.keys()].toReversed();
    const keys = places.filter(
      (place) => table.source.primaryKey?.includes(table.columns[place]?.name ?? '') === true,
    );
    const isKey = (place: number): boolean => keys.includes(place);
    for (const place of [...places.filter((one) => !isKey(one)), ...places.filter(isKey)]) {
      const column = table.columns[place];
      if (column === undefined || column.computed) continue;
      for (let row = lines.length - 1; row >= 0; row -= 1) {
        const fields = lines[row]?.split('\t') ?? [];
        const changed = flip(column.encoding, fields[place] ?? NULL_FIELD);
        if (changed === undefined) continue;
        const flipped = fields.with(place, changed);
        // A key that another row has would be a second difference.
        if (isKey(place) && lines.some((line) => hasKey(line, flipped, keys))) continue;
        return { lines: lines.with(row, flipped.join('\t')), column: column.name };
      }
    }
    return undefined;
  }
  return undefined;
}

function hasKey(line: string, fields: string[], keys: number[]): boolean {
  const others = line.split('\t');
  return keys.every((key) => others[key] === fields[key]);
}

/** Another value of the same type that differs in one byte; undefined where there is no simple one. */
export function flip(encoding: Encoding, field: string): string | undefined {
  if (field === NULL_FIELD) return undefined;
  switch (encoding.as) {
    case 'integer':
    case 'numeric':
      return lastDigit(field);
    case 'boolean':
      return field === 't' ? 'f' : 't';
    case 'text': {
      const text = unescapeField(field);
      const last = text.at(-1);
      if (last === undefined || last.charCodeAt(0) > 0x7e) return undefined;
      return escapeField(text.slice(0, -1) + (last === 'x' ? 'y' : 'x'));
    }
    case 'bytes':
      return field.length > 3 ? field.slice(0, -1) + (field.endsWith('0') ? '1' : '0') : undefined;
    case 'time':
    case 'timestamp':
    case 'timestamptz':
      return field.replace(
        /:(\d)(\d)(?=$|[.+])/,
        (_, tens: string, ones: string) => `:${tens}${ones === '0' ? '1' : '0'}`,
      );
    default:
      return undefined;
  }
}

function lastDigit(field: string): string | undefined {
  const last = field.at(-1) ?? '';
  if (!/\d/.test(last)) return undefined;
  const changed = field.slice(0, -1) + (last === '0' ? '1' : String(Number(last) - 1));
  return /^-0*(?:\.0*)?$/.test(changed) ? undefined : changed;
}

async function load(connection: Connection, table: MappedTable, lines: string[]): Promise<void> {
  const columns = table.columns.map((column) => quote(column.target)).join(', ');
  const stream = connection.client.query(copyFrom(`COPY ${SCRATCH} (${columns}) FROM STDIN`));
  stream.end(`${lines.join('\n')}\n`);
  await finished(stream);
}
