import { expect, test } from 'vitest';
import { changed, demo, hold, keep, planSteps, problemOf, wait } from './support.ts';

const look = '{ id: look, uses: http.check, with: { target: app, requests: [{ get: / }] } }';
const ask = '{ id: ask, uses: sql.check, with: { target: app-postgres, query: select 1, expect: 1 } }';
const database =
  '{ id: database, uses: database.import, with: { source: app-sqlite, target: app-postgres, switch: app-database-mode } }';
const least = (effects: Record<string, unknown>) =>
  changed((file) => void (file['approvals'] = { least: effects }));
const withApproval = (step: string, approval: string) => step.replace(/ }$/, `, approval: ${approval} }`);

test('leave to skip a gate is asked of those who decide about the greatest effect of the plan', () => {
  const environment = least({
    reversible: { from: { sre: 1 } },
    irreversible: { from: { sre: 1, owner: 1 }, via: 'api' },
  });
  const above = planSteps([look, hold], { environment }).approvals;
  expect(above['look']).toEqual({
    from: { sre: 1 },
    expiresMs: 14_400_000,
    via: 'any',
    remindEveryMs: 1_800_000,
    freshMs: 900_000,
    covers: ['look'],
    leading: [],
    skip: true,
  });
  const whole = planSteps([look, hold, keep], { environment }).approvals;
  expect(whole['look']).toMatchObject({ from: { sre: 1, owner: 1 }, via: 'api', skip: true });
  expect(whole['hold']).not.toHaveProperty('skip');
});

test('a verification inside a step asks those too whom the runbook adds there', () => {
  const plan = planSteps([withApproval(database, '{ from: { owner: 1 }, expires: 1h }')], {
    environment: least({ reversible: { from: { sre: 1 } } }),
  });
  expect(Object.keys(plan.approvals)).toEqual(['database', 'database/verify']);
  expect(plan.approvals['database/verify']).toMatchObject({
    from: { sre: 1, owner: 1 },
    expiresMs: 3_600_000,
    covers: ['database'],
    leading: [],
    skip: true,
  });
  expect(plan.phases.filter(({ waitsFor }) => waitsFor?.approval === 'database/verify')).toEqual([]);
});

test('a gate in a block asks those whom the block asks', () => {
  const block = `{ id: both, parallel: [${hold}, ${look}, ${ask}], approval: { from: { owner: 1 } } }`;
  const { approvals } = planSteps([block], { environment: least({}) });
  expect(Object.entries(approvals).map(([id, { from, skip }]) => [id, from, skip])).toEqual([
    ['both', { owner: 1 }, undefined],
    ['look', { owner: 1 }, true],
    ['ask', { owner: 1 }, true],
  ]);
});

test('below the point of no return the quorum is that of the point', () => {
  const steps = [look, withApproval(keep, '{ from: { owner: 1 }, expires: 5m }'), ask];
  const { approvals } = planSteps(steps, { environment: least({ irreversible: { from: { sre: 1 } } }) });
  expect(approvals['ask']).toMatchObject({
    from: { sre: 1, owner: 1 },
    expiresMs: 300_000,
    covers: ['ask'],
    skip: true,
  });
  expect(approvals['look']).toMatchObject({ from: { sre: 1 }, expiresMs: 14_400_000 });
});

test('nobody is asked where nothing is changed, or where the environment asks nobody', () => {
  expect(planSteps([look, wait('a')]).approvals).toEqual({});
  expect(planSteps([look, hold], { environment: least({}) }).approvals).toEqual({});
});

test('where runbook and environment name different doors, that of the environment holds for skipping', () => {
  const environment = changed((file) => {
    file['approvals'] = { least: { irreversible: { from: { sre: 1 }, via: 'api' } } };
    file['slack'] = { channel: 'C04LAUNCH' };
  });
  const plan = planSteps([withApproval(database, '{ from: { owner: 1 }, via: slack }'), keep], {
    environment,
  });
  expect(plan.approvals['database/verify']).toMatchObject({ via: 'api', from: { sre: 1, owner: 1 } });
});

test('leave to skip that nobody could give is refused with the people missing', () => {
  const environment = changed((file) => {
    file['approvals'] = { least: { irreversible: { from: { sre: 1 } } } };
    file['groups'] = { sre: ['ana'], owner: ['ana'] };
  });
  const steps = [withApproval(database, '{ from: { owner: 1 } }'), keep];
  expect(problemOf(() => planSteps(steps, { environment }))).toMatchObject({
    code: 'QuorumImpossible',
    pointer: '/steps/0/uses',
    hint: 'add people in environment demo, or ask for fewer votes',
  });
  expect(demo().groups).toEqual({ sre: ['ana'], owner: ['olu'] });
});
