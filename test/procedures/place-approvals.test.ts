import { describe, expect, test } from 'vitest';
import { changed, demo, hold, keep, phase, planSteps, problemOf } from './support.ts';

const least = (effects: Record<string, unknown>) =>
  changed((file) => void (file['approvals'] = { least: effects }));
const asked = (environment: ReturnType<typeof demo>, approval: string) =>
  planSteps([hold.replace(' }\n', '').replace(/ }$/, `, approval: ${approval} }`)], { environment })
    .approvals['hold'];

describe('approvals', () => {
  test('take of environment and runbook the greater count, the shorter time and the narrower door', () => {
    const environment = least({ reversible: { from: { sre: 1 }, expires: '2h', via: 'api' } });
    expect(asked(environment, '{ from: { owner: 1 }, expires: 3h, remindEvery: 5m }')).toEqual({
      from: { sre: 1, owner: 1 },
      via: 'api',
      expiresMs: 7_200_000,
      remindEveryMs: 300_000,
      freshMs: 900_000,
      covers: ['hold'],
      leading: ['hold/read'],
    });
  });

  test('have defaults', () => {
    expect(asked(least({}), '{ from: { owner: 1 } }')).toEqual({
      from: { owner: 1 },
      via: 'any',
      expiresMs: 14_400_000,
      remindEveryMs: 1_800_000,
      freshMs: 900_000,
      covers: ['hold'],
      leading: ['hold/read'],
    });
  });

  test('are the environment’s alone where the runbook adds none, and none where neither asks', () => {
    const environment = least({ reversible: { from: { sre: 1 } } });
    const plan = planSteps([hold], { environment });
    expect(phase(plan, 'hold/set').waitsFor).toEqual({ approval: 'hold' });
    expect(plan.approvals['hold']?.from).toEqual({ sre: 1 });
    expect(phase(planSteps([hold], { environment }), 'hold/read')).not.toHaveProperty('waitsFor');
    expect(phase(planSteps([hold]), 'hold/set')).not.toHaveProperty('waitsFor');
  });

  test('through two doors could not be given', () => {
    const environment = least({ reversible: { from: { sre: 1 }, via: 'api' } });
    expect(problemOf(() => asked(environment, '{ from: { sre: 1 }, via: slack }')).message).toBe(
      'The runbook asks via slack and the environment via api, expected one door.',
    );
  });

  test('through Slack could not be given where the environment names no channel', () => {
    expect(problemOf(() => asked(demo(), '{ from: { sre: 1 }, via: slack }'))).toMatchObject({
      message: 'hold is approved via slack, and environment demo names no channel of Slack.',
      hint: 'add  slack: { channel: C04LAUNCH }  to the environment, or take via away',
    });
  });

  test('of a group that Slack keeps can be asked without knowing who is in it', () => {
    const environment = changed((file) => {
      file['slack'] = { channel: 'C04LAUNCH' };
      file['groups'] = { sre: ['ana'], product: { slackGroup: 'S05PRODUCT' } };
      file['approvals'] = { least: {} };
    });
    expect(asked(environment, '{ from: { sre: 1, product: 2 } }')?.from).toEqual({ sre: 1, product: 2 });
    expect(problemOf(() => asked(environment, '{ from: { sre: 2, product: 1 } }'))).toMatchObject({
      code: 'QuorumImpossible',
    });
  });

  test('of an unknown group name the nearest one', () => {
    expect(problemOf(() => asked(demo(), '{ from: { sree: 1 } }'))).toMatchObject({
      message: "Environment demo has no group 'sree', expected sre or owner.",
      hint: 'write sre',
    });
  });

  test('that nobody could give are refused with the people missing', () => {
    expect(problemOf(() => asked(demo(), '{ from: { sre: 2 } }'))).toMatchObject({
      code: 'QuorumImpossible',
      message: 'hold needs 2 people of sre, and 1 can vote for it (ana).',
    });
  });

  test('for a step that changes nothing are refused', () => {
    const step = '{ id: a, uses: wait, with: { for: 1s }, approval: { from: { sre: 1 } } }';
    expect(problemOf(() => planSteps([step])).message).toBe(
      "Step 'a' changes nothing, so there is nothing to approve.",
    );
  });

  test('stand on a step of kind approval, which must ask somebody', () => {
    const plan = planSteps(['{ id: leave, uses: approval, approval: { from: { owner: 1 } } }']);
    expect(plan.phases).toMatchObject([
      {
        id: 'leave',
        effect: 'none',
        run: { wait: 'approval' },
        waitsFor: { approval: 'leave' },
      },
    ]);
    expect(problemOf(() => planSteps(['{ id: leave, uses: approval }'])).message).toBe(
      "Step 'leave' waits for an approval and asks nobody, expected a count for each group.",
    );
  });
});

describe('the point of no return', () => {
  const open = '{ id: open, uses: app.switch, with: { switch: app-database-mode, to: postgres } }';

  test('must stand above the value that opens the target', () => {
    expect(problemOf(() => planSteps([open]))).toMatchObject({
      code: 'PointOfNoReturn',
      line: 3,
      message:
        "'postgres' opens app-database-mode for writes that no undo could keep, expected a point of no return above this step.",
    });
    expect(planSteps([keep, open]).steps[1]?.effect).toBe('irreversible');
  });

  test('is no bar for a switch of two values', () => {
    const environment = changed(
      (file) =>
        void (file['targets']!['flag'] = {
          kind: 'switch',
          url: 'http://127.0.0.1:8080/flag',
          values: ['off', 'on'],
        }),
    );
    const step = '{ id: flag, uses: app.switch, with: { switch: flag, to: on } }';
    expect(phase(planSteps([step], { environment }), 'flag/set').undo?.params).toEqual({
      switch: 'flag',
      to: '$(flag.found)',
      from: 'on',
    });
  });

  test('asks for every step below it, and those ask none of their own', () => {
    const environment = changed(
      (file) =>
        void (file['approvals'] = {
          least: { reversible: { from: { sre: 1 } }, irreversible: { from: { owner: 1 } } },
        }),
    );
    const plan = planSteps([keep, hold, open], { environment });
    expect(plan.phases.flatMap(({ id, waitsFor }) => (waitsFor === undefined ? [] : [id]))).toEqual(['keep']);
    expect(plan.approvals).toMatchObject({ keep: { from: { owner: 1 }, covers: ['keep', 'hold', 'open'] } });
  });

  test('refuses approvals below it', () => {
    const step = open.replace(/ }$/, ', approval: { from: { sre: 1 } } }');
    expect(problemOf(() => planSteps([keep, step]))).toMatchObject({
      code: 'PointOfNoReturn',
      message:
        "Step 'open' asks for an approval below the point of no return, whose approval covers it already.",
    });
  });

  test('stands once', () => {
    expect(problemOf(() => planSteps([keep, keep.replace('keep', 'again')]))).toMatchObject({
      code: 'PointOfNoReturn',
      message: 'A second point of no return stands here, expected one: keep is above it.',
    });
  });

  test('asks somebody, in the runbook or in the environment', () => {
    const environment = changed((file) => void (file['approvals'] = { least: {} }));
    expect(problemOf(() => planSteps([keep], { environment })).message).toBe(
      'The point of no return asks nobody, expected an approval here or approvals.least.irreversible in environment demo.',
    );
    const asking = keep.replace(/ }$/, ', approval: { from: { owner: 1 } } }');
    expect(planSteps([asking], { environment }).approvals['keep']?.from).toEqual({ owner: 1 });
  });
});
