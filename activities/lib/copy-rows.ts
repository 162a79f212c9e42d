/**
 * The rows of a source into empty tables: chunks by COPY, and beside each chunk, in the same transaction and under the
 * fence, how far it got. So the copy goes on where it stopped, whoever does it. While PostgreSQL takes one chunk the next
 * is read and encoded.
 */
import { finished } from 'node:stream/promises';
import { from as copyFrom } from 'pg-copy-streams';
import type { PhaseContext } from '../phase.ts';
import { counted } from './counted.ts';
import { fail } from './fail.ts';
import { fenced } from './fence.ts';
import {
  assertReturned,
  dropTriggers,
  forgetCapture,
  forgetReturned,
  lockCaptured,
  returnedDigest,
} from './import/capture.ts';
import { columnsCopied, lineCopied } from './import/copied.ts';
import {
  emptyExisting,
  finishExisting,
  forgetEmptied,
  isPrepared,
  prepareExisting,
} from './import/existing-tables.ts';
import { Offenders } from './import/offenders.ts';
import type { Owner } from './import/places.ts';
import { createStatements, finishStatements, placeOf } from './import/statements.ts';
import { swapBack, swapIn, swapSchemas } from './import/swap.ts';
import { WIRE_END, WIRE_HEAD, hasWire } from './import/wire.ts';
import { wirePages } from './import/wire-pages.ts';
import type { Part, WirePage, WirePagesInput } from './import/wire-pages.ts';
import type { MappedTable, Mapping } from './mapping.ts';
import type { Connection } from './postgres.ts';
import { encodePage } from './rows.ts';
import type { Encoded } from './rows.ts';
import { TextBytes, quote, readPages } from './sqlite.ts';
import type { Cell, Page, Source } from './sqlite.ts';

/** The checkpoint that says that everything is done. */
const ALL = 'all';

export type CopyState = {
  /** Tables were made or prepared. */
  begun: boolean;
  /** Tables that it made. */
  created: number;
  rows: number;
  complete: boolean;
};

/** What is copied where. */
export type CopyWork = {
  owner: Owner;
  mapping: Mapping;
  /** Tables of schema public in whose place new ones are put. */
  replaces: readonly string[];
};

/** How far the copy of this step got. */
export async function copyState(connection: Connection, owner: Owner): Promise<CopyState> {
  const [created] = await connection.query(
    'SELECT count(*) FROM countdown.created WHERE run = $1 AND step = $2',
    [owner.run, owner.step],
  );
  const [copied] = await connection.query(
    `SELECT coalesce(sum(rows), 0), coalesce(bool_or(item = '${ALL}'), false) FROM countdown.checkpoint WHERE run = $1 AND step = $2`,
    [owner.run, owner.step],
  );
  return {
    begun: Number(created?.[0] ?? 0) > 0 || (await isPrepared(connection, owner)),
    created: Number(created?.[0] ?? 0),
    rows: Number(copied?.[0] ?? 0),
    complete: copied?.[1] === 't',
  };
}

/** Makes the tables once, or prepares those that are there. Each made is noted with its id, so that undo drops no others. */
export async function prepareTables(
  connection: Connection,
  context: PhaseContext,
  { owner, mapping, replaces }: CopyWork,
): Promise<void> {
  // What an earlier round of this step carried back is no measure for this one.
  await fenced(connection, context, () => forgetReturned(connection, owner));
  if (mapping.mode === 'existing') return await prepareExisting(connection, context, { owner, mapping });
  if ((await copyState(connection, owner)).created > 0) return;
  const schema = loadSchema(owner, replaces);
  await fenced(connection, context, async () => {
    if (schema !== 'public') await connection.query(`CREATE SCHEMA ${quote(schema)}`);
    for (const { table, sql } of createStatements(mapping, schema)) {
      await connection.query(sql);
      await connection.query(
        `INSERT INTO countdown.created (run, step, name, id)
         SELECT $1, $2, c.relname, c.oid FROM pg_class c WHERE c.relname = $3 AND c.relnamespace = $4::regnamespace`,
        [owner.run, owner.step, table, quote(schema)],
      );
    }
  });
}

