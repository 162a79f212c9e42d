import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseEnvironment } from '../../procedures/environment.ts';
import { WEEKDAYS, type Window, closesAt, isOpen, nextOpening } from '../../procedures/windows.ts';
import { problemOf } from './support.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 1_440 * MINUTE_MS;
const at = (text: string): number => Date.parse(text);
const iso = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : new Date(ms).toISOString().replace(':00.000Z', 'Z');

function window(days: string, from: string, to: string, timezone = 'Europe/Berlin'): Window {
  const entry = `{ days: [${days}], from: '${from}', to: '${to}', timezone: ${timezone} }`;
  const found = parseEnvironment(`environment: x\nwindows: { w: ${entry} }`, 'x.yaml').windows?.['w'];
  if (found === undefined) throw new Error('The environment has no window, expected w.');
  return found;
}

/** What the three functions say of one moment. */
function look(one: Window, text: string) {
  const now = at(text);
  return { open: isOpen(one, now), opens: iso(nextOpening(one, now)), closes: iso(closesAt(one, now)) };
}

describe('a window', () => {
  const lowTraffic = window('Sat, Sun', '01:00', '05:00', 'UTC');

  test('opens at its first minute and closes at its last', () => {
    expect(look(lowTraffic, '2026-11-22T00:59:59.999Z')).toEqual({
      open: false,
      opens: '2026-11-22T01:00Z',
      closes: undefined,
    });
    expect(look(lowTraffic, '2026-11-22T01:00Z')).toEqual({
      open: true,
      opens: '2026-11-22T01:00Z',
      closes: '2026-11-22T05:00Z',
    });
    expect(look(lowTraffic, '2026-11-22T04:59:59.999Z').open).toBe(true);
    expect(look(lowTraffic, '2026-11-22T05:00Z')).toEqual({
      open: false,
      opens: '2026-11-28T01:00Z',
      closes: undefined,
    });
  });

  test('over midnight belongs to the day on which it opens', () => {
    const night = window('Sat', '22:00', '04:00', 'UTC');
    expect(look(night, '2026-11-21T03:00Z').open).toBe(false);
    expect(look(night, '2026-11-21T22:00Z').closes).toBe('2026-11-22T04:00Z');
    expect(look(night, '2026-11-22T03:59Z').open).toBe(true);
    expect(look(night, '2026-11-22T22:00Z')).toEqual({
      open: false,
      opens: '2026-11-28T22:00Z',
      closes: undefined,
    });
  });

  test('of whole days that follow each other stays open over midnight, and one of all days never closes', () => {
    expect(look(window('Sat, Sun', '00:00', '24:00', 'UTC'), '2026-11-21T12:00Z').closes).toBe(
      '2026-11-23T00:00Z',
    );
    expect(look(window(WEEKDAYS.join(', '), '00:00', '24:00'), '2026-11-21T12:00Z')).toEqual({
      open: true,
      opens: '2026-11-21T12:00Z',
      closes: undefined,
    });
  });

  test('follows the clocks of its zone, not those of UTC', () => {
    expect(look(window('Sat', '23:00', '24:00', 'America/St_Johns'), '2026-11-21T12:00Z')).toEqual({
      open: false,
      opens: '2026-11-22T02:30Z',
      closes: undefined,
    });
  });
});

describe('on 29 March 2026, when Berlin sets its clocks from 02:00 to 03:00 (01:00 UTC),', () => {
  test('a window over the change is an hour shorter', () => {
    const now = look(window('Sun', '01:00', '05:00'), '2026-03-29T00:00Z');
    expect(now).toEqual({ open: true, opens: '2026-03-29T00:00Z', closes: '2026-03-29T03:00Z' });
  });

  test('a window that begins in the hour that is left out opens at the change', () => {
    expect(look(window('Sun', '02:30', '05:00'), '2026-03-29T00:30Z')).toEqual({
      open: false,
      opens: '2026-03-29T01:00Z',
      closes: undefined,
    });
  });

  test('a window that ends in that hour closes at the change', () => {
    expect(look(window('Sun', '01:00', '02:30'), '2026-03-29T00:30Z').closes).toBe('2026-03-29T01:00Z');
  });

  test('a window inside that hour does not open until the week after', () => {
    expect(look(window('Sun', '02:15', '02:45'), '2026-03-28T12:00Z').opens).toBe('2026-04-05T00:15Z');
  });
});

