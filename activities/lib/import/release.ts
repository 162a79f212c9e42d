/**
 * The phase `release-writes`: the application writes to the target, and every row that it touches is noted. Its undo
 * holds writes again, carries the rows back and compares every cell, so that what comes after it loses nothing.
 */
import { counted, grouped } from '../counted.ts';
import type { PhaseActivities, PhaseContext, PhaseResult } from '../../phase.ts';
import { DIFFERENCES_NAMED_MAX } from '../compare.ts';
import { fail, failureType, messageOf } from '../fail.ts';
import { fenced, takeOver } from '../fence.ts';
import { digestSource, openApproved, openImportSwitch } from '../import-source.ts';
import type { ImportParams } from '../import-source.ts';
import { withPostgres } from '../postgres.ts';
import type { Connection } from '../postgres.ts';
import { openSource } from '../sqlite.ts';
import { compareRows } from '../verify-import.ts';
import {
  assertReturned,
  blindTables,
  captureState,
  capturedCount,
  capturedMapping,
  closeCapture,
  dropTriggers,
  forgetCapture,
  forgetReturned,
  isCapturing,
  returnedDigest,
  startCapture,
  watchAgain,
  watchedTables,
} from './capture.ts';
import { carryBack } from './carry-back.ts';
import { emptiedWithRows, forgetEmptied } from './existing-tables.ts';
import { writtenExtras } from './extra-columns.ts';
import { makeImportTables } from './places.ts';
import type { Owner } from './places.ts';
import { placeOf } from './statements.ts';
import { patiently } from './swap.ts';
import { returnedOutput } from './way-back.ts';
import { lockWriters } from './writers.ts';

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
    const { state, noted } = await withTarget(params, context, readOwed);
    const summary = `${params.switch} says ${value}`;
    if (value === client.target)
      return state === 'open'
        ? { answer: 'yes', summary, output: { value } }
        : { answer: 'unknown', summary: `${summary}, and nothing is noted for the way back` };
    return { answer: state === 'open' || noted > 0 ? 'partly' : 'no', summary };
  },

  async undo(params, context) {
    const client = await openImportSwitch(params, context);
    // The target first: from then on no earlier attempt can end between both looks.
    const { state, noted } = await withTarget(params, context, readOwed);
    const { value } = await client.read();
    if (value === client.target && state !== 'open') {
      throw fail(
        'UndoFailed',
        `Switch '${params.switch}' says '${value}', but nothing was noted of what is written to '${params.target}', so it cannot be carried back; decide by hand.`,
      );
    }
    if (value === client.source && (state === 'open' || noted > 0)) {
      throw fail(
        'UndoFailed',
        `Switch '${params.switch}' says '${value}': the application writes to '${params.source}', and rows that are carried back could undo its writes; set it to '${client.sourceHeld}', then try again.`,
      );
    }
    const isBack = value === client.source || value === client.sourceHeld;
    await client.set({
      to: isBack ? value : client.targetHeld,
      from: [client.target, client.targetHeld],
      otherwise: 'UndoFailed',
    });
    if (state === 'none') return nothingOwed(params, context);
    return await withTarget(params, context, (connection, owner) =>
      comeBack(params, context, { connection, owner }),
    );
  },
};

