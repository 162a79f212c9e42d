import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { type NamedTest, missingTests, namesIn, testsNamedIn } from '../support/named-tests.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const LAWS = 16;

type Law = { number: number; text: string; tests: NamedTest[] };

const page = readFileSync(join(ROOT, 'docs/laws.md'), 'utf8');
const laws: Law[] = page
  .split(/^## /m)
  .slice(1)
  .map((text) => ({
    number: Number(/^(\d+)\./.exec(text)?.[1]),
    text,
    tests: testsNamedIn(text),
  }));

test('the page has the sixteen laws, in order, each with a test', () => {
  expect(laws.map(({ number }) => number)).toEqual(Array.from({ length: LAWS }, (_, index) => index + 1));
  expect(laws.filter(({ tests }) => tests.length === 0).map(({ number }) => number)).toEqual([]);
});

test('every test that the page names exists under that name', () => {
  const missing = laws.flatMap(({ number, tests }) =>
    missingTests(ROOT, tests).map(({ file, name }) => `law ${number}: ${file} · ${name}`),
  );
  expect(missing, 'Name the test that holds the law now, or say under Missing what is not held.').toEqual([]);
});

test('every line that looks like a test is read as one', () => {
  const lines = page.split('\n').filter((line) => /^[-*] /.test(line));
  expect(lines.length).toBe(laws.flatMap(({ tests }) => tests).length);
});

test('every file that the page names exists', () => {
  const named = [...page.matchAll(/`((?:[a-z-]+\/)+[a-z0-9-]+\.(?:model\.|test\.)*(?:ts|sql))`/g)].map(
    ([, path = '']) => path,
  );
  expect(named.length).toBeGreaterThan(LAWS);
  expect(named.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});

test('a name that stands nowhere is not found', () => {
  const source =
    "test('one name', async () => {});\ntest.skipIf(x)(\n  'it\\'s another',\n  async () => {},\n);\nnamed('one name only');";
  expect([...namesIn(source)]).toEqual(['one name', "it's another"]);
});
