/** What an answer that counts does, whichever door it came through: `judge` looks, `decide` applies. Pure. */
import { GLASS_PEOPLE } from '../procedures/limits.ts';
import type { Plan } from '../procedures/plan.ts';
import { count } from '../procedures/votes.ts';
import { clock, stillNeeded } from './approvals.ts';
import { skipPhase } from './forward.ts';
import { close, freshApproval } from './gates.ts';
import { judge, onDesk } from './judge.ts';
import type { Decision, DecisionAnswer } from './messages.ts';
import {
  type ApprovalRecord,
  type CoreState,
  askedOf,
  moveRun,
  phaseOf,
  recordOf,
  tellPhase,
  write,
} from './state.ts';
import { resolve } from './unwind.ts';

/** Applies a decision that `judge` let pass. Throws for one that it did not: the caller asks first. */
export function decide(plan: Plan, state: CoreState, decision: Decision, now: number): DecisionAnswer {
  const refused = judge(plan, state, decision, now);
  if (refused !== undefined) throw new Error(refused.detail);
  if (state.heard.includes(decision.id)) return answerAgain(decision);
  state.heard.push(decision.id);
  if (decision.kind === 'approve' || decision.kind === 'reject') return vote(plan, state, decision, now);
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
      return skip(plan, state, decision, now);
    case 'done':
      return done(state, decision, now);
    case 'pause':
      return pause(state, decision, now);
    case 'resume':
      return resume(plan, state, decision, now);
    case 'resolve':
      resolve(
        state,
        decision.subject === null ? null : onDesk(state, decision),
        decision.resolution ?? { retry: true },
        now,
      );
      return {
        result: 'Accepted',
        detail: `Accepted. run ${decision.run} unwinds on, then its targets are compared again.`,
      };
  }
}

/** The answer to a decision that was applied before: the interface sends it again until it has heard one. */
export function answerAgain({ kind }: Pick<Decision, 'kind'>): DecisionAnswer {
  const isVote = kind === 'approve' || kind === 'reject';
  return {
    result: 'AlreadyCounted',
    detail: isVote ? 'Your answer is counted already.' : 'This was accepted already.',
  };
}

/** Who steers cannot approve: votes that he gave on what is still open no longer count. */
function steer(state: CoreState, decision: Decision, now: number): void {
  state.steered.push({ person: decision.person, kind: decision.kind, at: now });
  for (const approval of Object.values(state.approvals)) {
    approval.quorumAt = null;
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
    if (askedOf(plan, step).skip === true)
      return {
        result: 'Counted',
        detail: `Counted. ${step} is not skipped: it waits for a person.`,
        votes: [],
        needed: {},
      };
    state.cause = {
      kind: 'rejected',
      text: `${decision.person} rejected ${step}: ${decision.reason ?? 'no reason given'}`,
    };
    return { result: 'Counted', detail: `Counted. ${step} is rejected.`, votes: [], needed: {} };
  }
  const counted = decision.breakGlass === true ? approval.glass : approval.votes;
  const earlier = counted.find((one) => one.person === decision.person);
  if (earlier === undefined) {
    const { id, person, groups, door } = decision;
    counted.push({ id, person, groups: groups.filter((group) => group in from), door, at: now });
  }
  if (decision.breakGlass === true) return answerGlass(step, approval, earlier?.at);
  return answer(state, step, approval, from, earlier?.at);
}

function answerGlass(step: string, { glass }: ApprovalRecord, countedAt: number | undefined): DecisionAnswer {
  const missing = GLASS_PEOPLE - glass.length;
  const rest =
    missing > 0
      ? `${step} still needs ${missing} more who breaks the glass.`
      : `The glass of ${step} is broken.`;
  return countedAt === undefined
    ? { result: 'Counted', detail: `Counted. ${rest}` }
    : { result: 'AlreadyCounted', detail: `Your answer of ${clock(countedAt)} is counted already. ${rest}` };
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
    approval.openedAt += stoodMs;
    if (approval.callAt !== null) approval.callAt += stoodMs;
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
  const asked = state.approvals[decision.subject ?? ''];
  if (asked?.state === 'opening' || asked?.state === 'open')
    close(state, decision.subject ?? '', asked, 'voided', null);
  record.held = null;
  record.failed = null;
  record.runs = 0;
  // What may have happened is looked at again, unless the probe left it to the person: then the person has looked.
  const { probe, undo } = phaseOf(plan, decision.subject ?? '');
  const isLeft = record.answer === 'unknown' || (record.answer === 'partly' && undo === undefined);
  record.answer = probe === undefined || isLeft ? 'no' : null;
  if (record.state === 'done') record.stale = true;
  return { result: 'Accepted', detail: `Accepted. ${decision.subject} is tried again.` };
}

/** A gate or a verification is skipped with the leave of those who approve, and not by the operator alone. */
function skip(plan: Plan, state: CoreState, decision: Decision, now: number): DecisionAnswer {
  const subject = decision.subject ?? '';
  const { person, reason, output = null } = decision;
  const about = { person, reason: reason ?? 'no reason given', output };
  const asked = plan.approvals[subject];
  if (asked?.skip !== true) {
    skipPhase(state, subject, about);
    return {
      result: 'Accepted',
      detail: `Accepted. ${subject} is skipped; the verdict is at best warn.`,
    };
  }
  const before = state.approvals[subject];
  state.approvals[subject] = {
    ...freshApproval(now + asked.expiresMs),
    round: (before?.round ?? 0) + 1,
    opened: (before?.opened ?? 0) + 1,
    about,
  };
  const needed = stillNeeded(count(asked.from, []).missing, state.groups, [state.requester, person]);
  return {
    result: 'Accepted',
    detail: `Accepted. To skip ${subject}, ${needed} must approve; they are asked.`,
  };
}

/** A person did what the phase asks for. */
function done(state: CoreState, decision: Decision, now: number): DecisionAnswer {
  const subject = decision.subject ?? '';
  const record = recordOf(state, subject);
  const evidence =
    decision.resolution !== null && 'done' in decision.resolution ? decision.resolution.evidence : '';
  record.held = null;
  record.verdict = 'pass';
  record.doneAt = now;
  const summary = `done by ${decision.person}${evidence === '' ? '' : `: ${evidence}`}`;
  tellPhase(state, subject, 'finish', { summary, output: { by: decision.person, evidence } }, 'pass');
  return { result: 'Accepted', detail: `Accepted. ${subject} is done.` };
}
