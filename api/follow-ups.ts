/**
 * What follows days after a run has succeeded: a run of its own for each follow-up of its plan, asked for in the name of who
 * asked for the first. It is made as soon as the first has ended, so that everybody sees when it is due.
 */
import type { Logger } from 'pino';
import { LEASE_WAIT_MS_MAX, SECOND_MS } from '../procedures/limits.ts';
import type { Awaited } from '../store/types.ts';
import type { AdmissionDeps } from './admission.ts';
import { votersOf } from './views.ts';

const FOLLOW_UPS_MAX = 50;

/** Safe at any time and in several processes at once: each follow-up has one run. */
export async function makeFollowUps(deps: AdmissionDeps & { log: Logger }): Promise<void> {
  for (const awaited of await deps.store.awaitedFollowUps(FOLLOW_UPS_MAX)) {
    try {
      await makeFollowUp(deps, awaited);
    } catch (error) {
      const { run, followUp } = awaited;
      deps.log.warn({ err: error, run, followUp }, 'janitor: follow-up not made');
    }
  }
}

async function makeFollowUp({ store, environments, now }: AdmissionDeps, awaited: Awaited): Promise<void> {
  const { run, followUp, plan, requester, afterMs } = awaited;
  const environment = (await environments.current()).get(awaited.environment);
  const at = now();
  // Even where it is long due it waits for its turn: only there it is held against what may have changed since.
  const dueMs = Math.max(Date.parse(awaited.endedAt) + afterMs, at.getTime() + SECOND_MS);
  const created = await store.createRun({
    plan,
    requester,
    groups: environment === undefined ? {} : votersOf(environment, requester),
    failAt: null,
    idempotency: null,
    dueAt: new Date(dueMs),
    waitMs: LEASE_WAIT_MS_MAX,
    now: at,
    follows: { run, followUp },
  });
  if ('refused' in created) throw new Error(`Follow-up ${followUp} of run ${run}: ${created.refused}.`);
}
