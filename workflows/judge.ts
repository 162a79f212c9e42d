/** Whether an answer counts now, whichever door it came through, and the sentence that is said where it does not. Pure. */
import { VOTES_MAX } from '../procedures/limits.ts';
import { type Approval, type Plan, fingerprintPhase } from '../procedures/plan.ts';
import { isTerminal } from '../procedures/states.ts';
import { count } from '../procedures/votes.ts';
import { clock, isDoorFor, listNames, saysWhy, stillNeeded } from './approvals.ts';
import type { Decision } from './messages.ts';
import { type ApprovalRecord, type CoreState, openDesk, phaseOf, recordOf } from './state.ts';

/** An answer that does not count, with the code and the sentence that the door says back. */
export type Refused = { code: string; detail: string };

const refuse = (code: string, detail: string): Refused => ({ code, detail });

/** Why the decision does not count now; undefined where it does, or was counted already. */
export function judge(plan: Plan, state: CoreState, decision: Decision, now: number): Refused | undefined {
  const name = `run ${decision.run}`;
  if (state.heard.includes(decision.id)) return undefined;
  if (isTerminal(state.run))
    return refuse('AlreadyEnded', `${name} has ended: it is ${state.run}. Nothing was changed.`);
  if (state.planHash === null) {
    // The run has not begun: an abort waits for it, everything else was not asked.
    return decision.kind === 'abort'
      ? undefined
      : refuse('NotAsked', `${name} has not begun yet. Nothing was counted.`);
  }
  if (decision.plan !== state.planHash) {
    return refuse(
      'PlanDiffers',
      `${name} runs plan ${short(state.planHash)}, not ${short(decision.plan)}. Nothing was counted.`,
    );
  }
  switch (decision.kind) {
    case 'approve':
    case 'reject':
      return judgeVote(plan, state, decision, now);
    case 'abort':
      return judgeAbort(plan, state, name);
    case 'retry':
    case 'skip':
    case 'done':
      return judgeHeld(plan, state, decision, name);
    case 'resolve':
      return judgeResolve(state, decision, name);
    case 'pause':
    case 'resume':
      return judgePause(state, decision.kind, name);
  }
}

const short = (hash: string | null): string => (hash ?? 'unknown').slice(0, 12);

/** Why a name is none that people approve. */
function unasked(plan: Plan, step: string): string {
  const isKnown = plan.steps.some(({ id, block }) => id === step || block === step);
  const asking = Object.keys(plan.approvals).filter((name) => plan.approvals[name]?.skip !== true);
  const others = asking.length === 0 ? 'This plan asks for none.' : `Asked for are ${listNames(asking)}.`;
  const why = isKnown ? `${step} asks for no approval.` : `The plan has no step '${step}'.`;
  return `${why} ${others} Nothing was counted.`;
}

function judgeVote(plan: Plan, state: CoreState, decision: Decision, now: number): Refused | undefined {
  const step = decision.subject ?? '';
  const approval = state.approvals[step];
  const asked = plan.approvals[step];
  if (asked === undefined) return refuse('NotAsked', unasked(plan, step));
  if (approval === undefined || approval.state === 'opening') {
    return refuse(
      'NotAsked',
      `${step} does not wait for an approval yet. Nothing was counted; you will be asked.`,
    );
  }
  const at = clock(approval.closedAt ?? approval.dueAt);
  if (
    approval.state === 'expired' ||
    (approval.state === 'open' && (state.pausedAt ?? now) >= approval.dueAt)
  ) {
    return refuse(
      'ApprovalExpired',
      `The approval of ${step} expired at ${clock(approval.dueAt)}. Nothing was counted.`,
    );
  }
  if (approval.state === 'granted') {
    const by = listNames(approval.votes.map((one) => one.person));
    return refuse('AlreadyDecided', `${step} was approved at ${at} by ${by}. Your answer was not counted.`);
  }
  if (approval.state === 'rejected' || approval.state === 'voided') {
    return refuse(
      'AlreadyDecided',
      `${step} is no longer asked: it was ${approval.state}. Your answer was not counted.`,
    );
  }
  return decision.breakGlass === true
    ? judgeGlass(state, decision, approval, asked)
    : judgePerson(state, decision, approval, asked);
}

