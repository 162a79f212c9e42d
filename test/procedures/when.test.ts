import { expect, test } from 'vitest';
import { parseRunbook } from '../../procedures/runbook.ts';
import { leftOutBecause } from '../../procedures/when.ts';
import { hold, phase, planSteps, problemOf, wait } from './support.ts';

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
  [
    'no value',
    '{ param: kind }',
    "The condition on param 'kind' is not complete, expected is and nothing else.",
    'write  when: { param: NAME, is: VALUE }  or  when: { output: STEP.OUTPUT, above: 10 }',
  ],
  [
    'a list of values',
    '{ param: kind, is: [quick, full] }',
    'steps[0].when.is is a list, expected a value.',
    undefined,
  ],
  [
    'another key',
    '{ param: kind, is: full, not: 1 }',
    "'not' is not a key in steps[0].when, expected param, output, is, above, below, atLeast or atMost.",
    undefined,
  ],
])('%s is refused in one sentence when the runbook is read', (_, when, message, hint) => {
  const text = `name: x\n${head}steps: [{ id: a, uses: wait, with: { for: 1s }, when: ${when} }]`;
  const problem = problemOf(() => parseRunbook(text, 'runbook.yaml'));
  expect(problem.message).toBe(message);
  if (hint !== undefined) expect(problem.hint).toBe(hint);
});

test('a condition on an output becomes a phase that decides about the others of its step', () => {
  const found = '{ id: found, uses: sql.check, with: { target: app-postgres, query: select 1, expect: 1 } }';
  const asked = hold.replace(/ }$/, ', when: { output: found.value, above: 10 } }');
  const plan = planSteps([found, asked, wait('last')]);
  expect(plan.phases.map(({ id, after, decides }) => [id, after, decides])).toEqual([
    ['found', [], undefined],
    ['hold/when', ['found'], ['hold/read', 'hold/set']],
    ['hold/read', ['hold/when'], undefined],
    ['hold/set', ['hold/read'], undefined],
    ['last', ['hold/set'], undefined],
  ]);
  expect(phase(plan, 'hold/when').run).toEqual({
    activity: 'when/when/run',
    params: { conditions: [{ output: 'found.value', words: 'above 10', value: '$(found.value)' }] },
  });
});

const asking = (above: string) => hold.replace(/ }$/, `, when: { output: found.value, above: ${above} } }`);

test('a condition on an output may take its amount from a param', () => {
  const found = '{ id: found, uses: sql.check, with: { target: app-postgres, query: select 1, expect: 1 } }';
  const least = "params: { least: { type: string, default: '10' } }\n";
  const words = (params: Record<string, string>) =>
    phase(planSteps([found, asking('$(params.least)')], { head: least, params }), 'hold/when').title;
  expect(words({ least: '60%' })).toBe('look whether found.value is above 60%');
  expect(problemOf(() => words({ least: 'much' })).message).toContain(
    "The condition says 'above much', expected",
  );
  expect(problemOf(() => planSteps([found, asking('$(params.most)')], { head: least })).message).toBe(
    'The condition holds $(params.most), expected a value or a param that this runbook declares.',
  );
});

test.each([
  [
    '{ output: b.rows, above: 10 }',
    '$(b.rows) names no step of this runbook, expected one that stands above.',
  ],
  [
    '{ output: a.value, above: 10 }',
    '$(a.value) names a step that does not stand above this one, so it has no outputs yet.',
  ],
])('a condition %s is refused', (when, message) => {
  expect(problemOf(() => planSteps([wait('a').replace(/ }$/, `, when: ${when} }`)])).message).toBe(message);
});

test.each([
  [
    '{ param: kind, output: b.rows, is: 1 }',
    'The condition names a param or an output, expected one of the two.',
  ],
  [
    '{ output: b.rows }',
    "The condition on output 'b.rows' is not complete, expected one of is, above, below, atLeast, atMost.",
  ],
  ['{ output: b.rows, above: much }', "The condition says 'above much', expected"],
])('a condition %s cannot stand', (when, message) => {
  const text = `name: x\nsteps: [{ id: a, uses: wait, with: { for: 1s }, when: ${when} }]`;
  expect(problemOf(() => parseRunbook(text, 'runbook.yaml')).message).toContain(message);
});
