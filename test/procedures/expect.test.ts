import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Expectation, meets, parseExpectation, settleExpectation } from '../../procedures/expect.ts';
import type { Json } from '../../procedures/plan.ts';

function parsed(value: Json): Expectation {
  const found = parseExpectation(value);
  if ('expected' in found) throw new Error(`${JSON.stringify(value)} was refused.`);
  return found;
}

test.each<[Json, Expectation]>([
  ['at least 95', { words: 'at least 95', is: 'at least', amount: '95', unit: 'none' }],
  ['above 60%', { words: 'above 60%', is: 'above', amount: '60', unit: 'percent' }],
  ['below 200ms', { words: 'below 200ms', is: 'below', amount: '200', unit: 'duration' }],
  ['below 1.5s', { words: 'below 1.5s', is: 'below', amount: '1500', unit: 'duration' }],
  ['below 1h30m', { words: 'below 1h30m', is: 'below', amount: '5400000', unit: 'duration' }],
  ['at most 2', { words: 'at most 2', is: 'at most', amount: '2', unit: 'none' }],
  ['at least -0.50', { words: 'at least -0.50', is: 'at least', amount: '-0.5', unit: 'none' }],
  ['100%', { words: '100%', is: 'equal', amount: '100', unit: 'percent' }],
  [200, { words: '200', is: 'equal', amount: '200', unit: 'none' }],
  [1e21, { words: '1e+21', is: 'equal', amount: '1000000000000000000000', unit: 'none' }],
  [true, { words: 'true', is: 'equal', value: true }],
  ['  primary ', { words: 'primary', is: 'equal', value: 'primary' }],
  ['1.4.0-rc.1', { words: '1.4.0-rc.1', is: 'equal', value: '1.4.0-rc.1' }],
])('%j says %j', (words, expectation) => {
  expect(parseExpectation(words)).toEqual(expectation);
});

test.each<[Json]>([
  ['> 60%'],
  ['>= 5'],
  ['!= 5'],
  ['at least'],
  ['at least many'],
  ['above 60 percent'],
  ['over 60%'],
  ['less than 5'],
  ['1,204,381'],
  ['1.2.3'],
  [''],
  ['a\nb'],
  [null],
  [[1]],
  [{ min: 1 }],
])('%j is refused, as it would be compared as a text that is never met', (words) => {
  expect(parseExpectation(words)).toEqual({
    expected: "'at least 95', 'at most 2', 'above 60%', 'below 200ms', or a bare value that must be equal",
  });
});

test.each<[Json, Json, boolean | undefined]>([
  ['at least 95', 95, true],
  ['at least 95', '94.999', false],
  ['above 95', 95, false],
  ['at most 2', 2, true],
  ['below 2', 2, false],
  ['below 200ms', 199, true],
  ['below 200ms', '0.2s', false],
  ['below 200ms', '150ms', true],
  ['above 60%', 60.1, true],
  ['above 60%', '62.5%', true],
  [5, '5.0', true],
  [5, 'five', undefined],
  ['at least 9007199254740993', '9007199254740992', false],
  ['at least 9007199254740993', '9007199254740993', true],
  ['at most 0.3', '0.30000000000000000000001', false],
  ['at most 0', 1e-7, false],
  [true, true, true],
  [true, false, false],
  ['primary', 'primary', true],
  ['primary', 'standby', false],
])('%j of %j is %j', (words, value, met) => {
  expect(meets(parsed(words), value)).toBe(met);
});

test.each<[Json, Json | undefined]>([
  ['at least 0', null],
  ['at least 0', undefined],
  ['at least 0', ''],
  ['at least 0', 'NaN'],
  ['below 5', 'Infinity'],
  ['below 5', Number.NaN],
  ['below 5', true],
  ['below 5', []],
  ['below 5', '3%'],
  ['below 5%', '3ms'],
  ['below 200ms', '3%'],
  ['primary', null],
  [true, null],
])('%j of %j is no data', (words, value) => {
  expect(meets(parsed(words), value)).toBeUndefined();
});

test('words in which an output was filled in are parsed then', () => {
  expect(meets(settleExpectation({ words: 'at least 40' }), 41)).toBe(true);
  expect(meets(settleExpectation({ words: 40 }), '40')).toBe(true);
  expect(() => settleExpectation({ words: 'at least many' })).toThrow(
    "The outputs make the expectation 'at least many', expected 'at least 95'",
  );
});

test('whole numbers compare as numbers do, and exactly one of below, equal and above holds', () => {
  fc.assert(
    fc.property(fc.bigInt(-(10n ** 30n), 10n ** 30n), fc.bigInt(-(10n ** 30n), 10n ** 30n), (one, other) => {
      const holds = (is: string) => meets(parsed(`${is}${other}`), String(one));
      expect([holds('below '), holds(''), holds('above ')]).toEqual([
        one < other,
        one === other,
        one > other,
      ]);
      expect([holds('at most '), holds('at least ')]).toEqual([one <= other, one >= other]);
    }),
  );
});

test('any text at all is parsed or refused', () => {
  fc.assert(
    fc.property(fc.string(), fc.jsonValue(), (words, value) => {
      const found = parseExpectation(words);
      if (!('expected' in found)) meets(found, value as Json);
    }),
  );
});
