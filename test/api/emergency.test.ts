import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Plan } from '../../procedures/plan.ts';
import { tidyOnce } from '../../api/janitor.ts';
import { ENVIRONMENT, type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
let now: Date;
beforeAll(async () => {
  api = await makeTestApi({ now: () => now });
});
afterAll(() => api[Symbol.asyncDispose]());

/** No worker ends a run here, so a run that begins keeps its switch. */
const TWO_SWITCHES = ENVIRONMENT.replace(
  'targets:\n',
  "targets:\n  other: { kind: switch, url: 'http://127.0.0.1:9/other', values: [old, held, new] }\n",
);
const YEAR_END = "{ name: year-end, from: '2026-12-18T00:00Z', to: '2027-01-04T00:00Z'";
const SALES = "{ name: sales, from: '2026-12-20T00:00Z', to: '2026-12-22T00:00Z'";
const ofOwners = (freeze: string, votes = 1) => `${freeze}, emergency: { from: { owner: ${votes} } } }`;
const freezes = (...list: string[]) =>
  writeFile(join(api.environmentFolder, 'lab.yaml'), `${TWO_SWITCHES}changeFreezes: [${list.join(', ')}]\n`);

beforeEach(async () => {
  now = new Date('2026-12-19T00:00:00Z');
  await freezes(ofOwners(YEAR_END));
});

const REASON = 'The certificate ends tonight.';
type Asked = { reason: string; freeze?: string };

const asking = (emergency?: Asked, on = 'mode') => ({
  runbook: {
    text: `name: patch\nsteps: [{ id: hold, uses: app.switch, with: { switch: ${on}, to: held } }]\n`,
  },
  environment: 'lab',
  ...(emergency === undefined ? {} : { emergency }),
});

type Made = { plan: string; emergency: Plan['emergency'] | null; steps: { approval: object | null }[] };
type Problem = { code: string; detail: string; hint?: string; errors: { pointer: string }[] };
type Shown = { run: number; state: string; waitingFor: string | null; emergency: object | null };

const make = (emergency?: Asked, on?: string) =>
  api.ok<Made>('dana', '/v1/plans', { body: asking(emergency, on) });

async function refused(path: string, body: object): Promise<[number, Problem]> {
  const response = await api.request('dana', path, { body });
  return [response.status, (await response.json()) as Problem];
}

const janitor = () => tidyOnce(api);
const show = (run: number) => api.ok<Shown>('dana', `/v1/runs/${run}`);

describe('a plan for an emergency', () => {
  test('starts inside the change freeze that it is for, and says why to everybody who reads the run', async () => {
    const emergency = { reason: REASON, freezes: ['year-end'], from: { owner: 1 } };
    const made = await make({ reason: REASON });
    expect(made).toMatchObject({ emergency, steps: [{ approval: { from: { owner: 1 } } }] });
    const ordinary = await make();
    expect(ordinary.emergency).toBeNull();
    const [status, problem] = await refused('/v1/runs', { plan: ordinary.plan });
    expect([status, problem.code, problem.hint]).toEqual([
      409,
      'ChangeFreeze',
      "start it after that; in an emergency plan it anew: countdown plan RUNBOOK --emergency 'why it cannot wait'",
    ]);
    const { run } = await api.ok<Shown>('dana', '/v1/runs', { body: { plan: made.plan } });
    expect(await show(run)).toMatchObject({ emergency, waitingFor: null });
  });

  test('is held by a freeze that it is not for, and by one that asks more people by now', async () => {
    const { plan } = await make({ reason: REASON, freeze: 'year-end' });
    await freezes(ofOwners(YEAR_END), `${SALES} }`);
    now = new Date('2026-12-21T00:00:00Z');
    const meant = 'The emergency of this plan is for year-end as it was when the plan was made.';
    expect(await refused('/v1/runs', { plan })).toMatchObject([
      409,
      {
        code: 'ChangeFreeze',
        detail: `No run starts in lab until 22 Dec 2026 00:00 UTC (sales). ${meant} Rollbacks go on.`,
        hint: 'start it after that',
      },
    ]);
    now = new Date('2026-12-23T00:00:00Z');
    await freezes(ofOwners(YEAR_END, 2));
    expect(await refused('/v1/runs', { plan })).toMatchObject([
      409,
      { detail: `No run starts in lab until 4 Jan 2027 00:00 UTC (year-end). ${meant} Rollbacks go on.` },
    ]);
    await freezes(`${YEAR_END} }`);
    expect((await refused('/v1/runs', { plan }))[1].code).toBe('ChangeFreeze');
  });

  test('begins inside the freeze also when it had to wait for its time', async () => {
    const at = '2026-12-19T01:00Z';
    const { plan } = await make({ reason: REASON }, 'other');
    const { run } = await api.ok<Shown>('dana', '/v1/runs', { body: { plan, at } });
    now = new Date('2026-12-19T01:00:10Z');
    expect(await show(run)).toMatchObject({ state: 'planned', waitingFor: null });
    await janitor();
    expect(await api.store.run(run)).toMatchObject({ isAdmitted: true });
  });

  test('is for the freeze that holds where none is named, and is refused where that is not one', async () => {
    await freezes(ofOwners(YEAR_END), ofOwners(SALES));
    expect((await make({ reason: REASON })).emergency?.freezes).toEqual(['sales', 'year-end']);
    now = new Date('2026-12-21T00:00:00Z');
    expect(await refused('/v1/plans', asking({ reason: REASON }))).toMatchObject([
      422,
      {
        code: 'ParamsInvalid',
        detail: 'year-end and sales hold in lab now, expected one, or the name of the one that is meant.',
        hint: 'name the change freeze: --freeze NAME',
        errors: [{ pointer: '/emergency/freeze' }],
      },
    ]);
    now = new Date('2026-11-01T00:00:00Z');
    expect((await refused('/v1/plans', asking({ reason: REASON })))[1].detail).toBe(
      'No change freeze holds in lab now, expected one, or the name of the one that is meant.',
    );
    expect((await make({ reason: REASON, freeze: 'sales' })).emergency?.freezes).toEqual([
      'sales',
      'year-end',
    ]);
  });

  test('is refused without a reason, and in a freeze that lets nothing through', async () => {
    expect(await refused('/v1/plans', asking({ reason: 'now' }))).toMatchObject([
      422,
      { code: 'ParamsInvalid', errors: [{ pointer: '/emergency/reason' }] },
    ]);
    await freezes(`${YEAR_END} }`);
    expect((await refused('/v1/plans', asking({ reason: REASON })))[1].detail).toMatch(
      /Change freeze 'year-end' has no emergency path, expected one in environment lab\.$/,
    );
  });
});

test('a check takes no emergency, since it starts inside a change freeze as it is', async () => {
  expect((await refused('/v1/checks', asking({ reason: REASON })))[0]).toBe(422);
});