/** New tables are loaded where they will stand, unless others stand there. */
function loadSchema(owner: Owner, replaces: readonly string[]): string {
  return replaces.length === 0 ? 'public' : swapSchemas(owner).fresh;
}

/** Copies what is not yet copied. Gives the rows copied by all attempts together. */
export async function copyRows(
  connection: Connection,
  context: PhaseContext,
  input: CopyWork & { source: Source; chunkRows: number; rowsTotal: number },
): Promise<number> {
  const { owner, source } = input;
  let rows = (await copyState(connection, owner)).rows;
  for (const table of input.mapping.tables) {
    const done = await readCheckpoint(connection, owner, table);
    if (done.done) continue;
    const place = placeOf(table, loadSchema(owner, input.replaces));
    const parts = readParts(source, table, {
      order: 'storage',
      rowsMax: input.chunkRows,
      signal: context.signal,
      options: { computed: false, framed: false },
      ...(done.lastKey === undefined ? {} : { after: done.lastKey }),
    });
    let chunk: Chunk | undefined;
    // A chunk that a crash takes back takes its checkpoint with it; the last one of the table waits for the disk.
    await connection.query('SET synchronous_commit = off');
    try {
      for await (const part of parts) {
        const made = part.wire ?? encoded(source, table, part.page);
        await chunk?.stored;
        rows += rowsOf(made);
        const progress = { done: rows, total: input.rowsTotal, unit: 'rows', detail: table.source.name };
        const { lastKey } = part.wire ?? part.page;
        chunk = storeChunk(connection, context, { owner, table, place, made, lastKey });
        const { stored } = chunk;
        chunk.stored = stored.then(() => context.progress(progress));
        chunk.stored.catch(() => undefined);
        await chunk.sent;
      }
      await chunk?.stored;
    } catch (error) {
      // The session can be used again only when the chunk under way has ended.
      await chunk?.stored.catch(() => undefined);
      throw error;
    }
    await connection.query('RESET synchronous_commit');
    await fenced(connection, context, () =>
      saveCheckpoint(connection, owner, { table, rows: 0, done: true }),
    );
  }
  return rows;
}

/** Pages that are written already, or, where the table has a column that cannot be, pages to be written as text. */
async function* readParts(source: Source, table: MappedTable, input: WirePagesInput): AsyncGenerator<Part> {
  if (hasWire(table)) return yield* wirePages(source, table, input);
  for await (const page of readPages(source, table.source, input)) yield { page };
}

/** The rows of a page as text. Throws VerificationFailed where one cannot be carried. */
function encoded(source: Source, table: MappedTable, page: Page): Encoded {
  const offenders = new Offenders();
  const found = encodePage(source, table, page, offenders);
  if (offenders.total > 0) throw fail('VerificationFailed', refusal(source, offenders));
  return found;
}

function rowsOf(made: Encoded | WirePage): number {
  return 'lines' in made ? made.lines.length : made.rows;
}

function refusal(source: Source, offenders: Offenders): string {
  return `${counted(offenders.total, 'cell')} of '${source.name}' cannot be carried exactly: ${offenders.text()}. Correct them in the source and run again.`;
}

/** A chunk on its way: its rows are with the server, and it is stored. */
type Chunk = { sent: Promise<void>; stored: Promise<void> };

function storeChunk(
  connection: Connection,
  context: PhaseContext,
  at: { owner: Owner; table: MappedTable; place: string; made: Encoded | WirePage; lastKey: Cell[] },
): Chunk {
  const sent = Promise.withResolvers<void>();
  const stored = fenced(connection, context, async () => {
    await copyChunk(connection, at, sent.resolve);
    if ('lines' in at.made) await saveQuarantine(connection, at.owner, at.made.quarantined);
    await saveCheckpoint(connection, at.owner, {
      table: at.table,
      lastKey: at.lastKey,
      rows: rowsOf(at.made),
    });
  }).finally(() => {
    if ('release' in at.made) at.made.release();
    sent.resolve();
  });
  return { sent: sent.promise, stored };
}

