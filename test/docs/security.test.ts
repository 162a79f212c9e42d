import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { missingTests, testsNamedIn } from '../support/named-tests.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const ATTACKS = 28;

const page = readFileSync(join(ROOT, 'docs/security.md'), 'utf8');
const attacks = page
  .split(/^### /m)
  .slice(1)
  .map((text) => ({ name: /^S\d+/.exec(text)?.[0], text, tests: testsNamedIn(text) }));

test('the page has every attack, in order, each with a test or with what comes later', () => {
  expect(attacks.map(({ name }) => name)).toEqual(
    Array.from({ length: ATTACKS }, (_, index) => `S${index + 1}`),
  );
  const bare = attacks.filter(({ tests, text }) => tests.length === 0 && !text.includes('\nLater: '));
  expect(bare.map(({ name }) => name)).toEqual([]);
});

test('every test that the page names exists under that name', () => {
  expect(
    missingTests(
      ROOT,
      attacks.flatMap(({ tests }) => tests),
    ),
  ).toEqual([]);
});
