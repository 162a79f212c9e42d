import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PROCEDURE_NAMES } from '../../procedures/index.ts';
import type { Json } from '../../procedures/plan.ts';
import { PlanProblem } from '../../procedures/problem.ts';
import { digest } from '../../store/digest.ts';
import { demo, hold, keep, planSteps, planText, wait } from './support.ts';

test('any runbook compiles, or says what is wrong with it, and nothing else is thrown', () => {
  const environment = demo();
  const names = fc.constantFrom('a', 'b', 'keep', 'hold', 'params', 'A', '__proto__', 'constructor', '');
  const scalar = fc.oneof(
    fc.constantFrom<Json>(
      '1s',
      '5m',
      'app',
      'app-sqlite',
      'app-postgres',
      'app-database-mode',
      'sqlite',
      'postgres',
      '$(a.found)',
      '$(params.p)',
      '$$(a.b)',
      '$(',
      '/x',
      'ask',
    ),
    fc.string({ maxLength: 8 }),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
  );
  const field = fc.constantFrom(
    'target',
    'source',
    'switch',
    'to',
    'for',
    'every',
    'requests',
    'because',
    'chunkRows',
    'reverseCapture',
    'x',
  );
  const requests = fc.array(
    fc.dictionary(fc.constantFrom('get', 'post', 'status', 'headers'), scalar, { maxKeys: 3 }),
    { maxLength: 3 },
  );
  const step = fc.record(
    {
      id: names,
      uses: fc.constantFrom(...PROCEDURE_NAMES, 'gate', 'nothing'),
      with: fc.dictionary(field, fc.oneof(scalar, scalar, requests as fc.Arbitrary<Json>), { maxKeys: 5 }),
      approval: fc.record({
        from: fc.dictionary(fc.constantFrom('sre', 'owner', 'x'), fc.integer({ min: 0, max: 3 })),
      }),
      timeout: scalar,
      tries: fc.integer({ min: -1, max: 20 }),
    },
    { requiredKeys: ['id', 'uses'] },
  );
  const good = fc.constantFrom<Json>(
    { id: 'a', uses: 'wait', with: { for: '1s' } },
    { id: 'hold', uses: 'app.switch', with: { switch: 'app-database-mode', to: 'sqlite-held' } },
    { id: 'keep', uses: 'point-of-no-return', with: { because: '$(params.p)' } },
    { id: 'b', uses: 'http.check', with: { target: 'app', requests: [{ get: '/$(hold.found)' }] } },
  );
  const runbook = fc.record(
    {
      name: fc.constantFrom('a', 'a', 'a', '__proto__'),
      steps: fc.array(
        fc.oneof({ weight: 4, arbitrary: good as typeof step }, { weight: 1, arbitrary: step }),
        { maxLength: 4 },
      ),
      params: fc.constant({ p: { type: 'string', default: 'x' } }),
    },
    { requiredKeys: ['name', 'steps'] },
  );
  let compiled = 0;
  fc.assert(
    fc.property(runbook, (one) => {
      try {
        const plan = planText(JSON.stringify(one), { environment });
        compiled += 1;
        expect(digest(JSON.parse(JSON.stringify(plan)))).toBe(digest(plan));
      } catch (error) {
        if (!(error instanceof PlanProblem)) throw error;
        expect(error.problems.length).toBeGreaterThan(0);
        for (const problem of error.problems) expect(problem.message).toMatch(/[.]$/);
      }
    }),
    { numRuns: 1_000 },
  );
  expect(compiled).toBeGreaterThan(0);
});

test('valid runbooks of any order compile, and their phases keep the laws', () => {
  const environment = demo();
  const kinds = fc.constantFrom(
    (id: string) => wait(id),
    (id: string) => hold.replace('hold', id),
    (id: string) => `{ id: ${id}, uses: http.check, with: { target: app, requests: [{ get: / }] } }`,
    (id: string) => `{ id: ${id}, uses: approval, approval: { from: { sre: 1 } } }`,
  );
  fc.assert(
    fc.property(fc.array(kinds, { minLength: 1, maxLength: 8 }), fc.boolean(), (steps, hasLine) => {
      const texts = steps.map((make, index) => make(`s${index}`));
      const plan = planSteps(hasLine ? [...texts, keep, hold.replace('hold', 'last')] : texts, {
        environment,
      });
      expect(new Set(plan.phases.map(({ id }) => id)).size).toBe(plan.phases.length);
      expect(plan.steps.flatMap((step) => step.phases)).toEqual(plan.phases.map(({ id }) => id));
      const line = plan.phases.findIndex(({ id }) => id === 'keep');
      for (const [index, one] of plan.phases.entries()) {
        const isAbove = line < 0 || index < line;
        if (one.effect !== 'none' && isAbove) expect([one.undo, one.probe]).not.toContain(undefined);
        if (!isAbove) expect(one.undo).toBeUndefined();
        for (const target of one.targets) expect(plan.targets).toHaveProperty([target]);
      }
    }),
    { numRuns: 200 },
  );
});