describe('on 25 October 2026, when Berlin sets its clocks from 03:00 to 02:00 (01:00 UTC),', () => {
  test('a window over the change is an hour longer', () => {
    expect(look(window('Sun', '01:00', '05:00'), '2026-10-24T23:00Z').closes).toBe('2026-10-25T04:00Z');
  });

  test('a window inside the hour that is shown twice opens twice', () => {
    const short = window('Sun', '02:15', '02:45');
    expect(look(short, '2026-10-25T00:00Z').opens).toBe('2026-10-25T00:15Z');
    expect(look(short, '2026-10-25T00:15Z').closes).toBe('2026-10-25T00:45Z');
    expect(look(short, '2026-10-25T00:45Z').opens).toBe('2026-10-25T01:15Z');
    expect(look(short, '2026-10-25T01:15Z').closes).toBe('2026-10-25T01:45Z');
    expect(look(short, '2026-10-25T01:45Z').opens).toBe('2026-11-01T01:15Z');
  });

  test('a window that ends in that hour closes, and opens again when the hour is shown anew', () => {
    const early = window('Sun', '01:00', '02:30');
    expect(look(early, '2026-10-25T00:00Z').closes).toBe('2026-10-25T00:30Z');
    expect(look(early, '2026-10-25T00:30Z').opens).toBe('2026-10-25T01:00Z');
    expect(look(early, '2026-10-25T01:00Z').closes).toBe('2026-10-25T01:30Z');
  });

  test('a window that begins in that hour closes while the hour before it is shown anew', () => {
    const late = window('Sun', '02:30', '05:00');
    expect(look(late, '2026-10-25T00:30Z').closes).toBe('2026-10-25T01:00Z');
    expect(look(late, '2026-10-25T01:00Z').opens).toBe('2026-10-25T01:30Z');
  });
});

test('a day that a country took out of its calendar has no window', () => {
  // Samoa went from Thursday, 29 December 2011, to Saturday: Friday's window opens a week later.
  expect(look(window('Fri', '09:00', '10:00', 'Pacific/Apia'), '2011-12-29T00:00Z').opens).toBe(
    '2012-01-05T19:00Z',
  );
});

/** Read from the clocks once more, in another way: the text that the zone shows, minute by minute. */
function isShownInside(one: Window, now: number): boolean {
  const text = new Date(now).toLocaleString('en-GB', {
    timeZone: one.timezone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  });
  const [, day = '', hour, minute] = /^(\w{3})\D+(\d\d):(\d\d)$/.exec(text) ?? [];
  const shown = Number(hour) * 60 + Number(minute);
  const today = (WEEKDAYS as readonly string[]).indexOf(day);
  const opensOn = (index: number) => one.days.some((name) => WEEKDAYS.indexOf(name) === (index + 7) % 7);
  return one.fromMinute < one.toMinute
    ? opensOn(today) && shown >= one.fromMinute && shown < one.toMinute
    : (opensOn(today) && shown >= one.fromMinute) || (opensOn(today - 1) && shown < one.toMinute);
}

const zones = fc.constantFrom(
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'Australia/Lord_Howe',
  'Asia/Kathmandu',
  'Africa/Cairo',
);
const windows = fc
  .record({
    days: fc.subarray([...WEEKDAYS], { minLength: 1 }),
    fromMinute: fc.integer({ min: 0, max: 1_439 }),
    toMinute: fc.integer({ min: 1, max: 1_440 }),
    timezone: zones,
  })
  .filter(({ fromMinute, toMinute }) => fromMinute !== toMinute);
