import { expect, test } from 'vitest';
import { render } from '../../procedures/problem.ts';
import { parseRunbook } from '../../procedures/runbook.ts';
import { problemsOf } from './support.ts';

test('a problem is shown with its line, a caret line below the words, and what to do', () => {
  const text =
    'name: x\nsteps:\n  - id: a\n    uses: wait\n    with: { for: 5m }\n    aproval: { from: { sre: 1 } }\n';
  const [problem] = problemsOf(() => parseRunbook(text, 'runbooks/x.yaml'));
  expect(problem && render(problem, text)).toBe(
    [
      'error RunbookInvalid  runbooks/x.yaml:6:5',
      '    6 |     aproval: { from: { sre: 1 } }',
      '      |     ^^^^^^^',
      "      | 'aproval' is not a key in steps[0], expected id, uses, with, when, approval, onFail, timeout, tries, window, rollback or parallel.",
      'do    write approval',
    ].join('\n'),
  );
});

test('a short message stands beside the carets', () => {
  const text = 'name: x\nsteps:\n  - { id: a, uses: wait, onFail: stop }\n';
  const [problem] = problemsOf(() => parseRunbook(text, 'runbooks/x.yaml'));
  expect(problem && render(problem, text)).toBe(
    [
      'error RunbookInvalid  runbooks/x.yaml:3:34',
      '    3 |   - { id: a, uses: wait, onFail: stop }',
      `      | ${' '.repeat(33)}^^^^ steps[0].onFail is 'stop', expected unwind or ask.`,
    ].join('\n'),
  );
});

test('a place far to the right is shown with what stands before it', () => {
  const text = `name: x\nsteps:\n  - { id: a, uses: wait, with: { for: 5m }, timeout: 10s${' '.repeat(50)}, onFail: stop }\n`;
  const [problem] = problemsOf(() => parseRunbook(text, 'runbooks/x.yaml'));
  expect(problem && render(problem, text).split('\n').slice(1)).toEqual([
    `    3 | ${' '.repeat(20)}, onFail: stop }`,
    `      | ${' '.repeat(30)}^^^^ steps[0].onFail is 'stop', expected unwind or ask.`,
  ]);
});

test('a line of any length is shown around the place', () => {
  const text = `name: ${'x'.repeat(5_000)}`;
  const problem = problemsOf(() => parseRunbook(text, 'runbook.yaml')).find(
    ({ pointer }) => pointer === '/name',
  );
  const shown = problem === undefined ? '' : render(problem, text);
  expect(shown.split('\n')[1]).toHaveLength(104);
  expect(shown).toContain('expected a name of small letters');
});

test('problems come in the order of the text, and the code is that of the first', () => {
  const text = 'name: x\nsteps:\n  - { id: a, uses: gate }\n  - { id: b, uses: wiat }\n';
  const found = problemsOf(() => parseRunbook(text, 'runbook.yaml'));
  expect(found.map(({ code, line }) => [code, line])).toEqual([
    ['NotSupported', 3],
    ['RunbookInvalid', 4],
  ]);
});
