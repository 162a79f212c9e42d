import { expect, test } from 'vitest';
import { parseRunbook } from '../../procedures/runbook.ts';
import { leftOutBecause } from '../../procedures/when.ts';
import { hold, planSteps, planText, problemOf, problemsOf, shipped, wait } from './support.ts';

const head = 'params: { kind: { type: choice, options: [quick, full], default: quick } }\n';
const full = (step: string) => step.replace(/ \}$/, ', when: { param: kind, is: full } }');

test('a step whose condition does not hold is not in the plan, which says so; one whose condition holds is', () => {
  const steps = [wait('a'), full(hold), wait('b')];
  const quick = planSteps(steps, { head });
  expect(quick.steps.map(({ id }) => id)).toEqual(['a', 'b']);
  expect(quick.phases.map(({ id }) => id)).toEqual(['a', 'b']);
  expect([quick.targets, quick.leases, quick.fingerprints]).toEqual([{}, {}, []]);
  expect(quick.leftOut).toEqual([{ id: 'hold', kind: 'app.switch', when: { param: 'kind', is: 'full' } }]);
  expect(quick.leftOut?.map((step) => leftOutBecause(step, quick.params))).toEqual([
    "kind is 'quick', and it runs where kind is 'full'",
  ]);
  const whole = planSteps(steps, { head, params: { kind: 'full' } });
  expect(whole.steps.map(({ id }) => id)).toEqual(['a', 'hold', 'b']);
  expect(whole).not.toHaveProperty('leftOut');
});

test('a step of another environment can be left out', () => {
  const elsewhere = '{ id: b, uses: http.check, with: { target: nowhere, requests: [{ get: / }] } }';
  expect(planSteps([wait('a'), full(elsewhere)], { head }).steps).toHaveLength(1);
  expect(
    problemOf(() => planSteps([wait('a'), full(elsewhere)], { head, params: { kind: 'full' } })).code,
  ).toBe('TargetUnknown');
});

const isPlanned = (declared: string, is: string, given: string | number | boolean) =>
  planSteps([wait('a'), `{ id: b, uses: wait, with: { for: 1s }, when: { param: p, is: ${is} } }`], {
    head: `params: { p: { type: ${declared} } }\n`,
    params: { p: given },
  }).steps.length === 2;

test('a value is compared as it is meant, and not as it is written', () => {
  expect(isPlanned('duration', '1m', '60s')).toBe(true);
  expect(isPlanned('duration', '1m', '61s')).toBe(false);
  expect(isPlanned('integer', '3', '3')).toBe(true);
  expect(isPlanned('integer', "'3'", 3)).toBe(true);
  expect(isPlanned('boolean', 'true', 'true')).toBe(true);
  expect(isPlanned('boolean', 'false', true)).toBe(false);
  expect(isPlanned('number', '0', -0)).toBe(true);
  expect(isPlanned('string', "''", '')).toBe(true);
  expect(isPlanned('version', '1.4.0', '1.4.0')).toBe(true);
});

test('a reference to an output of a step that is left out is refused, and one between two that are is not', () => {
  const uses = '{ id: b, uses: http.check, with: { target: app, requests: [{ get: /$(hold.found) }] } }';
  expect(problemOf(() => planSteps([full(hold), uses], { head }))).toMatchObject({
    code: 'RunbookInvalid',
    pointer: '/steps/1/with/requests/0/get',
    message: "$(hold.found) names an output of hold, which is left out: it runs where kind is 'full'.",
    hint: "give this step the same condition:  when: { param: kind, is: 'full' }",
  });
  expect(planSteps([full(hold), full(uses), wait('c')], { head }).steps).toHaveLength(1);
  expect(planSteps([full(hold), uses], { head, params: { kind: 'full' } }).steps).toHaveLength(2);
});

test('what stands below a point of no return that is left out stands above none', () => {
  const keep = '{ id: keep, uses: point-of-no-return, with: { because: It is time. } }';
  const open = '{ id: open, uses: app.switch, with: { switch: app-database-mode, to: postgres } }';
  expect(problemOf(() => planSteps([full(keep), open], { head })).code).toBe('PointOfNoReturn');
  expect(planSteps([full(keep), open], { head, params: { kind: 'full' } }).steps).toHaveLength(2);
});

test('a plan with every step left out is refused', () => {
  expect(problemOf(() => planSteps([full(wait('a'))], { head })).message).toBe(
    'Every step is left out with these params, expected at least one in the plan.',
  );
});

test.each([
  [
    'a param that there is not',
    '{ param: kin, is: full }',
    "Step 'a' asks for param 'kin', which this runbook has not, expected kind.",
    'write kind',
  ],
  [
    'a value that the param never has',
    '{ param: kind, is: ful }',
    "Param 'kind' is never 'ful', expected quick or full.",
    'write a value that the param can have',
  ],
  ['no value', '{ param: kind }', 'steps[0].when.is is missing, expected a value of the param.', 'add is'],
  [
    'a list of values',
    '{ param: kind, is: [quick, full] }',
    'steps[0].when.is is a list, expected a value of the param.',
    undefined,
  ],
  [
    'another key',
    '{ param: kind, is: full, not: 1 }',
    "'not' is not a key in steps[0].when, expected param or is.",
    undefined,
  ],
])('%s is refused in one sentence when the runbook is read', (_, when, message, hint) => {
  const text = `name: x\n${head}steps: [{ id: a, uses: wait, with: { for: 1s }, when: ${when} }]`;
  const problem = problemOf(() => parseRunbook(text, 'runbook.yaml'));
  expect(problem.message).toBe(message);
  if (hint !== undefined) expect(problem.hint).toBe(hint);
});

test('a condition on an output is refused as not supported yet, and nothing else is said of it', () => {
  const text = `name: x\nsteps: [{ id: a, uses: wait, with: { for: 1s }, when: { output: b.rows, above: 10 } }]`;
  expect(
    problemsOf(() => parseRunbook(text, 'runbook.yaml')).map(({ code, pointer }) => [code, pointer]),
  ).toEqual([['NotSupported', '/steps/0/when/output']]);
});

test('a runbook without conditions has the plan that it had', () => {
  expect(planText(shipped('runbooks/first-launch.yaml'))).not.toHaveProperty('leftOut');
});
