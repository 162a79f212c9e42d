/** Which runs hold which targets now: read from the plans of the open runs. */
import type { Plan } from '../procedures/plan.ts';
import type { ApiStore } from '../store/types.ts';

export type HeldLease = { target: string; run: number; runbook: string; requester: string };

/** Leases of open runs that stand in the way of this plan. */
export async function leasesAgainst(store: ApiStore, plan: Plan): Promise<HeldLease[]> {
  const held: HeldLease[] = [];
  for (const open of await store.openRuns()) {
    const other = await store.plan(open.planHash);
    if (other === undefined || other.environment !== plan.environment) continue;
    const targets = Object.entries(plan.leases).filter(
      ([target, mode]) =>
        other.leases[target] !== undefined && (mode === 'exclusive' || other.leases[target] === 'exclusive'),
    );
    if (targets.length === 0) continue;
    const run = await store.run(open.run);
    if (run === undefined) continue;
    for (const [target] of targets) {
      held.push({ target, run: run.run, runbook: run.runbook, requester: run.requester });
    }
  }
  return held;
}
