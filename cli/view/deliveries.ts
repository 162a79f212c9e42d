/** How far decisions have come on their way to the run: a line for each that the run has not confirmed. */
import type { RunDetailWire } from '../wire.ts';
import { COLUMNS_MAX, type Style, clock, plural, safe, wrapped } from './style.ts';

type Decision = RunDetailWire['decisions'][number];
type Delivery = NonNullable<Decision['delivery']>;

/** Decisions of one run that get a line of their own. */
const SHOWN_MAX = 10;
/** Where a second line begins. */
const SET_IN = 9;

/** An older API says only whether it has a result. */
export function deliveryOf({ delivery, result, counted }: Decision): Delivery {
  if (delivery !== undefined) return delivery;
  if (result === null) return 'stored';
  return counted || result === undefined || result === 'AlreadyCounted' ? 'confirmed' : 'refused';
}

/** Whether it is still sent again. */
export function isUndelivered(decision: Decision): boolean {
  const delivery = deliveryOf(decision);
  return delivery === 'stored' || delivery === 'journalled';
}

/** `abort asked by ana 01:09, not delivered yet: it is sent again`. */
export function deliveryText(decision: Decision): string {
  const { kind, subject, person, at, result } = decision;
  const what = `${kind}${subject === null ? '' : ` of ${safe(subject)}`} asked by ${safe(person)} ${clock(at)}`;
  switch (deliveryOf(decision)) {
    case 'stored':
      return `${what}, not delivered yet: it is sent again`;
    case 'journalled':
      return `${what}, counted, not confirmed by the run yet: it is sent again`;
    case 'refused':
      return `${what}, refused: ${safe(result ?? 'no code')}`;
    case 'too-late':
      return `${what}, too late: the run ended without it`;
    case 'confirmed':
      return `${what}, confirmed`;
  }
}

/** A line for each decision that the run has not confirmed: first those that are sent again, then the latest others. */
export function deliveryLines(run: RunDetailWire, style: Style): string[] {
  const open = run.decisions.filter(isUndelivered);
  const settled = run.decisions.filter((one) => !isUndelivered(one) && deliveryOf(one) !== 'confirmed');
  const shown = [...open.slice(0, SHOWN_MAX), ...settled.slice(-Math.max(1, SHOWN_MAX - open.length))].slice(
    0,
    SHOWN_MAX,
  );
  const rest = open.length + settled.length - shown.length;
  const more = rest === 0 ? [] : [`and ${plural(rest, 'decision')} more that the run has not confirmed`];
  return [...shown.map(deliveryText), ...more].flatMap((text) => wrapped(style, text, COLUMNS_MAX, SET_IN));
}
