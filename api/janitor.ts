/**
 * Two loops that never wait for each other. The one, every ten seconds, looks after runs: it opens the unwinding of runs
 * whose workflow was closed or cannot be replayed, then gives runs that wait their leases once they are due and starts them,
 * then makes the runs that follow those that have succeeded. The other sends decisions again that their run has not
 * answered. Several API processes may do so at once: each act is safe twice.
 */
import type { Logger } from 'pino';
import { JANITOR_EVERY_MS, RESEND_EVERY_MS } from '../procedures/limits.ts';
import { isTerminal } from '../procedures/states.ts';
import type { OpenRun } from '../store/types.ts';
import { type AdmissionDeps, admitRun, frozenFor } from './admission.ts';
import { eachAtOnce } from './at-once.ts';
import { makeFollowUps } from './follow-ups.ts';
import type { Launcher } from './launcher.ts';
import type { WorkflowLook } from './look.ts';
import { resendOnce } from './resend.ts';

/** Runs whose workflows are looked at and started at the same time. */
const RUNS_AT_ONCE = 8;

export type JanitorDeps = AdmissionDeps & { launcher: Launcher; log: Logger };

/** One pass of both loops, one after the other. */
export async function tidyOnce(deps: JanitorDeps): Promise<void> {
  await tidyRuns(deps);
  await resendOnce(deps);
}

/** One pass over the open runs: recovery first. One run's trouble, or its slow Temporal call, does not stop the others. */
async function tidyRuns(deps: JanitorDeps, signal?: AbortSignal): Promise<void> {
  const open = await deps.store.openRuns();
  const recoverable = open.filter(({ state }) => state !== 'planned');
  await eachAtOnce(RUNS_AT_ONCE, recoverable, (one) => carefully(deps, one, openWorkflow), signal);
  // In order of their numbers, and without Temporal: who has waited for a target for longer gets it.
  const admitted: OpenRun[] = [];
  for (const one of open) {
    if (one.state !== 'planned') continue;
    await carefully(deps, one, async () => {
      if (one.isAdmitted || (await admitRun(deps, one))) admitted.push(one);
    });
  }
  await eachAtOnce(RUNS_AT_ONCE, admitted, (one) => carefully(deps, one, openWorkflow), signal);
  await makeFollowUps(deps);
}

async function carefully(
  deps: JanitorDeps,
  open: OpenRun,
  act: (deps: JanitorDeps, open: OpenRun) => Promise<void>,
): Promise<void> {
  try {
    await act(deps, open);
  } catch (error) {
    deps.log.warn({ err: error, run: open.run }, 'janitor: run not looked after');
  }
}

/** Begins a run that waited, where nothing stands in its way any more; the next pass does so otherwise. */
export async function beginRun(deps: JanitorDeps, run: number): Promise<void> {
  try {
    const open = (await deps.store.openRuns()).find((one) => one.run === run);
    if (open === undefined || (!open.isAdmitted && !(await admitRun(deps, open)))) return;
    await openWorkflow(deps, open);
  } catch (error) {
    deps.log.warn({ err: error, run }, 'run: not begun yet');
  }
}

/** Starts the workflow of a run that has none. One that cannot be replayed is closed first. */
async function openWorkflow(deps: JanitorDeps, open: OpenRun): Promise<void> {
  const { launcher, log, store } = deps;
  const { run, planHash } = open;
  const found = await launcher.look(run);
  if (found.state === 'open') {
    if (found.unexplained === undefined) return;
    log.warn({ run, ...found.unexplained }, 'janitor: workflow task does not end, its worker is asked why');
    return launcher.ask(run, found.unexplained);
  }
  // Read again after the workflow was looked at: the run may have ended well in between.
  const now = await store.run(run);
  const plan = await store.plan(planHash);
  if (now === undefined || plan === undefined || isTerminal(now.state)) return;
  const unwind = now.state !== 'planned';
  // Temporal was away when it was asked for, and a freeze has begun since.
  if (!unwind && (await isFrozen(deps, open))) return;
  const reason = reopenReason(found);
  // A run that is planned and has no workflow never had one.
  if (unwind || found.state === 'failing' || found.how !== 'gone') await store.tellReopened(run, reason);
  if (found.state === 'failing') {
    const { execution, attempts, since } = found;
    await launcher.close(run, execution, reason);
    log.error({ run, execution, attempts, since, reason }, 'janitor: workflow closed');
  }
  await launcher.start({ run, plan, planHash, requester: now.requester, unwind });
  if (unwind) log.warn({ run, reason }, 'janitor: unwinding opened');
  else log.info({ run }, 'janitor: run started');
}

const NOT_REPLAYED = 'The workflow of the run could not be replayed';

/** Why a workflow is opened again, as the run's `because` says it. */
export function reopenReason(found: Exclude<WorkflowLook, { state: 'open' }>): string {
  if (found.state === 'failing')
    return `${NOT_REPLAYED} (${found.reason}), so it was closed and opened again`;
  const { how, reason } = found;
  switch (how) {
    case 'terminated':
      // The janitor of this or another process closed it, and did not come to start it again.
      if (reason?.startsWith(NOT_REPLAYED) === true) return reason;
      return 'The workflow of the run was terminated from outside';
    case 'failed':
      return `The workflow of the run failed: ${reason ?? 'no reason given'}`;
    case 'cancelled':
      return 'The workflow of the run was cancelled from outside';
    case 'timed-out':
      return 'The workflow of the run timed out';
    case 'completed':
      return 'The workflow of the run ended before the run did';
    case 'gone':
      return 'The workflow of the run is gone from Temporal';
  }
}

/** Nothing starts inside a change freeze; what has started goes on, and so does every rollback. */
async function isFrozen(deps: JanitorDeps, { environment, planHash }: OpenRun): Promise<boolean> {
  const found = (await deps.environments.current()).get(environment);
  return found !== undefined && (await frozenFor(deps, found, planHash)) !== undefined;
}

/** Runs until the signal aborts; resolves after what is in hand. */
export async function runJanitor(
  deps: JanitorDeps,
  signal: AbortSignal,
  runsEveryMs: number = JANITOR_EVERY_MS,
): Promise<void> {
  const repeat = async (pass: typeof tidyRuns, everyMs: number, failed: string): Promise<void> => {
    while (!signal.aborted) {
      try {
        await pass(deps, signal);
      } catch (error) {
        deps.log.warn({ err: error }, failed);
      }
      await pause(everyMs, signal);
    }
  };
  await Promise.all([
    repeat(tidyRuns, runsEveryMs, 'janitor: pass over runs failed'),
    repeat(resendOnce, Math.min(RESEND_EVERY_MS, runsEveryMs), 'janitor: pass over decisions failed'),
  ]);
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
