/** The last gate before an effect: the decision rows are counted again, by id, against what inspect found. Reaching Temporal is not enough. */
import type { Phase, Plan } from '../procedures/plan.ts';
import type { RunRow, WorkerStore } from '../store/types.ts';
import { GLASS_PEOPLE } from '../procedures/limits.ts';
import { count } from '../procedures/votes.ts';
import { isDoorFor, saysWhy, stands, stillNeeded } from '../workflows/approvals.ts';
import type { Envelope } from '../workflows/messages.ts';
import { fail } from './lib/fail.ts';

/** Throws ApprovalMissing where a phase that waits for an approval is run without one. */
export async function assertApproved(store: WorkerStore, run: RunRow, envelope: Envelope): Promise<void> {
  if (envelope.direction !== 'run') return;
  const phase = run.plan.phases.find((one) => one.id === envelope.phase);
  if (phase === undefined) return;
  const asked = phase.waitsFor?.approval;
  // Each effect that an approval covers, and not the first alone: nobody comes past the gate by the side.
  const covering = Object.keys(run.plan.approvals).filter((step) => isCovered(run.plan, phase, step));
  for (const step of new Set([...covering, ...(asked === undefined ? [] : [asked])]))
    await assertQuorum(store, run, step);
}

function isCovered({ approvals }: Plan, { effect, step: own }: Phase, step: string): boolean {
  const asked = approvals[step];
  return effect !== 'none' && asked !== undefined && asked.skip !== true && asked.covers.includes(own);
}

/** Throws ApprovalMissing where the plan asks for an approval of this step or block and the rows that the doors wrote do not make its quorum. */
export async function assertQuorum(store: WorkerStore, run: RunRow, step: string): Promise<void> {
  const asked = run.plan.approvals[step];
  if (asked === undefined) return;
  const { evidence, approvals, steered } = await store.votes(run.run, step);
  const votes = approvals.filter(
    (vote) =>
      vote.kind === 'approve' &&
      vote.breakGlass !== true &&
      vote.subject === step &&
      vote.plan === run.planHash &&
      vote.evidence === evidence &&
      vote.person !== run.requester &&
      isDoorFor(asked, vote.door) &&
      (asked.comment !== 'required' || saysWhy(vote)) &&
      !steered.includes(vote.person),
  );
  if (stands(asked.from, votes)) return;
  const glass = new Set(
    approvals
      .filter(
        (vote) =>
          vote.breakGlass === true &&
          vote.subject === step &&
          vote.evidence === evidence &&
          vote.plan === run.planHash &&
          saysWhy(vote),
      )
      .map((vote) => vote.person),
  );
  glass.delete(run.requester);
  if (asked.breakGlass === true && glass.size >= GLASS_PEOPLE) return;
  const needed = stillNeeded(count(asked.from, votes).missing, {}, []);
  throw fail(
    'ApprovalMissing',
    `${step} has no approval that the doors know of: still needed ${needed}. Approve through the API, Slack or the console.`,
  );
}
