/** What a run waits for and who can answer; and what does not answer, though it should. */
import type { ApprovalWire, PhaseWire, RunDetailWire } from '../wire.ts';
import { deliveryOf, deliveryText, isUndelivered } from './deliveries.ts';
import { type Hint, abortHint, heldHints, isHeld, isToDo, resumeHint, voteHints } from './hints.ts';
import { type Style, clock, dot, duration, safe, stamp } from './style.ts';

/** A run confirms a decision within this, if its worker and Temporal answer. */
const DELIVERY_MS = 5_000;
/** What reports and has not reported for so long has no news. */
const NEWS_MS = 30_000;
/** A run that nothing holds begins within this, if there is a worker. */
const BEGIN_MS = 15_000;

/** One wait of a run. The same `key` at the next reading is the same wait. */
export type Wait = { key: string; text: string; hints: Hint[] };

/** Everything that goes no further without a person, in the order in which it is answered. */
export function waitsOf(run: RunDetailWire, style: Style): Wait[] {
  if (run.endedAt !== null || run.state === 'unwinding' || run.state === 'stuck') return [];
  // Where nobody is missing any more, it is given with the next row.
  const asked = run.approvals.filter(
    ({ state, needed }) => state === 'open' && Object.keys(needed).length > 0,
  );
  const waits: Wait[] = asked.map((approval) => ({
    key: `${approval.step} ${approval.evidence} ${JSON.stringify(approval.needed)}`,
    text: `${approval.step} waits for an approval${dot(style)}still needed: ${neededText(approval)}${dot(style)}expires ${clock(approval.dueAt)} UTC`,
    hints: voteHints(run, approval.step, style),
  }));
  for (const phase of run.phases.filter(isHeld)) {
    const why = phase.error?.message ?? phase.summary ?? '';
    waits.push({
      key: `${phase.phase} ${phase.try} ${phase.waitingFor ?? ''}`,
      text: `${phase.phase} waits for ${isToDo(phase) ? 'a person to do it' : (phase.waitingFor ?? '')}${why === '' ? '' : `: ${safe(why)}`}`,
      hints: [...heldHints(run, phase, style), ...(run.abort.allowed ? [abortHint(run, style)] : [])],
    });
  }
  if (run.state === 'paused') {
    waits.push({
      key: `paused ${run.because ?? ''}`,
      text: `run ${run.run} is paused ${pausedText(run)}`,
      hints: [resumeHint(run, style)],
    });
  }
  return waits;
}

/** `sre 1 (ana, ben), owner 1 (olu)`: how many of each group, and who can. */
export function neededText({ needed, canApprove }: ApprovalWire): string {
  const groups = Object.entries(needed).map(([group, count]) => {
    const people = canApprove[group] ?? [];
    return people.length === 0 ? `${group} ${count}` : `${group} ${count} (${people.map(safe).join(', ')})`;
  });
  return groups.join(', ');
}

/** `by dana: checking disk`. */
export function pausedText({ because }: Pick<RunDetailWire, 'because'>): string {
  return safe((because ?? 'by somebody').replace(/^paused /, ''));
}

/** What does not answer. The `key` stays the same while only the time grows. */
export function silencesOf(run: RunDetailWire, now: Date): { key: string; text: string }[] {
  if (run.endedAt !== null) return [];
  const undelivered = run.decisions
    .filter((decision) => isUndelivered(decision) && now.getTime() - Date.parse(decision.at) > DELIVERY_MS)
    .map((decision) => ({
      key: `decision ${decision.kind} ${decision.subject ?? ''} ${decision.person} ${decision.at} ${deliveryOf(decision)}`,
      text: deliveryText(decision),
    }));
  return [...undelivered, ...quietOf(run, now)];
}

/** Phases that report nothing, and a run that does not begin. */
export function quietOf(run: RunDetailWire, now: Date): { key: string; text: string }[] {
  if (run.endedAt !== null) return [];
  const silences = [];
  for (const phase of run.phases) {
    const silentMs = silenceOf(phase, now);
    if (silentMs === null) continue;
    silences.push({
      key: `news ${phase.phase} ${phase.newsAt}`,
      text: `no news of ${phase.phase} for ${duration(silentMs)}`,
    });
  }
  const waitedMs =
    now.getTime() - Math.max(Date.parse(run.createdAt), Date.parse(run.dueAt ?? run.createdAt));
  if (run.state === 'planned' && run.waitingFor === null && waitedMs > BEGIN_MS) {
    silences.push({
      key: 'planned',
      text: `run ${run.run} should have begun ${duration(waitedMs)} ago: no worker answers`,
    });
  }
  return silences;
}

/** How long nothing was heard of a phase that is under way; null where that is as it should be. */
export function silenceOf(phase: PhaseWire, now: Date): number | null {
  const { state, wait, waitingFor, newsAt = null, progress, expectedMs } = phase;
  const isUnderWay = state === 'running' || state === 'undoing' || state === 'maybe';
  if (!isUnderWay || wait !== null || waitingFor !== null || newsAt === null) return null;
  const silentMs = now.getTime() - Date.parse(newsAt);
  // What never reports is given twice the time that it is expected to take.
  const patienceMs = progress === null ? Math.max(NEWS_MS, 2 * expectedMs) : NEWS_MS;
  return silentMs < patienceMs ? null : silentMs;
}

/** How a run stands, as a sentence: `run 41 is planned.` */
export function stateText({
  run,
  state,
  dueAt,
  waitingFor,
}: Pick<RunDetailWire, 'run' | 'state' | 'dueAt' | 'waitingFor'>): string {
  if (state === 'planned' && waitingFor !== null) return `run ${run} waits: ${safe(waitingFor)}.`;
  if (state === 'planned' && dueAt !== null) return `run ${run} begins ${stamp(dueAt)}.`;
  return `run ${run} is ${state}.`;
}