/** Any minute of 2026, those around the changes of the clocks more often. */
const minutes = fc
  .oneof(
    fc.integer({ min: 0, max: 365 * 1_440 }),
    fc
      .tuple(
        fc.constantFrom(
          '2026-03-29T01:00Z',
          '2026-10-25T01:00Z',
          '2026-03-08T07:00Z',
          '2026-04-04T15:00Z',
          '2026-04-23T22:00Z',
        ),
        fc.integer({ min: -1_500, max: 1_500 }),
      )
      .map(([change, minute]) => (at(change) - at('2026-01-01T00:00Z')) / MINUTE_MS + minute),
  )
  .map((minute) => at('2026-01-01T00:00Z') + minute * MINUTE_MS);

test('a window is open exactly while the clocks of its zone show a time inside it', () => {
  fc.assert(
    fc.property(windows, minutes, (one, now) => {
      expect(isOpen(one, now)).toBe(isShownInside(one, now));
    }),
    { numRuns: 1_000 },
  );
});

test('nothing but the opening lies between now and the opening, and nothing but the closing until the closing', () => {
  fc.assert(
    fc.property(windows, minutes, (one, now) => {
      const opening = nextOpening(one, now);
      expect(opening).toBeGreaterThanOrEqual(now);
      expect(opening).toBeLessThan(now + 15 * DAY_MS);
      expect(isOpen(one, opening)).toBe(true);
      const closing = closesAt(one, opening);
      if (closing === undefined) return expect(one.days).toHaveLength(7);
      expect(isOpen(one, closing)).toBe(false);
      // Not one moment earlier, and nothing else in between.
      if (opening > now) expect(isOpen(one, opening - 1)).toBe(false);
      expect(isOpen(one, closing - 1)).toBe(true);
      const step = 7 * MINUTE_MS;
      for (let moment = now; moment < opening; moment += step) expect(isOpen(one, moment)).toBe(false);
      for (let moment = opening; moment < closing; moment += step) expect(isOpen(one, moment)).toBe(true);
    }),
    { numRuns: 200 },
  );
});

test.each([
  [
    "{ days: [], from: '01:00', to: '05:00', timezone: UTC }",
    'windows.w.days is a list, expected at least 1 day.',
  ],
  [
    "{ days: [Sat, Sat], from: '01:00', to: '05:00', timezone: UTC }",
    'A day stands in days twice, expected once.',
  ],
  [
    "{ days: [Sab], from: '01:00', to: '05:00', timezone: UTC }",
    "windows.w.days[0] is 'Sab', expected Sun, Mon, Tue, Wed, Thu, Fri or Sat.",
  ],
  [
    "{ days: [Sat], from: '1:00', to: '05:00', timezone: UTC }",
    "windows.w.from is '1:00', expected a time of day in quotes, as in '01:00'.",
  ],
  [
    "{ days: [Sat], from: '24:00', to: '05:00', timezone: UTC }",
    "windows.w.from is '24:00', expected a time of day in quotes, as in '01:00' and before '24:00'.",
  ],
  [
    "{ days: [Sat], from: '01:00', to: '25:00', timezone: UTC }",
    "windows.w.to is '25:00', expected a time of day in quotes, as in '01:00'.",
  ],
  [
    "{ days: [Sat], from: '01:00', to: '01:00', timezone: UTC }",
    'The window closes at the time at which it opens, expected another one.',
  ],
  [
    "{ days: [Sat], from: '01:00', to: '05:00', timezone: Berlin }",
    "windows.w.timezone is 'Berlin', expected a time zone such as UTC or Europe/Berlin.",
  ],
  [
    "{ days: [Sat], from: '01:00', to: '05:00', timezone: '+01:00' }",
    "windows.w.timezone is '+01:00', expected a time zone such as UTC or Europe/Berlin.",
  ],
  [
    "{ days: [Sat], from: '01:00', to: '05:00' }",
    'windows.w.timezone is missing, expected a time zone such as UTC or Europe/Berlin.',
  ],
])('%s is refused in one sentence', (entry, message) => {
  const text = `environment: x\nwindows: { w: ${entry} }`;
  expect(problemOf(() => parseEnvironment(text, 'x.yaml'))).toMatchObject({
    code: 'EnvironmentInvalid',
    message,
  });
});
