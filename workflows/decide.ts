/** One function decides about every answer, whichever door it came through: `judge` looks, `decide` applies. Pure. */
import { VOTES_MAX } from '../procedures/limits.ts';
import { type Plan, fingerprintPhase } from '../procedures/plan.ts';
import { isTerminal } from '../procedures/states.ts';
import { count } from '../procedures/votes.ts';
import { clock, listNames, stillNeeded } from './approvals.ts';
import { close } from './forward.ts';
import type { Decision, DecisionAnswer } from './messages.ts';
import {
  type ApprovalRecord,
  type CoreState,
  askedOf,
  desk,
  moveRun,
  phaseOf,
  recordOf,
  tellPhase,
  write,
} from './state.ts';
import { resolve } from './unwind.ts';

/** An answer that does not count, with the code and the sentence that the door says back. */
export type Refused = { code: string; detail: string };

const refuse = (code: string, detail: string): Refused => ({ code, detail });

/** Why the decision does not count now; undefined where it does, or was counted already. */
export function judge(plan: Plan, state: CoreState, decision: Decision, now: number): Refused | undefined {
  const name = `run ${decision.run}`;
  if (state.applied.includes(decision.id)) return undefined;
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
      return judgeHeld(state, decision, name);
    case 'resolve':
      return judgeResolve(state, decision, name);
    case 'pause':
    case 'resume':
      return judgePause(state, decision.kind, name);
  }
}

/** Applies a decision that `judge` let pass. Throws for one that it did not: the caller asks first. */
export function decide(plan: Plan, state: CoreState, decision: Decision, now: number): DecisionAnswer {
  const refused = judge(plan, state, decision, now);
  if (refused !== undefined) throw new Error(refused.detail);
  if (decision.kind === 'approve' || decision.kind === 'reject') return vote(plan, state, decision, now);
  if (state.applied.includes(decision.id))
    return { result: 'AlreadyCounted', detail: 'This was accepted already.' };
  state.applied.push(decision.id);
  steer(state, decision, now);
  switch (decision.kind) {
    case 'abort':
      state.cause = {
        kind: 'aborted',
        text: `${decision.person} aborted the run: ${decision.reason ?? 'no reason given'}`,
      };
      return { result: 'Accepted', detail: abortDetail(decision.run, state) };
    case 'retry':
      return retry(plan, state, decision);
    case 'skip':
      return skip(state, decision);
    case 'pause':
      return pause(state, decision, now);
    case 'resume':
      return resume(plan, state, decision, now);
    case 'resolve':
      resolve(state, onDesk(state, decision), decision.resolution ?? { retry: true });
      return {
        result: 'Accepted',
        detail: `Accepted. run ${decision.run} unwinds on, then its targets are compared again.`,
      };
  }
}

const short = (hash: string | null): string => (hash ?? 'unknown').slice(0, 12);

