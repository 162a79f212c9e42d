import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { PROCEDURE_NAMES } from '../../procedures/index.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const pages = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => `docs/${path}`),
];

/** Anchors as they are made of headings: lower case, spaces to hyphens, no other signs. */
function anchorsOf(path: string): Set<string> {
  const headings = readFileSync(join(ROOT, path), 'utf8').matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map(([, text = '']) =>
      text
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

function brokenLinks(path: string): string[] {
  const links = readFileSync(join(ROOT, path), 'utf8').matchAll(/\]\(([^)\s]+)\)/g);
  return [...links].flatMap(([, to = '']) => {
    if (/^(https?|mailto):/.test(to)) return [];
    const [file = '', anchor] = to.split('#');
    const goal = file === '' ? path : join(dirname(path), file);
    if (!existsSync(join(ROOT, goal))) return [`${path} → ${to}`];
    return anchor === undefined || anchorsOf(goal).has(anchor) ? [] : [`${path} → ${to}: no such heading`];
  });
}

test('each link of each page leads somewhere', () => {
  expect(pages.length).toBeGreaterThan(10);
  expect(pages.flatMap(brokenLinks)).toEqual([]);
});

test('the index names every page', () => {
  const index = readFileSync(join(ROOT, 'docs/README.md'), 'utf8');
  const decisions = readFileSync(join(ROOT, 'docs/decisions/README.md'), 'utf8');
  const unnamed = pages
    .filter((path) => path.startsWith('docs/') && !path.endsWith('/README.md'))
    .filter((path) => {
      const [text, from] = path.startsWith('docs/decisions/')
        ? [decisions, 'docs/decisions/']
        : [index, 'docs/'];
      return !text.includes(`(${path.slice(from.length)})`);
    });
  expect(unnamed).toEqual([]);
});

test('the first screen has the two commands, first and alone', () => {
  const [, first] = /^```sh\n([\s\S]*?)^```$/m.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? [];
  expect(first?.split('\n').map((line) => line.replace(/\s+#.*$/, ''))).toEqual([
    'npm run demo',
    'npm run demo -- --fail-at database/switch',
    '',
  ]);
});

test('the README lists the kinds that there are', () => {
  const [line = ''] = /^\* Kinds: .*$/m.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? [];
  const named = [...line.matchAll(/`([a-z.-]+)`/g)].map(([, kind = '']) => kind);
  expect(new Set(named)).toEqual(new Set(PROCEDURE_NAMES));
});

test('every setting that a process reads stands in the README', () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const known = ['worker.ts', 'api/config.ts'].flatMap((path) =>
    [...readFileSync(join(ROOT, path), 'utf8').matchAll(/^ {2}((?:COUNTDOWN|TEMPORAL)_[A-Z_]+): z?/gm)].map(
      ([, name = '']) => name,
    ),
  );
  // For the tests' own stacks alone.
  const own = ['COUNTDOWN_WORKFLOW_BUNDLE', 'COUNTDOWN_JOURNAL_WAIT_MS'];
  expect(known.length).toBeGreaterThan(10);
  expect(known.filter((name) => !own.includes(name) && !readme.includes(`\`${name}\``))).toEqual([]);
});

test('every dependency has its reason in decision 2', () => {
  const {
    dependencies,
    devDependencies,
  }: Record<string, Record<string, string>> = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const page = readFileSync(join(ROOT, 'docs/decisions/0002-dependencies.md'), 'utf8');
  const rows = [...page.matchAll(/^\| (`[^|]+`) \|/gm)].map(([, names = '']) => names);
  // `@temporalio/activity`, `client` is short for two packages of one scope.
  const named = rows.flatMap((row) => {
    const names = [...row.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
    const scope = /^@temporalio\//.exec(names[0] ?? '')?.[0] ?? '';
    return names.map((name, index) => (index === 0 ? name : `${scope}${name}`));
  });
  const installed = Object.keys({ ...dependencies, ...devDependencies });
  expect(
    installed.filter((name) => !named.includes(name)),
    'Write why it is there and what was rejected.',
  ).toEqual([]);
});
