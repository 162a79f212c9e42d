/**
 * The phase `release-writes`: the application writes to the target, and every row that it touches is noted. Its undo
 * holds writes again, carries the rows back and compares every cell, so that what comes after it loses nothing.
 */
import type { PhaseActivities, PhaseContext, PhaseResult } from '../../phase.ts';
import { DIFFERENCES_NAMED_MAX } from '../compare.ts';
import { fail } from '../fail.ts';
import { fenced, takeOver } from '../fence.ts';
import { digestSource, openApproved, openImportSwitch } from '../import-source.ts';
import type { ImportParams } from '../import-source.ts';
import { withPostgres } from '../postgres.ts';
import type { Connection } from '../postgres.ts';
import { openSource } from '../sqlite.ts';
import { compareRows } from '../verify-import.ts';
import {
  assertReturned,
  captureState,
  capturedCount,
  capturedMapping,
  closeCapture,
  forgetCapture,
  returnedDigest,
  startCapture,
} from './capture.ts';
import { carryBack } from './carry-back.ts';
import { makeImportTables } from './places.ts';
import type { Owner } from './places.ts';
import { placeOf } from './statements.ts';

function ownerOf(params: ImportParams, context: PhaseContext): Owner {
  return { run: context.run, step: params.step };
}

/** A session of the target that is this attempt's alone. */
async function withTarget<T>(
  params: ImportParams,
  context: PhaseContext,
  work: (connection: Connection, owner: Owner) => Promise<T>,
): Promise<T> {
  return await withPostgres(params.target, context, async (connection) => {
    await takeOver(connection, context);
    await makeImportTables(connection);
    return await work(connection, ownerOf(params, context));
  });
}

export const releaseWrites: PhaseActivities<ImportParams> = {
  async run(params, context) {
    const client = await openImportSwitch(params, context);
    const { value } = await client.read();
    await withTarget(params, context, async (connection, owner) => {
      const state = await captureState(connection, owner);
      if (state === 'open') return;
      if (value !== client.targetHeld) {
        throw fail(
          'PreconditionFailed',
          `Switch '${params.switch}' says '${value}', expected '${client.targetHeld}': what is written from now on must be noted from the first row on.`,
        );
      }
      const mapped = await openApproved(params, context, connection);
      using source = mapped.source;
      void source;
      await startCapture(connection, context, { owner, mapping: mapped.mapping });
    });
    await client.set({ to: client.target, from: [client.targetHeld] });
    return {
      verdict: 'pass',
      summary: `writes go to ${params.target}${heldFor(params, context)}; each is noted for the way back`,
      output: { value: client.target },
    };
  },

  async probe(params, context) {
    const client = await openImportSwitch(params, context);
    const value = await client.probe();
    const state = await withTarget(params, context, captureState);
    const summary = `${params.switch} says ${value}`;
    if (value === client.target)
      return state === 'open'
        ? { answer: 'yes', summary, output: { value } }
        : { answer: 'unknown', summary: `${summary}, and nothing is noted for the way back` };
    return { answer: state === 'open' ? 'partly' : 'no', summary };
  },

  async undo(params, context) {
    const client = await openImportSwitch(params, context);
    const { value } = await client.read();
    const state = await withTarget(params, context, captureState);
    if (value === client.target && state !== 'open') {
      throw fail(
        'UndoFailed',
        `Switch '${params.switch}' says '${value}', but nothing was noted of what is written to '${params.target}', so it cannot be carried back; decide by hand.`,
      );
    }
    const isBack = value === client.source || value === client.sourceHeld;
    await client.set({
      to: isBack ? value : client.targetHeld,
      from: [client.target, client.targetHeld],
      otherwise: 'UndoFailed',
    });
    if (state === 'none') return { verdict: 'pass', summary: 'no writes were let in' };
    return await withTarget(params, context, (connection, owner) =>
      comeBack(params, context, { connection, owner }),
    );
  },
};

function heldFor(params: ImportParams, context: PhaseContext): string {
  const heldAt = context.outputs[`${params.step}/hold-writes`]?.['heldAt'];
  if (typeof heldAt !== 'string') return '';
  const seconds = (Date.now() - Date.parse(heldAt)) / 1_000;
  return `, they were held for ${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
}

/** All rows that were noted, then every cell of both sides; the tables are locked against writers meanwhile. */
async function comeBack(
  params: ImportParams,
  context: PhaseContext,
  { connection, owner }: { connection: Connection; owner: Owner },
): Promise<PhaseResult> {
  const noted = await capturedCount(connection, owner);
  if (noted === 0 && (await returnedDigest(connection, owner)) !== undefined)
    return { verdict: 'pass', summary: 'all was carried back already' };
  const mapping = await capturedMapping(connection, owner);
  const { path } = context.target(params.source, 'sqlite');
  return await fenced(connection, context, async () => {
    const tables = mapping.tables.map((table) => placeOf(table)).join(', ');
    await connection.query(`LOCK TABLE ${tables} IN SHARE MODE`);
    const work = { connection, context, owner, mapping, name: params.source, path };
    const { rows, added, changed, removed } = await carryBack(work);
    using source = await openSource(params.source, context);
    const total = Number(context.outputs[`${params.step}/inspect`]?.['rows'] ?? 0);
    const found = await compareRows({ connection, mapping, source, params, context, total });
    if (found.differencesTotal > 0) {
      const named = found.differences.slice(0, DIFFERENCES_NAMED_MAX).join('; ');
      throw fail(
        'UndoFailed',
        `'${params.source}' has the ${rows} rows that were written to '${params.target}', but ${found.differencesTotal} cells or rows differ: ${named.slice(0, 2_000)}. Writes stay held; make both equal, then try again.`,
      );
    }
    await closeCapture(connection, owner, await digestSource(params, context));
    return {
      verdict: 'pass',
      summary: `${rows} rows carried back (${added} new, ${changed} changed, ${removed} removed), ${found.cellsCompared} cells equal on both sides`,
    };
  });
}

/** Past the point of no return nothing is noted any more. */
export const endCapture: PhaseActivities<ImportParams> = {
  run: (params, context) =>
    withTarget(params, context, async (connection, owner) => {
      const triggers = await fenced(connection, context, () =>
        forgetCapture(connection, owner, { returned: 'forget' }),
      );
      const summary =
        triggers === 0
          ? 'nothing was noted any more'
          : `${triggers} triggers dropped, no row is noted any more`;
      return { verdict: 'pass', summary };
    }),

  async probe(params, context) {
    const state = await withTarget(params, context, captureState);
    return state === 'none'
      ? { answer: 'yes', summary: 'no row is noted' }
      : { answer: 'no', summary: 'rows are noted' };
  },
};

/** Throws UndoFailed where going back would lose writes that the target took; see `assertReturned`. */
export async function assertNothingOwed(params: ImportParams, context: PhaseContext): Promise<void> {
  if (params.reverseCapture) await withTarget(params, context, assertReturned);
}

/** What the source holds since all was carried back; undefined where nothing was, or where the target cannot say. */
export async function digestReturned(
  params: ImportParams,
  context: PhaseContext,
): Promise<string | undefined> {
  if (!params.reverseCapture) return undefined;
  try {
    return await withTarget(params, context, returnedDigest);
  } catch (error) {
    context.signal.throwIfAborted();
    if (error instanceof Error && 'type' in error && error.type === 'FenceLost') throw error;
    return undefined;
  }
}
