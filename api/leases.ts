/** Which runs hold which targets, and for how long still. */
import type { Plan } from '../procedures/plan.ts';
import type { ApiStore, Blocker, LeaseRow, RunDetail } from '../store/types.ts';
import { type Eta, about, etaOf } from './eta.ts';

export type HeldLease = Eta & {
  target: string;
  run: number;
  runbook: string;
  requester: string;
  /** The run does not hold the target yet: it has waited for it for longer. */
  waits: boolean;
};

type Deps = { store: ApiStore; now: () => Date };

/** Leases of open runs that stand in the way of this plan. */
export async function leasesAgainst(deps: Deps, plan: Plan): Promise<HeldLease[]> {
  const against = (await deps.store.leases()).filter(
    ({ environment, target, mode }) =>
      environment === plan.environment &&
      plan.leases[target] !== undefined &&
      (mode === 'exclusive' || plan.leases[target] === 'exclusive'),
  );
  return (await withHolders(deps, against)).map(({ environment: _in, mode: _mode, ...held }) => held);
}

/** Leases with what is known of their runs. */
export async function withHolders(
  deps: Deps,
  leases: readonly LeaseRow[],
): Promise<(HeldLease & Pick<LeaseRow, 'environment' | 'mode'>)[]> {
  const runs = new Map<number, RunDetail>();
  for (const run of new Set(leases.map((lease) => lease.run))) {
    const found = await deps.store.run(run);
    if (found !== undefined) runs.set(run, found);
  }
  return leases.flatMap(({ environment, mode, target, run }) => {
    const holder = runs.get(run);
    return holder === undefined
      ? []
      : [{ environment, mode, ...heldBy(holder, { target, run, waits: false }, deps.now()) }];
  });
}

/** Who stands in the way, with what is known of that run. Throws where there is no such run. */
export async function holderOf(deps: Deps, blocker: Blocker): Promise<HeldLease> {
  const run = await deps.store.run(blocker.run);
  if (run === undefined) throw new Error(`Run ${blocker.run} holds ${blocker.target} and cannot be read.`);
  return heldBy(run, blocker, deps.now());
}

function heldBy(run: RunDetail, { target, waits }: Blocker, now: Date): HeldLease {
  const eta: Eta = waits ? { leftMs: null, waitsFor: 'the same target' } : etaOf(run, now);
  return { target, run: run.run, runbook: run.runbook, requester: run.requester, waits, ...eta };
}

/** `app-postgres is held by run 38 (index-migration, requester ben), about 20m left` without the stop. */
export function heldSentence(held: HeldLease): string {
  const { target, run, runbook, requester } = held;
  if (held.waits) {
    return `${target} is next for run ${run} (${runbook}, requester ${requester}), which has waited for longer`;
  }
  return `${target} is held by run ${run} (${runbook}, requester ${requester}), ${etaText(held)}`;
}

/** The same in a few words, for a run that waits: `app-postgres held by run 38 (ben), about 20m left`. */
export function heldWords(held: HeldLease): string {
  const { target, run, requester } = held;
  return held.waits
    ? `${target}, next for run ${run} (${requester})`
    : `${target} held by run ${run} (${requester}), ${etaText(held)}`;
}

function etaText(held: Eta): string {
  return held.leftMs === null ? `which waits for ${held.waitsFor}` : `about ${about(held.leftMs)} left`;
}
