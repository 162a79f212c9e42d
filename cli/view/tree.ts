/**
 * The phases of a run as people read them. Forwards: the steps in order, the one under way opened, what has not begun on
 * one line. Unwinding: the phases in reverse order of start, what follows on one line a step.
 */
import type { ApprovalWire, PhaseWire, RunDetailWire } from '../wire.ts';
import { isHeld } from './hints.ts';
import {
  COLUMNS_MAX,
  type Style,
  bar,
  clock,
  cut,
  dot,
  duration,
  number,
  pad,
  phaseMark,
  phaseWord,
  safe,
  span,
  twoParts,
  widthOf,
} from './style.ts';
import { type Stretch, unionMs } from './times.ts';
import { neededText, silenceOf } from './waits.ts';

/** Where the duration of a phase ends. */
const DURATION_END = 83;
const NAME_WIDTH_MIN = 17;
const BAR_WIDTH = 25;
/** How wide the story of a step may be, beside its name and state. */
const STORY_WIDTH = 72;
/** Where stands what becomes of phases that share a line, while the run unwinds. */
const FATE_COLUMN = 64;

type Line = {
  indent: number;
  mark: PhaseWire['state'];
  name: string;
  state: string;
  verdict: string | null;
  text: string;
  tookMs: number | null;
  /** Lines below the text. */
  more?: string[];
};

/** The steps in order, the one under way opened, what has not begun on one line. */
export function forwardLines(run: RunDetailWire, style: Style, now: Date): string[] {
  const lines: (Line | string)[] = [];
  let pending: string[] = [];
  const flush = () => {
    if (pending.length > 0) lines.push(collapsed(style, 0, 'pending', pending, 'pending'));
    pending = [];
  };
  for (const step of run.steps) {
    const phases = run.phases.filter((phase) => phase.step === step.id);
    if (phases.every(({ state }) => state === 'pending')) {
      pending.push(step.id);
      continue;
    }
    flush();
    const isClosed = phases.every(({ state }) => state === 'done' || state === 'skipped');
    if (isClosed) lines.push(closedStep(step.id, phases, style));
    else lines.push(...openStep(run, step.id, phases, style, now));
  }
  flush();
  if (
    run.phases.every(({ state }) => state === 'pending') &&
    run.steps[0] !== undefined &&
    run.endedAt === null
  ) {
    return [`No phase has started. ${run.steps[0].id} is first.`];
  }
  return layOut(lines, style);
}

function closedStep(id: string, phases: readonly PhaseWire[], style: Style): Line {
  const done = phases.filter(({ state }) => state === 'done');
  const worst = ['error', 'inconclusive', 'fail', 'warn'].find((verdict) =>
    done.some((phase) => phase.verdict === verdict),
  );
  const times = phases.flatMap((phase) => stretchOf(phase) ?? []);
  // A condition that did not hold has looked, and has left the rest of the step out.
  const work = phases.filter(({ phase }) => !phase.endsWith('/when'));
  const isSkipped = work.every(({ state }) => state === 'skipped');
  const [text = '', ...more] = storyOf(done, style);
  return {
    indent: 0,
    mark: isSkipped ? 'skipped' : 'done',
    name: id,
    state: isSkipped ? 'skipped' : 'done',
    verdict: isSkipped ? null : (worst ?? 'pass'),
    text: isSkipped
      ? ((done.at(-1) ?? phases.findLast(({ summary }) => summary !== null))?.summary ?? '')
      : text,
    // Phases that wait for people have not begun, so the time between them is not the step's.
    tookMs: times.length === 0 ? null : unionMs(times),
    ...(more.length === 0 ? {} : { more }),
  };
}

