/** The phase `verify` of database.import: our own evidence that the target holds what the held source holds. */
import { createHash } from 'node:crypto';
import type { PhaseContext, PhaseResult } from '../phase.ts';
import { compareTable, DIFFERENCES_NAMED_MAX } from './compare.ts';
import { takeOver } from './fence.ts';
import { assertMapping, digestSource, openMapped } from './import-source.ts';
import type { ImportParams } from './import-source.ts';
import { literal } from './mapping.ts';
import type { Mapping } from './mapping.ts';
import { inTransaction, withPostgres } from './postgres.ts';
import type { Connection } from './postgres.ts';
import { quote, runAside } from './sqlite.ts';
import type { Source } from './sqlite.ts';

type Findings = { cellsCompared: number; differences: string[]; differencesTotal: number; digest: string };

/**
 * Compares every cell, the counters and the constraints. The verdict is pass only where each cell of the source, counted
 * by the source itself, was compared; no cell at all is inconclusive.
 */
export async function verifyImport(params: ImportParams, context: PhaseContext): Promise<PhaseResult> {
  const { source: opened, mapping } = await openMapped(params, context);
  using source = opened;
  assertMapping(params, context, mapping);
  const held = context.outputs[`${params.step}/hold-writes`]?.['sourceDigest'];
  const cellsInSource = await countCells(source, mapping, context.signal);
  const found = await withPostgres(params.target, context, async (connection) => {
    await takeOver(connection, context);
    return await inTransaction(
      connection,
      () => compareAll({ connection, mapping, source, params, context }),
      'ISOLATION LEVEL REPEATABLE READ READ ONLY',
    );
  });
  const now = await digestSource(params, context);
  if (typeof held === 'string' && now !== held) {
    note(
      found,
      `'${params.source}' has changed since its writes were held (digest ${now.slice(0, 12)}, then ${held.slice(0, 12)})`,
    );
  }
  return {
    ...verdictOf(params, found, cellsInSource),
    output: { cellsCompared: found.cellsCompared, cellsInSource },
  };
}

function verdictOf(
  params: ImportParams,
  found: Findings,
  cellsInSource: number,
): Pick<PhaseResult, 'verdict' | 'summary'> {
  if (found.differencesTotal > 0) {
    const count = found.differencesTotal === 1 ? '1 difference' : `${found.differencesTotal} differences`;
    const more = found.differencesTotal > found.differences.length ? '; and more' : '';
    const summary = `${count} between '${params.source}' and '${params.target}', expected none: ${found.differences.join('; ')}${more}`;
    return { verdict: 'fail', summary: summary.slice(0, 3_500) };
  }
  if (found.cellsCompared !== cellsInSource) {
    return {
      verdict: 'fail',
      summary: `${found.cellsCompared} cells compared, expected the ${cellsInSource} of '${params.source}'`,
    };
  }
  if (cellsInSource === 0)
    return { verdict: 'inconclusive', summary: `'${params.source}' holds no cell, so nothing was compared` };
  return {
    verdict: 'pass',
    summary: `${found.cellsCompared} of ${cellsInSource} cells compared, all equal (${found.digest.slice(0, 12)})`,
  };
}

/** Counted by SQLite itself, not by the reader that compares. */
async function countCells(source: Source, mapping: Mapping, signal: AbortSignal): Promise<number> {
  const sql = mapping.tables.map(({ source: table }) => `SELECT count(*) AS rows FROM ${quote(table.name)}`);
  const counts = await runAside(source.name, { path: source.path, sql }, signal);
  return mapping.tables.reduce(
    (sum, table, place) => sum + Number(counts[place]?.[0]?.['rows'] ?? 0) * table.columns.length,
    0,
  );
}

async function compareAll(work: {
  connection: Connection;
  mapping: Mapping;
  source: Source;
  params: ImportParams;
  context: PhaseContext;
}): Promise<Findings> {
  const { connection, context, mapping, params, source } = work;
  const found: Findings = { cellsCompared: 0, differences: [], differencesTotal: 0, digest: '' };
  const digest = createHash('sha256');
  const total = Number(context.outputs[`${params.step}/inspect`]?.['rows'] ?? 0);
  let rows = 0;
  for (const table of mapping.tables) {
    const before = rows;
    const compared = await compareTable({
      source,
      target: connection,
      table,
      chunkRows: params.chunkRows,
      signal: context.signal,
      onRows: (done) =>
        context.progress({ done: before + done, total, unit: 'rows', detail: table.source.name }),
    });
    rows += compared.rowsSource;
    digest.update(compared.digest);
    found.cellsCompared += compared.cellsCompared;
    found.differencesTotal += compared.differencesTotal;
    found.differences.push(
      ...compared.differences.slice(0, DIFFERENCES_NAMED_MAX - found.differences.length),
    );
  }
  for (const { source: table } of mapping.tables) {
    for (const difference of await checkCounter(connection, table)) note(found, difference);
    for (const difference of await checkConstraints(connection, table)) note(found, difference);
  }
  found.digest = digest.digest('hex');
  return found;
}

function note(found: Findings, difference: string): void {
  found.differencesTotal += 1;
  if (found.differences.length < DIFFERENCES_NAMED_MAX) found.differences.push(difference);
}

type Table = Mapping['tables'][number]['source'];

/** The next id of PostgreSQL must be above every id that SQLite ever gave. */
async function checkCounter(connection: Connection, table: Table): Promise<string[]> {
  if (table.rowidAlias === null) return [];
  const name = `public.${quote(table.name)}`;
  const [sequence] = await connection.query(
    `SELECT pg_get_serial_sequence(${literal(name)}, ${literal(table.rowidAlias)})`,
  );
  if (sequence?.[0] === null || sequence?.[0] === undefined)
    return [`${table.name} ${table.rowidAlias} has no counter`];
  const [row] = await connection.query(
    `SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END, (SELECT coalesce(max(${quote(table.rowidAlias)}), 0) FROM ${name}) FROM ${sequence[0]}`,
  );
  const next = BigInt(row?.[0] ?? 0);
  const known = [BigInt(row?.[1] ?? 0), table.sequence ?? 0n].reduce((a, b) => (a > b ? a : b));
  return next > known
    ? []
    : [`${table.name} ${table.rowidAlias} continues at ${next}, expected above ${known}`];
}

async function checkConstraints(connection: Connection, table: Table): Promise<string[]> {
  const [row] = await connection.query(
    `SELECT
       (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'p' AND convalidated),
       (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'u' AND convalidated),
       (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f' AND convalidated),
       (SELECT count(*) FROM pg_index i WHERE indrelid = c.oid AND indisvalid
          AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid))
     FROM pg_class c WHERE c.oid = to_regclass(${literal(`public.${quote(table.name)}`)})`,
  );
  const expected: [string, number][] = [
    ['primary keys', table.primaryKey === null ? 0 : 1],
    ['unique constraints', table.uniques.length],
    ['foreign keys', table.foreignKeys.length],
    ['indexes', table.indexes.length],
  ];
  return expected.flatMap(([what, count], place) =>
    Number(row?.[place]) === count
      ? []
      : [`${table.name} has ${row?.[place] ?? 'no'} ${what}, expected ${count}`],
  );
}