async function copyChunk(
  connection: Connection,
  { table, place, made }: { table: MappedTable; place: string; made: Encoded | WirePage },
  onSent: () => void,
): Promise<void> {
  const isText = 'lines' in made;
  const format = isText ? '' : ' (FORMAT binary)';
  const stream = connection.client.query(
    copyFrom(`COPY ${place} (${columnsCopied(table)}) FROM STDIN${format}`),
  );
  if (isText) {
    stream.write(`${made.lines.map((line) => lineCopied(table, line)).join('\n')}\n`, () => onSent());
  } else {
    stream.write(WIRE_HEAD);
    stream.write(made.bytes, () => onSent());
    stream.write(WIRE_END);
  }
  stream.end();
  await finished(stream);
  if (stream.rowCount !== rowsOf(made)) {
    throw fail(
      'PhaseFailed',
      `PostgreSQL took ${stream.rowCount} rows of ${table.source.name}, expected ${rowsOf(made)}.`,
    );
  }
}

async function saveQuarantine(
  connection: Connection,
  owner: Owner,
  cells: Encoded['quarantined'],
): Promise<void> {
  for (const cell of cells) {
    await connection.query(
      `INSERT INTO countdown.quarantine (run, step, "table", "row", "column", class, value)
       VALUES ($1, $2, $3, $4, $5, $6, decode($7, 'hex')) ON CONFLICT DO NOTHING`,
      [
        owner.run,
        owner.step,
        cell.table,
        cell.row,
        cell.column,
        cell.class,
        Buffer.from(cell.value).toString('hex'),
      ],
    );
  }
}

/** Indexes, keys, counters and foreign keys, each once; then the tables stand where they belong. */
export async function finishTables(
  connection: Connection,
  context: PhaseContext,
  { owner, mapping, replaces }: CopyWork,
): Promise<void> {
  const statements =
    mapping.mode === 'existing'
      ? await finishExisting(connection, { owner, mapping })
      : finishStatements(mapping, loadSchema(owner, replaces));
  const finishedItems = await connection.query(
    `SELECT item FROM countdown.checkpoint WHERE run = $1 AND step = $2 AND item LIKE 'statement:%'`,
    [owner.run, owner.step],
  );
  const known = new Set(finishedItems.map(([item]) => item));
  for (const [place, { sql }] of statements.entries()) {
    const item = `statement:${place}`;
    if (known.has(item)) continue;
    context.progress({ done: place, total: statements.length, unit: 'statements', detail: sql.slice(0, 80) });
    await fenced(connection, context, async () => {
      await connection.query(sql);
      await saveItem(connection, owner, { item, lastKey: null, rows: 0, done: true });
    });
  }
  await swapIn(connection, context, { owner, mapping, replaces });
  await fenced(connection, context, () =>
    saveItem(connection, owner, { item: ALL, lastKey: null, rows: 0, done: true }),
  );
}

export type TakenBack = {
  /** What it did, in words. */
  summary: string;
  /** What the source held once every row was carried back; undefined if no write was let in. */
  returned: string | undefined;
};

/**
 * Takes back what this step did to the target's tables, and forgets how far it got. Unless writes go to the source again
 * (`isLetIn`), it keeps what the undo of `hold-writes` still asks for.
 */
