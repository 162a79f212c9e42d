/** Clocks of the core besides those of phases: reminders and escalations of approvals, windows, the desk. Pure. */
import { DESK_REMIND_MS } from '../procedures/limits.ts';
import { isTerminal } from '../procedures/states.ts';
import type { Approval, Phase, Plan } from '../procedures/plan.ts';
import {
  type ApprovalRecord,
  type CoreState,
  type WindowRecord,
  desk,
  isSettled,
  recordOf,
  tellPhase,
  write,
} from './state.ts';

/** When the core must look again although nothing happened; null for never. Epoch milliseconds. */
export function nextDue(state: CoreState): number | null {
  if (state.run === 'stuck') return state.deskRemindAt;
  if (state.run === 'paused' || isTerminal(state.run)) return null;
  const again = [...Object.values(state.phases), ...Object.values(state.prints)].map(
    ({ againAt }) => againAt,
  );
  if (state.run === 'unwinding') return earliest(again);
  return earliest([
    ...again,
    ...Object.values(state.phases).flatMap((record) => [record.dueAt, record.held?.until ?? null]),
    ...Object.values(state.windows).map((window) => window.dueAt),
    ...Object.values(state.approvals).flatMap((approval) =>
      approval.closedAt === null && approval.state !== 'voided' ? [approval.dueAt, approval.callAt] : [],
    ),
  ]);
}

function earliest(times: readonly (number | null)[]): number | null {
  const due = times.filter((at) => at !== null);
  return due.length === 0 ? null : Math.min(...due);
}

/** When an open approval calls people next: a reminder, or the next group of its escalation. */
export function nextCall(asked: Approval, approval: ApprovalRecord): number {
  const { openedAt, reminders, escalated } = approval;
  const next = asked.escalate?.[escalated];
  const remindAt = openedAt + (reminders + 1) * asked.remindEveryMs;
  return next === undefined ? remindAt : Math.min(remindAt, openedAt + next.afterMs);
}

/** Reminds, or calls the next group, where its time has come. It never changes who may approve. */
export function call(
  state: CoreState,
  step: string,
  asked: Approval,
  approval: ApprovalRecord,
  now: number,
): boolean {
  if (approval.callAt === null || now < approval.callAt) return false;
  const { evidence, round, openedAt, escalated } = approval;
  const next = asked.escalate?.[escalated];
  const body = { step, evidence, round };
  if (next !== undefined && now >= openedAt + next.afterMs) {
    approval.escalated += 1;
    write(state, { kind: 'approval', state: 'open', body: { ...body, escalatedTo: next.to } });
  }
  const reminders = Math.floor((now - openedAt) / asked.remindEveryMs);
  if (reminders > approval.reminders) {
    approval.reminders = reminders;
    write(state, { kind: 'approval', state: 'open', body: { ...body, reminder: reminders } });
  }
  approval.callAt = nextCall(asked, approval);
  return true;
}

/** A stuck run calls a person again and again, until its desk is empty. */
export function remindDesk(state: CoreState, now: number): boolean {
  if (state.deskRemindAt === null) {
    state.deskRemindAt = now + DESK_REMIND_MS;
    return false;
  }
  if (now < state.deskRemindAt) return false;
  state.deskReminders += 1;
  state.deskRemindAt = now + DESK_REMIND_MS;
  const waiting = desk(state).map(({ subject, why }) => ({ subject, why }));
  write(state, {
    kind: 'run',
    state: state.run,
    body: { because: state.cause?.text ?? null, desk: waiting, reminder: state.deskReminders },
  });
  return true;
}

/** The gate before a phase that may start only inside a window: open, closed, or moved just now. */
export function passWindow(
  plan: Plan,
  state: CoreState,
  phase: Phase,
  now: number,
): 'open' | 'closed' | 'moved' {
  const name = phase.waitsFor?.window;
  if (name === undefined) return 'open';
  const window = state.windows[phase.id];
  if (window === undefined) {
    state.windows[phase.id] = { looks: 1, isLooking: true, opensAt: 0, closesAt: null, dueAt: null };
    return 'moved';
  }
  if (window.isLooking) return 'closed';
  if (now < window.opensAt) {
    if (window.dueAt !== null) return 'closed';
    window.dueAt = window.opensAt;
    const dueAt = window.opensAt;
    tellPhase(state, phase.id, 'wait', { waitingFor: `window ${name}`, dueAt });
    return 'moved';
  }
  if (window.closesAt !== null && now >= window.closesAt) {
    lookAgain(window);
    return 'moved';
  }
  const { midRun } = plan.steps.find(({ id }) => id === phase.step)?.window ?? {};
  window.dueAt = midRun === 'unwind' ? window.closesAt : null;
  return 'open';
}

export function lookAgain(window: WindowRecord): void {
  window.looks += 1;
  window.isLooking = true;
  window.dueAt = null;
}

/** The step that is under way although its window has closed, and must not be. A step that has ended has no clock. */
export function outOfWindow(plan: Plan, state: CoreState, now: number): string | undefined {
  for (const [id, window] of Object.entries(state.windows)) {
    const step = plan.steps.find(({ phases }) => phases.includes(id));
    if (step?.window?.midRun !== 'unwind' || window.dueAt === null || now < window.opensAt) continue;
    if (step.phases.every((one) => isSettled(recordOf(state, one)))) window.dueAt = null;
    else if (now >= window.dueAt) {
      if (recordOf(state, id).begun) return step.id;
      // It closed while people were asked again: the phase looks for the next one once they have answered.
      window.dueAt = null;
    }
  }
  return undefined;
}
