/**
 * The way of a decision to its run: stored and committed first, then sent. The answer is the run's. A decision is settled
 * once that answer has come; until then the janitor sends it again.
 */
import { randomUUID } from 'node:crypto';
import { groupsOf } from '../procedures/environment.ts';
import type { Environment } from '../procedures/environment.ts';
import { isTerminal } from '../procedures/states.ts';
import type { ApiStore, RunDetail } from '../store/types.ts';
import type { Decision, DecisionAnswer } from '../workflows/messages.ts';
import type { ApiDeps } from './context.ts';
import type { Answered } from './launcher.ts';
import { ApiProblem, isProblemCode } from './problems.ts';

export type NewDecision = Pick<
  Decision,
  'kind' | 'subject' | 'person' | 'door' | 'evidence' | 'reason' | 'resolution' | 'output' | 'breakGlass'
> & {
  /** The plan as the caller saw it; null where the caller names none. */
  plan: string | null;
};

/** Throws the refusal as a problem; each refused attempt is journalled. */
export async function decide(
  deps: Pick<ApiDeps, 'store' | 'launcher' | 'log' | 'groupsNow'>,
  run: RunDetail,
  environment: Environment,
  asked: NewDecision,
): Promise<DecisionAnswer> {
  const refuse = async (code: string, detail: string): Promise<never> => {
    await deps.store.refused({
      environment: run.environment,
      person: asked.person,
      door: asked.door,
      run: run.run,
      code,
      detail,
    });
    throw problemOf(code, detail);
  };
  if (asked.plan !== null && asked.plan !== run.plan) {
    return refuse(
      'PlanDiffers',
      `run ${run.run} executes plan ${run.plan.slice(0, 12)}, not ${asked.plan.slice(0, 12)}: look at it again. Nothing was counted.`,
    );
  }
  if (isTerminal(run.state)) {
    return refuse('AlreadyEnded', endedSentence(run, asked.kind));
  }
  const decision: Decision = {
    ...asked,
    id: randomUUID(),
    run: run.run,
    plan: run.plan,
    groups: await groupsAtDecision(deps, run, environment, asked),
  };
  if (!run.isAdmitted && decision.kind !== 'abort') {
    return refuse('NotBegun', `run ${run.run} has not begun: abort it, or wait. Nothing was counted.`);
  }
  await deps.store.insertDecision(decision);
  if (!run.isAdmitted && (await stopWaiting(deps.store, decision))) {
    return { result: 'Accepted', detail: `run ${run.run} is stopped; nothing had been changed.` };
  }
  const answered = await deps.launcher.decide(decision);
  const settling = settle(deps.store, decision, run.environment, answered);
  if ('answer' in answered) {
    // The run has answered, so its answer is given; if the mark is missing, the janitor sets it.
    await settling.catch((error: unknown) => deps.log.warn({ err: error, ...about(decision) }, UNSETTLED));
    return answered.answer;
  }
  const isCounted = (await settling) === 'counted';
  if ('refused' in answered) {
    if (!isCounted) throw problemOf(answered.refused, answered.detail);
    return counted(decision, `The journal has it, and run ${run.run} answered: ${answered.detail}`);
  }
  if (!('closed' in answered)) {
    deps.log.warn({ err: answered.unanswered, ...about(decision) }, 'decision: not answered in time');
  }
  return unanswered(deps.store, decision, answered);
}

const UNSETTLED = 'decision: answered, and not marked so yet';
const about = ({ run, id }: Decision) => ({ run, decision: id });

