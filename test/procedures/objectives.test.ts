import { expect, test } from 'vitest';
import { changed, hold, keep, planSteps, problemOf, problemsOf, wait } from './support.ts';

const environment = changed((file) => {
  const { targets = {} } = file;
  targets['flag'] = { kind: 'switch', url: 'http://127.0.0.1:1/flag', values: ['off', 'on'] };
});
const manual = (id: string) =>
  `{ id: ${id}, uses: manual, with: { instructions: Do it., undo: Take it back. } }`;
const within = (step: string, time: string) => step.replace(/ }$/, `, rollback: { within: ${time} } }`);
const block = (steps: string[], time: string) =>
  `{ id: both, parallel: [${steps.join(', ')}], rollback: { within: ${time} } }`;
const objectives = (steps: string[]) =>
  planSteps(steps, { environment }).steps.map(({ id, rollback }) => [id, rollback?.withinMs]);

test('a step has the objective that is written at it, else that of its block, else none of its own', () => {
  expect(objectives([within(hold, '2m'), wait('a')])).toEqual([
    ['hold', 120_000],
    ['a', undefined],
  ]);
  expect(objectives([block([within(manual('a'), '6m'), manual('b')], '10m')])).toEqual([
    ['a', 360_000],
    ['b', 600_000],
  ]);
});

test('an objective that is longer than the one around it is refused', () => {
  expect(problemOf(() => planSteps([within(hold, '2h')]))).toMatchObject({
    code: 'RunbookInvalid',
    pointer: '/steps/0/rollback/within',
    message: 'The rollback objective is 2h, expected at most the 1h of the runbook.',
    hint: 'write at most 1h, or give the runbook more',
  });
  expect(problemOf(() => planSteps([block([manual('a'), wait('b')], '90m')])).message).toBe(
    'The rollback objective is 1h30m, expected at most the 1h of the runbook.',
  );
  expect(problemOf(() => planSteps([block([within(manual('a'), '20m'), wait('b')], '10m')])).message).toBe(
    'The rollback objective is 20m, expected at most the 10m of block both.',
  );
});

test('undos that do not fit in their objective are refused with the numbers', () => {
  expect(problemOf(() => planSteps([within(manual('a'), '4m')]))).toMatchObject({
    pointer: '/steps/0/rollback/within',
    message: 'To take the step a back takes about 5m, expected within 4m.',
    hint: 'write  rollback: { within: 5m }  or more, or leave steps out',
  });
  expect(
    problemOf(() => planSteps([manual('a'), manual('b')], { head: 'rollback: { within: 9m }\n' })),
  ).toMatchObject({
    pointer: '/rollback/within',
    message: 'To take the run of test back takes about 10m, expected within 9m.',
  });
  expect(
    problemsOf(() => planSteps([block([manual('a'), manual('b')], '9m')])).map(({ message }) => message),
  ).toEqual(['To take the block both back takes about 10m, expected within 9m.']);
});

test('what is for good takes no time to take back', () => {
  const asked = keep.replace(/ }$/, ', approval: { from: { sre: 1 } } }');
  expect(objectives([asked, within(manual('a'), '1s')])).toEqual([
    ['keep', undefined],
    ['a', 1_000],
  ]);
});
