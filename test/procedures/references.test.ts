import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fill } from '../../activities/fill.ts';
import { fillParams, prefixReferences, unescapeText } from '../../procedures/references.ts';

const outputs = { 'db/copy': { rows: 5, path: '/a$(db.rows)' } };

const meant = (text: string, params = {}) => fill(fillParams(text, params).value, outputs);

test('what is filled at both times gives what was meant', () => {
  expect(meant('$(db.rows)')).toBe(5);
  expect(meant('a $(db.rows) b')).toBe('a 5 b');
  expect(meant('$$(db.rows)')).toBe('$(db.rows)');
  expect(meant('$$(5), $5, $')).toBe('$(5), $5, $');
  expect(meant('$(params.x)', { x: '$(db.rows)' })).toBe('$(db.rows)');
  expect(meant('$(params.x)', { x: '$$(db.rows)' })).toBe('$$(db.rows)');
  expect(meant('$(params.x)$(params.y)', { x: '$', y: '(db.rows)' })).toBe('$(db.rows)');
  expect(meant('$(params.x)(db.rows)', { x: '$' })).toBe('$(db.rows)');
  expect(meant('$(params.x)', { x: 7 })).toBe(7);
  expect(meant('$(params.x)!', { x: 7 })).toBe('7!');
});

const nested = (text: string, params = {}) =>
  fill(fillParams(text, params).value, { 'in.db/copy': { rows: 5 }, 'in.db': { rows: 6 } });

test('a step of an included runbook is named with the ids above it', () => {
  expect(nested('$(in.db.rows)')).toBe(5);
  expect(nested('a $(in.db.rows)$$(in.db.rows)')).toBe('a 5$(in.db.rows)');
  expect(nested('$(params.x)', { x: '$(in.db.rows)' })).toBe('$(in.db.rows)');
  expect(fillParams('$(in.db.rows)', {}).outputs).toEqual([{ path: [], step: 'in.db', output: 'rows' }]);
  expect(fillParams('$(in..rows)', {}).bad).toMatchObject([{ why: 'form' }]);
  expect(prefixReferences({ a: ['$(db.rows) $$(db.rows) $(params.x)'] }, 'in.')).toEqual({
    a: ['$(in.db.rows) $$(db.rows) $(params.x)'],
  });
});

test('a dollar sign of a param right before a reference is refused, since it would hide the reference', () => {
  expect(fillParams('$(params.x)$(db.rows)', { x: 'US$' }).bad).toEqual([
    { path: [], text: '$(db.rows)', why: 'dollar' },
  ]);
});

test('whatever a param holds stands in the call as it is, and in a step that waits', () => {
  const text = fc.array(
    fc.constantFrom('$', '$$', '(', '$(', 'db', '.', 'rows', ')', 'params', 'x', '$(db.rows)', ' '),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(text, text, (first, second) => {
      const params = { a: first.join(''), b: second.join('') };
      const filled = fillParams('$(params.a)$(params.b)', params);
      expect(filled.bad).toEqual([]);
      expect(filled.outputs).toEqual([]);
      expect(fill(filled.value, outputs)).toBe(params.a + params.b);
      expect(unescapeText(filled.value as string)).toBe(params.a + params.b);
    }),
    { numRuns: 2_000 },
  );
});
