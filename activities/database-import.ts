/**
 * database.import: a SQLite file into an empty PostgreSQL database, while the application holds its writes.
 *
 *   inspect      every cell can be carried, the target is empty, the switch stands on the source     changes nothing
 *   backup       an online copy of the file into the run's own folder                                changes nothing
 *   hold-writes  source → source held, then a digest of every cell                                   undo: source
 *   copy         tables, rows in chunks with checkpoints, keys, counters                             undo: drops its tables
 *   verify       every cell on both sides                                                            changes nothing
 *   switch       source held → target held                                                           undo: source held
 *
 * With reverse capture:
 *
 *   release-writes  target held → target, each row that is written is noted          undo: target held, rows carried back
 *   end-capture     a phase of the point of no return: nothing is noted any more
 */
import { makeBackup } from './lib/backup.ts';
import { copyRows, copyState, finishTables, prepareTables, takeBack } from './lib/copy-rows.ts';
import { counted } from './lib/counted.ts';
import { fail } from './lib/fail.ts';
import { takeOver } from './lib/fence.ts';
import { assertReturned } from './lib/import/capture.ts';
import { inspectImport } from './lib/import/inspect.ts';
import { makeImportTables } from './lib/import/places.ts';
import { endCapture, releaseWrites, settleOwed } from './lib/import/release.ts';
import { isLastLookDue, letWritesIn } from './lib/import/let-in.ts';
import { returnedOutput } from './lib/import/way-back.ts';
import {
  digestSource,
  markSource,
  openApproved,
  openForWrites,
  openImportSwitch,
} from './lib/import-source.ts';
import type { ImportParams } from './lib/import-source.ts';
import { withPostgres } from './lib/postgres.ts';
import { verifyImport } from './lib/verify-import.ts';
import { pause } from './lib/wait.ts';
import type { PhaseActivities, PhaseContext, PhaseResult } from './phase.ts';

/** Milliseconds that the probe of hold-writes spends on the digest; a larger source is held again instead. */
const PROBE_DIGEST_MS = 20_000;
/** Attempts to drop the tables while somebody else has them open, and the pause between. */
const DROP_TRIES = 5;
const DROP_RETRY_MS = 500;

const inspect: PhaseActivities<ImportParams> = {
  run: inspectImport,
};

const backup: PhaseActivities<ImportParams> = {
  async run(params, context) {
    const made = await makeBackup(params, context);
    return {
      verdict: 'pass',
      summary: `${made.sizeBytes} bytes, sha256 ${made.sha256.slice(0, 12)}, intact`,
      output: made,
    };
  },
};

const holdWrites: PhaseActivities<ImportParams> = {
  async run(params, context) {
    const client = await openImportSwitch(params, context);
    await client.set({ to: client.sourceHeld, from: [client.source] });
    return { verdict: 'pass', ...(await heldOutput(params, context)) };
  },

  async probe(params, context) {
    const client = await openImportSwitch(params, context);
    const value = await client.probe();
    if (value === client.source && isLastLookDue(params, context))
      return {
        answer: 'partly',
        summary: `${params.switch} says ${value}; ${params.target} is not looked into yet`,
      };
    if (value === client.source) return { answer: 'no', summary: `${params.switch} says ${value}` };
    if (value !== client.sourceHeld) return { answer: 'unknown', summary: `${params.switch} says ${value}` };
    // A digest of now would take a write since the hold for what was held.
    const known = context.outputs[`${params.step}/hold-writes`];
    if (typeof known?.['sourceDigest'] === 'string')
      return {
        answer: 'yes',
        summary: `writes are held, data ${known['sourceDigest'].slice(0, 12)}`,
        output: known,
      };
    const budget = AbortSignal.timeout(PROBE_DIGEST_MS);
    try {
      const held = await heldOutput(params, context, AbortSignal.any([context.signal, budget]));
      return { answer: 'yes', ...held };
    } catch (error) {
      context.signal.throwIfAborted();
      if (!budget.aborted) throw error;
      return {
        answer: 'partly',
        summary: `writes are held, but the source was not digested within ${PROBE_DIGEST_MS} ms`,
      };
    }
  },

  undo: letWritesIn,
};

async function heldOutput(params: ImportParams, context: PhaseContext, signal = context.signal) {
  const heldAt = new Date().toISOString();
  // Before the data is read: who writes meanwhile is seen by it.
  const heldMark = await markSource(params, context);
  const sourceDigest = await digestSource(params, context, signal);
  const output = { heldAt, heldMark, sourceDigest };
  return { summary: `writes are held, data ${sourceDigest.slice(0, 12)}`, output };
}