/** What happened in a step, from its first effect on; of a step that only looks what it found last. */
function storyOf(done: readonly PhaseWire[], style: Style): string[] {
  const first = done.findIndex(({ effect }) => effect !== 'none');
  const told = (first === -1 ? done.slice(-1) : done.slice(first)).flatMap(
    ({ summary }) => summary?.replace(/^past it: /, 'point of no return passed: ') ?? [],
  );
  if (style.isWhole === true) return [told.map(safe).join(dot(style))];
  const lines: string[] = [];
  for (const text of told.map(safe)) {
    const last = lines.at(-1);
    const joined = `${last}${dot(style)}${text}`;
    if (last !== undefined && widthOf(joined) <= STORY_WIDTH) lines[lines.length - 1] = joined;
    else lines.push(text);
  }
  return lines;
}

/** From where to where a phase was at work; undefined where it was not, or is not known to have been. */
function stretchOf({ state, startedAt, endedAt }: PhaseWire): Stretch | undefined {
  if (startedAt === null || endedAt === null || state === 'skipped') return undefined;
  return { start: Date.parse(startedAt), end: Date.parse(endedAt) };
}

function openStep(
  run: RunDetailWire,
  id: string,
  phases: readonly PhaseWire[],
  style: Style,
  now: Date,
): (Line | string)[] {
  const block = run.steps.find((step) => step.id === id)?.block;
  const approval = run.approvals.findLast(({ step }) => step === id || step === block);
  const [only] = phases;
  if (phases.length === 1 && only !== undefined) {
    const line = phaseLine(only, 0, id, approval, style, now);
    if (approval?.state !== 'open') return [line];
    return [{ ...line, text: `${approvalCount(approval, style)}${dot(style)}${votesText(approval, style)}` }];
  }
  const state = stateOfStep(phases, run.endedAt !== null);
  const lines: (Line | string)[] = [
    { indent: 0, mark: state, name: id, state, verdict: null, text: stepText(approval, style), tookMs: null },
  ];
  const pending = phases.filter((phase) => phase.state === 'pending').map(shortName);
  for (const phase of phases) {
    if (phase.state !== 'pending') lines.push(phaseLine(phase, 2, shortName(phase), approval, style, now));
  }
  if (pending.length > 0) lines.push(collapsed(style, 2, 'pending', pending, 'pending'));
  return lines;
}

function stateOfStep(phases: readonly PhaseWire[], hasEnded: boolean): PhaseWire['state'] {
  for (const state of ['maybe', 'running', 'waiting'] as const) {
    if (phases.some((phase) => phase.state === state)) return state;
  }
  // In an ended run nothing runs: the step came as far as its phases say.
  return hasEnded ? 'pending' : 'running';
}

function stepText(approval: ApprovalWire | undefined, style: Style): string {
  if (approval === undefined) return '';
  if (approval.state === 'open') return approvalCount(approval, style);
  return approval.state === 'granted' ? approvedBy(approval) : `approval ${approval.state}`;
}

function approvalCount(approval: ApprovalWire, style: Style): string {
  const needed = Object.values(approval.from).reduce((sum, count) => sum + count, 0);
  const missing = Object.values(approval.needed).reduce((sum, count) => sum + count, 0);
  return `approval ${needed - missing} of ${needed}${dot(style)}expires ${clock(approval.dueAt)} UTC`;
}

function approvedBy(approval: ApprovalWire): string {
  const votes = approval.votes.map(
    ({ person, group, at }) => `${safe(person)}${group === null ? '' : ` (${group})`} ${clock(at)}`,
  );
  return votes.length === 0 ? '' : `approved by ${votes.join(', ')}`;
}

function votesText(approval: ApprovalWire, style: Style): string {
  const needed = neededText(approval);
  const missing = needed === '' ? '' : `still needed: ${needed}`;
  return [approvedBy(approval), missing].filter((text) => text !== '').join(dot(style));
}

