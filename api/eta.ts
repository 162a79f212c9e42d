/** When a run is likely to let go of its targets. Pure: the time comes in. */
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../procedures/limits.ts';
import type { PhaseState } from '../procedures/states.ts';
import type { PhaseView, RunDetail } from '../store/types.ts';

/** Milliseconds that are left, or whom or what it waits for, so that nobody can say. */
export type Eta = { leftMs: number; waitsFor: null } | { leftMs: null; waitsFor: string };

const TO_COME: readonly PhaseState[] = ['pending', 'waiting', 'running', 'maybe'];

export function etaOf(run: RunDetail, now: Date): Eta {
  const waitsFor = waitsForOf(run);
  if (waitsFor !== undefined) return { leftMs: null, waitsFor };
  if (run.state === 'unwinding') {
    const owed = run.phases.filter(({ isOwed }) => isOwed);
    return known(owed.map((phase) => left(phase, phase.undoMs ?? 0, phase.state === 'undoing', now)));
  }
  const toCome = run.phases.filter(({ state }) => TO_COME.includes(state));
  return known(toCome.map((phase) => left(phase, phase.runMs, phase.state === 'running', now)));
}

function known(parts: readonly number[]): Eta {
  return { leftMs: parts.reduce((sum, part) => sum + part, 0), waitsFor: null };
}

/** What takes longer than expected is as good as done. */
function left(phase: PhaseView, expectedMs: number, isAtWork: boolean, now: Date): number {
  const since = phase.actAt ?? phase.startedAt;
  const usedMs = isAtWork && since !== null ? now.getTime() - Date.parse(since) : 0;
  return Math.max(0, expectedMs - Math.max(0, usedMs));
}

/** Undefined where the run goes on by itself. */
function waitsForOf(run: RunDetail): string | undefined {
  if (run.state === 'stuck') return 'a person at its desk';
  if (run.state === 'paused') return 'its pause to end';
  const waiting = run.phases.find(({ waitingFor }) => waitingFor !== null && waitingFor !== 'time');
  const text = waiting?.waitingFor ?? undefined;
  if (text === 'approval') return 'an approval';
  return text?.startsWith('a person') === true ? 'a person' : text;
}

/** `41s`, `20m`, `1h 04m`: as much as an estimate can say. */
export function about(ms: number): string {
  if (ms < MINUTE_MS) return `${Math.max(1, Math.ceil(ms / SECOND_MS))}s`;
  const minutes = Math.ceil(ms / MINUTE_MS);
  if (ms < HOUR_MS && minutes < 60) return `${minutes}m`;
  return `${Math.floor(minutes / 60)}h ${String(minutes % 60).padStart(2, '0')}m`;
}