const copy: PhaseActivities<ImportParams> = {
  async run(params, context) {
    const client = await openImportSwitch(params, context);
    const { value } = await client.read();
    if (value !== client.sourceHeld) {
      throw fail(
        'PreconditionFailed',
        `Switch '${params.switch}' says '${value}', expected '${client.sourceHeld}': rows can only be copied while writes are held.`,
      );
    }
    return await withPostgres(params.target, context, async (connection) => {
      await takeOver(connection, context);
      await makeImportTables(connection);
      const { source: opened, mapping } = await openApproved(params, context, connection);
      using source = opened;
      const owner = { run: context.run, step: params.step };
      const inspected = context.outputs[`${params.step}/inspect`] ?? {};
      const replaces = Array.isArray(inspected['replaces']) ? inspected['replaces'].map(String) : [];
      const work = { owner, mapping, replaces };
      await prepareTables(connection, context, work);
      const rowsTotal = Number(inspected['rows'] ?? 0);
      const { chunkRows } = params;
      const rowsCopied = await copyRows(connection, context, { ...work, source, chunkRows, rowsTotal });
      await finishTables(connection, context, work);
      const { created } = await copyState(connection, owner);
      return { verdict: 'pass', ...copied(rowsCopied, { made: created, tables: mapping.tables.length }) };
    });
  },

  async probe(params, context) {
    return await withPostgres(params.target, context, async (connection) => {
      await takeOver(connection, context);
      await makeImportTables(connection);
      const state = await copyState(connection, { run: context.run, step: params.step });
      if (!state.begun) return { answer: 'no', summary: 'no table was made or filled' };
      if (state.complete)
        return { answer: 'yes', ...copied(state.rows, { made: state.created, tables: state.created }) };
      return {
        answer: 'partly',
        summary: `${counted(state.created, 'table')}, ${counted(state.rows, 'row')} so far`,
      };
    });
  },

  async undo(params, context) {
    const client = await openImportSwitch(params, context);
    const { value } = await client.read();
    if (value === client.target) throw openForWrites(params, value);
    if (value === client.targetHeld) {
      throw fail(
        'UndoFailed',
        `Switch '${params.switch}' says '${value}': the application reads the tables that would be dropped; set it to '${client.sourceHeld}', then try again.`,
      );
    }
    await settleOwed(params, context, { isHeld: value === client.sourceHeld });
    const isLetIn = value === client.source;
    return await withPostgres(params.target, context, async (connection) => {
      await takeOver(connection, context);
      await makeImportTables(connection);
      const owner = { run: context.run, step: params.step };
      await assertReturned(connection, owner);
      for (let turn = 1; ; turn += 1) {
        try {
          const { summary, returned } = await takeBack(connection, context, { owner, isLetIn });
          return { verdict: 'pass', summary, ...leftBy(params, returned) };
        } catch (error) {
          if (!isLocked(error) || turn === DROP_TRIES) throw undropped(params, error);
          await pause(DROP_RETRY_MS, context.signal);
        }
      }
    });
  },
};

function copied(rowsCopied: number, { made, tables }: { made: number; tables: number }) {
  return {
    summary: `${counted(rowsCopied, 'row')} in ${tables === 0 ? 'tables that were there' : counted(tables, 'table')}`,
    output: { rowsCopied, tablesCreated: made },
  };
}

function isLocked(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '55P03';
}

/** Somebody else's view, foreign key or lock keeps a table: a person has to look. Any other error stays as it is. */
function undropped(params: ImportParams, error: unknown): unknown {
  const dependent = error instanceof Error && 'code' in error && error.code === '2BP01';
  if (!dependent && !isLocked(error)) return error;
  const detail =
    error instanceof Error && 'detail' in error && typeof error.detail === 'string'
      ? ` (${error.detail})`
      : '';
  const what = dependent ? 'other objects depend on them' : 'another session keeps them locked';
  return fail(
    'UndoFailed',
    `The tables made in '${params.target}' cannot be dropped, because ${what}${detail}; remove what keeps them, then try again.`,
    error,
  );
}

const verify: PhaseActivities<ImportParams> = {
  run: verifyImport,
};

const switchOver: PhaseActivities<ImportParams> = {
  async run(params, context) {
    const client = await openImportSwitch(params, context);
    await assertUnchanged(params, context);
    await client.set({ to: client.targetHeld, from: [client.sourceHeld] });
    return {
      verdict: 'pass',
      summary: `${params.switch} says ${client.targetHeld}`,
      output: { value: client.targetHeld },
    };
  },

  async probe(params, context) {
    const client = await openImportSwitch(params, context);
    const value = await client.probe();
    const summary = `${params.switch} says ${value}`;
    if (value === client.targetHeld) return { answer: 'yes', summary, output: { value } };
    return { answer: value === client.sourceHeld || value === client.source ? 'no' : 'unknown', summary };
  },

  /** Where the switch never happened it says `source held` (or `source`, once that is undone too): the same value is set again. */
  async undo(params, context) {
    const client = await openImportSwitch(params, context);
    const { value } = await client.read();
    if (value === client.target) throw openForWrites(params, value);
    const returned = await settleOwed(params, context, { isHeld: value !== client.source });
    const to = value === client.source ? client.source : client.sourceHeld;
    await client.set({ to, from: [client.targetHeld], otherwise: 'UndoFailed' });
    return { verdict: 'pass', summary: `${params.switch} says ${to} again`, ...leftBy(params, returned) };
  },
};

/** What an undo leaves in its outcome for the undos after it. */
function leftBy(params: ImportParams, returned: string | undefined): Pick<PhaseResult, 'output'> {
  return params.reverseCapture ? { output: returnedOutput(returned) } : {};
}

/** Between the comparison and the switch nobody wrote to the source. Its marks tell at once; only if they differ all is read. */
async function assertUnchanged(params: ImportParams, context: PhaseContext): Promise<void> {
  const mark = context.outputs[`${params.step}/verify`]?.['sourceMark'];
  const held = context.outputs[`${params.step}/hold-writes`]?.['sourceDigest'];
  if (typeof held !== 'string' || mark === (await markSource(params, context))) return;
  const now = await digestSource(params, context);
  if (now === held) return;
  throw fail(
    'VerificationFailed',
    `'${params.source}' has changed since its cells were compared (digest ${now.slice(0, 12)}, then ${held.slice(0, 12)}), expected no write while it is held; find what writes to it beside the application.`,
  );
}

export const databaseImport = {
  inspect,
  backup,
  'hold-writes': holdWrites,
  copy,
  verify,
  switch: switchOver,
  'release-writes': releaseWrites,
  'end-capture': endCapture,
};
