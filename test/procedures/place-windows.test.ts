import { expect, test } from 'vitest';
import { hold, keep, changed, phase, planSteps, problemOf, problemsOf, wait } from './support.ts';

const environment = changed((file) => {
  const hours = { days: ['Sat'], from: '01:00', to: '05:00', timezone: 'UTC' };
  file['windows'] = {
    night: hours,
    strict: { ...hours, midRun: 'hold' },
    hard: { ...hours, midRun: 'unwind' },
  };
  const { targets = {} } = file;
  targets['flag'] = { kind: 'switch', url: 'http://127.0.0.1:1/flag', values: ['off', 'on'] };
});
const within = (step: string, name: string) => step.replace(/ \}$/, `, window: ${name} }`);
const flag = '{ id: flag, uses: app.switch, with: { switch: flag, to: on } }';
const database =
  '{ id: database, uses: database.import, with: { source: app-sqlite, target: app-postgres, switch: app-database-mode } }';
const waiting = (plan: ReturnType<typeof planSteps>) =>
  plan.phases.flatMap(({ id, waitsFor }) => (waitsFor?.window === undefined ? [] : [id]));

test('a step waits for its window before its first effect, and a step without effect before it begins', () => {
  const plan = planSteps([within(hold, 'night'), within(wait('look'), 'night')], { environment });
  expect(phase(plan, 'hold/set').waitsFor).toMatchObject({ window: 'night' });
  expect(waiting(plan)).toEqual(['hold/set', 'look']);
  expect(plan.windows).toEqual({
    night: { days: ['Sat'], fromMinute: 60, toMinute: 300, timezone: 'UTC' },
  });
  expect(plan.steps.map(({ window }) => window)).toEqual([
    { name: 'night', midRun: 'finish' },
    { name: 'night', midRun: 'finish' },
  ]);
});

test('a plan without windows says nothing of them', () => {
  const plan = planSteps([hold], { environment });
  expect(plan).not.toHaveProperty('windows');
  expect(plan.steps[0]).not.toHaveProperty('window');
});

test('a condition on an output is looked at whatever the hour', () => {
  const last =
    "{ id: last, uses: wait, with: { for: 1s }, when: { output: hold.found, is: 'x' }, window: night }";
  expect(waiting(planSteps([hold, last], { environment }))).toEqual(['last/wait']);
});

test('each effect of a step waits that is held when its window closes', () => {
  const plan = planSteps([within(database, 'strict')], { environment });
  expect(waiting(plan)).toEqual(['database/hold-writes', 'database/copy', 'database/switch']);
  expect(plan.windows?.['strict']?.midRun).toBe('hold');
  expect(waiting(planSteps([within(database, 'hard')], { environment }))).toEqual(['database/hold-writes']);
});

test('the window of a block is that of its steps, where they have none of their own', () => {
  const block = `{ id: both, window: night, parallel: [${hold}, ${within(flag, 'strict')}] }`;
  const plan = planSteps([block], { environment });
  expect(plan.steps.map(({ window }) => window?.name)).toEqual(['night', 'strict']);
  expect(waiting(plan)).toEqual(['hold/set', 'flag/set']);
});

test('the point of no return and what stands below it may wait for a window, and never unwind at its end', () => {
  const ask = keep.replace(/ \}$/, ', approval: { from: { sre: 1 } } }');
  const plan = planSteps([within(ask, 'night'), within(hold, 'strict')], { environment });
  expect(waiting(plan)).toEqual(['keep', 'hold/set']);
  expect(problemOf(() => planSteps([ask, within(hold, 'hard')], { environment }))).toMatchObject({
    code: 'PointOfNoReturn',
    pointer: '/steps/1/window',
    message:
      "Window 'hard' unwinds what is under way when it closes, expected finish or hold below the point of no return.",
    hint: 'take another window, or put the step above the point of no return',
  });
});

test('a window that the environment has not is refused once, where it is written', () => {
  expect(problemOf(() => planSteps([within(hold, 'nihgt')], { environment }))).toMatchObject({
    pointer: '/steps/0/window',
    message: "Environment demo has no window 'nihgt', expected night, strict or hard.",
    hint: 'write night',
  });
  const block = `{ id: both, window: other, parallel: [${hold}, ${flag}] }`;
  expect(problemsOf(() => planSteps([block], { environment })).map(({ pointer }) => pointer)).toEqual([
    '/steps/0/window',
  ]);
  expect(problemOf(() => planSteps([within(hold, 'night')])).message).toBe(
    "Environment demo has no window 'night', expected nothing.",
  );
});
