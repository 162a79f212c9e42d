/**
 * A run as people read it. Forwards: the steps in order, the one under way opened, what has not begun on one line.
 * Unwinding: the phases in reverse order of start, what follows on one line a step.
 */
import type { ApprovalWire, PhaseWire, RunDetailWire } from '../wire.ts';
import { emergencyLines } from './plan.ts';
import { whereOf } from './runs.ts';
import {
  COLUMNS_MAX,
  type Style,
  bar,
  clock,
  cut,
  dash,
  day,
  dot,
  duration,
  number,
  pad,
  phaseMark,
  phaseWord,
  plural,
  runWord,
  safe,
  span,
  stamp,
  twoParts,
  widthOf,
} from './style.ts';
import { summaryLines } from './summary.ts';

const RIGHT_COLUMN = 69;
/** Where the duration of a phase ends. */
const DURATION_END = 83;
const NAME_WIDTH_MIN = 17;
const BAR_WIDTH = 25;
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
  /** A second line below the text. */
  more?: string;
};

/** The whole view: header, tree, and what can be done about it. */
export function runLines(
  run: RunDetailWire,
  style: Style,
  options: { now: Date; isWatching: boolean; hasHints?: boolean },
): string[] {
  const hasEnded = run.endedAt !== null;
  const isLeaving = ['unwinding', 'rolled-back', 'stuck'].includes(run.state);
  const tree = isLeaving ? unwindLines(run, style, options.now) : forwardLines(run, style, options.now);
  return [
    headerLine(run, style, options.now),
    ...emergencyLines(run, style),
    ...(run.follows ? [`Follows run ${run.follows.run} as its follow-up ${run.follows.followUp}`] : []),
    ...(hasEnded ? summaryLines(run, style) : statusLines(run, style)),
    ...tree,
    ...(hasEnded || options.hasHints === false ? [] : footerLines(run, style, options.isWatching)),
  ];
}

export function headerLine(run: RunDetailWire, style: Style, now: Date): string {
  const start = run.startedAt ?? run.createdAt;
  const words = [`run ${run.run}  ${whereOf(run, style)}  ${runWord(style, run)}`];
  if (run.state === 'unwinding' && run.unwindingAt !== null) {
    words.push(`${since(run.unwindingAt, now)} of ${span(run.rollback.withinMs)}`);
  } else if (run.endedAt === null) words.push(since(start, now));
  else if (run.state === 'succeeded' && run.verdict !== null) words.push(run.verdict);
  if (run.state === 'rolled-back' && run.endedAt !== null) {
    const ended = stamp(run.endedAt);
    const isSameDay = stamp(start).slice(0, 6) === ended.slice(0, 6);
    const until = isSameDay ? clock(run.endedAt) : ended.replace(/:\d\d UTC$/, '');
    const range = `${stamp(start).replace(/:\d\d UTC$/, '')} ${dash(style)} ${until} UTC`;
    return twoParts(words.join('  '), range, RIGHT_COLUMN - 7);
  }
  return twoParts(words.join('  '), stamp(run.endedAt ?? now.toISOString()), RIGHT_COLUMN);
}

function statusLines(run: RunDetailWire, style: Style): string[] {
  const isLeaving = run.state === 'unwinding' || run.state === 'stuck';
  if (isLeaving) {
    return run.because === null ? [] : [cut(style, `Because  ${run.because}`, COLUMNS_MAX)];
  }
  if (run.state === 'planned' && isWaiting(run)) return beginLines(run, style);
  const { undoes, undoMs } = run.abort;
  const undo =
    undoes === 0
      ? 'abort now undoes nothing'
      : `abort now undoes ${plural(undoes, 'phase')}, about ${duration(undoMs)} of ${span(run.rollback.withinMs)}`;
  const { lastSafeAt } = run.rollback;
  const parts = [`plan ${run.plan.slice(0, 12)}`];
  if (lastSafeAt === null) parts.push(`requester ${safe(run.requester)}`);
  parts.push(run.abort.allowed ? undo : 'past the point of no return: abort is refused');
  if (lastSafeAt !== null) parts.push(`last safe abort ${momentOf(lastSafeAt, run.at)}`);
  return [cut(style, parts.join(dot(style)), COLUMNS_MAX)];
}

