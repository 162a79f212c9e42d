import { expect, test } from 'vitest';
import { parseRunbook } from '../../procedures/runbook.ts';
import { problemOf, problemsOf } from './support.ts';

const parse = (text: string, file = 'runbook.yaml') => parseRunbook(text, file);
const step = '{ id: a, uses: wait, with: { for: 5m } }';

test('defaults are filled in', () => {
  const { name, params, rollback, steps } = parse(`name: x\nsteps: [${step}]`);
  expect({ name, params, rollback, steps }).toEqual({
    name: 'x',
    params: {},
    rollback: { withinMs: 3_600_000 },
    steps: [
      {
        id: 'a',
        path: ['steps', 0],
        uses: 'wait',
        with: { for: '5m' },
        when: [],
        whenOutputs: [],
        onFail: 'unwind',
      },
    ],
  });
});

test('what is written wins over the defaults', () => {
  const text = `name: x
description: Waits
rollback: { within: 5m }
steps:
  - { id: a, uses: app.switch, with: { to: b }, onFail: ask, timeout: 90s, tries: 2, approval: { from: { sre: 2 }, via: api, expires: 1h, remindEvery: 10m } }
`;
  const { description, rollback, steps } = parse(text);
  expect({ description, rollback, steps }).toEqual({
    description: 'Waits',
    rollback: { withinMs: 300_000 },
    steps: [
      {
        id: 'a',
        path: ['steps', 0],
        when: [],
        whenOutputs: [],
        uses: 'app.switch',
        with: { to: 'b' },
        onFail: 'ask',
        timeoutMs: 90_000,
        tries: 2,
        approval: { from: { sre: 2 }, via: 'api', expiresMs: 3_600_000, remindEveryMs: 600_000 },
      },
    ],
  });
});

test('the name is that of the file, except for a text without one', () => {
  expect(problemOf(() => parse(`name: x\nsteps: [${step}]`, 'runbooks/y.yaml'))).toMatchObject({
    line: 1,
    column: 7,
    pointer: '/name',
    message: "The name is 'x', expected 'y': a runbook has the name of its file.",
    hint: 'write  name: y',
  });
  expect(parse(`name: x\nsteps: [${step}]`, 'runbooks/x.yaml').name).toBe('x');
});

test('a second step of one id is refused at its place', () => {
  const text = `name: x\nsteps:\n  - ${step}\n  - ${step}\n`;
  expect(problemOf(() => parse(text))).toMatchObject({
    line: 4,
    column: 11,
    message: "Step 'a' stands here a second time, first in line 3, expected each id once.",
  });
});

