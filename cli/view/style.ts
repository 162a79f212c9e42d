/** How text looks on this terminal: symbols or words alone, with or without colour; and the formats of numbers and times. */
import type { PhaseState, RunState } from '../../procedures/states.ts';

export type Style = {
  ascii: boolean;
  colour: boolean;
  /** Nothing is cut: what reads it has no width, as a file or a program. Default false. */
  isWhole?: boolean;
  /** How this command is called here, for what people are told to type. Default `countdown`. */
  command?: string;
};

/** The widest line. */
export const COLUMNS_MAX = 105;

const RUN_MARK: Record<RunState, string> = {
  planned: '·',
  waiting: '◷',
  running: '▸',
  paused: '‖',
  succeeded: '✓',
  stopped: '■',
  unwinding: '↶',
  'rolled-back': '↺',
  stuck: '✗',
};

const PHASE_MARK: Record<PhaseState, string> = {
  pending: '·',
  waiting: '◷',
  running: '▸',
  done: '✓',
  maybe: '?',
  undoing: '↶',
  undone: '↺',
  'undo-failed': '✗',
  skipped: '–',
};

export function isRunState(text: string): text is RunState {
  return Object.hasOwn(RUN_MARK, text);
}

export function isPhaseState(text: string): text is PhaseState {
  return Object.hasOwn(PHASE_MARK, text);
}

type Hue = 'grey' | 'blue' | 'amber' | 'green' | 'red' | 'violet';
const CODES: Record<Hue, number> = { grey: 90, blue: 34, amber: 33, green: 32, red: 31, violet: 35 };

const RUN_HUE: Record<RunState, Hue> = {
  planned: 'grey',
  waiting: 'amber',
  running: 'blue',
  paused: 'amber',
  succeeded: 'green',
  stopped: 'amber',
  unwinding: 'violet',
  'rolled-back': 'violet',
  stuck: 'red',
};

const PHASE_HUE: Record<PhaseState, Hue> = {
  pending: 'grey',
  waiting: 'amber',
  running: 'blue',
  done: 'green',
  maybe: 'amber',
  undoing: 'violet',
  undone: 'violet',
  'undo-failed': 'red',
  skipped: 'grey',
};

export function paint(style: Style, hue: Hue, text: string): string {
  return style.colour && text !== '' ? `\u001b[${CODES[hue]}m${text}\u001b[39m` : text;
}

/** The symbol of a state with its space; nothing with `--ascii`, where the word stands alone. What ended badly has no check. */
export function phaseMark(style: Style, state: PhaseState, verdict: string | null = null): string {
  const mark = state === 'done' && isBad(verdict) ? PHASE_MARK['undo-failed'] : PHASE_MARK[state];
  return style.ascii ? '' : `${paint(style, hueOf(state, verdict), mark)} `;
}

export function phaseWord(style: Style, state: PhaseState, verdict: string | null = null): string {
  return paint(style, hueOf(state, verdict), state);
}

function hueOf(state: PhaseState, verdict: string | null): Hue {
  if (state !== 'done') return PHASE_HUE[state];
  if (isBad(verdict)) return 'red';
  return verdict === 'warn' ? 'amber' : PHASE_HUE.done;
}

function isBad(verdict: string | null): boolean {
  return verdict === 'fail' || verdict === 'error' || verdict === 'inconclusive';
}

/** `✓ succeeded`, `↺ rolled-back (not verified: edge)`. */
export function runWord(
  style: Style,
  run: { state: RunState; verified: boolean | null; notVerified: readonly string[] },
): string {
  const words = plainRunWord(run);
  const isUnsure = run.state === 'rolled-back' && run.verified !== true;
  return paint(
    style,
    isUnsure ? 'red' : RUN_HUE[run.state],
    style.ascii ? words : `${RUN_MARK[run.state]} ${words}`,
  );
}

export function plainRunWord(run: {
  state: RunState;
  verified: boolean | null;
  notVerified: readonly string[];
}): string {
  if (run.state !== 'rolled-back') return run.state;
  if (run.verified === true) return 'rolled-back (verified)';
  const names = run.notVerified.length === 0 ? '' : `: ${run.notVerified.join(', ')}`;
  return `rolled-back (not verified${names})`;
}

export function arrow(style: Style): string {
  return style.ascii ? '->' : '→';
}

