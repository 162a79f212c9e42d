import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Plan } from '../../procedures/plan.ts';
import { ENVIRONMENT, type TestApi, makeTestApi } from './support.ts';

const FROZEN = `${ENVIRONMENT.replace('environment: lab', 'environment: frozen')}changeFreezes: [{ name: always, from: '2026-01-01T00:00Z', to: '2099-01-01T00:00Z' }]\n`;
const READY = '  - { id: ready, uses: http.check, with: { target: app, requests: [{ get: / }] } }\n';

let api: TestApi;
beforeAll(async () => {
  api = await makeTestApi();
  await writeFile(join(api.environmentFolder, 'frozen.yaml'), FROZEN);
  await writeFile(join(api.runbooks, 'look.yaml'), `name: look\nsteps:\n${READY}`);
});
afterAll(() => api[Symbol.asyncDispose]());

type Started = { run: number; state: string; plan: string; checked: string[]; notChecked: object[] };
type Run = { run: number; check: boolean; runbook: string };

const refused = (body: object) => api.refusal('dana', '/v1/checks', { body });
const askWith = (key: string, runbook = 'look') =>
  api.request('dana', '/v1/checks', {
    body: { runbook, environment: 'lab' },
    headers: { 'Idempotency-Key': `"${key}"` },
  });

describe('POST /v1/checks', () => {
  test('stores a plan of what can be looked at, and starts it as a run that says so', async () => {
    const body = { runbook: 'hold', environment: 'lab' };
    const response = await api.request('dana', '/v1/checks', { body });
    expect(response.status).toBe(202);
    const started = (await response.json()) as Started;
    expect(response.headers.get('location')).toBe(`/v1/runs/${started.run}`);
    expect(started).toMatchObject({
      state: 'planned',
      checked: ['hold'],
      notChecked: [
        { id: 'look', kind: 'wait', because: 'it only waits' },
        { id: 'release', kind: 'app.switch', because: 'it looks at mode, which hold changes before' },
      ],
    });
    const plan = await api.store.plan(started.plan);
    expect(plan).toMatchObject({ check: true, approvals: {}, leases: { mode: 'shared' } });
    expect(plan?.phases.map(({ id, effect }) => [id, effect])).toEqual([['hold/read', 'none']]);
    const run = await api.ok<Run>('pia', `/v1/runs/${started.run}`);
    expect(run).toMatchObject({ check: true, runbook: 'hold' });
    const { items } = await api.ok<{ items: Run[] }>('pia', '/v1/runs?limit=1');
    expect(items).toMatchObject([{ run: started.run, check: true }]);
  });

  test('takes a key, so that a request that is repeated starts nothing new', async () => {
    const [first, second] = [await askWith('k1'), await askWith('k1')];
    expect(((await second.json()) as Started).run).toBe(((await first.json()) as Started).run);
    expect((await askWith('k1', 'hold')).status).toBe(422);
    const plan = await api.ok<{ plan: string }>('dana', '/v1/plans', {
      body: { runbook: 'look', environment: 'lab' },
    });
    const start = { body: { plan: plan.plan }, headers: { 'Idempotency-Key': '"k1"' } };
    expect(await api.refusal('dana', '/v1/runs', start)).toEqual([422, 'KeyReused']);
  });

  test('is no start of a run that changes something, so a change freeze does not keep it', async () => {
    await expect.poll(async () => (await api.environments.current()).has('frozen')).toBe(true);
    const body = { runbook: 'look', environment: 'frozen' };
    expect(await api.ok<Started>('dana', '/v1/checks', { body })).toMatchObject({ checked: ['ready'] });
  });

  test('refuses what a plan refuses, and a runbook of which nothing can be looked at', async () => {
    const nothing = 'name: nothing\nsteps:\n  - { id: look, uses: wait, with: { for: 1s } }\n';
    expect(await refused({ runbook: { text: nothing }, environment: 'lab' })).toEqual([
      422,
      'NothingToCheck',
    ]);
    expect(await refused({ runbook: { text: nothing }, environment: 'vault' })).toEqual([422, 'TextRefused']);
    expect(await refused({ runbook: 'none', environment: 'lab' })).toEqual([404, 'RunbookUnknown']);
    expect(await refused({ runbook: 'look', environment: 'lab', params: { x: 1 } })).toEqual([
      422,
      'ParamsInvalid',
    ]);
  });

  test('is refused while a run may change what it would look at, and keeps no other check away', async () => {
    const one = await api.ok<Started>('dana', '/v1/checks', {
      body: { runbook: 'hold', environment: 'vault' },
    });
    const two = await api.ok<Started>('dana', '/v1/checks', {
      body: { runbook: 'hold', environment: 'vault' },
    });
    expect([two.plan, two.run]).toEqual([one.plan, one.run + 1]);
    const plan: Plan | undefined = await api.store.plan(one.plan);
    if (plan === undefined) throw new Error('The plan is not in the store.');
    // The same targets for a run that changes them, where no check holds them.
    const holding = await api.savePlan({ ...plan, environment: 'frozen', leases: { mode: 'exclusive' } });
    const made = await api.store.createRun({
      plan: holding,
      requester: 'ben',
      groups: {},
      failAt: null,
      idempotency: null,
    });
    const response = await api.request('dana', '/v1/checks', {
      body: { runbook: 'hold', environment: 'frozen' },
    });
    expect(response.status).toBe(409);
    const run = 'run' in made ? made.run : 0;
    expect(await response.json()).toMatchObject({
      code: 'TargetLeased',
      run,
      detail: expect.stringContaining(`mode is held by run ${run} (hold, requester ben)`),
    });
  });
});
