/** What people can type at a run as it stands, each hint as it is typed here. */
import type { PhaseWire, RunDetailWire } from '../wire.ts';
import { COLUMNS_MAX, type Style, typed, widthOf } from './style.ts';

/** `Abort` and the command that aborts. */
export type Hint = { label: string; command: string };

/** Approvals and phases of one run that are named, so that a view stays a view. */
const NAMED_MAX = 4;

/** What can be done now; nothing for a run that has ended, or is on its way back. */
export function hintsOf(run: RunDetailWire, style: Style): Hint[] {
  if (run.endedAt !== null || run.state === 'unwinding') return [];
  if (run.state === 'stuck') return resolveHints(run, style);
  const asked = run.approvals.filter(({ state }) => state === 'open').slice(0, NAMED_MAX);
  const held = run.phases.filter(isHeld).slice(0, NAMED_MAX);
  const hints = [
    ...asked.flatMap(({ step }) => voteHints(run, step, style)),
    ...held.flatMap((phase) => heldHints(run, phase, style)),
  ];
  if (run.state === 'paused') hints.push(hint(style, 'Resume', `resume ${run.run}`));
  // Who is asked has two answers; whoever watches can do more.
  if (asked.length > 0 && run.state !== 'paused') return hints;
  if (run.state === 'running' && held.length === 0) hints.push(hint(style, 'Pause', `pause ${run.run}`));
  if (run.abort.allowed) hints.push(abortHint(run, style));
  return hints;
}

export function voteHints({ run }: RunDetailWire, step: string, style: Style): Hint[] {
  return [
    hint(style, 'Approve', `approve ${run} ${step}`),
    hint(style, 'Reject', `reject ${run} ${step} 'reason'`),
  ];
}

/** What answers a phase that waits for a person: it is tried again or left out; what a person does is said to be done. */
export function heldHints({ run }: RunDetailWire, phase: PhaseWire, style: Style): Hint[] {
  const first = isToDo(phase)
    ? hint(style, 'Done', `done ${run} ${phase.phase} --evidence 'text'`)
    : hint(style, 'Retry', `retry ${run} ${phase.phase}`);
  return [first, hint(style, 'Skip', `skip ${run} ${phase.phase} 'reason'`)];
}

export function abortHint({ run }: RunDetailWire, style: Style): Hint {
  // Where nobody can be asked whether he is sure, the number says so.
  return hint(style, 'Abort', `abort ${run} 'reason'${style.isWhole === true ? ` --confirm ${run}` : ''}`);
}

export function resumeHint({ run }: RunDetailWire, style: Style): Hint {
  return hint(style, 'Resume', `resume ${run}`);
}

/** A phase that goes no further without a person, in a run that goes forwards. */
export function isHeld({ state, waitingFor, wait }: PhaseWire): boolean {
  return waitingFor !== null && state !== 'waiting' && (wait === null || wait === 'person');
}

/** Its work is done by a person. */
export function isToDo({ wait, waitingFor }: PhaseWire): boolean {
  return wait === 'person' && waitingFor === 'a person: done';
}

const isOnDesk = ({ state, verdict, waitingFor }: PhaseWire): boolean =>
  state === 'undo-failed' ||
  state === 'maybe' ||
  (state === 'undoing' && waitingFor !== null) ||
  (state === 'undone' && verdict !== null && verdict !== 'pass' && verdict !== 'warn');

/** Phases that need a person, in the order in which they are undone: the one that started last comes first. */
export function deskOf({ phases }: Pick<RunDetailWire, 'phases'>): PhaseWire[] {
  return phases
    .filter(isOnDesk)
    .toReversed()
    .toSorted((one, two) => Date.parse(two.startedAt ?? '') - Date.parse(one.startedAt ?? '') || 0);
}

const isRetried = ({ state }: PhaseWire): boolean => state === 'undo-failed' || state === 'maybe';

/** The first thing on the desk: it is tried again, or a person says how it was done. What a person undoes is not tried. */
function resolveHints(run: RunDetailWire, style: Style): Hint[] {
  const waiting = deskOf(run);
  const [desk] = waiting;
  const name = desk?.phase ?? run.targets.find(({ equal }) => equal === false)?.target ?? 'PHASE';
  const done = `resolve ${run.run} ${name} --done --evidence 'text'`;
  if (desk?.state === 'undoing') return [hint(style, 'Resolve', done)];
  if (waiting.filter(isRetried).length > 1)
    return [hint(style, 'Retry all', `resolve ${run.run} --retry`), hint(style, 'By hand', done)];
  return [hint(style, 'Resolve', `resolve ${run.run} ${name} --retry`), hint(style, 'By hand', done)];
}

function hint(style: Style, label: string, words: string): Hint {
  return { label, command: typed(style, words) };
}

/** Side by side as far as they fit; a command is never cut, since nobody could type it. */
export function hintLines(hints: readonly Hint[], indent = 0): string[] {
  const lines: string[] = [];
  for (const { label, command } of hints) {
    const text = `${label}  ${command}`;
    const last = lines.at(-1);
    if (last !== undefined && widthOf(last) + 5 + widthOf(text) <= COLUMNS_MAX) {
      lines[lines.length - 1] = `${last}     ${text}`;
    } else lines.push(`${' '.repeat(indent)}${text}`);
  }
  return lines;
}