test.each([
  ['an empty text', '', 'the file is empty, expected entries of key and value.'],
  ['a list', '- a', 'the file is a list, expected entries of key and value.'],
  ['no steps', 'name: x\nsteps: []', 'steps is a list, expected at least 1 step.'],
  [
    'a step named params',
    `name: x\nsteps: [{ id: params, uses: wait, with: { for: 1s } }]`,
    "A step cannot be named 'params', since $(params.x) is a param.",
  ],
  [
    'an id in capitals',
    'name: x\nsteps: [{ id: A, uses: wait, with: { for: 1s } }]',
    "steps[0].id is 'A', expected a name of small letters, digits and hyphens that begins with a letter, at most 40 long.",
  ],
  ['a missing id', 'name: x\nsteps: [{ uses: wait }]', 'steps[0].id is missing, expected text.'],
  [
    'an unknown kind',
    'name: x\nsteps: [{ id: a, uses: http.chek }]',
    "There is no kind 'http.chek', expected app.switch, approval, command, database.import, database.migrate, http.check, manual, notify, point-of-no-return, runbook, sql.check or wait.",
  ],
  [
    'an unknown key',
    `name: x\nstps: []\nsteps: [${step}]`,
    "'stps' is not a key, expected name, description, params, rollback, steps or followUp.",
  ],
  [
    'a wrong type',
    `name: x\nsteps: [${step}]\nrollback: { within: 5 }`,
    "rollback.within is 5, expected a duration such as '30s', '5m', '4h', '7d' or '1h30m'.",
  ],
  [
    'a duration out of range',
    `name: x\nsteps: [${step}]\nrollback: { within: 8d }`,
    "rollback.within is '8d', expected a duration such as '30s', '5m', '4h', '7d' or '1h30m' from 1s to 7d.",
  ],
  [
    'no number of tries',
    'name: x\nsteps: [{ id: a, uses: wait, tries: 0 }]',
    'steps[0].tries is 0, expected at least 1.',
  ],
  [
    'votes as a list',
    'name: x\nsteps: [{ id: a, uses: wait, approval: { from: [sre] } }]',
    'steps[0].approval.from is a list, expected a count for each group, as in { sre: 1, owner: 1 }.',
  ],
  [
    'no votes',
    'name: x\nsteps: [{ id: a, uses: wait, approval: { from: {} } }]',
    'from is empty, expected a count for each group.',
  ],
  [
    'an approval open for days',
    'name: x\nsteps: [{ id: a, uses: wait, approval: { from: { sre: 1 }, expires: 25h } }]',
    "steps[0].approval.expires is '25h', expected a duration such as '30s', '5m', '4h', '7d' or '1h30m' from 1s to 1d.",
  ],
  [
    'an unknown type of param',
    `name: x\nparams: { p: { type: strin } }\nsteps: [${step}]`,
    "params.p.type is 'strin', expected string, text, integer, number, boolean, duration, version or choice.",
  ],
  [
    'a param without a type',
    `name: x\nparams: { p: {} }\nsteps: [${step}]`,
    'params.p.type is missing, expected string, text, integer, number, boolean, duration, version or choice.',
  ],
  [
    'a param that cannot be named',
    `name: x\nparams: { my-p: { type: string } }\nsteps: [${step}]`,
    "'my-p' cannot be a name, expected a name of letters and digits that begins with a small letter, such as release.",
  ],
  [
    'a default of another type',
    `name: x\nparams: { p: { type: version, default: 1.4 } }\nsteps: [${step}]`,
    "The default of param 'p' is 1.4, expected a version such as '1.4.0', in quotes where it could be read as a number.",
  ],
  [
    'a choice without options',
    `name: x\nparams: { p: { type: choice } }\nsteps: [${step}]`,
    'params.p.options is missing, expected a list.',
  ],
])('%s is refused in one sentence', (_, text, message) => {
  expect(problemOf(() => parse(text)).message).toBe(message);
});

test.each([
  [
    'a gate',
    '{ id: a, uses: gate }',
    'Steps of kind gate come with a later version, expected app.switch, approval, command, database.import, database.migrate, http.check, manual, notify, point-of-no-return, runbook, sql.check or wait.',
  ],
])('%s is refused as not supported yet', (_, text, message) => {
  expect(problemOf(() => parse(`name: x\nsteps: [${text}]`))).toMatchObject({
    code: 'NotSupported',
    message,
  });
});

test('secret params are refused as not supported yet', () => {
  const text = `name: x\nparams: { p: { type: secret } }\nsteps: [${step}]`;
  expect(problemsOf(() => parse(text)).map(({ code, message }) => [code, message])).toEqual([
    ['NotSupported', 'Params of type secret come with a later version.'],
  ]);
});

test('every problem of a text is found at once, and each says where and what to do', () => {
  const text = 'name: x\nsteps:\n  - id: A\n    uses: http.chek\n    whith: {}\n';
  expect(
    problemsOf(() => parse(text)).map(({ line, column, length, pointer, hint }) => [
      line,
      column,
      length,
      pointer,
      hint,
    ]),
  ).toEqual([
    [3, 9, 1, '/steps/0/id', undefined],
    [4, 11, 9, '/steps/0/uses', 'write http.check'],
    [5, 5, 5, '/steps/0/whith', 'write with'],
  ]);
});

test('more than 100 steps are refused', () => {
  const steps = Array.from({ length: 101 }, (_, index) => `{ id: s${index}, uses: wait, with: { for: 1s } }`);
  expect(problemOf(() => parse(`name: x\nsteps: [${steps.join(', ')}]`)).message).toBe(
    'steps is a list, expected at most 100 steps.',
  );
  expect(parse(`name: x\nsteps: [${steps.slice(1).join(', ')}]`).steps).toHaveLength(100);
});
