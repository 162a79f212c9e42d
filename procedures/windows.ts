/**
 * Windows: hours in which a step may start. A window is open while the clocks of its time zone show a time inside it, on
 * one of its days. So where the clocks are set forward a window that lies in the hour that is left out does not open that
 * day, and where they are set back one that lies in the hour that is shown twice opens twice.
 *
 *   { days: [Sat], from: '22:00', to: '04:00' }   opens on Saturday and closes on Sunday: the day is that of the opening
 */
import { z } from 'zod';
import { DAY_MS, MINUTE_MS } from './limits.ts';
import { exact, nameSchema } from './schema.ts';

export const WEEKDAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'] as const;
export type Weekday = (typeof WEEKDAYS)[number];

export type Window = {
  /** On which it opens. */
  days: Weekday[];
  /** Minutes after midnight, 0 to 1439. */
  fromMinute: number;
  /** The first minute after it, 1 to 1440; at most `fromMinute` where that is on the next day. */
  toMinute: number;
  /** Of the IANA data base, as Europe/Berlin. */
  timezone: string;
  /** What happens to a step that is under way when it closes: the next effect waits, or the run unwinds. Default finish. */
  midRun?: 'finish' | 'hold' | 'unwind';
};

const DAY_MINUTES = 24 * 60;
/** A window opens at least once in two weeks; more is left for a day that a country took out of its calendar. */
const LOOK_AHEAD_MS = 60 * DAY_MS;

const CLOCK = /^(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$/;
const CLOCK_FORM = "a time of day in quotes, as in '01:00'";

const clockSchema = z
  .string(CLOCK_FORM)
  .regex(CLOCK, CLOCK_FORM)
  .transform((text) => Number(text.slice(0, 2)) * 60 + Number(text.slice(3)));

const TIMEZONE_FORM = 'a time zone such as UTC or Europe/Berlin';

const timezoneSchema = z
  .string(TIMEZONE_FORM)
  .refine((name) => /^[A-Z][A-Za-z0-9_+/-]{1,60}$/.test(name) && isTimezone(name), {
    params: { expected: TIMEZONE_FORM },
  });

const windowSchema = exact({
  days: z
    .array(z.enum(WEEKDAYS), 'a list of days, as in [Sat, Sun]')
    .min(1, 'at least 1 day')
    .refine((days) => new Set(days).size === days.length, {
      error: 'A day stands in days twice, expected once.',
      params: { hint: 'take one of the two away' },
    })
    .meta({ uniqueItems: true })
    .describe('The days on which it opens.'),
  from: clockSchema
    .refine((minute) => minute < DAY_MINUTES, {
      params: { expected: `${CLOCK_FORM} and before '24:00'` },
    })
    .describe('From this time on a step may start.'),
  to: clockSchema.describe('From this time on none may; on the next day where it is not after from.'),
  timezone: timezoneSchema.describe('Whose clocks are meant, as in Europe/Berlin.'),
  midRun: z
    .enum(['finish', 'hold', 'unwind'])
    .exactOptional()
    .describe(
      'What happens to a step that is under way when it closes: it goes on to its end (finish), its next effect waits for the next opening (hold), or the run unwinds. Default finish.',
    ),
})
  .refine(({ from, to }) => from !== to, {
    path: ['to'],
    error: 'The window closes at the time at which it opens, expected another one.',
    params: { hint: "write  from: '00:00', to: '24:00'  for a whole day" },
  })
  .transform(({ days, from, to, timezone, midRun }): Window => ({
    days,
    fromMinute: from,
    toMinute: to,
    timezone,
    ...(midRun === undefined ? {} : { midRun }),
  }));

export const windowsSchema = z.record(nameSchema, windowSchema);

/** Whether a step may start at this moment, in milliseconds since 1970. */
export function isOpen(window: Window, now: number): boolean {
  const { day, minute } = wallClock(window.timezone, now);
  const isOn = (index: number) => window.days.includes(WEEKDAYS[(index + 7) % 7] ?? 'Sun');
  const { fromMinute, toMinute } = window;
  if (fromMinute < toMinute) return isOn(day) && minute >= fromMinute && minute < toMinute;
  return (isOn(day) && minute >= fromMinute) || (isOn(day - 1) && minute < toMinute);
}

/** The first moment from now on at which it is open; now itself, where it is. */
export function nextOpening(window: Window, now: number): number {
  const at = isOpen(window, now) ? now : nextChange(window, now);
  if (at !== undefined) return at;
  throw new Error(`Window ${JSON.stringify(window)} never opens, expected an opening: this is a bug.`);
}

/** The moment at which it closes; undefined where it is not open, or always. */
export function closesAt(window: Window, now: number): number | undefined {
  return isOpen(window, now) ? nextChange(window, now) : undefined;
}

/** The next moment at which what `isOpen` says is another than now. */
function nextChange(window: Window, now: number): number | undefined {
  const isOpenNow = isOpen(window, now);
  let at = now;
  while (at < now + LOOK_AHEAD_MS) {
    at = nextTurn(window, at);
    if (isOpen(window, at) !== isOpenNow) return at;
  }
  return undefined;
}

/** The next moment at which something may change: the clock shows an edge of the window or midnight, or it is set. */
function nextTurn({ fromMinute, toMinute, timezone }: Window, at: number): number {
  const { offsetMs } = wallClock(timezone, at);
  const local = at + offsetMs;
  const midnight = Math.floor(local / DAY_MS) * DAY_MS;
  const edges = [fromMinute, toMinute, DAY_MINUTES].map((minute) => midnight + minute * MINUTE_MS);
  const next = Math.min(...edges.filter((edge) => edge > local)) - offsetMs;
  return firstOtherOffset(timezone, { at, until: next, offsetMs }) ?? next;
}

/** The moment up to `until` at which the clocks are set, where they are. */
function firstOtherOffset(
  timezone: string,
  { at, until, offsetMs }: { at: number; until: number; offsetMs: number },
): number | undefined {
  if (wallClock(timezone, until).offsetMs === offsetMs) return undefined;
  let [before, after] = [at, until];
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (wallClock(timezone, middle).offsetMs === offsetMs) before = middle;
    else after = middle;
  }
  return after;
}

type WallClock = { day: number; minute: number; offsetMs: number };

/** What the clocks of the zone show: the day of the week from Sunday on, the minute of the day, how far ahead of UTC. */
function wallClock(timezone: string, at: number): WallClock {
  const parts: Record<string, number> = {};
  for (const { type, value } of formatOf(timezone).formatToParts(at)) parts[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  const shown = Date.UTC(year, month - 1, day, hour, minute, second);
  const weekday = new Date(shown).getUTCDay();
  return { day: weekday, minute: hour * 60 + minute, offsetMs: shown - Math.floor(at / 1000) * 1000 };
}

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(timezone: string): Intl.DateTimeFormat {
  const known = formats.get(timezone);
  if (known !== undefined) return known;
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: timezone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  formats.set(timezone, format);
  return format;
}

function isTimezone(name: string): boolean {
  try {
    formatOf(name);
    return true;
  } catch {
    return false;
  }
}
