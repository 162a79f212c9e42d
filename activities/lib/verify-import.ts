/** The phase `verify` of database.import: our own evidence that the target holds what the held source holds. */
import { createHash } from 'node:crypto';
import type { PhaseContext, PhaseResult } from '../phase.ts';
import { compareTable, DIFFERENCES_NAMED_MAX } from './compare.ts';
import { counted, grouped } from './counted.ts';
import { fail } from './fail.ts';
import { takeOver } from './fence.ts';
import { countersOf } from './import/existing-tables.ts';
import { literal } from './import/defaults.ts';
import { visible } from './import/lines.ts';
import { makeImportTables } from './import/places.ts';
import type { Owner } from './import/places.ts';
import { proveComparison } from './import/proof.ts';
import { finishStatements, placeOf } from './import/statements.ts';
import type { FinishKind } from './import/statements.ts';
import { digestSource, markSource, openApproved } from './import-source.ts';
import type { ImportParams } from './import-source.ts';
import type { MappedTable, Mapping } from './mapping.ts';
import { inTransaction, withPostgres } from './postgres.ts';
import type { Connection } from './postgres.ts';
import type { Quarantined } from './rows.ts';
import { quote, runAside } from './sqlite.ts';
import type { Source } from './sqlite.ts';

export type Findings = {
  cellsCompared: number;
  quarantined: Quarantined[];
  differences: string[];
  differencesTotal: number;
  digest: string;
};

/**
 * Compares every cell, the counters and the constraints. The verdict is pass only where each cell of the source, counted
 * by the source itself, was compared; no cell at all is inconclusive.
 *
 * @throws VerificationFailed where the comparison does not see a byte that was flipped for it
 */
export async function verifyImport(params: ImportParams, context: PhaseContext): Promise<PhaseResult> {
  const { sourceDigest: held, heldMark } = context.outputs[`${params.step}/hold-writes`] ?? {};
  const { found, cellsInSource, proved } = await withPostgres(params.target, context, async (connection) => {
    await takeOver(connection, context);
    await makeImportTables(connection);
    const mapped = await openApproved(params, context, connection);
    using source = mapped.source;
    const { mapping } = mapped;
    const proof = await proveComparison(connection, context, mapped);
    if (proof.blind.length > 0) {
      throw fail(
        'VerificationFailed',
        `The comparison is blind: in a scratch copy with one flipped byte it saw something else (${proof.blind.join('; ')}), so it is no evidence; report this.`,
      );
    }
    const total = Number(context.outputs[`${params.step}/inspect`]?.['rows'] ?? 0);
    const compared = await inTransaction(
      connection,
      () => compareAll({ connection, mapping, source, params, context, total }),
      'ISOLATION LEVEL REPEATABLE READ READ ONLY',
    );
    return {
      found: compared,
      cellsInSource: await countCells(source, mapping, context.signal),
      proved: proof.proved,
    };
  });
  const sourceMark = await markSource(params, context);
  // A file that nobody wrote to since then holds what it held.
  const now = sourceMark === heldMark ? held : await digestSource(params, context);
  if (typeof held === 'string' && typeof now === 'string' && now !== held) {
    note(
      found,
      `'${params.source}' has changed since its writes were held (digest ${now.slice(0, 12)}, then ${held.slice(0, 12)})`,
    );
  }
  return {
    ...verdictOf(params, found, { cellsInSource, proved }),
    output: { cellsCompared: found.cellsCompared, cellsInSource, sourceMark },
  };
}