/** Two people may stand for everybody: any two but the requester, each with a reason. */
function judgeGlass(
  state: CoreState,
  decision: Decision,
  approval: ApprovalRecord,
  asked: Approval,
): Refused | undefined {
  const step = decision.subject ?? '';
  if (decision.kind !== 'approve' || asked.breakGlass !== true)
    return refuse('BreakGlassNotAllowed', `The glass of ${step} cannot be broken here. Nothing was counted.`);
  if (decision.person === state.requester)
    return refuse(
      'RequesterCannotApprove',
      `You asked for run ${decision.run}, so two others must break the glass.`,
    );
  if (!saysWhy(decision))
    return refuse('CommentRequired', `To break the glass of ${step}, say why. Nothing was counted.`);
  return judgeEvidenceSeen(decision, approval, step);
}

function judgePerson(
  state: CoreState,
  decision: Decision,
  approval: ApprovalRecord,
  { from, via, comment }: Approval,
): Refused | undefined {
  const step = decision.subject ?? '';
  const needed = stillNeeded(count(from, approval.votes).missing, state.groups, [
    state.requester,
    ...approval.votes.map((one) => one.person),
  ]);
  if (!isDoorFor({ via }, decision.door)) {
    const where =
      via === 'slack' ? 'is decided in Slack only.' : 'cannot be decided in Slack. Sign in to decide.';
    return refuse('DoorNotAllowed', `${step} ${where}`);
  }
  if (decision.person === state.requester) {
    return refuse(
      'RequesterCannotApprove',
      `You asked for run ${decision.run}, so you cannot approve it. Still needed: ${needed}.`,
    );
  }
  const steered = state.steered.find((one) => one.person === decision.person);
  if (steered !== undefined) {
    return refuse(
      'OperatorCannotApprove',
      `You steered run ${decision.run} (${steered.kind}, ${clock(steered.at)}), so you cannot approve on it.`,
    );
  }
  if (!Object.keys(from).some((group) => decision.groups.includes(group))) {
    return refuse(
      'NotInGroup',
      `${step} asks ${listNames(Object.keys(from))}; you are in ${Object.keys(from).length === 2 ? 'neither' : 'none'}.`,
    );
  }
  if (decision.kind === 'approve' && comment === 'required' && !saysWhy(decision))
    return refuse('CommentRequired', `${step} asks for a comment: say why you approve. Nothing was counted.`);
  return judgeEvidenceSeen(decision, approval, step);
}

/** An answer is to what its person saw. */
function judgeEvidenceSeen(decision: Decision, approval: ApprovalRecord, step: string): Refused | undefined {
  if (decision.evidence !== approval.evidence) {
    return decision.evidence !== null && approval.past.includes(decision.evidence)
      ? refuse(
          'ApprovalVoided',
          `What you saw of ${step} has changed. Votes start again: look at it and answer once more.`,
        )
      : refuse(
          'EvidenceDiffers',
          `${step} asks with evidence ${short(approval.evidence)}, not ${short(decision.evidence)}. Nothing was counted.`,
        );
  }
  if (approval.votes.length + approval.glass.length >= VOTES_MAX)
    return refuse('TooManyVotes', `${step} has ${VOTES_MAX} votes already.`);
  return undefined;
}

function judgeAbort(plan: Plan, state: CoreState, name: string): Refused | undefined {
  if (state.noReturn) {
    const open = plan.steps.filter((step) =>
      step.phases.some((id) => !['done', 'skipped'].includes(recordOf(state, id).state)),
    );
    return refuse(
      'PastPointOfNoReturn',
      `${name} is past its point of no return. What remains: ${listNames(open.map((step) => step.id))}.`,
    );
  }
  if (state.cause !== null || state.run === 'unwinding' || state.run === 'stuck') {
    return refuse(
      'AlreadyEnded',
      `${name} is ${state.run === 'stuck' ? 'stuck' : 'on its way back'} already. Nothing was changed.`,
    );
  }
  return undefined;
}