export async function takeBack(
  connection: Connection,
  context: PhaseContext,
  { owner, isLetIn }: { owner: Owner; isLetIn: boolean },
): Promise<TakenBack> {
  return await fenced(connection, context, async () => {
    // The lock comes first: nobody writes between the look and the drop.
    await lockCaptured(connection, owner);
    await dropTriggers(connection, owner);
    await assertReturned(connection, owner);
    const returned = await returnedDigest(connection, owner);
    const isAskedFor = returned !== undefined && !isLetIn;
    await forgetCapture(connection, owner, { returned: isAskedFor ? 'keep' : 'forget' });
    const own = await connection.query(
      `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM countdown.created m
       JOIN pg_class c ON c.oid = m.id AND c.relname = m.name AND c.relkind = 'r' JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE m.run = $1 AND m.step = $2 AND n.nspname IN ('public', $3) ORDER BY 1`,
      [owner.run, owner.step, swapSchemas(owner).fresh],
    );
    if (own.length > 0) await connection.query(`DROP TABLE ${own.map(([name]) => name).join(', ')}`);
    await swapBack(connection, owner);
    const emptied = await emptyExisting(connection, owner, { remember: isAskedFor });
    if (!isAskedFor) await forgetEmptied(connection, owner);
    for (const table of ['created', 'checkpoint', 'quarantine']) {
      await connection.query(`DELETE FROM countdown.${table} WHERE run = $1 AND step = $2`, [
        owner.run,
        owner.step,
      ]);
    }
    const dropped = own.length === 0 ? 'there was no table to drop' : `${own.length} tables dropped`;
    return { summary: emptied > 0 ? `${emptied} tables emptied` : dropped, returned };
  });
}

async function readCheckpoint(
  connection: Connection,
  owner: Owner,
  table: MappedTable,
): Promise<{ done: boolean; lastKey?: Cell[] }> {
  const [row] = await connection.query(
    'SELECT done, last_key FROM countdown.checkpoint WHERE run = $1 AND step = $2 AND item = $3',
    [owner.run, owner.step, itemOf(table)],
  );
  if (row === undefined) return { done: false };
  return {
    done: row[0] === 't',
    ...(row[1] === null || row[1] === undefined ? {} : { lastKey: parseKey(row[1]) }),
  };
}

async function saveCheckpoint(
  connection: Connection,
  owner: Owner,
  at: { table: MappedTable; lastKey?: Cell[]; rows: number; done?: boolean },
): Promise<void> {
  const lastKey = at.lastKey === undefined ? null : formatKey(at.lastKey);
  await saveItem(connection, owner, {
    item: itemOf(at.table),
    lastKey,
    rows: at.rows,
    done: at.done === true,
  });
}

async function saveItem(
  connection: Connection,
  owner: Owner,
  at: { item: string; lastKey: string | null; rows: number; done: boolean },
): Promise<void> {
  await connection.query(
    `INSERT INTO countdown.checkpoint AS held (run, step, item, last_key, rows, done) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (run, step, item) DO UPDATE
     SET last_key = coalesce(excluded.last_key, held.last_key), rows = held.rows + excluded.rows, done = excluded.done`,
    [owner.run, owner.step, at.item, at.lastKey, at.rows, String(at.done)],
  );
}

function itemOf(table: MappedTable): string {
  return `table:${table.source.name}`;
}

/** A key as text that gives exactly the same key back. */
export function formatKey(key: Cell[]): string {
  return JSON.stringify(
    key.map((cell) => {
      if (typeof cell === 'bigint') return ['i', String(cell)];
      if (typeof cell === 'number') return ['r', String(cell)];
      if (cell instanceof TextBytes) return ['x', Buffer.from(cell).toString('hex')];
      if (cell instanceof Uint8Array) return ['b', Buffer.from(cell).toString('hex')];
      return ['t', cell];
    }),
  );
}

export function parseKey(text: string): Cell[] {
  const parts: [string, string][] = JSON.parse(text);
  return parts.map(([kind, value]) => {
    if (kind === 'i') return BigInt(value);
    if (kind === 'r') return Number(value);
    if (kind === 'x') return new TextBytes(Buffer.from(value, 'hex'));
    return kind === 'b' ? new Uint8Array(Buffer.from(value, 'hex')) : value;
  });
}
