/**
 * Sends decisions again that their run has not answered: aborts first, then the oldest. Each has the deadline of the
 * launcher. The decisions of one run go out one after the other, because their order matters; a run that does not answer one
 * in time is left until the next pass.
 */
import { SECOND_MS, UPDATE_WAIT_MS } from '../procedures/limits.ts';
import type { Decision } from '../workflows/messages.ts';
import { settle } from './decide.ts';
import type { JanitorDeps } from './janitor.ts';

/** The request that brought a younger one may still wait for its answer. */
const RESEND_AFTER_MS = UPDATE_WAIT_MS + SECOND_MS;
/** Runs whose decisions are sent at the same time. */
export const RESEND_AT_ONCE = 8;
/** Decisions that one pass sends to one run. */
const RESEND_A_RUN_MAX = 50;
/** Runs that one pass serves. */
const RESEND_RUNS_MAX = 500;

/** One pass over the unanswered decisions. It begins no further delivery once the signal aborts. */
export async function resendOnce(deps: JanitorDeps, signal?: AbortSignal): Promise<void> {
  const taken: number[] = [];
  const take = async (): Promise<Decision[]> => {
    if (taken.length >= RESEND_RUNS_MAX || signal?.aborted === true) return [];
    const [first] = await deps.store.unanswered(RESEND_AFTER_MS, 1, { without: taken });
    if (first === undefined) return [];
    taken.push(first.run);
    return deps.store.unanswered(RESEND_AFTER_MS, RESEND_A_RUN_MAX, { of: first.run });
  };
  // Reads one after the other, so that no run is taken twice; each reads anew, so that a new abort comes first.
  let last: Promise<unknown> = Promise.resolve();
  const takeInTurn = (): Promise<Decision[]> => {
    const mine = last.then(take);
    last = mine.catch(() => undefined);
    return mine;
  };
  const lane = async (): Promise<void> => {
    for (let decisions = await takeInTurn(); decisions.length > 0; decisions = await takeInTurn()) {
      await resendTo(deps, decisions, signal);
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: RESEND_AT_ONCE }, lane));
  const failed = lanes.find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
}

/** Sends the decisions of one run until it does not answer one in time. Never throws. */
async function resendTo(
  deps: JanitorDeps,
  decisions: readonly Decision[],
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const decision of decisions) {
    if (signal?.aborted === true) return;
    try {
      if (!(await resend(deps, decision))) return;
    } catch (error) {
      deps.log.warn(
        { err: error, run: decision.run, decision: decision.id },
        'janitor: decision not settled',
      );
      return;
    }
  }
}

/** False if no answer came in time. */
async function resend({ launcher, store, log }: JanitorDeps, decision: Decision): Promise<boolean> {
  const { id, run } = decision;
  const answered = await launcher.decide(decision);
  if ('answer' in answered || 'refused' in answered) {
    const environment = (await store.run(run))?.environment;
    if (environment !== undefined) await settle(store, decision, environment, answered);
  }
  const [result = 'none'] = Object.keys(answered);
  const code = 'refused' in answered ? answered.refused : 'failed' in answered ? answered.failed : undefined;
  log.info({ run, decision: id, kind: decision.kind, result, code }, 'janitor: decision sent again');
  return 'answer' in answered || 'refused' in answered || 'failed' in answered;
}
