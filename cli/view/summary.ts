/** How a run ended: a line a subject, the reason first where it did not succeed. */
import type { ApprovalWire, RunDetailWire } from '../wire.ts';
import { deliveryOf } from './deliveries.ts';
import { lengthText } from './plan.ts';
import {
  COLUMNS_MAX,
  type Style,
  clock,
  day,
  dot,
  duration,
  plural,
  safe,
  span,
  typed,
  wrapped,
} from './style.ts';
import { unionMs } from './times.ts';

export function summaryLines(run: RunDetailWire, style: Style, hasHints: boolean): string[] {
  const lines =
    run.state === 'succeeded'
      ? succeeded(run, style)
      : [...because(run), ...wentBack(run, style), ...decided(run, style)];
  const evidence = hasHints ? `${typed(style, `evidence ${run.run} -o run-${run.run}`)}     ` : '';
  const head = `${plural(run.head.seq, 'row')}, head ${run.head.hash.slice(0, 12)}`;
  lines.push(['Evidence', `${evidence}${head}`]);
  const width = run.state === 'succeeded' ? 12 : 11;
  return lines.flatMap(([label, text]) =>
    wrapped(style, `${label.padEnd(width)}${text}`, COLUMNS_MAX, width),
  );
}

/** Who decided what in a run that is open, as far as the run has confirmed it; nothing if it has confirmed nothing. */
export function decisionLines(run: RunDetailWire, style: Style): string[] {
  const parts = decidedParts({ ...run, decisions: run.decisions.filter(isConfirmed) });
  if (parts.length === 0) return [];
  return wrapped(style, `Decisions  ${parts.join(dot(style))}`, COLUMNS_MAX, 11);
}

const isConfirmed = (decision: RunDetailWire['decisions'][number]): boolean =>
  deliveryOf(decision) === 'confirmed';

/** A shorter wait is not worth a word. */
const LEAST_WAIT_MS = 1_000;

type Labelled = [label: string, text: string];

function succeeded(run: RunDetailWire, style: Style): Labelled[] {
  const lines: Labelled[] = [['Took', took(run)]];
  const objective = `objective ${span(run.rollback.withinMs)}`;
  lines.push([
    'Rollback',
    run.abort.undoMs > 0
      ? `not needed; would have taken at most ${duration(run.abort.undoMs)}, ${objective}`
      : `not needed, ${objective}`,
  ]);
  const votes = votesOf(run);
  const parts = run.decisions
    .filter(({ kind, counted }) => counted && kind !== 'approve' && kind !== 'skip')
    .map(steeredText);
  if (votes.length > 0) {
    const counts = new Map<string, number>();
    for (const { person } of votes) counts.set(person, (counts.get(person) ?? 0) + 1);
    const people = [...counts].map(([person, count]) => `${safe(person)} ${count}`);
    parts.unshift(`${plural(votes.length, 'approval')}: ${people.join(', ')}`);
  }
  if (parts.length > 0) lines.push(['Decisions', parts.join(dot(style))]);
  const skipped = run.decisions.filter(({ kind, counted }) => kind === 'skip' && counted);
  if (skipped.length > 0) {
    lines.push([
      'Skipped',
      skipped.map(({ subject, person }) => `${subject} by ${safe(person)}`).join(dot(style)),
    ]);
  }
  for (const { id, afterMs, run: later, state, dueAt } of run.followUps ?? []) {
    const when = dueAt === null ? `after ${lengthText(afterMs)}` : `is due ${day(dueAt)} ${clock(dueAt)} UTC`;
    const which = later === null ? '' : ` (run ${later}${state === 'planned' ? '' : `, ${state}`})`;
    lines.push(['Later', `${id} ${when}${which}`]);
  }
  return lines;
}

function because(run: RunDetailWire): Labelled[] {
  return run.because === null ? [] : [['Because', run.because]];
}

