import { expect, test } from 'vitest';
import { compileAll } from '../../procedures/compile.ts';
import type { Json } from '../../procedures/plan.ts';
import { parseRunbook } from '../../procedures/runbook.ts';
import { digest } from '../../store/digest.ts';
import { changed, hold, keep, planSteps, problemOf, problemsOf, wait } from './support.ts';

const environment = changed((file) => {
  file['retention'] = { least: '7d' };
  file['approvals'] = { least: { reversible: { from: { sre: 1 } } } };
});
const inner = parseRunbook(`name: inner\nsteps: [${wait('a')}, ${wait('b')}]`, 'inner.yaml');
const later = (step: string, after = '7d') => step.replace(/ }$/, `, after: ${after} }`);
const head = 'params: { p: { type: choice, options: [x, y], default: x } }\n';

const list = (entries: string[]) => entries.map((entry) => `  - ${entry}\n`).join('');

function text(steps: string[], followUps: string[]): string {
  return `name: test\n${head}steps:\n${list(steps)}followUp:\n${list(followUps)}`;
}

const all = (steps: string[], followUps: string[], more: { params?: Record<string, Json> } = {}) =>
  compileAll({
    runbook: parseRunbook(text(steps, followUps), 'runbook.yaml'),
    environment,
    params: more.params ?? {},
    digest,
    runbooks: (name) => (name === 'inner' ? inner : undefined),
  });

test('each follow-up is a plan of its own, and the plan before it names its hash', () => {
  const { plan, followUps } = all(
    [wait('a')],
    [later(hold.replace('hold', 'cleanup')), later(wait('b'), '90d')],
  );
  expect(plan.steps.map(({ id }) => id)).toEqual(['a']);
  expect(plan.approvals).toEqual({});
  const [cleanup, last] = followUps;
  expect(cleanup?.plan).toMatchObject({
    runbook: { name: 'test.cleanup', digest: plan.runbook.digest },
    params: { p: 'x' },
    rollback: plan.rollback,
    approvals: { cleanup: { from: { sre: 1 } } },
  });
  expect(cleanup?.plan).not.toHaveProperty('followUps');
  expect(plan.followUps).toEqual([
    { id: 'cleanup', afterMs: 604_800_000, plan: digest(cleanup?.plan ?? null) },
    { id: 'b', afterMs: 7_776_000_000, plan: digest(last?.plan ?? null) },
  ]);
  expect(planSteps([wait('a')])).not.toHaveProperty('followUps');
});

test('a follow-up knows the params, may be left out by them, and may be a runbook', () => {
  const tell =
    "{ id: tell, uses: notify, with: { target: app, text: '$(params.p)' }, when: { param: p, is: y } }";
  const use = '{ id: use, uses: runbook, with: { runbook: inner } }';
  expect(all([wait('a')], [later(tell)]).plan).not.toHaveProperty('followUps');
  const { followUps } = all([wait('a')], [later(tell), later(use)], { params: { p: 'y' } });
  expect(followUps.map(({ plan }) => plan.phases.map(({ id, run }) => [id, run]))).toMatchObject([
    [['tell', { params: { text: 'y' } }]],
    [
      ['use.a', { wait: 'timer' }],
      ['use.b', { wait: 'timer' }],
    ],
  ]);
});

test('a follow-up of an emergency asks as any other day', () => {
  const frozen = changed((file) => {
    const days = { from: '2026-12-18T00:00Z', to: '2027-01-04T00:00Z' };
    const freeze = { name: 'year-end', ...days, emergency: { from: { owner: 1 } } };
    Object.assign(file, { changeFreezes: [freeze], approvals: {} });
  });
  const { plan, followUps } = compileAll({
    runbook: parseRunbook(text([hold], [later(hold.replace('hold', 'cleanup'))]), 'runbook.yaml'),
    environment: frozen,
    params: {},
    digest,
    emergency: { freeze: 'year-end', reason: 'The certificate is broken.' },
  });
  expect(plan.approvals['hold']?.from).toEqual({ owner: 1 });
  expect(followUps[0]?.plan).toMatchObject({ approvals: {} });
  expect(followUps[0]?.plan).not.toHaveProperty('emergency');
});

test.each([
  [
    'sooner than old data is kept',
    later(wait('b'), '6d23h'),
    '/followUp/0/after',
    'Follow-up b begins after 6d23h, expected at least the 7d of retention.least in environment demo.',
  ],
  [
    'with what the run found',
    later('{ id: b, uses: http.check, with: { target: app, requests: [{ get: /$(hold.found) }] } }'),
    '/followUp/0/with/requests/0/get',
    'hold.found is what a step of another run found, expected params or plain text in a followUp.',
  ],
  [
    'with a condition on what the run found',
    later("{ id: b, uses: wait, with: { for: 1s }, when: { output: hold.found, is: 'x' } }"),
    '/followUp/0/when/output',
    'hold.found is what a step of another run found, expected params or plain text in a followUp.',
  ],
  [
    'for good without a point of no return',
    later('{ id: b, uses: manual, with: { instructions: Burn it., effect: irreversible } }'),
    '/followUp/0/uses',
    'b/do cannot be undone, expected a point of no return above it.',
  ],
])('a follow-up is refused %s', (_, step, pointer, message) => {
  expect(problemOf(() => all([hold], [step]))).toMatchObject({ pointer, message });
});

test.each([
  [
    'without after',
    wait('b'),
    "followUp[0].after is missing, expected a duration such as '30s', '5m', '4h', '7d' or '1h30m'.",
  ],
  [
    'after more than 90 days',
    later(wait('b'), '91d'),
    "followUp[0].after is '91d', expected a duration such as '30s', '5m', '4h', '7d' or '1h30m' from 1s to 90d.",
  ],
  [
    'with the id of a step',
    later(wait('hold')),
    "Step 'hold' stands here a second time, first in line 4, expected each id once.",
  ],
  [
    'of parallel steps',
    later(wait('b')).replace('uses: wait', `uses: wait, parallel: [${wait('x')}]`),
    'parallel stands in a followUp, expected one step that uses a kind.',
  ],
  [
    'with a condition on a param that there is not',
    later(wait('b')).replace(/ }$/, ', when: { param: q, is: x } }'),
    "Step 'b' asks for param 'q', which this runbook has not, expected p.",
  ],
])('a follow-up %s is refused', (_, step, message) => {
  expect(problemOf(() => all([hold], [step])).message).toBe(message);
});

test('every problem of every follow-up is found at once, and a runbook that is used has none', () => {
  const bad = [later(wait('b'), '1d'), later(wait('c'), '2d')];
  expect(problemsOf(() => all([hold], bad)).map(({ pointer }) => pointer)).toEqual([
    '/followUp/0/after',
    '/followUp/1/after',
  ]);
  const outer = parseRunbook(
    `name: outer\nsteps: [{ id: a, uses: runbook, with: { runbook: test } }]`,
    'outer.yaml',
  );
  const used = parseRunbook(text([keep], [later(wait('b'))]), 'test.yaml');
  expect(
    problemOf(() => compileAll({ runbook: outer, environment, params: {}, digest, runbooks: () => used }))
      .message,
  ).toBe(
    "Runbook 'test' has the followUp b, expected one without: it stands in the runbook that is planned.",
  );
  expect(problemOf(() => parseRunbook(`name: x\nsteps: [${hold}]\nfollowUp: []`, 'x.yaml')).message).toBe(
    'followUp is a list, expected at least 1 step.',
  );
});
