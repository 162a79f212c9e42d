/** One line an event, for a place that cannot redraw. */
import type { EventWire } from '../wire.ts';
import { COLUMNS_MAX, type Style, cut, isPhaseState, isRunState, phaseMark, runWord } from './style.ts';

/** Columns for the name of a phase; a longer one stays whole. */
const PHASE_WIDTH = 23;

/** The line of an event; null for one that says nothing to people. */
export function eventLine(event: EventWire, style: Style): string | null {
  const { data } = event;
  const at = typeof data['at'] === 'string' ? `${new Date(data['at']).toISOString().slice(11, 19)}  ` : '';
  const text = (key: string) => {
    const value = data[key];
    return typeof value === 'string' ? value : null;
  };
  if (event.event === 'run') {
    const state = text('state');
    if (state === null || !isRunState(state)) return null;
    const run = {
      state,
      verified: data['verified'] === true,
      notVerified: Array.isArray(data['notVerified']) ? data['notVerified'].map(String) : [],
    };
    // What people ended had found nothing wrong, and was no pass either.
    const verdict = state !== 'succeeded' && text('verdict') === 'pass' ? null : text('verdict');
    return join(style, `${at}run  ${runWord({ ...style, colour: false }, run)}`, [verdict, text('because')]);
  }
  if (event.event === 'phase') {
    const [phase, state] = [text('phase'), text('state')];
    if (phase === null || state === null || !isPhaseState(state) || phase.startsWith('@')) return null;
    const isEnd = !['running', 'undoing', 'waiting'].includes(state);
    const head = `${at}${phaseMark({ ...style, colour: false }, state, isEnd ? text('verdict') : null)}${phase.padEnd(PHASE_WIDTH)} ${state}`;
    const error = data['error'];
    const message =
      typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : null;
    return join(style, head, [
      isEnd ? text('verdict') : null,
      message ?? text('summary'),
      text('waitingFor'),
    ]);
  }
  if (event.event === 'decision') return decisionLine(style, at, text, (key) => Object.hasOwn(data, key));
  return null;
}

function decisionLine(
  style: Style,
  at: string,
  text: (key: string) => string | null,
  isTold: (key: string) => boolean,
): string | null {
  if (text('row') === 'approval') {
    const approval = `${at}approval of ${text('step') ?? ''}`;
    if (isTold('reminder')) return join(style, `${approval} still waits`, []);
    if (text('escalatedTo') !== null)
      return join(style, `${approval} still waits: calling ${text('escalatedTo')}`, []);
    const how = isTold('brokeGlass') ? ' by broken glass' : '';
    return join(style, `${approval} is ${text('state') ?? ''}${how}`, []);
  }
  const [person, kind] = [text('person') ?? text('actor'), text('kind')];
  if (person === null || kind === null) return null;
  const subject = text('subject') === null ? '' : ` ${text('subject')}`;
  return join(style, `${at}${person} says ${kind}${subject}`, [text('reason')]);
}

function join(style: Style, head: string, parts: readonly (string | null)[]): string {
  const said = parts.filter((part) => part !== null && part !== '');
  return cut(style, [head, ...said].join('  '), COLUMNS_MAX);
}
