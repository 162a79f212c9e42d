import { expect, test } from 'vitest';
import { Collector } from '../../procedures/collector.ts';
import { parseEnvironment } from '../../procedures/environment.ts';
import { finishPhase } from '../../procedures/phases.ts';
import { type PlannedStep, checkSteps } from '../../procedures/plan-steps.ts';
import type { DraftPhase } from '../../procedures/procedure.ts';
import { parseRunbook } from '../../procedures/runbook.ts';
import { problemOf } from './support.ts';

const runbook = parseRunbook('name: x\nsteps: [{ id: move, uses: wait, with: { for: 1s } }]', 'runbook.yaml');
const environment = parseEnvironment(
  `environment: x
targets:
  here: { kind: sqlite, path: /a, worker: one }
  there: { kind: sqlite, path: /b, worker: two }
  near: { kind: sqlite, path: /c, worker: one }
  web: { kind: http, url: 'http://h', worker: west }
`,
  'x.yaml',
);
const call = { activity: 'test/move/run', params: {} };
const draft = (over: Partial<DraftPhase>): DraftPhase => ({
  name: 'move',
  title: 'Move',
  effect: 'reversible',
  targets: [],
  run: call,
  undo: call,
  probe: call,
  expected: { runMs: 5, undoMs: 7 },
  limits: { timeoutMs: 1_000 },
  ...over,
});
const stepOf = (drafts: DraftPhase[], belowPointOfNoReturn = false): PlannedStep => {
  const [step] = runbook.steps;
  if (step === undefined) throw new Error('The runbook has a step.');
  return {
    step: { ...step, uses: 'wait', scope: { values: {}, declared: {} } },
    path: ['steps', 0],
    drafts,
    isPointOfNoReturn: false,
    belowPointOfNoReturn,
  };
};
const finish = (one: DraftPhase, below = false) => {
  const found = new Collector(runbook.source);
  const phase = finishPhase(stepOf([one], below), one, environment, found);
  found.finish();
  return phase;
};

test('files of two worker pools in one phase are refused', () => {
  expect(problemOf(() => finish(draft({ targets: ['here', 'there'] })))).toMatchObject({
    code: 'PoolsDiffer',
    message: 'move needs here in one and there in two, expected files of one worker pool in one phase.',
  });
});

test('a file decides the pool, wherever it stands among the targets', () => {
  expect(finish(draft({ targets: ['web', 'here', 'near'] })).pool).toBe('one');
  expect(finish(draft({ targets: ['web'] })).pool).toBe('west');
  expect(finish(draft({ targets: [] })).pool).toBe('default');
});

test('below the point of no return an effect is for good: no undo, and no time for one', () => {
  const phase = finish(draft({ undoTitle: 'Move back' }), true);
  expect(phase).toMatchObject({ effect: 'irreversible', probe: call, expected: { runMs: 5, undoMs: 0 } });
  expect(Object.keys(phase)).not.toEqual(expect.arrayContaining(['undo']));
  expect(finish(draft({ effect: 'none' }), true)).toMatchObject({ effect: 'none', undo: call });
});

test('the only phase of a step has the id of the step, others their own name beside it', () => {
  const found = new Collector(runbook.source);
  const two = [draft({ name: 'a' }), draft({ name: 'b' })];
  expect(two.map((one) => finishPhase(stepOf(two), one, environment, found).id)).toEqual([
    'move/a',
    'move/b',
  ]);
  expect(finish(draft({})).id).toBe('move');
});

const { undo: _, ...noUndo } = draft({});
const { probe: __, ...noProbe } = draft({});

test.each([
  [
    'an irreversible phase',
    draft({ effect: 'irreversible' }),
    'move/move cannot be undone, expected a point of no return above it.',
  ],
  [
    'an effect without undo',
    noUndo,
    'move/move has an effect and no undo, expected undo and probe above a point of no return.',
  ],
  [
    'an effect without probe',
    noProbe,
    'move/move has an effect and no probe, expected undo and probe above a point of no return.',
  ],
])('%s is refused above the point of no return, and taken below it', (_title, one, message) => {
  const check = (below: boolean) => {
    const found = new Collector(runbook.source);
    checkSteps([stepOf([one], below)], found);
    found.finish();
  };
  expect(problemOf(() => check(false))).toMatchObject({ code: 'PointOfNoReturn', message });
  expect(() => check(true)).not.toThrow();
});
