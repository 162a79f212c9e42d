import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkPlan } from '../../procedures/check-plan.ts';
import { type Plan, isWait } from '../../procedures/plan.ts';
import { digest } from '../../store/digest.ts';
import { type PhaseSpec, makePlan } from '../support/plans.ts';
import { demo, hold, keep, launch, planSteps, wait } from './support.ts';

const ready = '{ id: ready, uses: http.check, with: { target: app, requests: [{ get: / }] } }';
const select = (id: string, values = '[]') =>
  `{ id: ${id}, uses: sql.check, with: { target: app-postgres, query: select 1, values: ${values}, expect: 1 } }`;
const flag = (id: string, more = '') => `{ id: ${id}, uses: command, with: { run: flag }${more} }`;
const watch = (time: string) =>
  `{ id: watch, uses: http.check, with: { target: app, requests: [{ get: / }], for: ${time}, every: 1s } }`;
const keptOf = (plan: Plan) => checkPlan(plan).plan.phases.map(({ id }) => id);
const reasons = (plan: Plan) =>
  Object.fromEntries(checkPlan(plan).notChecked.map(({ id, because }) => [id, because]));

test('a check of first-launch inspects and backs up, and says what it leaves out', () => {
  const plan = launch();
  const before = digest(plan);
  const { plan: check, notChecked } = checkPlan(plan);
  expect(check.phases.map(({ id, after }) => `${id} after ${after.join()}`)).toEqual([
    'ready after ',
    'database/inspect after ready',
    'database/backup after database/inspect',
    'smoke after database/backup',
    'watch after smoke',
  ]);
  expect(check).toMatchObject({
    check: true,
    runbook: plan.runbook,
    approvals: {},
    fingerprints: [],
    unverifiable: [],
    leases: {
      app: 'shared',
      'app-database-mode': 'shared',
      'app-postgres': 'shared',
      'app-sqlite': 'shared',
    },
  });
  expect(check.steps.map(({ id, effect, phases }) => [id, effect, phases.length])).toEqual([
    ['ready', 'none', 1],
    ['database', 'none', 2],
    ['smoke', 'none', 1],
    ['watch', 'none', 1],
  ]);
  expect(check.targets['app-postgres']).toEqual(plan.targets['app-postgres']);
  expect(notChecked).toEqual([
    { id: 'keep', kind: 'point-of-no-return', because: 'it is the point of no return' },
  ]);
  expect(digest(plan)).toBe(before);
});

describe('not checked is', () => {
  test('what waits, what asks, and what tells somebody', () => {
    const asks = '{ id: asks, uses: approval, approval: { from: { sre: 1 } } }';
    const tells = '{ id: tells, uses: notify, with: { target: app, text: It starts. } }';
    const plan = planSteps([ready, wait('pause'), asks, tells, keep]);
    expect(keptOf(plan)).toEqual(['ready']);
    expect(reasons(plan)).toEqual({
      pause: 'it only waits',
      asks: 'it asks people',
      tells: 'what is said cannot be unsaid',
      keep: 'it is the point of no return',
    });
  });

  test('what needs an output that a check does not have', () => {
    const plan = planSteps([hold, select('early', '[$(hold.found)]'), select('late', '[$(early.value)]')]);
    expect(keptOf(plan)).toEqual(['hold/read']);
    expect(reasons(plan)).toEqual({
      early: 'it needs what hold would give',
      late: 'it needs what early would give',
    });
    const whole = planSteps([select('first'), select('second', '[$(first.value)]')]);
    expect(keptOf(whole)).toEqual(['first', 'second']);
    expect(keptOf(planSteps([hold, select('text', '[$$(hold.found)]')]))).toEqual(['hold/read', 'text']);
  });

  test('what looks at a target that a step above changes, since it would find it as it is', () => {
    const database =
      '{ id: database, uses: database.import, with: { source: app-sqlite, target: app-postgres, switch: app-database-mode } }';
    expect(reasons(planSteps([database, select('rows')]))).toEqual({
      rows: 'it looks at app-postgres, which database changes before',
    });
    expect(keptOf(planSteps([select('rows'), database]))).toEqual([
      'rows',
      'database/inspect',
      'database/backup',
    ]);
  });

  test('a look for which nobody would wait', () => {
    expect(reasons(planSteps([ready, watch('24h')]))).toEqual({ watch: 'it takes 1d' });
    expect(keptOf(planSteps([ready, watch('5m')]))).toEqual(['ready', 'watch']);
  });

  test('a step that begins with its change, with or without a condition', () => {
    const environment = demo();
    environment.targets['flag'] = {
      kind: 'command',
      argv: ['/bin/true'],
      undo: ['/bin/true'],
      probe: ['/bin/true'],
      env: {},
      exits: {},
      effect: 'costly',
      timeoutMs: 1_000,
    };
    const plan = planSteps(
      [ready, flag('one'), flag('two', ', when: { output: ready.readings, above: 0 }')],
      { environment },
    );
    expect(keptOf(plan)).toEqual(['ready']);
    expect(reasons(plan)).toEqual({
      one: 'it begins with its change: Run flag',
      two: 'it begins with its change: Run flag',
    });
  });
});

test('a condition is kept with what it decides about, where both can be looked at', () => {
  const plan = planSteps([ready, hold.replace('uses:', 'when: { output: ready.readings, above: 0 }, uses:')]);
  const { phases } = checkPlan(plan).plan;
  expect(phases.map(({ id, decides }) => [id, decides])).toEqual([
    ['ready', undefined],
    ['hold/when', ['hold/read']],
    ['hold/read', undefined],
  ]);
});

test('whatever the plan, its check changes nothing, waits for nothing, and starts each phase after known ones', () => {
  const phase = fc.record({
    effect: fc.constantFrom('none', 'none', 'reversible', 'costly'),
    isWait: fc.boolean(),
    target: fc.constantFrom('one', 'two'),
  });
  const step = fc.record({
    phases: fc.array(phase, { minLength: 1, maxLength: 4 }),
    isBranch: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
      const plan = makePlan(
        steps.map(({ phases, isBranch }, index) => ({
          id: `s${index}`,
          ...(isBranch ? { block: 'block' } : {}),
          phases: phases.map(({ effect, isWait: waits, target }, at): PhaseSpec => {
            const name = `p${at}`;
            return waits && effect === 'none' ? { name, wait: 'timer' } : { name, effect, target };
          }),
        })),
      );
      const { plan: check, notChecked } = checkPlan(plan);
      const ids = check.phases.map(({ id }) => id);
      for (const [index, { run, effect, undo, waitsFor, after }] of check.phases.entries()) {
        expect([isWait(run), effect, undo, waitsFor]).toEqual([false, 'none', undefined, undefined]);
        expect(ids.slice(0, index)).toEqual(expect.arrayContaining(after));
      }
      expect(check.steps.flatMap(({ phases }) => phases)).toEqual(ids);
      expect([...check.steps, ...notChecked].map(({ id }) => id).toSorted()).toEqual(
        plan.steps.map(({ id }) => id).toSorted(),
      );
      expect(Object.values(check.leases).every((mode) => mode === 'shared')).toBe(true);
    }),
    { numRuns: 500 },
  );
});
