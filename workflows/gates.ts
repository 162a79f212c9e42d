/** The gate before a phase that needs an approval: asking, calling, counting, and looking again at what is too old. */
import { GLASS_PEOPLE } from '../procedures/limits.ts';
import type { Approval, Phase, Plan } from '../procedures/plan.ts';
import { stands } from './approvals.ts';
import { call } from './clocks.ts';
import {
  type ApprovalRecord,
  type CoreState,
  type Moment,
  type PhaseRecord,
  askedOf,
  isSettled,
  recordOf,
  tellPhase,
  write,
} from './state.ts';

/** The gate before a phase that needs an approval: open, closed, or moved just now. */
export function approve(
  plan: Plan,
  state: CoreState,
  phase: Phase,
  moment: Moment,
): 'open' | 'closed' | 'moved' {
  const step = phase.waitsFor?.approval;
  if (step === undefined) return 'open';
  const asked = askedOf(plan, step);
  const approval = state.approvals[step];
  if (recordOf(state, phase.id).state === 'pending' && approval?.state !== 'granted') {
    const dueAt = approval?.dueAt ?? moment.now + asked.expiresMs;
    tellPhase(state, phase.id, 'wait', { waitingFor: 'approval', dueAt });
    return 'moved';
  }
  if (approval === undefined) {
    // Parallel steps are asked about once, when the last of them has come to its first effect.
    if (gatesOf(plan, step).some(({ id }) => recordOf(state, id).state === 'pending')) return 'closed';
    state.approvals[step] = freshApproval(moment.now + asked.expiresMs);
    return 'moved';
  }
  if (approval.state === 'granted') return 'open';
  if (moment.now >= approval.dueAt) {
    close(state, step, approval, 'expired', moment.now);
    state.cause = { kind: 'expired', text: `The approval of ${step} expired` };
    return 'moved';
  }
  switch (approval.state) {
    case 'refreshing':
      if (!asked.leading.every((id) => isSettled(recordOf(state, id)))) return 'closed';
      // The leading phases are settled again: what they found is hashed anew.
      approval.state = 'opening';
      approval.opened += 1;
      return 'moved';
    case 'open':
      if (isGiven(asked, approval)) return grant(state, step, asked, approval, moment);
      return call(state, step, asked, approval, moment.now) ? 'moved' : 'closed';
    case 'opening':
    case 'rejected':
    case 'expired':
    case 'voided':
      return 'closed';
  }
}

/** The phases that wait for an approval: the first effect of the step, or of each parallel step of the block. */
export function gatesOf(plan: Plan, step: string): Phase[] {
  return plan.phases.filter(({ waitsFor }) => waitsFor?.approval === step);
}

export function freshApproval(dueAt: number): ApprovalRecord {
  return {
    state: 'opening',
    evidence: '',
    round: 1,
    opened: 1,
    dueAt,
    votes: [],
    past: [],
    closedAt: null,
    openedAt: 0,
    reminders: 0,
    escalated: 0,
    callAt: null,
    quorumAt: null,
    glass: [],
  };
}

/** The quorum stands, or two people broke the glass where that is allowed. */
export function isGiven(asked: Approval, { votes, glass }: ApprovalRecord): boolean {
  return stands(asked.from, votes) || (asked.breakGlass === true && glass.length >= GLASS_PEOPLE);
}

/** The quorum stands: an inspection that is too old is run again first; another digest will void the votes. */
function grant(
  state: CoreState,
  step: string,
  asked: Approval,
  approval: ApprovalRecord,
  moment: Moment,
): 'moved' {
  approval.quorumAt ??= moment.now;
  if (!refresh(state, asked, approval, { ...moment, now: approval.quorumAt }))
    close(state, step, approval, 'granted', moment.now);
  return 'moved';
}

/** Runs inspections again that are too old to be approved on. */
export function refresh(
  state: CoreState,
  asked: Approval,
  approval: ApprovalRecord,
  { now }: Moment,
): boolean {
  const leading = asked.leading.map((id) => recordOf(state, id));
  const isOld = (record: PhaseRecord) => now - (record.doneAt ?? 0) > asked.freshMs;
  if (!leading.some((record) => record.state === 'done' && isOld(record))) return false;
  approval.state = 'refreshing';
  for (const record of leading) record.stale = record.state === 'done';
  return true;
}

export function close(
  state: CoreState,
  step: string,
  approval: ApprovalRecord,
  how: 'granted' | 'rejected' | 'expired' | 'voided',
  at: number | null,
): void {
  approval.state = how;
  approval.closedAt = at;
  approval.callAt = null;
  approval.quorumAt = null;
  const { evidence, round, votes, glass } = approval;
  const broken = how === 'granted' && glass.length > 0;
  // Whatever comes of it, the run says so.
  if (broken) state.capped = true;
  write(state, {
    kind: 'approval',
    state: how,
    body: {
      step,
      evidence,
      round,
      votes: votes.map((vote) => vote.id),
      ...(broken ? { brokeGlass: glass.map((vote) => vote.person) } : {}),
    },
  });
}
