import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { isProblemCode } from '../../api/problems.ts';
import { REFUSALS, isRefusal } from '../../api/refusals.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

describe('the refusals of a run', () => {
  test('are the codes of judge.ts and of the validator, and no others', () => {
    const judged = [...read('workflows/judge.ts').matchAll(/\brefuse\(\s*'(\w+)'/g)].map(([, code]) => code);
    expect(judged.length).toBeGreaterThan(30);
    const shell = read('workflows/launch.ts');
    const validator = shell.slice(shell.indexOf('function assertDecision'));
    const validated = [...validator.matchAll(/\btype: '(\w+)'/g)].map(([, code]) => code);
    expect(validated.length).toBeGreaterThan(0);
    expect(new Set([...judged, ...validated])).toEqual(new Set(REFUSALS));
  });

  test('have an answer of the API each, except the one for a decision that no door wrote', () => {
    expect(REFUSALS.filter((code) => !isProblemCode(code))).toEqual(['ApprovalMissing']);
  });

  test('do not include failures of Temporal, of a broken workflow or of one that has just closed', () => {
    const others = ['UnprocessedUpdate', 'RangeError', 'TypeError', 'PlanUnknown', 'FenceLost', 'Internal'];
    expect(others.filter(isRefusal)).toEqual([]);
    expect([isRefusal(null), isRefusal(undefined)]).toEqual([false, false]);
  });
});
