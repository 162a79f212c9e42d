/**
 * The rows of a source into empty tables: chunks by COPY, and beside each chunk, in the same transaction and under the
 * fence, how far it got. So the copy goes on where it stopped, whoever does it.
 */
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { from as copyFrom } from 'pg-copy-streams';
import type { PhaseContext } from '../phase.ts';
import { fail } from './fail.ts';
import { fenced } from './fence.ts';
import { createStatements, finishStatements } from './mapping.ts';
import type { MappedTable, Mapping } from './mapping.ts';
import type { Connection } from './postgres.ts';
import { encodePage, offendersText } from './rows.ts';
import { quote, readPages } from './sqlite.ts';
import type { Cell, Source } from './sqlite.ts';

/** Who copies: checkpoints belong to a step of a run. */
export type CopyOwner = { run: number; step: string };

/** The checkpoint that says that everything is done. */
const ALL = 'all';

export type CopyState = { created: number; rows: number; complete: boolean };

/** How far the copy of this step got. */
export async function copyState(connection: Connection, owner: CopyOwner): Promise<CopyState> {
  const [created] = await connection.query(
    'SELECT count(*) FROM countdown.created WHERE run = $1 AND step = $2',
    [owner.run, owner.step],
  );
  const [copied] = await connection.query(
    `SELECT coalesce(sum(rows), 0), coalesce(bool_or(item = '${ALL}'), false) FROM countdown.checkpoint WHERE run = $1 AND step = $2`,
    [owner.run, owner.step],
  );
  return {
    created: Number(created?.[0] ?? 0),
    rows: Number(copied?.[0] ?? 0),
    complete: copied?.[1] === 't',
  };
}

/** Makes the tables once, and notes each with its id, so that undo drops these and no others. */
export async function createTables(
  connection: Connection,
  context: PhaseContext,
  { owner, mapping }: { owner: CopyOwner; mapping: Mapping },
): Promise<void> {
  if ((await copyState(connection, owner)).created > 0) return;
  await fenced(connection, context, async () => {
    for (const { table, sql } of createStatements(mapping)) {
      await connection.query(sql);
      await connection.query(
        `INSERT INTO countdown.created (run, step, name, id)
         SELECT $1, $2, c.relname, c.oid FROM pg_class c WHERE c.relname = $3 AND c.relnamespace = 'public'::regnamespace`,
        [owner.run, owner.step, table],
      );
    }
  });
}

/** Copies what is not yet copied. Gives the rows copied by all attempts together. */
export async function copyRows(
  connection: Connection,
  context: PhaseContext,
  input: { owner: CopyOwner; mapping: Mapping; source: Source; chunkRows: number; rowsTotal: number },
): Promise<number> {
  let rows = (await copyState(connection, input.owner)).rows;
  for (const table of input.mapping.tables) {
    const done = await readCheckpoint(connection, input.owner, table);
    if (done.done) continue;
    const pages = readPages(input.source, table.source, {
      order: 'storage',
      rowsMax: input.chunkRows,
      signal: context.signal,
      ...(done.lastKey === undefined ? {} : { after: done.lastKey }),
    });
    for await (const page of pages) {
      const { lines, offenders, offendersTotal } = encodePage(input.source, table, page);
      if (offendersTotal > 0)
        throw fail('VerificationFailed', refusal(input.source, offenders, offendersTotal));
      await fenced(connection, context, async () => {
        await copyLines(connection, table, lines);
        await saveCheckpoint(connection, input.owner, { table, lastKey: page.lastKey, rows: lines.length });
      });
      rows += lines.length;
      context.progress({ done: rows, total: input.rowsTotal, unit: 'rows', detail: table.source.name });
    }
    await fenced(connection, context, () =>
      saveCheckpoint(connection, input.owner, { table, rows: 0, done: true }),
    );
  }
  return rows;
}

function refusal(source: Source, offenders: Parameters<typeof offendersText>[0], total: number): string {
  const cells = total === 1 ? '1 cell' : `${total} cells`;
  return `${cells} of '${source.name}' cannot be carried exactly: ${offendersText(offenders, total)}. Correct them in the source and run again.`;
}

async function copyLines(connection: Connection, table: MappedTable, lines: string[]): Promise<void> {
  const columns = table.columns.map((column) => quote(column.name)).join(', ');
  const stream = connection.client.query(
    copyFrom(`COPY public.${quote(table.source.name)} (${columns}) FROM STDIN`),
  );
  Readable.from([Buffer.from(`${lines.join('\n')}\n`)]).pipe(stream);
  await finished(stream);
  if (stream.rowCount !== lines.length) {
    throw fail(
      'PhaseFailed',
      `PostgreSQL took ${stream.rowCount} rows of ${table.source.name}, expected ${lines.length}.`,
    );
  }
}

/** Indexes, keys, counters and foreign keys, each once. */
export async function finishTables(
  connection: Connection,
  context: PhaseContext,
  { owner, mapping }: { owner: CopyOwner; mapping: Mapping },
): Promise<void> {
  const statements = finishStatements(mapping);
  const finishedItems = await connection.query(
    `SELECT item FROM countdown.checkpoint WHERE run = $1 AND step = $2 AND item LIKE 'statement:%'`,
    [owner.run, owner.step],
  );
  const known = new Set(finishedItems.map(([item]) => item));
  for (const [place, sql] of statements.entries()) {
    const item = `statement:${place}`;
    if (known.has(item)) continue;
    context.progress({ done: place, total: statements.length, unit: 'statements', detail: sql.slice(0, 80) });
    await fenced(connection, context, async () => {
      await connection.query(sql);
      await saveItem(connection, owner, { item, lastKey: null, rows: 0, done: true });
    });
  }
  await fenced(connection, context, () =>
    saveItem(connection, owner, { item: ALL, lastKey: null, rows: 0, done: true }),
  );
}

/** Drops the tables that this step made, and forgets how far it got. Gives the number dropped. */
export async function dropTables(
  connection: Connection,
  context: PhaseContext,
  owner: CopyOwner,
): Promise<number> {
  return await fenced(connection, context, async () => {
    const own = await connection.query(
      `SELECT c.relname FROM countdown.created m JOIN pg_class c ON c.oid = m.id AND c.relname = m.name AND c.relkind = 'r'
       WHERE m.run = $1 AND m.step = $2 AND c.relnamespace = 'public'::regnamespace ORDER BY 1`,
      [owner.run, owner.step],
    );
    if (own.length > 0) {
      await connection.query(`DROP TABLE ${own.map(([name]) => `public.${quote(name ?? '')}`).join(', ')}`);
    }
    await connection.query('DELETE FROM countdown.created WHERE run = $1 AND step = $2', [
      owner.run,
      owner.step,
    ]);
    await connection.query('DELETE FROM countdown.checkpoint WHERE run = $1 AND step = $2', [
      owner.run,
      owner.step,
    ]);
    return own.length;
  });
}

async function readCheckpoint(
  connection: Connection,
  owner: CopyOwner,
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
  owner: CopyOwner,
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
  owner: CopyOwner,
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
    return kind === 'b' ? new Uint8Array(Buffer.from(value, 'hex')) : value;
  });
}
