/** A run as people read it: how it stands, its tree of phases, and what can be done about it. */
import type { RunDetailWire } from '../wire.ts';
import { deliveryLines } from './deliveries.ts';
import { hintLines, hintsOf } from './hints.ts';
import { emergencyLines } from './plan.ts';
import { whereOf } from './runs.ts';
import {
  COLUMNS_MAX,
  type Style,
  clock,
  cut,
  dash,
  day,
  dot,
  duration,
  plural,
  paint,
  runWord,
  safe,
  span,
  stamp,
  twoParts,
  wrapped,
} from './style.ts';
import { decisionLines, summaryLines } from './summary.ts';
import { forwardLines, unwindLines } from './tree.ts';
import { pausedText, quietOf } from './waits.ts';

const RIGHT_COLUMN = 69;
/** Where a second line of `Because` and `Paused` begins. */
const SET_IN = 9;

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
    ...glassLines(run, style),
    ...(run.follows ? [`Follows run ${run.follows.run} as its follow-up ${run.follows.followUp}`] : []),
    ...(hasEnded ? summaryLines(run, style, options.hasHints !== false) : statusLines(run, style)),
    ...(hasEnded ? [] : decisionLines(run, style)),
    ...deliveryLines(run, style),
    ...quietOf(run, options.now).flatMap(({ text }) => wrapped(style, text, COLUMNS_MAX, SET_IN)),
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

/** Two people stood for everybody: whoever reads the run afterwards is to see it, however it ended. */
function glassLines(run: RunDetailWire, style: Style): string[] {
  const broken = run.decisions.filter(({ breakGlass, counted }) => breakGlass === true && counted);
  const steps = [...new Set(broken.map(({ subject }) => subject))];
  return steps.flatMap((step) => {
    const people = broken.filter(({ subject }) => subject === step);
    const said = people.map(({ person, reason }) => `${safe(person)} (${safe(reason ?? 'no reason given')})`);
    const words = `Glass broken at ${step} by ${said.join(', ')}`;
    return wrapped(style, words, COLUMNS_MAX, SET_IN).map((line) => paint(style, 'red', line));
  });
}

function statusLines(run: RunDetailWire, style: Style): string[] {
  const isLeaving = run.state === 'unwinding' || run.state === 'stuck';
  if (isLeaving) {
    return run.because === null ? [] : wrapped(style, `Because  ${run.because}`, COLUMNS_MAX, SET_IN);
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
  const paused =
    run.state === 'paused' ? wrapped(style, `Paused   ${pausedText(run)}`, COLUMNS_MAX, SET_IN) : [];
  const held =
    run.state === 'waiting' && run.because !== null
      ? wrapped(style, `Because  ${run.because}`, COLUMNS_MAX, SET_IN)
      : [];
  return [cut(style, parts.join(dot(style)), COLUMNS_MAX), ...paused, ...held];
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

function footerLines(run: RunDetailWire, style: Style, isWatching: boolean): string[] {
  const lines = hintLines(hintsOf(run, style));
  if (run.state === 'unwinding') {
    const left = run.abort.undoMs > 0 ? ` About ${duration(run.abort.undoMs)} left.` : '';
    lines.push(
      `Then STATE and DATA of ${plural(run.targets.length, 'target')} are compared.${left} It cannot be stopped.`,
    );
  }
  if (isWatching) lines.push('Ctrl-C leaves this view. The run goes on.');
  return lines;
}

function since(at: string, now: Date): string {
  return duration(now.getTime() - Date.parse(at));
}
