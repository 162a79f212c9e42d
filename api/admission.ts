/**
 * Runs that wait for their time or for a target. The janitor asks for each of them, in order of their numbers:
 *
 *   not due ──▶ it waits        due ──▶ past notAfter, no right any more ──▶ stopped
 *                                   ──▶ a target has changed, an approval cannot be given ──▶ stopped
 *                                   ──▶ change freeze, target held ──▶ it waits, and is stopped once its wait is over
 *                                   ──▶ all leases at once ──▶ its workflow starts
 */
import { writeInstant } from '../procedures/calendar.ts';
import type { Environment } from '../procedures/environment.ts';
import { quorumPossible } from '../procedures/quorum.ts';
import { digest } from '../store/digest.ts';
import type { ApiStore, OpenRun, RunView } from '../store/types.ts';
import type { Environments } from '../store/environment-files.ts';
import { type Frozen, frozenAt } from './freeze.ts';
import { heldSentence, heldWords, holderOf } from './leases.ts';
import { readyNeeded } from './ready.ts';
import { mayDo, rolesIn } from './permissions.ts';

export type AdmissionDeps = { store: ApiStore; environments: Environments; now: () => Date };

/** True where the run has its leases now; where it cannot come to them any more it is stopped. */
export async function admitRun(deps: AdmissionDeps, open: OpenRun): Promise<boolean> {
  const now = deps.now();
  if (open.dueAt !== null && now.getTime() < Date.parse(open.dueAt)) return false;
  const because = await obstacle(deps, open, now);
  if (because === undefined) return (await deps.store.admit(open.run, now)).answer === 'admitted';
  if (because.isFinal) await deps.store.stopPlanned({ run: open.run, because: because.text, decision: null });
  return false;
}

async function obstacle(
  deps: AdmissionDeps,
  open: OpenRun,
  now: Date,
): Promise<{ text: string; isFinal: boolean } | undefined> {
  const environment = (await deps.environments.current()).get(open.environment);
  if (environment === undefined) {
    return { text: `There is no environment ${open.environment} any more.`, isFinal: true };
  }
  if (!mayDo('start', rolesIn(environment, open.requester))) {
    const text = `${open.requester} may no longer start a run in ${open.environment}.`;
    return { text, isFinal: true };
  }
  const blocker = await deps.store.blocker(open.run, now);
  const held = blocker === undefined ? undefined : heldSentence(await holderOf(deps, blocker));
  if (open.notAfter !== null && now.getTime() > Date.parse(open.notAfter)) {
    const end = `It was not to begin after ${writeInstant(Date.parse(open.notAfter))}`;
    return { text: held === undefined ? `${end}.` : `${end}, and ${held}.`, isFinal: true };
  }
  const waitUntilMs = open.waitUntil === null ? now.getTime() : Date.parse(open.waitUntil);
  const frozen = await frozenFor(deps, environment, open.planHash);
  if (frozen !== undefined) return { text: frozen.detail, isFinal: frozen.untilMs > waitUntilMs };
  const unfit = await unfitFor(deps, environment, open);
  if (unfit !== undefined) return { text: unfit, isFinal: true };
  const needed = await readyNeededOf(deps, environment, open);
  if (needed !== undefined) {
    const text = `Not enough people said that they are ready. Still needed: ${needed}.`;
    return { text, isFinal: now.getTime() > waitUntilMs };
  }
  if (held === undefined) return undefined;
  return { text: `The wait is over: ${held}.`, isFinal: now.getTime() > waitUntilMs };
}

/** Why what was planned days ago is no longer what would be done: people approve a plan, so another must be made. */
async function unfitFor(
  { store }: AdmissionDeps,
  environment: Environment,
  { planHash, requester }: OpenRun,
): Promise<string | undefined> {
  const plan = await store.plan(planHash);
  if (plan === undefined) return `Plan ${planHash.slice(0, 12)} is not in the store.`;
  for (const [name, { digest: planned }] of Object.entries(plan.targets)) {
    const target = environment.targets[name];
    if (target === undefined) {
      return `Target ${name} is not in environment ${environment.environment} any more: plan anew.`;
    }
    if (digest(target) !== planned) return `Target ${name} has changed since it was planned: plan anew.`;
  }
  for (const [step, approval] of Object.entries(plan.approvals)) {
    const impossible = quorumPossible(step, approval, environment, requester);
    if (impossible !== undefined) return impossible;
  }
  return undefined;
}

async function readyNeededOf(
  { store }: AdmissionDeps,
  environment: Environment,
  open: { planHash: string; requester: string; readyCheck: boolean; ready: string[] },
): Promise<string | undefined> {
  const plan = open.readyCheck ? await store.plan(open.planHash) : undefined;
  return plan === undefined ? undefined : readyNeeded(plan, environment, open);
}

/** What a run waits for that has no leases yet; null for one that has, and for one that only waits for its time. */
export async function waitingForOf(deps: AdmissionDeps, run: RunView): Promise<string | null> {
  if (run.state !== 'planned' || run.isAdmitted) return null;
  const now = deps.now();
  if (run.dueAt !== null && now.getTime() < Date.parse(run.dueAt)) return null;
  const environment = (await deps.environments.current()).get(run.environment);
  const frozen = environment === undefined ? undefined : await frozenFor(deps, environment, run.plan);
  if (frozen !== undefined) return `the end of the change freeze, ${writeInstant(frozen.untilMs)}`;
  const needed =
    environment === undefined
      ? undefined
      : await readyNeededOf(deps, environment, { ...run, planHash: run.plan });
  if (needed !== undefined) return `people to say that they are ready: ${needed}`;
  const blocker = await deps.store.blocker(run.run, now);
  return blocker === undefined ? null : heldWords(await holderOf(deps, blocker));
}

/** The change freeze that holds a run of this plan now. */
export async function frozenFor(
  { store, now }: Pick<AdmissionDeps, 'store' | 'now'>,
  environment: Environment,
  planHash: string,
): Promise<Frozen | undefined> {
  const at = now();
  const frozen = frozenAt(environment, at, undefined);
  if (frozen === undefined) return undefined;
  const emergency = (await store.plan(planHash))?.emergency;
  return emergency === undefined ? frozen : frozenAt(environment, at, emergency);
}