function phaseLine(
  phase: PhaseWire,
  indent: number,
  name: string,
  approval: ApprovalWire | undefined,
  style: Style,
  now: Date,
): Line {
  const line: Line = {
    indent,
    mark: phase.state,
    name,
    state: phase.state,
    verdict: phase.verdict,
    text: phase.summary ?? '',
    tookMs: null,
  };
  const isBack = phase.state === 'undone' || phase.state === 'undo-failed';
  const took = stretchOf(isBack ? { ...phase, startedAt: phase.actAt ?? phase.startedAt } : phase);
  if (took !== undefined) line.tookMs = took.end - took.start;
  if (phase.state === 'waiting') {
    line.verdict = null;
    const isAsked = approval?.state === 'open' && phase.waitingFor === 'approval';
    line.text = isAsked ? votesText(approval, style) : (phase.waitingFor ?? '');
  } else if (phase.state === 'running' || phase.state === 'undoing') {
    line.verdict = null;
    line.tookMs = null;
    Object.assign(line, underWay(phase, style, now));
    // An attempt failed, and the next one has not begun.
    if (phase.error !== null && !isHeld(phase))
      line.more = [...(line.more ?? []), phase.summary ?? phase.error.message];
  } else if (phase.state === 'maybe' || phase.state === 'undo-failed') {
    line.text = phase.error?.message ?? phase.summary ?? '';
    if (phase.waitingFor !== null) line.more = [`waits for ${phase.waitingFor}`];
  }
  return line;
}

/** `██▌░ 66 %  3m 00s left` with the counts below, or the age and how long it is expected to take. */
function underWay(phase: PhaseWire, style: Style, now: Date): { text: string; more?: string[] } {
  const isBack = phase.state === 'undoing';
  const began = (isBack ? phase.actAt : null) ?? phase.startedAt;
  const age = began === null ? 0 : now.getTime() - Date.parse(began);
  if (isHeld(phase)) return heldText(phase, age, style);
  const { done, total, unit, detail } = phase.progress ?? {};
  const text = phase.try > 1 ? `try ${phase.try}, ` : '';
  if (typeof done === 'number' && typeof total === 'number' && total > 0) {
    const part = Math.min(1, done / total);
    const isTime = unit === 'ms';
    const leftMs = isTime ? total - done : (age / part) * (1 - part);
    // What no longer reports has no time that is left.
    const isKnown = part > 0 && part < 1 && age > 2000 && silenceOf(phase, now) === null;
    const left = isKnown ? `  ${duration(leftMs)} left` : '';
    const counts = isTime
      ? `${duration(done)} of ${span(total)}`
      : `${number(done)} of ${number(total)} ${typeof unit === 'string' ? safe(unit) : ''}`;
    return {
      text: `${text}${bar(style, part, BAR_WIDTH)} ${Math.floor(part * 100)} %${left}`,
      more: [[counts, ...(typeof detail === 'string' ? [safe(detail)] : [])].join(dot(style))],
    };
  }
  const counts =
    typeof done === 'number'
      ? `${dot(style)}${number(done)} ${typeof unit === 'string' ? safe(unit) : ''}`
      : '';
  const leftMs = isBack ? 0 : phase.expectedMs - age;
  const left = leftMs > 0 ? `${dot(style)}about ${duration(leftMs)} left` : '';
  const title = (isBack ? phase.undo : null) ?? phase.title;
  return { text: `${text}${title}${dot(style)}${duration(age)}${counts}${left}` };
}

/** What a person is to do, and since when. */
function heldText(phase: PhaseWire, age: number, style: Style): { text: string; more?: string[] } {
  const what = `${phase.title}${dot(style)}waits for ${phase.waitingFor ?? 'a person'}${dot(style)}${duration(age)}`;
  return phase.summary === null ? { text: what } : { text: what, more: [phase.summary] };
}

