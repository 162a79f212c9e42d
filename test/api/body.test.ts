import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkJson } from '../../api/body.ts';
import { ApiProblem } from '../../api/problems.ts';

function codeOf(text: string): string {
  try {
    checkJson(text);
    return 'taken';
  } catch (error) {
    return error instanceof ApiProblem ? error.code : String(error);
  }
}

const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;

describe('the guard of bodies', () => {
  test('takes a plain object and refuses what is none', () => {
    expect(codeOf('{"a":[1,{"b":"[[[["}]}')).toBe('taken');
    expect(['', 'x', '{', '{"a":1}}', '\u0000'].map(codeOf)).toEqual(Array(5).fill('NotJson'));
    expect(['[]', '1', '"a"', 'null'].map(codeOf)).toEqual(Array(4).fill('BodyInvalid'));
  });

  test('takes a depth of 32 and refuses 33', () => {
    expect([codeOf(nested(32)), codeOf(nested(33))]).toEqual(['taken', 'BodyInvalid']);
  });

  test('refuses keys that could change what objects are, at any depth and however written', () => {
    for (const key of ['__proto__', 'constructor', 'prototype', '\\u005f_proto__']) {
      expect(codeOf(`{"a":[{"${key}":{"polluted":1}}]}`)).toBe('BodyInvalid');
    }
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  test('refuses half a character in a text or a key, and takes whole ones', () => {
    expect(codeOf('{"a":["\\ud800"]}')).toBe('BodyInvalid');
    expect(codeOf('{"a":{"\\udc00x":1}}')).toBe('BodyInvalid');
    expect(codeOf('{"a":"\\ud83d\\ude80 \\u0000"}')).toBe('taken');
  });

  test('answers hostile texts of 256 KiB in less than 200 ms each', () => {
    const size = 256 * 1024;
    const hostile = [
      '['.repeat(size),
      '{"a":'.repeat(size / 5),
      `{"a":"${'\\"'.repeat(size / 2 - 8)}"}`,
      `[${'1,'.repeat(size / 2 - 2)}1]`,
      `{${Array.from({ length: 20_000 }, (_, index) => `"${index}":1`).join()}}`,
    ];
    for (const text of hostile) {
      const start = performance.now();
      codeOf(text);
      expect(performance.now() - start).toBeLessThan(200);
    }
  });

  test('answers any text with a problem or takes it', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json({ maxDepth: 40 })), (text) => {
        expect(['taken', 'NotJson', 'BodyInvalid']).toContain(codeOf(text));
      }),
    );
  });
});
