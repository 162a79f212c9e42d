/**
 * Every ten seconds: makes the runs that follow those that have succeeded, gives runs that wait their leases once they are
 * due, starts runs that no workflow has yet, opens the unwinding of runs whose workflow was closed from outside, and sends
 * decisions again that nobody answered. Several API processes may do so at once: each act is safe twice.
 */
import type { Logger } from 'pino';
import { JANITOR_EVERY_MS, UPDATE_WAIT_MS } from '../procedures/limits.ts';
import { isTerminal } from '../procedures/states.ts';
import type { OpenRun } from '../store/types.ts';
import { type AdmissionDeps, admitRun, frozenFor } from './admission.ts';
import { makeFollowUps } from './follow-ups.ts';
import { settle } from './decide.ts';
import type { Launcher } from './launcher.ts';

const RESEND_MAX = 50;

export type JanitorDeps = AdmissionDeps & { launcher: Launcher; log: Logger };

/** One pass over the open runs and the unanswered decisions. One run's trouble does not stop the others. */
export async function tidyOnce(deps: JanitorDeps): Promise<void> {
  await makeFollowUps(deps);
  for (const open of await deps.store.openRuns()) {
    try {
      await tidyRun(deps, open);
    } catch (error) {
      deps.log.warn({ err: error, run: open.run }, 'janitor: run not looked after');
    }
  }
  // Younger ones are still waited for by the request that brought them.
  for (const decision of await deps.store.unanswered(2 * UPDATE_WAIT_MS, RESEND_MAX)) {
    const run = await deps.store.run(decision.run);
    if (run === undefined) continue;
    const answered = await deps.launcher.decide(decision);
    await settle(deps.store, decision, run.environment, answered);
    deps.log.info(
      { run: decision.run, decision: decision.id, answered: Object.keys(answered) },
      'janitor: decision sent again',
    );
  }
}

/** Begins a run that waited, where nothing stands in its way any more; the next pass does so otherwise. */
export async function beginRun(deps: JanitorDeps, run: number): Promise<void> {
  try {
    const open = (await deps.store.openRuns()).find((one) => one.run === run);
    if (open !== undefined) await tidyRun(deps, open);
  } catch (error) {
    deps.log.warn({ err: error, run }, 'run: not begun yet');
  }
}

async function tidyRun(deps: JanitorDeps, open: OpenRun): Promise<void> {
  const { run, planHash } = open;
  if (!open.isAdmitted && !(await admitRun(deps, open))) return;
  if (await deps.launcher.isOpen(run)) return;
  // Read again after the workflow was seen closed: it may have ended well in between.
  const now = await deps.store.run(run);
  const plan = await deps.store.plan(planHash);
  if (now === undefined || plan === undefined || isTerminal(now.state)) return;
  const unwind = now.state !== 'planned';
  // Temporal was away when it was asked for, and a freeze has begun since.
  if (!unwind && (await isFrozen(deps, open))) return;
  await deps.launcher.start({ run, plan, planHash, requester: now.requester, unwind });
  deps.log.info({ run, unwind }, unwind ? 'janitor: unwinding opened' : 'janitor: run started');
}

/** Nothing starts inside a change freeze; what has started goes on, and so does every rollback. */
async function isFrozen(deps: JanitorDeps, { environment, planHash }: OpenRun): Promise<boolean> {
  const found = (await deps.environments.current()).get(environment);
  return found !== undefined && (await frozenFor(deps, found, planHash)) !== undefined;
}

/** Runs until the signal aborts; resolves after the pass in hand. */
export async function runJanitor(
  deps: JanitorDeps,
  signal: AbortSignal,
  everyMs: number = JANITOR_EVERY_MS,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await tidyOnce(deps);
    } catch (error) {
      deps.log.warn({ err: error }, 'janitor: pass failed');
    }
    await pause(everyMs, signal);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });
}