/** The phases in reverse order of start, what follows on one line a step. */
export function unwindLines(run: RunDetailWire, style: Style, now: Date): string[] {
  const started = run.phases
    .filter(({ startedAt, state }) => startedAt !== null || !['pending', 'waiting'].includes(state))
    .toSorted((one, other) => Date.parse(other.startedAt ?? '') - Date.parse(one.startedAt ?? ''));
  const moved = ['undone', 'undoing', 'undo-failed', 'maybe', 'running'];
  const lines: (Line | string)[] = [];
  for (const phase of started.filter(({ state }) => moved.includes(state))) {
    lines.push(phaseLine(phase, 0, phase.phase, undefined, style, now));
  }
  const follows = started.filter((phase) => phase.state === 'done' && phase.undo !== null);
  if (run.endedAt === null) {
    for (const step of new Set(follows.map((phase) => phase.step))) {
      const names = follows.filter((phase) => phase.step === step).map(shortName);
      lines.push(
        collapsed(
          style,
          0,
          'done',
          [`${step}/${names[0]}`, ...names.slice(1)],
          'done, undo follows',
          FATE_COLUMN,
        ),
      );
    }
  }
  const idle = idleNames(run, moved);
  if (idle.length > 0) {
    lines.push(collapsed(style, 0, 'skipped', idle, 'no effect, nothing to undo', FATE_COLUMN));
  }
  return layOut(lines, style);
}

/** What ran and has no undo: the step where that holds for all of it, else its phases. */
function idleNames(run: RunDetailWire, moved: readonly string[]): string[] {
  return run.steps.flatMap(({ id }) => {
    const phases = run.phases.filter((phase) => phase.step === id);
    const idle = phases.filter(
      ({ state, undo }) => undo === null && !moved.includes(state) && !['pending', 'waiting'].includes(state),
    );
    if (idle.length === 0 || phases.every(({ undo }) => undo === null)) return idle.length === 0 ? [] : [id];
    return idle.map((phase, index) => (index === 0 ? phase.phase : shortName(phase)));
  });
}

function shortName(phase: PhaseWire): string {
  return phase.phase.slice(phase.phase.indexOf('/') + 1);
}

function collapsed(
  style: Style,
  indent: number,
  mark: PhaseWire['state'],
  names: readonly string[],
  state: string,
  column = 0,
): string {
  const room = COLUMNS_MAX - indent - 4 - state.length;
  const text = cut(style, names.join(', '), room);
  return twoParts(`${' '.repeat(indent)}${phaseMark(style, mark)}${text}`, state, column);
}

function layOut(lines: readonly (Line | string)[], style: Style): string[] {
  const rows = lines.filter((line) => typeof line !== 'string');
  const markWidth = style.ascii ? 0 : 2;
  const name = Math.min(
    44,
    Math.max(NAME_WIDTH_MIN, ...rows.map((row) => row.indent + markWidth + row.name.length + 2)),
  );
  const state = Math.max(7, ...rows.map((row) => row.state.length)) + 2;
  const verdict = Math.max(4, ...rows.map((row) => row.verdict?.length ?? 0)) + 2;
  return lines.flatMap((line) => {
    if (typeof line === 'string') return [line];
    const label = `${' '.repeat(line.indent)}${phaseMark(style, line.mark, line.verdict)}`;
    const shown = cut(style, line.name, name - widthOf(label) - 1);
    let head = `${pad(`${label}${shown}`, name)}${pad(phaseWord(style, line.mark, line.verdict), state)}`;
    if (line.verdict !== null) head += pad(line.verdict, verdict);
    const more = line.more ?? [];
    const took = line.tookMs === null ? '' : duration(line.tookMs);
    const text = cut(style, line.text, COLUMNS_MAX - widthOf(head));
    const fits = took !== '' && widthOf(head) + widthOf(text) + 2 <= DURATION_END - took.length;
    const full = fits
      ? `${pad(`${head}${text}`, DURATION_END - took.length)}${took}`
      : `${head}${text}`.trimEnd();
    // Where the text leaves no room for it, the time stands below, or behind what is not cut.
    const late =
      fits || took === '' || (more.length === 0 && style.isWhole !== true) ? '' : `${dot(style)}${took}`;
    if (more.length === 0) return [`${full}${late}`];
    const column = more.length > 1 || line.mark === 'done' ? widthOf(head) : name;
    return [full, ...more].map((one, index) => {
      if (index === 0) return one;
      const end = index === more.length ? late : '';
      return `${' '.repeat(column)}${cut(style, one, COLUMNS_MAX - column - widthOf(end))}${end}`;
    });
  });
}
