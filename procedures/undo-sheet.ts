/**
 * The undo sheet: every undo of a plan by hand, in words, as plain text to print before a launch and to follow when
 * everything else is down. It names targets, never addresses or secrets. Made of the plan alone, so one plan has one sheet.
 *
 *   who, where, how long ─▶ what to do first ─▶ the point of no return ─▶ the undos, last phase first
 */
import { type Call, type Json, type Phase, type Plan, type PointOfNoReturn, isWait } from './plan.ts';
import { REFERENCE_PATTERN } from './references.ts';
import { writeDuration } from './units.ts';

const WIDTH = 78;
/** Where the text of an entry begins. */
const INDENT = 15;
const RULE = '='.repeat(WIDTH);

/** What people do before the first undo. */
const FIRST = [
  'See that nothing of Countdown acts: its workers are stopped, or cannot reach the targets. Else wait for it.',
  'Find out how far the run came: its last known page, the log of a worker, the targets themselves. A phase that never began needs nothing.',
  'Go from the top down and leave nothing out: the first entry is that of the last phase. Each may be done twice.',
  'Tick each entry once you have seen what stands behind "Done". Note the time, and what you did.',
  "Once Countdown answers again, tell it: countdown resolve RUN PHASE --done --evidence 'what you did'.",
];

/** The sheet of a plan, `hash` being the plan's name. Lines of at most 78 columns where words allow it; ends with a newline. */
export function undoSheet(plan: Plan, hash: string): string {
  const owed = plan.phases
    .filter((phase) => phase.undo !== undefined || phase.undoWait !== undefined)
    .toReversed();
  const undoMs = owed.reduce((sum, phase) => sum + phase.expected.undoMs, 0);
  const lines = [
    'UNDO SHEET',
    '',
    ...labelled('Runbook', plan.runbook.name),
    ...labelled('Environment', plan.environment),
    ...labelled('Plan', hash),
    ...paramLines(plan),
    ...labelled('Run', '________  (write its number here when it starts)'),
    ...labelled(
      'Objective',
      `all of it within ${writeDuration(plan.rollback.withinMs)}; about ${about(undoMs)} is expected`,
    ),
    '',
  ];
  if (owed.length === 0)
    lines.push(...lineOfNoReturn(plan), 'This plan changes nothing that could be taken back.');
  else {
    lines.push('How a run of this plan is taken back by hand, when nothing else can do it:', '');
    for (const [index, text] of FIRST.entries()) lines.push(...wrapped(`${index + 1}. `, text, 3));
    lines.push('', ...lineOfNoReturn(plan));
    for (const [index, phase] of owed.entries()) lines.push(...entryLines(plan, phase, index + 1), '');
    lines.push('After the last entry all is as it was before the run.');
  }
  return `${lines.join('\n')}\n`;
}

function paramLines({ params }: Plan): string[] {
  const words = Object.entries(params).map(([name, value]) => `${name} = ${inWords(value)}`);
  return words.length === 0 ? [] : labelled('Params', words.join('; '));
}

/** The line, why it is one, and what stands below it for good. */
function lineOfNoReturn({ phases }: Plan): string[] {
  const line = phases.find((phase) => isPointOfNoReturn(phase.run));
  if (line === undefined || !isPointOfNoReturn(line.run)) return [];
  const isBelow = ({ id, effect }: Phase) => id !== line.id && effect === 'irreversible';
  const forGood = phases.filter(isBelow).map(({ id, title }) => `${id} (${title})`);
  return [
    RULE,
    ...wrapped('', `POINT OF NO RETURN: ${line.id}. ${line.run.because}`, 0),
    ...wrapped('', 'If the run passed it, stop here: nothing below this line may be done any more.', 0),
    ...(forGood.length === 0 ? [] : wrapped('', `Past it, for good: ${forGood.join('; ')}.`, 0)),
    RULE,
    '',
  ];
}

function isPointOfNoReturn(run: Phase['run']): run is PointOfNoReturn {
  return isWait(run) && run.wait === 'point-of-no-return';
}

function entryLines(plan: Plan, phase: Phase, number: number): string[] {
  const { undo, undoWait, undoTitle, byHand } = phase;
  const block = plan.steps.find(({ id }) => id === phase.step)?.block;
  const targets = phase.targets.map((name) => {
    const kind = plan.targets[name]?.kind;
    return kind === undefined ? name : `${name} (${kind})`;
  });
  const how = byHand?.how ?? undoWait?.instructions;
  return [
    `[ ] ${`${number}.`.padEnd(4)} ${phase.id}   about ${about(phase.expected.undoMs)}, at ____:____`,
    ...field('Did', phase.title),
    ...(targets.length === 0 ? [] : field('Targets', targets.join(', '))),
    ...field('Take back', undoTitle ?? undo?.activity ?? 'What a person did by hand'),
    ...(how === undefined ? [] : field('By hand', how)),
    ...field('Done', byHand?.seen ?? 'when the targets look as they did before the phase began.'),
    ...(undo === undefined ? [] : withParams(undo)),
    ...(block === undefined
      ? []
      : field('Beside', `It ran beside other steps of ${block}: of those, what began last goes first.`)),
  ];
}

/** What the call says, in words: a kind's own sentence may leave something out that helps. */
function withParams({ params }: Call): string[] {
  if (params === null || typeof params !== 'object' || Array.isArray(params)) return [];
  const words = Object.entries(params).map(([name, value]) => `${name} ${inWords(value)}`);
  return words.length === 0 ? [] : field('With', words.join('; '));
}

function inWords(value: Json): string {
  if (typeof value === 'string') return value === '' ? '(empty)' : value;
  if (value === null) return 'none';
  if (Array.isArray(value)) return value.length === 0 ? '(none)' : value.map(inWords).join(' ');
  if (typeof value !== 'object') return String(value);
  const parts = Object.entries(value).map(([name, one]) => `${name} ${inWords(one)}`);
  return parts.length === 0 ? '(none)' : `{ ${parts.join(', ')} }`;
}

function about(ms: number): string {
  return writeDuration(ms < 1_000 ? 1_000 : Math.ceil(ms / 1_000) * 1_000);
}

function labelled(label: string, text: string): string[] {
  return wrapped(label.padEnd(13), text, 13);
}

function field(label: string, text: string): string[] {
  return wrapped(`     ${label}`.padEnd(INDENT), text, INDENT);
}

/** Text of one paragraph, broken between words; what follows the first line is indented. A longer word stays whole. */
function wrapped(head: string, text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = head;
  let isFresh = true;
  for (const word of plain(text).split(' ')) {
    if (word === '') continue;
    if (!isFresh && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = ' '.repeat(indent);
      isFresh = true;
    }
    line += isFresh ? word : ` ${word}`;
    isFresh = false;
  }
  return [...lines, line.trimEnd()];
}

const REFERENCE = new RegExp(`(?<!\\$)\\$\\(${REFERENCE_PATTERN}\\)`, 'g');

/** What a printer and a terminal take: no control characters, and room to write where only the run will know the value. */
function plain(text: string): string {
  return text
    .replaceAll(/[\p{Cc}\p{Cs}\u2028\u2029]/gu, ' ')
    .replaceAll(REFERENCE, '[$2 of $1: ____________]')
    .replaceAll('$$(', '$(');
}
