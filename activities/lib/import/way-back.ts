/**
 * What the undos of an import leave in their outcomes for the undos after them: the digest of the source once every row
 * was carried back. The journal keeps it, so that letting writes in again does not depend on a target that may be away.
 */
import type { Json } from '../../../procedures/plan.ts';
import type { PhaseContext } from '../../phase.ts';
import type { ImportParams } from '../import-source.ts';

const DIGEST = 'returnedDigest';
/** The phases whose undo leaves a digest, the latest undo first. */
const LEFT_BY = ['copy', 'switch', 'release-writes'];
/** Phases of which at least one has an output before `release-writes` begins. The first has no undo, so it keeps its own. */
const BEFORE_RELEASE = ['verify', 'switch', 'release-writes'];

/** The output of such an undo. `digest`: undefined if no write was let in. */
export function returnedOutput(digest: string | undefined): Record<string, Json> {
  return { [DIGEST]: digest ?? null };
}

/** What the journal knows of the way back. */
export type WayBack = {
  /** The digest that the latest undo left: null if no write was let in, undefined if no undo left one. */
  returned: string | null | undefined;
  /** `undone`: by its undo. `kept`: the tables are there. `unknown`: it never ended, or no undo of its own took it back. */
  copy: 'undone' | 'kept' | 'unknown';
  /** Writes may have been let in. */
  mayBeReleased: boolean;
};

/** Reads the outputs that came with the intent. */
export function wayBackOf({ step }: ImportParams, { outputs }: PhaseContext): WayBack {
  const outputOf = (phase: string) => outputs[`${step}/${phase}`];
  const left = LEFT_BY.map((phase) => outputOf(phase)?.[DIGEST]).find((digest) => digest !== undefined);
  const copy = outputOf('copy');
  return {
    returned: typeof left === 'string' || left === undefined ? left : null,
    copy: copy === undefined ? 'unknown' : DIGEST in copy ? 'undone' : 'kept',
    mayBeReleased: BEFORE_RELEASE.some((phase) => outputOf(phase) !== undefined),
  };
}
