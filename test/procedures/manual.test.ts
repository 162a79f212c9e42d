import { expect, test } from 'vitest';
import { undoSheet } from '../../procedures/undo-sheet.ts';
import { keep, phase, planSteps, problemOf, wait } from './support.ts';

const asked = keep.replace(/ }$/, ', approval: { from: { sre: 1 } } }');
const manual = (more = '') => `{ id: paper, uses: manual, with: { instructions: Sign it.${more} } }`;

test('work by hand without an undo changes nothing and waits for a person, who shows what was done', () => {
  const plan = planSteps([manual()]);
  expect(phase(plan, 'paper')).toMatchObject({
    effect: 'none',
    targets: [],
    run: { wait: 'person', instructions: 'Sign it.', evidence: 'required' },
    expected: { undoMs: 0 },
  });
  expect(phase(plan, 'paper')).not.toHaveProperty('undoWait');
  expect(plan.approvals).toEqual({});
});

test('work by hand with an undo is reversible, taken back by a person, and asks as others do', () => {
  const step = manual(', undo: Tear it up., evidence: optional, targets: [app]');
  const plan = planSteps([step.replace(/ }$/, ', approval: { from: { sre: 1 } } }')]);
  expect(phase(plan, 'paper')).toMatchObject({
    effect: 'reversible',
    targets: ['app'],
    undoWait: { wait: 'person', instructions: 'Tear it up.', evidence: 'optional' },
    waitsFor: { approval: 'paper' },
  });
  expect(phase(plan, 'paper')).not.toHaveProperty('undo');
  expect(phase(plan, 'paper')).not.toHaveProperty('probe');
  expect(plan.leases).toEqual({ app: 'exclusive' });
  expect(plan.unverifiable).toEqual(['app']);
});

test('its undo stands on the undo sheet in the words of the runbook, a literal as it is meant', () => {
  const plan = planSteps([manual(", undo: 'Tear up $$(a.b).'")]);
  expect(phase(plan, 'paper').undoWait?.instructions).toBe('Tear up $(a.b).');
  const sheet = undoSheet(plan, '0'.repeat(64)).replaceAll(/\s+/g, ' ');
  expect(sheet).toContain(
    'By hand Tear up $(a.b). Done when all that is said here is done, and what shows it is noted.',
  );
});

test('below the point of no return work by hand is for good', () => {
  const plan = planSteps([asked, manual(', undo: Tear it up., effect: costly')]);
  expect(phase(plan, 'paper')).toMatchObject({ effect: 'irreversible', expected: { undoMs: 0 } });
  expect(phase(plan, 'paper')).not.toHaveProperty('undoWait');
  expect(phase(plan, 'paper')).not.toHaveProperty('byHand');
  expect(phase(planSteps([asked, manual(', effect: irreversible')]), 'paper').effect).toBe('irreversible');
});

test('a param stands in the instructions as it is meant', () => {
  const plan = planSteps([manual().replace('Sign it.', "'$(params.p) and $$$$(a.b).'")], {
    head: "params: { p: { type: string, default: '$(x.y)' } }\n",
  });
  expect(phase(plan, 'paper').run).toMatchObject({ instructions: '$(x.y) and $(a.b).' });
});

test.each([
  [
    'an effect that nobody can take back',
    manual(', effect: reversible'),
    'The effect is reversible and no undo says how a person takes it back, expected instructions.',
  ],
  [
    'an effect for good above the point of no return',
    manual(', effect: irreversible'),
    'paper/do cannot be undone, expected a point of no return above it.',
  ],
  [
    'an undo of nothing',
    manual(', undo: Tear it up., effect: none'),
    'The step says how it is taken back and has effect none, expected another effect or no undo.',
  ],
  [
    'a target that there is not',
    manual(', targets: [ap]'),
    "Environment demo has no target 'ap', expected app, app-sqlite, app-postgres, app-migrations or app-database-mode.",
  ],
  ['a target twice', manual(', targets: [app, app]'), 'A target stands in targets twice, expected once.'],
  [
    'no instructions',
    "{ id: paper, uses: manual, with: { instructions: ' ' } }",
    "steps[0].with.instructions is ' ', expected what to do, in words.",
  ],
])('work by hand is refused with %s', (_, step, message) => {
  expect(problemOf(() => planSteps([step])).message).toBe(message);
});

test('work by hand takes no output of another step, since nobody would fill it in', () => {
  const look = '{ id: look, uses: sql.check, with: { target: app-postgres, query: select 1, expect: 1 } }';
  expect(
    problemOf(() => planSteps([look, manual().replace('it.', '$$(look.value).'), wait('a')])).message,
  ).toBe('$(look.value) cannot stand in a step of kind manual, expected plain text or params.');
});
