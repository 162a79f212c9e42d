import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PROCEDURE_NAMES } from '../../procedures/index.ts';
import type { Json } from '../../procedures/plan.ts';
import { PlanProblem } from '../../procedures/problem.ts';
import { parseRunbook } from '../../procedures/runbook.ts';
import { digest } from '../../store/digest.ts';
import { changed, hold, keep, planSteps, planText, wait } from './support.ts';

const everyKey = () =>
  changed((file) => {
    const hours = { days: ['Sat'], from: '01:00', to: '05:00', timezone: 'UTC' };
    file['windows'] = {
      night: hours,
      strict: { ...hours, midRun: 'hold' },
      hard: { ...hours, midRun: 'unwind' },
    };
  });
const look = (id: string) => `{ id: ${id}, uses: http.check, with: { target: app, requests: [{ get: / }] } }`;
const shippedSteps: Record<string, string[]> = {
  inner: [hold, look('look')],
  outer: ['{ id: x, uses: runbook, with: { runbook: inner } }', wait('a')],
  bad: [hold.replace('sqlite-held', 'x'), wait('$(params.x)')],
  a: ['{ id: x, uses: runbook, with: { runbook: a } }'],
};
function runbooks(name: string) {
  const steps = Object.hasOwn(shippedSteps, name) ? shippedSteps[name] : undefined;
  return steps && parseRunbook(`name: ${name}\nsteps: [${steps.join(', ')}]`, `${name}.yaml`);
}

test('any runbook compiles, or says what is wrong with it, and nothing else is thrown', () => {
  const environment = everyKey();
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
      window: fc.constantFrom('night', 'strict', 'hard', 'other'),
      rollback: fc.record({ within: fc.constantFrom('1s', '5m', '2h', 'soon') }),
      when: fc.dictionary(fc.constantFrom('param', 'output', 'is', 'above'), scalar, { maxKeys: 3 }),
      onFail: fc.constantFrom('ask', 'unwind', 'x'),
      after: fc.constantFrom('1s', '10d', 'x'),
    },
    { requiredKeys: ['id', 'uses'] },
  );
  const include = fc.record(
    {
      id: names,
      uses: fc.constant('runbook'),
      with: fc.record(
        {
          runbook: fc.constantFrom('inner', 'outer', 'bad', 'nowhere', 'a'),
          params: fc.dictionary(fc.constantFrom('p', 'q'), scalar, { maxKeys: 2 }),
        },
        { requiredKeys: ['runbook'] },
      ),
      window: fc.constantFrom('night', 'hard', 'other'),
      onFail: fc.constantFrom('ask', 'unwind'),
    },
    { requiredKeys: ['id', 'uses', 'with'] },
  );
  const good = fc.constantFrom<Json>(
    { id: 'a', uses: 'wait', with: { for: '1s' } },
    { id: 'hold', uses: 'app.switch', with: { switch: 'app-database-mode', to: 'sqlite-held' } },
    { id: 'keep', uses: 'point-of-no-return', with: { because: '$(params.p)' } },
    { id: 'c', uses: 'runbook', with: { runbook: 'inner' } },
    { id: 'b', uses: 'http.check', with: { target: 'app', requests: [{ get: '/$(hold.found)' }] } },
  );
  const goodLater = fc.constantFrom<Json>(
    { id: 'later', after: '10d', uses: 'wait', with: { for: '1s' } },
    { id: 'latest', after: '90d', uses: 'runbook', with: { runbook: 'outer' } },
  );
  const one = fc.oneof(
    { weight: 6, arbitrary: good as typeof step },
    { weight: 1, arbitrary: step },
    { weight: 2, arbitrary: include as unknown as typeof step },
  );
  const block = fc.record({ id: names, parallel: fc.array(one, { minLength: 1, maxLength: 3 }) });
  const runbook = fc.record(
    {
      name: fc.constantFrom('a', 'a', 'a', '__proto__'),
      steps: fc.array(
        fc.oneof({ weight: 6, arbitrary: one }, { weight: 1, arbitrary: block as unknown as typeof one }),
        { maxLength: 4 },
      ),
      followUp: fc.array(
        fc.oneof({ weight: 5, arbitrary: goodLater as typeof one }, { weight: 1, arbitrary: one }),
        { minLength: 1, maxLength: 2 },
      ),
      rollback: fc.record({ within: fc.constantFrom('1s', '1h') }),
      params: fc.constant({ p: { type: 'string', default: 'x' } }),
    },
    { requiredKeys: ['name', 'steps'] },
  );
  let compiled = 0;
  let included = 0;
  let followed = 0;
  fc.assert(
    fc.property(runbook, (text) => {
      try {
        const plan = planText(JSON.stringify(text), { environment, runbooks });
        compiled += 1;
        included += plan.includes === undefined ? 0 : 1;
        followed += plan.followUps === undefined ? 0 : 1;
        expect(digest(JSON.parse(JSON.stringify(plan)))).toBe(digest(plan));
      } catch (error) {
        if (!(error instanceof PlanProblem)) throw error;
        expect(error.problems.length).toBeGreaterThan(0);
        for (const problem of error.problems) expect(problem.message).toMatch(/[.]$/);
      }
    }),
    { numRuns: 1_000 },
  );
  // The generator is worth nothing where it makes nothing that compiles.
  expect(Math.min(compiled, included, followed)).toBeGreaterThan(0);
});