/** What stands between two statements on one line. */
export function dot(style: Style): string {
  return style.ascii ? ' | ' : ' · ';
}

export function dash(style: Style): string {
  return style.ascii ? '-' : '–';
}

export function bar(style: Style, part: number, width: number): string {
  const [full, half, empty] = style.ascii ? ['#', '', '.'] : ['█', '▌', '░'];
  const cells = Math.min(Math.max(part, 0), 1) * width;
  const whole = Math.floor(cells);
  const withHalf = half !== '' && cells - whole >= 0.5 ? half : '';
  return `${full.repeat(whole)}${withHalf}${empty.repeat(width - whole - withHalf.length)}`;
}

const ANSI = new RegExp(`${String.fromCodePoint(27)}\\[[0-9;]*m`, 'g');

/** The columns that a text takes; colours take none. */
export function widthOf(text: string): number {
  return Array.from(text.replaceAll(ANSI, '')).length;
}

export function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)));
}

/** Cuts an uncoloured text; the cut shows. Where nothing is cut it is the whole text. */
export function cut(style: Style, text: string, width: number): string {
  const flat = safe(text);
  if (style.isWhole === true) return flat;
  const letters = Array.from(flat);
  if (letters.length <= width) return flat;
  const sign = style.ascii ? '...' : '…';
  return width <= sign.length
    ? letters.slice(0, Math.max(0, width)).join('')
    : `${letters.slice(0, width - sign.length).join('')}${sign}`;
}

/** Text of others cannot move the cursor or colour the screen. */
export function safe(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, ' ');
}

/** `4.1s`, `41s`, `1m 09s`, `1h 04m`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1).replace(/\.0$/, '')}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
}

/** A time that somebody wrote down: `1h`, `5m`, `1h 30m`. */
export function span(ms: number): string {
  return duration(ms).replace(/ 00[ms]$/, '');
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `22 Nov 01:05:02 UTC`. */
export function stamp(at: string): string {
  const time = new Date(at);
  return `${time.getUTCDate()} ${MONTHS[time.getUTCMonth()]} ${time.toISOString().slice(11, 19)} UTC`;
}

/** `18 Dec`. */
export function day(at: string): string {
  const time = new Date(at);
  return `${time.getUTCDate()} ${MONTHS[time.getUTCMonth()]}`;
}

/** `01:05`. */
export function clock(at: string): string {
  return new Date(at).toISOString().slice(11, 16);
}

/** `1,204,381`. */
export function number(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 1 });
}

/** `1 phase`, `6 phases`. */
export function plural(count: number, noun: string): string {
  return `${number(count)} ${noun}${count === 1 ? '' : 's'}`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

/** Left part, then the right part from a column on, or two spaces after the left part where it is longer. */
export function twoParts(left: string, right: string, column: number): string {
  if (right === '') return left;
  const start = Math.max(column, widthOf(left) + 2);
  return `${pad(left, start)}${right}`;
}

/**
 * The text in lines of at most so many columns, broken between words; those after the first are set in. A word that is
 * longer than a line is broken itself. Where nothing is cut there is no width either: one line.
 */
export function wrapped(style: Style, text: string, width: number, indent: number): string[] {
  const flat = safe(text);
  if (style.isWhole === true) return [flat];
  const lines: string[] = [];
  const add = (word: string) => lines.push(lines.length === 0 ? word : `${' '.repeat(indent)}${word}`);
  for (const word of flat.split(' ').flatMap((one) => pieces(one, width - indent))) {
    const last = lines.at(-1);
    if (last !== undefined && widthOf(last) + 1 + widthOf(word) <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else add(word);
  }
  return lines;
}

/** A word in parts of at most so many letters. */
function pieces(word: string, width: number): string[] {
  const letters = Array.from(word);
  if (letters.length <= width) return [word];
  return Array.from({ length: Math.ceil(letters.length / width) }, (_, index) =>
    letters.slice(index * width, (index + 1) * width).join(''),
  );
}

/** A command as it is typed here: `countdown show 41`. */
export function typed(style: Style, words: string): string {
  return `${style.command ?? 'countdown'} ${words}`;
}

/** A sentence of whoever knows the command by its own name alone, as the server does. */
export function retyped(style: Pick<Style, 'command'>, hint: string): string {
  return style.command === undefined
    ? hint
    : hint.replaceAll(/(^|: |  |at |with )countdown (?=[a-z])/g, `$1${style.command} `);
}