/** Whether it has not begun since its time has not come, or a target is held. */
function isWaiting(run: RunDetailWire): boolean {
  return run.waitingFor !== null || (run.dueAt !== null && Date.parse(run.dueAt) > Date.parse(run.at));
}

/** When a run begins, and what it waits for until then. */
function beginLines(run: RunDetailWire, style: Style): string[] {
  const parts = [`plan ${run.plan.slice(0, 12)}`, `requester ${safe(run.requester)}`];
  if (run.waitingFor === null && run.dueAt !== null) parts.push(`begins ${momentOf(run.dueAt, run.at)}`);
  if (run.notAfter !== null) parts.push(`not after ${momentOf(run.notAfter, run.at)}`);
  const lines = [parts.join(dot(style))];
  if (run.waitingFor !== null) {
    const until = run.waitUntil === null ? '' : `${dot(style)}until ${momentOf(run.waitUntil, run.at)}`;
    lines.push(`Waits for  ${run.waitingFor}${until}`);
  }
  return lines.map((line) => cut(style, line, COLUMNS_MAX));
}

/** `04:55 UTC`, with the day where it is another one. */
function momentOf(at: string, now: string): string {
  return `${at.slice(0, 10) === now.slice(0, 10) ? '' : `${day(at)} `}${clock(at)} UTC`;
}

function forwardLines(run: RunDetailWire, style: Style, now: Date): string[] {
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
    if (isClosed) lines.push(closedStep(step.id, phases));
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

function closedStep(id: string, phases: readonly PhaseWire[]): Line {
  const done = phases.filter(({ state }) => state === 'done');
  const last = done.at(-1);
  const worst = ['error', 'inconclusive', 'fail', 'warn'].find((verdict) =>
    done.some((phase) => phase.verdict === verdict),
  );
  const starts = phases.flatMap(({ startedAt }) => (startedAt === null ? [] : [Date.parse(startedAt)]));
  const ends = phases.flatMap(({ endedAt }) => (endedAt === null ? [] : [Date.parse(endedAt)]));
  const isSkipped = last === undefined;
  return {
    indent: 0,
    mark: isSkipped ? 'skipped' : 'done',
    name: id,
    state: isSkipped ? 'skipped' : 'done',
    verdict: isSkipped ? null : (worst ?? 'pass'),
    text: last?.summary ?? '',
    tookMs: starts.length > 0 && ends.length > 0 ? Math.max(...ends) - Math.min(...starts) : null,
  };
}

function openStep(
  run: RunDetailWire,
  id: string,
  phases: readonly PhaseWire[],
  style: Style,
  now: Date,
): (Line | string)[] {
  const approval = run.approvals.findLast(({ step }) => step === id);
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
  const needed = Object.entries(approval.needed).map(([group, count]) => {
    const people = approval.canApprove[group] ?? [];
    return people.length === 0 ? `${group} ${count}` : `${group} ${count} (${people.join(', ')})`;
  });
  const missing = needed.length === 0 ? '' : `still needed: ${needed.join(', ')}`;
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
  if (phase.startedAt !== null && phase.endedAt !== null) {
    line.tookMs = Date.parse(phase.endedAt) - Date.parse(phase.startedAt);
  }
  if (phase.state === 'waiting') {
    line.verdict = null;
    const isAsked = approval?.state === 'open' && approval.phase === phase.phase;
    line.text = isAsked ? votesText(approval, style) : (phase.waitingFor ?? '');
  } else if (phase.state === 'running' || phase.state === 'undoing') {
    line.verdict = null;
    line.tookMs = null;
    Object.assign(line, underWay(phase, style, now));
  } else if (phase.state === 'maybe' || phase.state === 'undo-failed') {
    line.text = phase.error?.message ?? phase.summary ?? '';
    if (phase.waitingFor !== null) line.more = `waits for ${phase.waitingFor}`;
  }
  return line;
}

/** `██▌░ 66 %  3m 00s left` with the counts below, or the age and how long it is expected to take. */
function underWay(phase: PhaseWire, style: Style, now: Date): { text: string; more?: string } {
  const age = phase.startedAt === null ? 0 : now.getTime() - Date.parse(phase.startedAt);
  const { done, total, unit, detail } = phase.progress ?? {};
  const text = phase.try > 1 ? `try ${phase.try}, ` : '';
  if (typeof done === 'number' && typeof total === 'number' && total > 0) {
    const part = Math.min(1, done / total);
    const left = part > 0 && part < 1 && age > 2000 ? `  ${duration((age / part) * (1 - part))} left` : '';
    const counts = `${number(done)} of ${number(total)} ${typeof unit === 'string' ? safe(unit) : ''}`;
    return {
      text: `${text}${bar(style, part, BAR_WIDTH)} ${Math.floor(part * 100)} %${left}`,
      more: [counts, ...(typeof detail === 'string' ? [safe(detail)] : [])].join(dot(style)),
    };
  }
  const counts =
    typeof done === 'number'
      ? `${dot(style)}${number(done)} ${typeof unit === 'string' ? safe(unit) : ''}`
      : '';
  const left = phase.expectedMs > age ? `${dot(style)}about ${duration(phase.expectedMs - age)} left` : '';
  return { text: `${text}${phase.title}${dot(style)}${duration(age)}${counts}${left}` };
}

function unwindLines(run: RunDetailWire, style: Style, now: Date): string[] {
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
    const label = `${' '.repeat(line.indent)}${phaseMark(style, line.mark)}`;
    const shown = cut(style, line.name, name - widthOf(label) - 1);
    let head = `${pad(`${label}${shown}`, name)}${pad(phaseWord(style, line.mark), state)}`;
    if (line.verdict !== null) head += pad(line.verdict, verdict);
    const took = line.tookMs === null ? '' : duration(line.tookMs);
    const text = cut(style, line.text, COLUMNS_MAX - widthOf(head));
    const fits = took !== '' && widthOf(head) + widthOf(text) + 2 <= DURATION_END - took.length;
    const full = fits
      ? `${pad(`${head}${text}`, DURATION_END - took.length)}${took}`
      : `${head}${text}`.trimEnd();
    if (line.more === undefined) return [full];
    return [full, `${' '.repeat(name)}${cut(style, line.more, COLUMNS_MAX - name)}`];
  });
}