/** Where the target keeps nothing of a release: it never began, or its way back is closed. */
function nothingOwed(params: ImportParams, context: PhaseContext): PhaseResult {
  const wasReleased = context.outputs[`${params.step}/release-writes`] !== undefined;
  return {
    verdict: 'pass',
    summary: wasReleased ? 'nothing is left to carry back' : 'no writes were let in',
    output: returnedOutput(undefined),
  };
}

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
  const blind = await watchAgain(connection, context, owner);
  const noted = await capturedCount(connection, owner);
  const returned = await returnedDigest(connection, owner);
  if (noted === 0 && returned !== undefined)
    return { verdict: 'pass', summary: 'all was carried back already', output: returnedOutput(returned) };
  const mapping = await capturedMapping(connection, owner);
  const { path } = context.target(params.source, 'sqlite');
  // No policy may hide a row: it would be taken for one that was removed. While the source is written the session is idle.
  await connection.query('SET row_security = off');
  await connection.query('SET idle_in_transaction_session_timeout = 0');
  return await fenced(connection, context, async () => {
    await lockWriters(
      connection,
      mapping.tables.map((table) => placeOf(table)),
    );
    const extras = await writtenExtras(connection, mapping, params.skip);
    if (extras.length > 0)
      throw fail(
        'UndoFailed',
        `The source has no column for what ${extras.join(', ')} of '${connection.name}' holds, so that it would be lost; '${params.source}' is as it was, and writes stay held. Keep it elsewhere, drop the column, then try again.`,
      );
    const { rows, added, changed, removed } = await carryBack({
      connection,
      context,
      owner,
      mapping,
      name: params.source,
      path,
    });
    using source = await openSource(params.source, context);
    const total = Number(context.outputs[`${params.step}/inspect`]?.['rows'] ?? 0);
    const work = { connection, mapping, source, params, context, total };
    const found = await compareRows(work).catch(notComparable);
    if (found.differencesTotal > 0) {
      const named = found.differences.slice(0, DIFFERENCES_NAMED_MAX).join('; ');
      throw fail(
        'UndoFailed',
        `'${params.source}' has the ${counted(rows, 'row')} that were written to '${params.target}', but ${grouped(found.differencesTotal)} cells or rows differ: ${named.slice(0, 2_000)}.${blindWords(blind)} Writes stay held; make both equal, then try again.`,
      );
    }
    const digest = await digestSource(params, context);
    await closeCapture(connection, owner, digest);
    return {
      verdict: 'pass',
      output: returnedOutput(digest),
      summary: `${counted(rows, 'row')} carried back (${grouped(added)} new, ${grouped(changed)} changed, ${grouped(removed)} removed), ${counted(found.cellsCompared, 'cell')} equal on both sides`,
    };
  });
}

/** Why rows may differ that nobody noted. */
function blindWords(blind: readonly string[]): string {
  if (blind.length === 0) return '';
  return ` Triggers of ${blind.join(', ')} were off or gone, so that writes were not noted; they are on again, and a row that is written once more comes back.`;
}

/** A cell that the source made something else of: its column turned a text into a number, say. */
function notComparable(error: unknown): never {
  if (failureType(error) !== 'VerificationFailed') throw error;
  throw fail(
    'UndoFailed',
    `${messageOf(error)} Writes stay held; change the row in the target so that both can hold it, then try again.`,
    error,
  );
}

/** Past the point of no return nothing is noted any more. */
export const endCapture: PhaseActivities<ImportParams> = {
  run: (params, context) =>
    withTarget(params, context, async (connection, owner) => {
      let triggers = 0;
      // The application writes meanwhile: one table at a time, and no lock is waited for longer than it can bear.
      for (const table of await watchedTables(connection, owner))
        await patiently(connection, context, async () => {
          triggers += await dropTriggers(connection, owner, table);
        });
      triggers += await fenced(connection, context, () =>
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

async function readOwed(connection: Connection, owner: Owner) {
  return {
    state: await captureState(connection, owner),
    noted: await capturedCount(connection, owner),
  };
}

/**
 * Before what comes after `release-writes` is taken back. Rows that were written after all was carried back are carried
 * too, and where a person carried all by hand, or somebody turned the triggers off, every cell is compared. `isHeld`: nobody writes to the source.
 * Gives the digest of the source once every row was back; undefined if no write was let in.
 *
 * @throws UndoFailed where going back would lose writes that the target took; see `assertReturned`
 */
export async function settleOwed(
  params: ImportParams,
  context: PhaseContext,
  { isHeld }: { isHeld: boolean },
): Promise<string | undefined> {
  if (!params.reverseCapture) return undefined;
  return await withTarget(params, context, async (connection, owner) => {
    const { state, noted } = await readOwed(connection, owner);
    const isLate = state === 'returned' && noted > 0;
    const isByHand = state === 'open' && noted === 0;
    const isBlind = (await blindTables(connection, owner)).length > 0;
    if (isHeld && (isLate || isByHand || (isBlind && state === 'returned')))
      await comeBack(params, context, { connection, owner });
    await assertReturned(connection, owner);
    return await returnedDigest(connection, owner);
  });
}

/**
 * The last look into the target, once writes go to the source again: tables that were emptied and have rows again, which
 * no trigger noted. If there are none, nothing of the way back stays in schema `countdown`.
 */
export async function closeWayBack(params: ImportParams, context: PhaseContext): Promise<string[]> {
  return await withTarget(params, context, async (connection, owner) => {
    const late = await emptiedWithRows(connection, owner);
    // What a retry must find again stays, and so does what the undo of `copy` still needs.
    if (late.length > 0 || (await isCapturing(connection, owner))) return late;
    await fenced(connection, context, async () => {
      await forgetReturned(connection, owner);
      await forgetEmptied(connection, owner);
    });
    return late;
  });
}
