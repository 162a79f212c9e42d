import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ChangeFreeze,
  freezeAt,
  nextFreeze,
  parseInstant,
  writeInstant,
} from '../../procedures/calendar.ts';
import { parseEnvironment } from '../../procedures/environment.ts';
import { problemOf } from './support.ts';

const at = (text: string): number => Date.parse(text);
const freeze = (name: string, from: string, to: string): ChangeFreeze => ({
  name,
  fromMs: at(from),
  toMs: at(to),
});
const yearEnd = freeze('year-end', '2026-12-18T00:00:00Z', '2027-01-04T00:00:00Z');

describe('a change freeze', () => {
  test('holds from its first moment to the last before its end', () => {
    expect(freezeAt([yearEnd], yearEnd.fromMs - 1)).toBeUndefined();
    expect(freezeAt([yearEnd], yearEnd.fromMs)).toEqual({ names: ['year-end'], untilMs: yearEnd.toMs });
    expect(freezeAt([yearEnd], yearEnd.toMs - 1)).toEqual({ names: ['year-end'], untilMs: yearEnd.toMs });
    expect(freezeAt([yearEnd], yearEnd.toMs)).toBeUndefined();
  });

  test('lasts until the end of what follows it without a gap, in whatever order they are written', () => {
    const more = [
      freeze('audit', '2027-01-04T00:00:00Z', '2027-01-06T00:00:00Z'),
      yearEnd,
      freeze('inside', '2026-12-20T00:00:00Z', '2026-12-21T00:00:00Z'),
      freeze('spring', '2027-03-01T00:00:00Z', '2027-03-02T00:00:00Z'),
    ];
    expect(freezeAt(more, at('2026-12-25T00:00:00Z'))).toEqual({
      names: ['year-end', 'audit'],
      untilMs: at('2027-01-06T00:00:00Z'),
    });
    expect(nextFreeze(more, at('2026-12-25T00:00:00Z'))?.name).toBe('audit');
    expect(nextFreeze(more, at('2027-01-06T00:00:00Z'))?.name).toBe('spring');
    expect(nextFreeze(more, at('2027-03-01T00:00:00Z'))).toBeUndefined();
  });

  test('that is said to hold until a moment holds at every moment before it, and not at that one', () => {
    const one = fc
      .tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max: 15 }))
      .map(([fromMs, length]): ChangeFreeze => ({ name: 'x', fromMs, toMs: fromMs + length }));
    fc.assert(
      fc.property(fc.array(one, { maxLength: 6 }), fc.integer({ min: 0, max: 60 }), (freezes, now) => {
        const isHeld = (moment: number) =>
          freezes.some(({ fromMs, toMs }) => fromMs <= moment && moment < toMs);
        const found = freezeAt(freezes, now);
        expect(found !== undefined).toBe(isHeld(now));
        if (found === undefined) return;
        for (let moment = now; moment < found.untilMs; moment += 1) expect(isHeld(moment)).toBe(true);
        expect(isHeld(found.untilMs)).toBe(false);
      }),
    );
  });
});

test.each([
  ['2026-12-18T00:00Z', '2026-12-18T00:00:00.000Z'],
  ['2026-12-18T00:00:30Z', '2026-12-18T00:00:30.000Z'],
  ['2026-12-18t01:00:00.5+01:00', '2026-12-18T00:00:00.500Z'],
  ['2026-12-17T19:30:00-04:30', '2026-12-18T00:00:00.000Z'],
  ['2028-02-29T00:00Z', '2028-02-29T00:00:00.000Z'],
])('the time %s is %s', (text, iso) => {
  expect(parseInstant(text)).toBe(at(iso));
});

test.each([
  '2026-12-18',
  '2026-02-30T00:00Z',
  '2026-02-29T00:00Z',
  '2026-13-01T00:00Z',
  '2026-12-18T24:00Z',
  '2026-12-18T00:00',
  '2026-12-18T00:60Z',
  '2026-12-18T00:00+24:00',
  '2026-12-18 00:00Z',
  'soon',
  '',
])("'%s' is no time", (text) => {
  expect(parseInstant(text)).toBeUndefined();
});

test('a time is written for people in UTC', () => {
  expect(writeInstant(at('2027-01-04T00:00:00Z'))).toBe('4 Jan 2027 00:00 UTC');
  expect(writeInstant(at('2027-01-04T00:00:09Z'))).toBe('4 Jan 2027 00:00:09 UTC');
});

test('the environment file names them, in any zone', () => {
  const text =
    "environment: x\nchangeFreezes: [{ name: year-end, from: 2026-12-18T01:00+01:00, to: '2027-01-04T00:00Z' }]";
  expect(parseEnvironment(text, 'x.yaml').changeFreezes).toEqual([yearEnd]);
});

test.each([
  [
    "{ name: a, from: tomorrow, to: '2027-01-04T00:00Z' }",
    "changeFreezes[0].from is 'tomorrow', expected a time such as '2026-12-18T00:00Z' or '2026-12-18T00:00+01:00'.",
  ],
  [
    "{ name: a, from: '2027-01-04T00:00Z', to: '2026-12-18T00:00Z' }",
    'The change freeze ends before it begins, expected a time after from.',
  ],
  [
    "{ from: '2026-12-18T00:00Z', to: '2027-01-04T00:00Z' }",
    'changeFreezes[0].name is missing, expected text.',
  ],
])('%s is refused in one sentence', (entry, message) => {
  expect(
    problemOf(() => parseEnvironment(`environment: x\nchangeFreezes: [${entry}]`, 'x.yaml')),
  ).toMatchObject({
    code: 'EnvironmentInvalid',
    message,
  });
});
