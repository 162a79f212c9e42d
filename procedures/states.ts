/**
 * The states of a run and of a phase: one pure table each.
 *
 *   run    planned ──▶ running ◀──▶ waiting ──▶ succeeded
 *             │           │  ▲        │  ▲
 *             │           ▼  │        ▼  │
 *             │          paused ◀──▶ (either)
 *             ├──▶ stopped   (nothing had been changed)
 *             └──▶ unwinding ──▶ rolled-back
 *                     ▲  │
 *                     │  ▼
 *                     stuck       (a person resolves; leases stay)
 *
 *   phase  pending ──▶ waiting ──▶ running ──▶ done ──────▶ undoing ──▶ undone
 *                                    │  ▲        │             │  ▲
 *                                    ▼  │        ▼             ▼  │
 *                                   maybe ──▶ skipped      undo-failed
 */

export type RunState =
  | 'planned'
  | 'waiting'
  | 'running'
  | 'paused'
  | 'succeeded'
  | 'stopped'
  | 'unwinding'
  | 'rolled-back'
  | 'stuck';
export type RunEvent =
  | 'start'
  | 'wait'
  | 'go'
  | 'pause'
  | 'resume'
  | 'succeed'
  | 'stop'
  | 'unwind'
  | 'restore'
  | 'stick'
  | 'resolve';

const RUN: Record<RunState, Partial<Record<RunEvent, RunState>>> = {
  planned: { start: 'running', stop: 'stopped', unwind: 'unwinding' },
  running: {
    wait: 'waiting',
    pause: 'paused',
    succeed: 'succeeded',
    stop: 'stopped',
    unwind: 'unwinding',
  },
  waiting: { go: 'running', pause: 'paused', stop: 'stopped', unwind: 'unwinding' },
  paused: { resume: 'running', stop: 'stopped', unwind: 'unwinding' },
  // `stop`: opened again after its workflow was closed from outside, and nothing had been begun.
  unwinding: { restore: 'rolled-back', stick: 'stuck', stop: 'stopped' },
  stuck: { resolve: 'unwinding', unwind: 'unwinding' },
  succeeded: {},
  stopped: {},
  'rolled-back': {},
};

export type PhaseState =
  | 'pending'
  | 'waiting'
  | 'running'
  | 'done'
  | 'maybe'
  | 'undoing'
  | 'undone'
  | 'undo-failed'
  | 'skipped';
export type PhaseEvent =
  | 'wait'
  | 'withdraw'
  | 'start'
  | 'finish'
  | 'lose'
  | 'skip'
  | 'undo'
  | 'restore'
  | 'fail';

const PHASE: Record<PhaseState, Partial<Record<PhaseEvent, PhaseState>>> = {
  pending: { wait: 'waiting', start: 'running', skip: 'skipped', finish: 'done' },
  waiting: { wait: 'waiting', start: 'running', withdraw: 'pending', skip: 'skipped', finish: 'done' },
  // `skip`: what a person was to do.
  running: { finish: 'done', lose: 'maybe', withdraw: 'pending', skip: 'skipped' },
  maybe: {
    start: 'running',
    finish: 'done',
    skip: 'skipped',
    undo: 'undoing',
    restore: 'undone',
    fail: 'undo-failed',
  },
  done: { start: 'running', skip: 'skipped', undo: 'undoing' },
  skipped: { undo: 'undoing' },
  undoing: { restore: 'undone', fail: 'undo-failed' },
  undone: { wait: 'waiting', start: 'running', skip: 'skipped' },
  'undo-failed': { undo: 'undoing', restore: 'undone', lose: 'maybe' },
};

/** The next state of a run. Throws where the table has no such transition: that is a bug, never an input. */
export function nextRun(state: RunState, event: RunEvent): RunState {
  const next = RUN[state][event];
  if (next === undefined) throw new Error(`A run that is '${state}' cannot '${event}'.`);
  return next;
}

/** The next state of a phase. Throws where the table has no such transition: that is a bug, never an input. */
export function nextPhase(state: PhaseState, event: PhaseEvent): PhaseState {
  const next = PHASE[state][event];
  if (next === undefined) throw new Error(`A phase that is '${state}' cannot '${event}'.`);
  return next;
}

/** Terminal states: the workflow has ended and the leases are free. `stuck` is not one of them. */
export const TERMINAL: readonly RunState[] = ['succeeded', 'stopped', 'rolled-back'];

export function isTerminal(state: RunState): boolean {
  return TERMINAL.includes(state);
}
