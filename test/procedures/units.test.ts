import fc from 'fast-check';
import { expect, test } from 'vitest';
import { nearest } from '../../procedures/nearest.ts';
import { DURATION_MS_MAX, parseDuration, writeDuration } from '../../procedures/units.ts';

test.each([
  ['30s', 30_000],
  ['5m', 300_000],
  ['4h', 14_400_000],
  ['7d', 604_800_000],
  ['1h30m', 5_400_000],
  ['500ms', 500],
  ['0s', 0],
  ['366d', 31_622_400_000],
])('%s is %d milliseconds', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each([
  '',
  '5',
  '5 m',
  'm',
  '-5m',
  '1.5h',
  '5M',
  '30m1h',
  '5m5m',
  '1h 30m',
  '367d',
  '999999999999d',
  '５m',
  '5m\n',
  '9'.repeat(100) + 's',
])("'%s' is no duration", (text) => {
  expect(parseDuration(text)).toBeUndefined();
});

test('every duration that is written is read back as the same', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: DURATION_MS_MAX }), (ms) => {
      expect(parseDuration(writeDuration(ms))).toBe(ms);
    }),
  );
});

test('a duration is written without empty units', () => {
  expect([0, 500, 90_000, 5_400_000, 90_061_001].map(writeDuration)).toEqual([
    '0s',
    '500ms',
    '1m30s',
    '1h30m',
    '1d1h1m1s1ms',
  ]);
});

test('a long text is answered at once', () => {
  const startedAt = performance.now();
  parseDuration('1h'.repeat(25_000));
  parseDuration('1'.repeat(50_000));
  nearest('a'.repeat(50_000), ['target', 'source']);
  expect(performance.now() - startedAt).toBeLessThan(100);
});

test('the nearest word is found over a slip of two letters, and none over more', () => {
  const known = ['uses', 'with', 'approval', 'timeout'];
  expect(
    ['use', 'whith', 'aproval', 'tiemout', 'Uses', 'quorum', ''].map((word) => nearest(word, known)),
  ).toEqual(['uses', 'with', 'approval', 'timeout', 'uses', undefined, undefined]);
});