function wentBack(run: RunDetailWire, style: Style): Labelled[] {
  if (run.state === 'stopped')
    return [
      ['Changed', 'nothing'],
      ['Took', took(run)],
    ];
  const compared = run.targets.filter(({ equal }) => equal !== null);
  const equal = compared.filter((target) => target.equal === true).length;
  const unsure = run.notVerified.length > 0 ? `${dot(style)}not verified: ${run.notVerified.join(', ')}` : '';
  const undone = run.phases.filter(({ state }) => state === 'undone').length;
  const owed = run.phases.filter(
    ({ state, undo }) => undo !== null && !['pending', 'waiting', 'skipped'].includes(state),
  ).length;
  const recovery = run.recovery === null ? '' : `${recoveryText(run.recovery, run.rollback)}${dot(style)}`;
  return [
    ['Verified', `STATE and DATA equal on ${equal} of ${run.targets.length} targets${unsure}`],
    ['Recovery', `${recovery}${undone} of ${plural(owed, 'phase')} undone`],
  ];
}

/** Detected, decided, executed, verified: the time that people without the service had to bear. */
function recoveryText(
  { detectMs, decideMs, executeMs, verifyMs }: NonNullable<RunDetailWire['recovery']>,
  { withinMs }: RunDetailWire['rollback'],
): string {
  const parts = [
    `detect ${duration(detectMs)}`,
    `decide ${duration(decideMs)}`,
    `execute ${duration(executeMs)}`,
    `verify ${duration(verifyMs)}`,
  ];
  const all = detectMs + decideMs + executeMs + verifyMs;
  return `${duration(all)} of ${span(withinMs)}: ${parts.join(', ')}`;
}

function decided(run: RunDetailWire, style: Style): Labelled[] {
  return [['Decisions', [...decidedParts(run), `requester: ${safe(run.requester)}`].join(dot(style))]];
}

/** `database: ana, olu`, `pause: dana`: votes by step, then what else counted. */
function decidedParts(run: RunDetailWire): string[] {
  const counted = run.decisions.filter((decision) => decision.counted);
  const steps = [...new Set(counted.filter(({ kind }) => kind === 'approve').map(({ subject }) => subject))];
  const parts = steps.map((step) => {
    const people = votesOf(run).filter(({ subject }) => subject === step);
    return `${step}: ${people.map(({ person }) => safe(person)).join(', ')}`;
  });
  return [...parts, ...counted.filter(({ kind }) => kind !== 'approve').map(steeredText)];
}

/** `retry database/copy: dana`. */
function steeredText({ kind, subject, person }: RunDetailWire['decisions'][number]): string {
  return `${kind}${subject === null ? '' : ` ${subject}`}: ${safe(person)}`;
}

/** Approvals that counted, one a person and step: who answered twice counts once. */
function votesOf(run: RunDetailWire): RunDetailWire['decisions'] {
  const votes = run.decisions.filter(({ kind, counted }) => kind === 'approve' && counted);
  return votes.filter(
    (vote, index) =>
      votes.findIndex(({ subject, person }) => subject === vote.subject && person === vote.person) === index,
  );
}

/** `10m 21s, 8m 46s of it waiting for people`. */
function took(run: RunDetailWire): string {
  const start = Date.parse(run.startedAt ?? run.createdAt);
  if (run.endedAt === null) return '';
  const end = Date.parse(run.endedAt);
  const waitedMs = unionMs(
    run.approvals.map((approval) => ({ start: Date.parse(approval.openedAt), end: closedAt(run, approval) })),
  );
  const waited = waitedMs < LEAST_WAIT_MS ? '' : `, ${duration(waitedMs)} of it waiting for people`;
  return `${duration(end - start)}${waited}`;
}

/** Approvals are closed by their last answer, by their expiry, or with the run. */
function closedAt(run: RunDetailWire, { step, state, openedAt, dueAt, votes }: ApprovalWire): number {
  const answers = run.decisions.filter(
    ({ kind, subject, counted }) => counted && kind === 'reject' && subject === step,
  );
  const last = Math.max(...[...votes, ...answers].map(({ at }) => Date.parse(at)));
  const isAnswered = state === 'granted' || state === 'rejected';
  if (isAnswered && last >= Date.parse(openedAt)) return last;
  return Math.min(Date.parse(dueAt), Date.parse(run.endedAt ?? run.at));
}