function verdictOf(
  params: ImportParams,
  found: Findings,
  { cellsInSource, proved }: { cellsInSource: number; proved: number },
): Pick<PhaseResult, 'verdict' | 'summary'> {
  if (found.differencesTotal > 0) {
    const count = counted(found.differencesTotal, 'difference');
    const more = found.differencesTotal > found.differences.length ? '; and more' : '';
    const summary = `${count} between '${params.source}' and '${params.target}', expected none: ${found.differences.join('; ')}${more}`;
    return { verdict: 'fail', summary: visible(summary).slice(0, 3_500) };
  }
  if (found.cellsCompared !== cellsInSource) {
    return {
      verdict: 'fail',
      summary: `${counted(found.cellsCompared, 'cell')} compared, expected the ${grouped(cellsInSource)} of '${params.source}'`,
    };
  }
  if (cellsInSource === 0)
    return { verdict: 'inconclusive', summary: `'${params.source}' holds no cell, so nothing was compared` };
  const seen =
    proved === 0
      ? ''
      : `; a flipped byte was seen in ${proved === 1 ? 'a scratch copy' : `${grouped(proved)} scratch copies`}`;
  return {
    verdict: 'pass',
    summary: `${grouped(found.cellsCompared)} of ${counted(cellsInSource, 'cell')} compared, all equal (${found.digest.slice(0, 12)})${seen}`,
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

export type CompareAll = {
  connection: Connection;
  mapping: Mapping;
  source: Source;
  params: ImportParams;
  context: PhaseContext;
  /** Rows, for the progress. */
  total: number;
};

/** Every table, its counters and its constraints. Must run in a transaction of one snapshot. */
export async function compareAll(work: CompareAll): Promise<Findings> {
  const { connection, context, mapping, params } = work;
  const found = await compareRows(work);
  for (const table of mapping.tables) {
    for (const difference of await checkCounters(connection, mapping, table)) note(found, difference);
  }
  for (const difference of await checkConstraints(connection, mapping)) note(found, difference);
  const owner = { run: context.run, step: params.step };
  for (const difference of await checkQuarantine(connection, owner, found.quarantined))
    note(found, difference);
  return found;
}

/** Every cell of every table. Must run in a transaction of one snapshot. */
export async function compareRows(work: CompareAll): Promise<Findings> {
  const { connection, context, mapping, params, source, total } = work;
  const found: Findings = {
    cellsCompared: 0,
    quarantined: [],
    differences: [],
    differencesTotal: 0,
    digest: '',
  };
  const digest = createHash('sha256');
  // Rows lie in the order of their keys: going through them costs less than sorting them.
  await connection.query('SET LOCAL enable_sort = off');
  // While the source is read for long the session of the target is idle.
  await connection.query('SET LOCAL idle_in_transaction_session_timeout = 0');
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
    found.quarantined.push(...compared.quarantined);
    found.differencesTotal += compared.differencesTotal;
    found.differences.push(
      ...compared.differences.slice(0, DIFFERENCES_NAMED_MAX - found.differences.length),
    );
  }
  found.digest = digest.digest('hex');
  return found;
}

function note(found: Findings, difference: string): void {
  found.differencesTotal += 1;
  if (found.differences.length < DIFFERENCES_NAMED_MAX) found.differences.push(difference);
}

/** The next number of PostgreSQL must be above every one that SQLite ever gave. */
async function checkCounters(
  connection: Connection,
  { mode }: Mapping,
  table: MappedTable,
): Promise<string[]> {
  const on = placeOf(table);
  const alias = table.columns.find(({ name }) => name === table.source.rowidAlias);
  const counters = await countersOf(connection, on);
  const found: string[] = [];
  if (mode === 'create' && alias !== undefined && !counters.some(({ column }) => column === alias.target))
    found.push(`${table.source.name} ${alias.name} has no counter`);
  for (const { column, sequence } of counters) {
    const [row] = await connection.query(
      `SELECT last_value, is_called, (SELECT coalesce(max(${quote(column)}), 0) FROM ${on}) FROM ${sequence}`,
    );
    // The last number that there is leaves none for a new row, on either side.
    const next = BigInt(row?.[0] ?? 0) + (row?.[1] === 't' ? 1n : 0n);
    const given = column === alias?.target ? (table.source.sequence ?? 0n) : 0n;
    const known = [BigInt(row?.[2] ?? 0), given].reduce((a, b) => (a > b ? a : b));
    if (next <= known)
      found.push(`${table.source.name} ${column} continues at ${next}, expected above ${known}`);
  }
  return found;
}

const KINDS: [FinishKind, string][] = [
  ['primary', 'primary keys'],
  ['unique', 'unique constraints'],
  ['foreign', 'foreign keys'],
  ['index', 'indexes'],
];

/** Keys and indexes of tables that the import made, and no foreign key that was left unheld. */
async function checkConstraints(connection: Connection, mapping: Mapping): Promise<string[]> {
  if (mapping.mode === 'existing') return [];
  const statements = finishStatements(mapping, 'public');
  const found: string[] = [];
  for (const table of mapping.tables) {
    const [row] = await connection.query(
      `SELECT
         (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'p' AND convalidated),
         (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'u' AND convalidated),
         (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f' AND convalidated),
         (SELECT count(*) FROM pg_index i WHERE indrelid = c.oid AND indisvalid
            AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid))
       FROM pg_class c WHERE c.oid = to_regclass(${literal(placeOf(table))})`,
    );
    for (const [place, [kind, words]] of KINDS.entries()) {
      const count = statements.filter((one) => one.kind === kind && one.table === table.target).length;
      if (Number(row?.[place]) !== count)
        found.push(`${table.source.name} has ${row?.[place] ?? 'no'} ${words}, expected ${count}`);
    }
  }
  return found;
}

/** Cells beside their tables: each must be there with its bytes. */
async function checkQuarantine(
  connection: Connection,
  owner: Owner,
  expected: readonly Quarantined[],
): Promise<string[]> {
  const rows = await connection.query(
    `SELECT "table", "row", "column", class, encode(value, 'hex') FROM countdown.quarantine WHERE run = $1 AND step = $2`,
    [owner.run, owner.step],
  );
  const kept = new Set(rows.map((row) => JSON.stringify(row)));
  const missing = expected.filter(
    (one) =>
      !kept.has(
        JSON.stringify([one.table, one.row, one.column, one.class, Buffer.from(one.value).toString('hex')]),
      ),
  );
  const found = missing.map(
    (one) => `${one.table} ${one.row} ${one.column} is not in quarantine as it is in the source`,
  );
  return kept.size === expected.length
    ? found
    : [...found, `${counted(kept.size, 'cell')} in quarantine, expected ${grouped(expected.length)}`];
}