function judgePause(state: CoreState, kind: 'pause' | 'resume', name: string): Refused | undefined {
  const isPaused = state.run === 'paused';
  if (kind === 'resume')
    return isPaused ? undefined : refuse('NotPaused', `${name} is not paused. Nothing was changed.`);
  if (isPaused) return refuse('AlreadyPaused', `${name} is paused already. Nothing was changed.`);
  if (state.cause !== null || state.run === 'unwinding' || state.run === 'stuck') {
    return refuse('AlreadyEnded', `${name} is on its way back, and an unwinding cannot be paused.`);
  }
  return undefined;
}

function judgeHeld(plan: Plan, state: CoreState, decision: Decision, name: string): Refused | undefined {
  const record = state.phases[decision.subject ?? ''];
  if (record === undefined || record.held === null || state.cause !== null) {
    const held = Object.entries(state.phases)
      .filter(([, one]) => one.held !== null)
      .map(([id]) => id);
    const instead = held.length > 0 ? ` ${listNames(held)} does.` : ' No phase does.';
    return refuse(
      'NotHeld',
      `${decision.subject ?? 'That phase'} of ${name} does not wait for a person.${instead}`,
    );
  }
  const subject = decision.subject ?? '';
  const isToDo = record.held.toDo === true;
  if (decision.kind === 'retry' && isToDo) {
    return refuse('NotHeld', `${subject} is done by a person: say that it is done, skip it, or abort.`);
  }
  if (decision.kind === 'done' && !isToDo)
    return refuse('NotHeld', `${subject} is not done by a person: retry it, skip it, or abort.`);
  if (decision.kind === 'done') return judgeEvidence(plan, decision, subject);
  const asked = state.approvals[subject]?.state;
  if (decision.kind === 'skip' && (asked === 'opening' || asked === 'open'))
    return refuse('AlreadyAsked', `Leave to skip ${subject} is asked already. Nothing was changed.`);
  return undefined;
}

function judgeEvidence(plan: Plan, { resolution }: Decision, subject: string): Refused | undefined {
  const { run } = phaseOf(plan, subject);
  const isRequired = 'wait' in run && run.wait === 'person' && run.evidence === 'required';
  const evidence = resolution !== null && 'done' in resolution ? resolution.evidence.trim() : '';
  return isRequired && evidence === ''
    ? refuse('EvidenceNeeded', `${subject} asks for evidence: say what shows that it is done.`)
    : undefined;
}

/** People write a target's name; among the phases it has an @ before it. */
export function onDesk(state: CoreState, { subject }: Decision): string {
  return subject !== null && subject in state.prints ? fingerprintPhase(subject) : (subject ?? '');
}

function judgeResolve(state: CoreState, decision: Decision, name: string): Refused | undefined {
  const waiting = openDesk(state);
  const retries = decision.resolution !== null && 'retry' in decision.resolution;
  if (decision.subject === null) return judgeResolveAll(state, waiting, retries, name);
  if (!waiting.includes(onDesk(state, decision))) {
    const instead = waiting.length > 0 ? ` On the desk: ${listNames(waiting)}.` : '';
    return refuse('NothingToResolve', `${decision.subject} is not on the desk of ${name}.${instead}`);
  }
  return retries ? judgeRetry(state, decision.subject) : undefined;
}

/** The whole desk is retried in order of undoing; what only a person can settle stays on it. */
function judgeResolveAll(
  state: CoreState,
  waiting: readonly string[],
  retries: boolean,
  name: string,
): Refused | undefined {
  const [first] = waiting;
  if (first === undefined) return refuse('NothingToResolve', `The desk of ${name} is empty.`);
  if (!retries)
    return refuse('NothingToResolve', `Name what is done. On the desk of ${name}: ${listNames(waiting)}.`);
  const refused = waiting.map((subject) => judgeRetry(state, subject));
  return refused.every((one) => one !== undefined) ? refused[0] : undefined;
}

/** Why an undo cannot be tried again; undefined where it can. */
export function judgeRetry(state: CoreState, subject: string): Refused | undefined {
  const why = state.phases[subject]?.desk;
  if (why === 'person')
    return refuse(
      'EvidenceNeeded',
      `${subject} is taken back by a person. Say that it is done, with evidence.`,
    );
  if (why === 'differs')
    return refuse(
      'EvidenceNeeded',
      `${subject} is released and cannot be compared again. Say that it is done, with evidence.`,
    );
  return undefined;
}