function judgeVote(plan: Plan, state: CoreState, decision: Decision, now: number): Refused | undefined {
  const step = decision.subject ?? '';
  const approval = state.approvals[step];
  const asked = plan.approvals[step];
  if (approval === undefined || asked === undefined || approval.state === 'opening') {
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
  return judgePerson(state, decision, approval, asked.from, asked.via);
}

function judgePerson(
  state: CoreState,
  decision: Decision,
  approval: ApprovalRecord,
  from: Record<string, number>,
  via: 'any' | 'slack' | 'api',
): Refused | undefined {
  const step = decision.subject ?? '';
  const needed = stillNeeded(count(from, approval.votes).missing, state.groups, [
    state.requester,
    ...approval.votes.map((one) => one.person),
  ]);
  if (via === 'api' && decision.door === 'slack')
    return refuse('DoorNotAllowed', `${step} cannot be decided in Slack. Sign in to decide.`);
  if (via === 'slack' && decision.door !== 'slack')
    return refuse('DoorNotAllowed', `${step} is decided in Slack only.`);
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
  if (approval.votes.length >= VOTES_MAX)
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

function judgeHeld(state: CoreState, decision: Decision, name: string): Refused | undefined {
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
  return undefined;
}

/** People write a target's name; among the phases it has an @ before it. */
function onDesk(state: CoreState, { subject }: Decision): string {
  return subject !== null && subject in state.prints ? fingerprintPhase(subject) : (subject ?? '');
}

function judgeResolve(state: CoreState, decision: Decision, name: string): Refused | undefined {
  const waiting = desk(state).map(({ subject }) => subject);
  if (state.run !== 'stuck' || !waiting.includes(onDesk(state, decision))) {
    const instead = state.run === 'stuck' ? ` On the desk: ${listNames(waiting)}.` : '';
    return refuse(
      'NothingToResolve',
      `${decision.subject ?? 'That'} is not on the desk of ${name}.${instead}`,
    );
  }
  const released = state.phases[decision.subject ?? '']?.desk === 'differs';
  if (released && decision.resolution !== null && 'retry' in decision.resolution) {
    return refuse(
      'EvidenceNeeded',
      `${decision.subject} is released and cannot be compared again. Say that it is done, with evidence.`,
    );
  }
  return undefined;
}

/** Who steers cannot approve: votes that he gave on what is still open no longer count. */
function steer(state: CoreState, decision: Decision, now: number): void {
  state.steered.push({ person: decision.person, kind: decision.kind, at: now });
  for (const approval of Object.values(state.approvals)) {
    if (approval.state === 'open')
      approval.votes = approval.votes.filter((one) => one.person !== decision.person);
  }
}

function vote(plan: Plan, state: CoreState, decision: Decision, now: number): DecisionAnswer {
  const step = decision.subject ?? '';
  const approval = state.approvals[step];
  if (approval === undefined) throw new Error(`${step} has no approval.`);
  const { from } = askedOf(plan, step);
  if (decision.kind === 'reject') {
    approval.votes = [];
    close(state, step, approval, 'rejected', now);
    state.cause = {
      kind: 'rejected',
      text: `${decision.person} rejected ${step}: ${decision.reason ?? 'no reason given'}`,
    };
    return { result: 'Counted', detail: `Counted. ${step} is rejected.`, votes: [], needed: {} };
  }
  const earlier = approval.votes.find((one) => one.person === decision.person);
  if (earlier === undefined) {
    const { id, person, groups, door } = decision;
    approval.votes.push({ id, person, groups: groups.filter((group) => group in from), door, at: now });
  }
  return answer(state, step, approval, from, earlier?.at);
}

function answer(
  state: CoreState,
  step: string,
  approval: ApprovalRecord,
  from: Record<string, number>,
  countedAt: number | undefined,
): DecisionAnswer {
  const { counted, missing } = count(from, approval.votes);
  const needed = stillNeeded(missing, state.groups, [
    state.requester,
    ...approval.votes.map((one) => one.person),
  ]);
  const rest = needed === '' ? `${step} is approved.` : `${step} still needs ${needed}.`;
  return {
    result: countedAt === undefined ? 'Counted' : 'AlreadyCounted',
    detail:
      countedAt === undefined
        ? `Counted. ${rest}`
        : `Your approval of ${clock(countedAt)} is counted already. ${rest}`,
    votes: approval.votes.map(({ person, door, at }) => ({
      person,
      group: counted[person] ?? null,
      door,
      at,
    })),
    needed: missing,
  };
}

function pause(state: CoreState, decision: Decision, now: number): DecisionAnswer {
  state.pausedAt = now;
  moveRun(state, 'pause', {
    because: `paused by ${decision.person}: ${decision.reason ?? 'no reason given'}`,
  });
  return {
    result: 'Accepted',
    detail: `Accepted. run ${decision.run} is paused: what runs ends, nothing new begins, the approval clock stands still.`,
  };
}

/** The clocks go on from where they stood. */
function resume(plan: Plan, state: CoreState, decision: Decision, now: number): DecisionAnswer {
  const stoodMs = now - (state.pausedAt ?? now);
  state.pausedAt = null;
  for (const [step, approval] of Object.entries(state.approvals)) {
    if (approval.closedAt !== null || approval.state === 'voided') continue;
    approval.dueAt += stoodMs;
    if (approval.state !== 'open') continue;
    const { evidence, round, dueAt } = approval;
    const { from } = askedOf(plan, step);
    write(state, {
      kind: 'approval',
      state: 'open',
      body: { step, evidence, round, from, dueAt, openedAt: now },
    });
  }
  moveRun(state, 'resume', {});
  for (const { held } of Object.values(state.phases)) {
    if (held !== null && held.until !== null) held.until += stoodMs;
  }
  return { result: 'Accepted', detail: `Accepted. run ${decision.run} goes on.` };
}

function abortDetail(run: number, state: CoreState): string {
  return state.stack.length === 0
    ? `Accepted. run ${run} stops; nothing had been changed.`
    : `Accepted. run ${run} unwinds: ${state.stack.length === 1 ? '1 phase is' : `${state.stack.length} phases are`} taken back.`;
}

function retry(plan: Plan, state: CoreState, decision: Decision): DecisionAnswer {
  const record = recordOf(state, decision.subject ?? '');
  record.held = null;
  record.failed = null;
  record.runs = 0;
  // What may have happened is looked at again, unless the probe could not tell: then the person has looked.
  const probe = phaseOf(plan, decision.subject ?? '').probe;
  record.answer = probe === undefined || record.answer === 'unknown' ? 'no' : null;
  if (record.state === 'done') record.stale = true;
  return { result: 'Accepted', detail: `Accepted. ${decision.subject} is tried again.` };
}

function skip(state: CoreState, decision: Decision): DecisionAnswer {
  const record = recordOf(state, decision.subject ?? '');
  record.held = null;
  record.failed = null;
  record.stale = false;
  state.capped = true;
  tellPhase(state, decision.subject ?? '', 'skip', {
    summary: `skipped by ${decision.person}: ${decision.reason ?? 'no reason given'}`,
  });
  return {
    result: 'Accepted',
    detail: `Accepted. ${decision.subject} is skipped; the verdict is at best warn.`,
  };
}
