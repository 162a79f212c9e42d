import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PROBLEMS, renderErrorsPage } from '../../api/problem-codes.ts';

test('docs/errors.md is the catalogue of the code', () => {
  const page = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
  expect(page, 'run: node scripts/openapi.ts').toBe(renderErrorsPage());
});

test('each entry of the catalogue says what to do in whole sentences', () => {
  for (const [code, entry] of Object.entries(PROBLEMS)) {
    expect(code).toMatch(/^[A-Z][A-Za-z]+$/);
    for (const sentence of [entry.caller, entry.operator]) expect(sentence, code).toMatch(/^[A-Z].*\.$/);
  }
});
