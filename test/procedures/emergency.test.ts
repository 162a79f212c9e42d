import { describe, expect, test } from 'vitest';
import { compile } from '../../procedures/compile.ts';
import type { EmergencyAsked } from '../../procedures/emergency.ts';
import { parseRunbook } from '../../procedures/runbook.ts';
import { digest } from '../../store/digest.ts';
import { changed, hold, keep, planSteps, problemOf, wait } from './support.ts';

const freeze = (name: string, days: [number, number], from?: Record<string, number>) => ({
  name,
  from: `2026-12-${days[0]}T00:00Z`,
  to: `2026-12-${days[1]}T00:00Z`,
  ...(from === undefined ? {} : { emergency: { from } }),
});
const environment = changed((file) => {
  Object.assign(file, {
    approvals: {},
    changeFreezes: [
      freeze('sales', [10, 20], { sre: 1 }),
      freeze('year-end', [18, 31], { owner: 1 }),
      freeze('audit', [11, 12]),
      freeze('other', [25, 26], { sre: 2 }),
    ],
  });
});
const asked: EmergencyAsked = { freeze: 'sales', reason: 'The certificate is broken.' };
const withApproval = (step: string, approval: string) => step.replace(/ }$/, `, approval: ${approval} }`);
const look = '{ id: look, uses: http.check, with: { target: app, requests: [{ get: / }] } }';

const named = (id: string) => hold.replace('id: hold', `id: ${id}`);

const plan = (steps: string[], emergency = asked) => {
  const text = `name: test\nsteps: [${steps.join(', ')}]`;
  return compile({ runbook: parseRunbook(text, 'runbook.yaml'), environment, params: {}, digest, emergency });
};

describe('a plan for an emergency', () => {
  test('says why and for which freezes, those at the same time too where they have a path', () => {
    expect(plan([wait('a')]).emergency).toEqual({
      reason: 'The certificate is broken.',
      freezes: ['sales', 'year-end'],
      from: { sre: 1, owner: 1 },
    });
    expect(planSteps([wait('a')], { environment })).not.toHaveProperty('emergency');
  });

  test('asks in each approval at least whom the freezes name', () => {
    const { approvals } = plan([withApproval(hold, '{ from: { sre: 1 } }'), look]);
    expect(approvals['hold']?.from).toEqual({ sre: 1, owner: 1 });
    const line = plan([look, withApproval(keep, '{ from: { sre: 1 } }'), hold]).approvals;
    expect(Object.entries(line).map(([id, { from }]) => [id, from])).toEqual([
      ['keep', { sre: 1, owner: 1 }],
    ]);
  });

  test('asks before the first effect where nobody would be asked otherwise', () => {
    const second = hold.replace('id: hold', 'id: second');
    const made = plan([look, hold, second]);
    expect(Object.keys(made.approvals)).toEqual(['hold']);
    expect(made.approvals['hold']).toMatchObject({
      from: { sre: 1, owner: 1 },
      covers: ['hold', 'second'],
      leading: ['hold/read'],
      expiresMs: 14_400_000,
    });
    expect(made.phases.flatMap(({ id, waitsFor }) => (waitsFor === undefined ? [] : [id]))).toEqual([
      'hold/set',
    ]);
    expect(plan([look, wait('a')]).approvals).toEqual({});
  });

  test('asks before the first effect also where a step below asks by itself, and then no more', () => {
    const asks = withApproval(named('asks'), '{ from: { sre: 1 } }');
    const { approvals } = plan([hold, named('second'), asks, named('last')]);
    expect(Object.keys(approvals).toSorted()).toEqual(['asks', 'hold']);
    // Whoever skips the step that asks comes to no effect below it.
    expect(approvals['hold']?.covers).toEqual(['hold', 'second', 'last']);
    expect(approvals['asks']?.covers).toEqual(['asks']);
    expect(Object.keys(plan([asks, hold]).approvals)).toEqual(['asks']);
  });

  test('asks again below a step that its condition may leave out', () => {
    const found =
      '{ id: found, uses: sql.check, with: { target: app-postgres, query: select 1, expect: 1 } }';
    const maybe = hold.replace(/ }$/, ', when: { output: found.value, above: 10 } }');
    const { approvals } = plan([found, maybe, named('second'), named('third')]);
    expect(Object.entries(approvals).filter(([, { skip }]) => skip !== true)).toMatchObject([
      ['hold', { from: { sre: 1, owner: 1 } }],
      ['second', { from: { sre: 1, owner: 1 } }],
    ]);
  });

  test.each([
    [
      'of a freeze that there is not',
      { freeze: 'sale', reason: asked.reason },
      '/emergency/freeze',
      "Environment demo has no change freeze 'sale', expected sales, year-end, audit or other.",
    ],
    [
      'of a freeze without an emergency path',
      { freeze: 'audit', reason: asked.reason },
      '/emergency/freeze',
      "Change freeze 'audit' has no emergency path, expected one in environment demo.",
    ],
    [
      'without a reason',
      { freeze: 'sales', reason: '   why   ' },
      '/emergency/reason',
      'The reason of the emergency has 3 characters, expected 10 to 500.',
    ],
  ])('%s is refused', (_, emergency, pointer, message) => {
    expect(problemOf(() => plan([wait('a')], emergency))).toMatchObject({
      code: 'ParamsInvalid',
      pointer,
      message,
    });
  });

  test('that nobody could approve is refused with the people missing', () => {
    expect(problemOf(() => plan([hold], { ...asked, freeze: 'other' })).code).toBe('QuorumImpossible');
  });
});

test('an environment calls further groups, and may let two people stand for all, in every approval', () => {
  const calling = changed((file) => {
    file['approvals'] = {
      least: { reversible: { from: { sre: 1 }, comment: 'required' } },
      escalate: [
        { after: '1h', to: 'owner' },
        { after: '90m', to: 'sre' },
      ],
      breakGlass: true,
    };
  });
  const { approvals } = planSteps([hold, look], { environment: calling });
  for (const approval of [approvals['hold'], approvals['look']]) {
    expect(approval).toMatchObject({
      comment: 'required',
      escalate: [
        { afterMs: 3_600_000, to: 'owner' },
        { afterMs: 5_400_000, to: 'sre' },
      ],
      breakGlass: true,
    });
  }
});

test('a comment is asked for where runbook or environment asks for it, and not where both leave it open', () => {
  const free = changed((file) => void (file['approvals'] = { breakGlass: false }));
  const commentOf = (words: string) =>
    planSteps([withApproval(hold, `{ from: { sre: 1 }, comment: ${words} }`)], { environment: free })
      .approvals['hold'];
  expect(commentOf('required')?.comment).toBe('required');
  expect(commentOf('optional')).not.toHaveProperty('comment');
  expect(commentOf('optional')).not.toHaveProperty('breakGlass');
  expect(problemOf(() => commentOf('always')).message).toBe(
    "steps[0].approval.comment is 'always', expected optional or required.",
  );
});