/** Throws GroupsUnknown where the answer hangs on a group that nobody can tell of now. */
async function groupsAtDecision(
  deps: Pick<ApiDeps, 'groupsNow'>,
  run: RunDetail,
  environment: Environment,
  { kind, subject, person }: NewDecision,
): Promise<string[]> {
  const kept = Object.keys(environment.slackGroups ?? {});
  if (!isVote(kind) || kept.length === 0) return groupsOf(environment, person);
  const { from = {} } = run.approvals.find(({ step }) => step === subject) ?? {};
  const { groups, unread } = await (deps.groupsNow?.(environment, person) ?? {
    groups: groupsOf(environment, person).filter((group) => !kept.includes(group)),
    unread: kept,
  });
  const isIn = Object.keys(from).some((group) => groups.includes(group));
  const [missing] = unread.filter((group) => group in from);
  if (isIn || missing === undefined) return groups;
  throw new ApiProblem(
    'GroupsUnknown',
    `Slack keeps who is in ${missing}, and cannot be asked now. Nothing was counted: try again.`,
    { headers: { 'Retry-After': '10' } },
  );
}

/** Ends a run that waits for its time or for a target: no workflow has it yet. False where it began meanwhile. */
async function stopWaiting(store: ApiStore, { run, id, person, reason }: Decision): Promise<boolean> {
  const because = `${person} aborted the run: ${reason ?? 'no reason given'}`;
  return store.stopPlanned({ run, because, decision: id });
}

/**
 * Marks a decision as answered or refused, so that it is never sent again, and journals the refusal as a refused attempt. A
 * decision that is journalled already was counted, so its refusal settles it and takes nothing back: then `counted`.
 */
export async function settle(
  store: Pick<ApiStore, 'answerDecision' | 'refuseDecision' | 'refused'>,
  decision: Decision,
  environment: string,
  answered: Answered,
): Promise<'answered' | 'refused' | 'counted' | 'open'> {
  const { run, id, person, door } = decision;
  if ('answer' in answered) {
    await store.answerDecision({ run, id });
    return 'answered';
  }
  if (!('refused' in answered)) return 'open';
  const { refused: code, detail } = answered;
  const stored = await store.refuseDecision({ run, id, code });
  if (stored === 'counted') return 'counted';
  if (stored === 'refused') await store.refused({ environment, person, door, run, code, detail });
  return 'refused';
}

/** What became of a decision that the run has not answered. Throws AlreadyEnded or NoWorker. */
async function unanswered(
  store: ApiStore,
  decision: Decision,
  answered: Exclude<Answered, { answer: unknown } | { refused: unknown }>,
): Promise<DecisionAnswer> {
  const now = await store.run(decision.run);
  if (now === undefined || !isTerminal(now.state)) throw noWorker(decision, answered);
  const delivery = now.decisions.find(({ id }) => id === decision.id)?.delivery;
  if (delivery !== 'confirmed') throw new ApiProblem('AlreadyEnded', endedSentence(now, decision.kind));
  return counted(decision, `run ${now.run} has ended: it is ${now.state}.`);
}

/** The answer to a decision whose row counts, although the run did not give one. */
function counted({ kind }: Decision, why: string): DecisionAnswer {
  const result = isVote(kind) ? 'Counted' : 'Accepted';
  return { result, detail: `${result}. ${why}` };
}

const isVote = (kind: Decision['kind']): boolean => kind === 'approve' || kind === 'reject';

/** Votes are counted; everything else changes something. */
function endedSentence({ run, state }: Pick<RunDetail, 'run' | 'state'>, kind: Decision['kind']): string {
  const nothing = isVote(kind) ? 'Your answer was not counted' : 'Nothing was changed';
  return `run ${run} has ended: it is ${state}. ${nothing}.`;
}

function noWorker({ id, run }: Decision, answered: object): ApiProblem {
  const found =
    'failed' in answered
      ? `run ${run} could not take the decision (${String(answered.failed)}).`
      : `run ${run} did not answer in time.`;
  return new ApiProblem(
    'NoWorker',
    `${found} Decision ${id} is stored and is sent again until run ${run} answers or ends.`,
    { headers: { 'Retry-After': '10' }, members: { decision: id } },
  );
}

/** A code that this API does not know is a fault of ours, not of the caller. */
function problemOf(code: string, detail: string): ApiProblem {
  if (isProblemCode(code)) return new ApiProblem(code, detail);
  return new ApiProblem('Internal', 'The run refused the decision with a code that is not known here.', {
    cause: new Error(`${code}: ${detail}`),
  });
}