test('valid runbooks of any order compile, and their phases keep the laws', () => {
  const environment = everyKey();
  const kinds = fc.constantFrom(
    (id: string) => wait(id),
    (id: string) => hold.replace('hold', id),
    look,
    (id: string) => `{ id: ${id}, uses: approval, approval: { from: { sre: 1 } } }`,
    (id: string) => `{ id: ${id}, uses: manual, with: { instructions: Do it., undo: Take it back. } }`,
    (id: string) => hold.replace('id: hold', `id: ${id}, window: strict, rollback: { within: 1h }`),
    (id: string) => `{ id: ${id}, uses: runbook, with: { runbook: inner }, onFail: ask }`,
    (id: string) => `{ id: ${id}, uses: runbook, with: { runbook: outer }, window: night }`,
    (id: string) => `{ id: ${id}, parallel: [${wait(`${id}w`)}, ${look(`${id}l`)}] }`,
  );
  fc.assert(
    fc.property(fc.array(kinds, { minLength: 1, maxLength: 8 }), fc.boolean(), (steps, hasLine) => {
      const texts = steps.map((make, index) => make(`s${index}`));
      const plan = planSteps(hasLine ? [...texts, keep, hold.replace('hold', 'last')] : texts, {
        environment,
        runbooks,
        head: 'rollback: { within: 2h }\n',
      });
      expect(new Set(plan.phases.map(({ id }) => id)).size).toBe(plan.phases.length);
      expect(plan.steps.flatMap((step) => step.phases)).toEqual(plan.phases.map(({ id }) => id));
      const line = plan.phases.findIndex(({ id }) => id === 'keep');
      for (const [index, one] of plan.phases.entries()) {
        const isAbove = line < 0 || index < line;
        if (one.effect !== 'none' && isAbove && one.undoWait === undefined)
          expect([one.undo, one.probe]).not.toContain(undefined);
        if (!isAbove) expect([one.undo, one.undoWait]).toEqual([undefined, undefined]);
        // What a phase waits for is there, and what it starts after stands above it.
        const { approval, window } = one.waitsFor ?? {};
        if (approval !== undefined) expect(plan.approvals[approval]?.covers).toBeDefined();
        if (window !== undefined) expect(plan.windows).toHaveProperty([window]);
        const above = plan.phases.slice(0, index).map(({ id }) => id);
        expect(above).toEqual(expect.arrayContaining(one.after));
        for (const target of one.targets) expect(plan.targets).toHaveProperty([target]);
      }
    }),
    { numRuns: 200 },
  );
});
