/**
 * The undo of `hold-writes`: compares the source with what it must hold, then lets writes in again. Letting them in
 * depends on the target only as long as the target may hold writes that the source does not have.
 */
import type { PhaseContext, PhaseResult } from '../../phase.ts';
import { fail, failureType, messageOf } from '../fail.ts';
import { digestSource, openForWrites, openImportSwitch } from '../import-source.ts';
import type { ImportParams, ImportSwitch } from '../import-source.ts';
import { closeWayBack, settleOwed } from './release.ts';
import { wayBackOf } from './way-back.ts';
import type { WayBack } from './way-back.ts';

/** Characters of a reason that a summary shows. */
const REASON_LENGTH_MAX = 300;

/** Where the hold never began the switch says `source`: it is set again, which raises the fence, and nothing is compared. */
export async function letWritesIn(params: ImportParams, context: PhaseContext): Promise<PhaseResult> {
  const client = await openImportSwitch(params, context);
  const { value } = await client.read();
  if (value === client.target) throw openForWrites(params, value);
  const way = wayBackOf(params, context);
  const compared: PhaseResult =
    value === client.source
      ? { verdict: 'pass', summary: 'writes go to the source again' }
      : await compareSource(params, context, await measureOf(params, context, { client, value, way }));
  await client.set({
    to: client.source,
    from: [client.sourceHeld, client.targetHeld],
    otherwise: 'UndoFailed',
  });
  return isLastLookDue(params, context) ? await lookOnce(params, context, compared) : compared;
}

/** What the source must hold. */
type Measure = {
  /** Undefined where the journal has no digest. */
  digest: string | undefined;
  /** When it held that, in words. */
  when: string;
  /** Why the target did not confirm it: rows may have come back since. */
  doubt?: unknown;
};

async function measureOf(
  params: ImportParams,
  context: PhaseContext,
  { client, value, way }: { client: ImportSwitch; value: string; way: WayBack },
): Promise<Measure> {
  const held = context.outputs[`${params.step}/hold-writes`]?.['sourceDigest'];
  const measure = (returned: string | null | undefined): Measure =>
    typeof returned === 'string'
      ? { digest: returned, when: 'when all was carried back' }
      : { digest: typeof held === 'string' ? held : undefined, when: 'when its writes were held' };
  // Reads still come from the target, or it may hold writes that the source does not have.
  const isTargetRead = value === client.targetHeld;
  if (!isTargetRead && (way.copy === 'undone' || !way.mayBeReleased)) return measure(way.returned);
  try {
    return measure((await settleOwed(params, context, { isHeld: true })) ?? way.returned);
  } catch (error) {
    context.signal.throwIfAborted();
    const isAnswer = ['UndoFailed', 'FenceLost'].includes(failureType(error) ?? '');
    if (isAnswer || isTargetRead || way.returned === undefined) throw error;
    // All was carried back before; what came later keeps the undo of `copy` from dropping the tables.
    return { ...measure(way.returned), doubt: error };
  }
}

async function compareSource(
  params: ImportParams,
  context: PhaseContext,
  { digest, when, doubt }: Measure,
): Promise<PhaseResult> {
  const again = 'writes go to the source again';
  if (digest === undefined) return { verdict: 'pass', summary: again };
  const now = await digestOrReason(params, context);
  if ('reason' in now)
    return {
      verdict: 'fail',
      summary: `writes go to '${params.source}' again, but whether its data is as it was ${when} could not be compared (${now.reason}); compare it by hand.`,
    };
  if (now.digest === digest) return { verdict: 'pass', summary: `${again}, its data as it was ${when}` };
  if (doubt !== undefined) throw doubt;
  return {
    verdict: 'fail',
    summary: `'${params.source}' is not as it was ${when} (now ${now.digest.slice(0, 12)}, then ${digest.slice(0, 12)}); writes go to it again; look at what wrote to it.`,
  };
}

/** The digest now, or why there is none: releasing the writes must not depend on it. */
async function digestOrReason(
  params: ImportParams,
  context: PhaseContext,
): Promise<{ digest: string } | { reason: string }> {
  try {
    return { digest: await digestSource(params, context) };
  } catch (error) {
    context.signal.throwIfAborted();
    if (failureType(error) === 'FenceLost') throw error;
    return { reason: messageOf(error).slice(0, REASON_LENGTH_MAX) };
  }
}

/** Whether this undo has to look into the target a last time: once `copy` is undone after a release. */
export function isLastLookDue(params: ImportParams, context: PhaseContext): boolean {
  const { copy, returned, mayBeReleased } = wayBackOf(params, context);
  if (!params.reverseCapture || copy === 'kept') return false;
  return copy === 'undone' ? typeof returned === 'string' : mayBeReleased;
}

/** The last look into the target. A verdict that no retry could repeat, since writes are let in, is not lost to it. */
async function lookOnce(
  params: ImportParams,
  context: PhaseContext,
  compared: PhaseResult,
): Promise<PhaseResult> {
  try {
    const late = await closeWayBack(params, context);
    if (late.length === 0) return compared;
    const also = compared.verdict === 'fail' ? ` Also, ${compared.summary}` : '';
    return {
      verdict: 'fail',
      summary: `${late.join(', ')} of '${params.target}' took rows after all was carried back and emptied; writes go to '${params.source}' again; carry them over by hand, and find what writes beside the application.${also}`,
    };
  } catch (error) {
    context.signal.throwIfAborted();
    const type = failureType(error);
    if (type === undefined || type === 'FenceLost') throw error;
    const failed = `the last look into '${params.target}' failed: ${messageOf(error)}`;
    if (compared.verdict === 'fail')
      return { verdict: 'fail', summary: `${compared.summary} Also, ${failed.slice(0, REASON_LENGTH_MAX)}` };
    throw fail(
      type === 'Unreachable' ? type : 'UndoFailed',
      `Writes go to '${params.source}' again, but ${failed}`,
      error,
    );
  }
}