function footerLines(run: RunDetailWire, style: Style, isWatching: boolean): string[] {
  const lines: string[] = [];
  const asked = run.approvals.find(({ state }) => state === 'open');
  if (run.state === 'unwinding') {
    const targets = run.targets.length;
    const left = run.abort.undoMs > 0 ? ` About ${duration(run.abort.undoMs)} left.` : '';
    lines.push(
      `Then STATE and DATA of ${plural(targets, 'target')} are compared.${left} It cannot be stopped.`,
    );
  } else if (run.state === 'stuck') {
    const desk = run.phases.filter(
      ({ state, verdict }) =>
        state === 'undo-failed' ||
        state === 'maybe' ||
        (state === 'undone' && verdict !== null && verdict !== 'pass' && verdict !== 'warn'),
    );
    const name = desk[0]?.phase ?? run.targets.find(({ equal }) => equal === false)?.target ?? 'PHASE';
    lines.push(`Resolve  countdown resolve ${run.run} ${name} --retry | --done --evidence 'text'`);
  } else if (asked !== undefined) {
    lines.push(
      `Approve  countdown approve ${run.run} ${asked.step}     Reject  countdown reject ${run.run} ${asked.step} 'reason'`,
    );
  } else if (run.abort.allowed) {
    const held = run.phases.find(
      ({ state, waitingFor, wait }) => waitingFor !== null && wait === null && state !== 'waiting',
    );
    if (held !== undefined) {
      lines.push(
        `Retry  countdown retry ${run.run} ${held.phase}     Skip  countdown skip ${run.run} ${held.phase}`,
      );
    }
    lines.push(`Abort  countdown abort ${run.run} 'reason'`);
  }
  if (isWatching) lines.push('Ctrl-C leaves this view. The run goes on.');
  return lines.map((line) => cut(style, line, COLUMNS_MAX));
}

function since(at: string, now: Date): string {
  return duration(now.getTime() - Date.parse(at));
}
