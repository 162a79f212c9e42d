import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { approval, makePlan } from '../support/plans.ts';
import { ENVIRONMENT, RUNBOOK, type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await makeTestApi();
});
afterAll(() => api[Symbol.asyncDispose]());

type PlanBody = {
  plan: string;
  pointOfNoReturn: string | null;
  steps: { id: string; approval: { from: object } | null; phases: { id: string; undo: string | null }[] }[];
  now: { person: string; canApprove: object; leases: object[]; undoMs: number };
};
const hold = { runbook: 'hold', environment: 'lab' };

const refusedPlan = (body: object) => api.refusal('dana', '/v1/plans', { body });

describe('a plan', () => {
  test('shows phases, undo, approvals and who can approve, and is found again by 12 digits', async () => {
    const made = await api.ok<PlanBody>('dana', '/v1/plans', { body: hold });
    expect(made.steps.map(({ id, phases }) => [id, phases.map((phase) => phase.id)])).toEqual([
      ['hold', ['hold/read', 'hold/set']],
      ['look', ['look']],
      ['release', ['release/read', 'release/set']],
    ]);
    expect(made.steps[0]?.approval?.from).toEqual({ owner: 1, sre: 1 });
    expect(made.steps[0]?.phases[1]?.undo).toEqual(expect.any(String));
    expect(made.now.canApprove).toEqual({ owner: ['chi', 'olu'], sre: ['ana', 'ben'] });
    const again = await api.ok<PlanBody>('pia', `/v1/plans/${made.plan.slice(0, 12)}`);
    expect([again.plan, again.now.person]).toEqual([made.plan, 'pia']);
  });

  test('has one name however often it is made, by whom and from which source', async () => {
    const [one, other, text] = await Promise.all([
      api.ok<PlanBody>('dana', '/v1/plans', { body: hold }),
      api.ok<PlanBody>('ben', '/v1/plans', { body: hold }),
      api.ok<PlanBody>('dana', '/v1/plans', { body: { ...hold, runbook: { text: RUNBOOK } } }),
    ]);
    expect(new Set([one.plan, other.plan]).size).toBe(1);
    expect(text.plan).toMatch(/^[0-9a-f]{64}$/);
  });

  test('is refused with the right status for each kind of bad input, and nothing is stored', async () => {
    expect(await refusedPlan({ ...hold, runbook: 'nothing' })).toEqual([404, 'RunbookUnknown']);
    expect(await refusedPlan({ ...hold, runbook: '../environments/lab' })).toEqual([422, 'BodyInvalid']);
    expect(await refusedPlan({ ...hold, environment: 'mars' })).toEqual([404, 'EnvironmentUnknown']);
    expect(await refusedPlan({ ...hold, extra: 1 })).toEqual([422, 'BodyInvalid']);
    expect(await refusedPlan({ ...hold, params: { release: '1' } })).toEqual([422, 'ParamsInvalid']);
    expect(await refusedPlan({ ...hold, environment: 'vault', runbook: { text: RUNBOOK } })).toEqual([
      422,
      'TextRefused',
    ]);
    const text = (yaml: string) => refusedPlan({ ...hold, runbook: { text: yaml } });
    expect(await text(RUNBOOK.replace('uses: app.switch', 'uses: app.swatch'))).toEqual([
      422,
      'RunbookInvalid',
    ]);
    expect(await text(RUNBOOK.replace('id: look', 'id: hold'))).toEqual([422, 'RunbookInvalid']);
    expect(await text(RUNBOOK.replace('switch: mode', 'switch: moode'))).toEqual([422, 'TargetUnknown']);
    expect(await text(RUNBOOK.replace('sre: 1', 'sre: 9'))).toEqual([422, 'QuorumImpossible']);
    expect(await text(`a: ${'['.repeat(1000)}`)).toEqual([422, 'RunbookInvalid']);
    expect(await text('x: &a [*a]')).toEqual([422, 'RunbookInvalid']);
  });

  test('points at line and column of the runbook, and shows the line', async () => {
    const body = { ...hold, runbook: { text: RUNBOOK.replace('uses: wait', 'uses: weit') } };
    const response = await api.request('dana', '/v1/plans', { body });
    const problem = (await response.json()) as { errors: Record<string, unknown>[] };
    expect(problem.errors[0]).toMatchObject({ line: 8, file: 'your text', hint: 'write wait' });
    expect(problem.errors[0]?.['excerpt']).toMatch(/weit[\s\S]*\^/);
  });

  test('names the steps that its params leave out, and why', async () => {
    const head = 'params: { kind: { type: choice, options: [quick, full], default: quick } }\nsteps:';
    const text = RUNBOOK.replace('steps:', head).replace(
      'with: { for: 1s }',
      'with: { for: 1s }, when: { param: kind, is: full }',
    );
    type LeftOut = PlanBody & { leftOut: object[] };
    const quick = await api.ok<LeftOut>('dana', '/v1/plans', { body: { ...hold, runbook: { text } } });
    expect(quick.steps.map(({ id }) => id)).toEqual(['hold', 'release']);
    expect(quick.leftOut).toEqual([
      { id: 'look', kind: 'wait', because: "kind is 'quick', and it runs where kind is 'full'" },
    ]);
    const body = { ...hold, runbook: { text }, params: { kind: 'full' } };
    expect((await api.ok<LeftOut>('dana', '/v1/plans', { body })).leftOut).toEqual([]);
  });

  test('of a runbook over 256 KiB is 413', async () => {
    const text = `# ${'x'.repeat(300_000)}`;
    expect(await api.refusal('dana', '/v1/plans', { body: { ...hold, runbook: { text } } })).toEqual([
      413,
      'TooLarge',
    ]);
  });
});

const requestId = async (given: string) => {
  const { headers } = await api.request('pia', '/v1/me', { headers: { 'X-Request-Id': given } });
  return headers.get('x-request-id');
};
const raw = (text: string, headers: Record<string, string> = {}) =>
  api.refusal('dana', '/v1/plans', { text, headers });

describe('bodies and headers', () => {
  test('that are no JSON are 400', async () => {
    expect(await raw('{"runbook":')).toEqual([400, 'NotJson']);
    expect(await raw('name: hold')).toEqual([400, 'NotJson']);
    expect(await raw('{}', { 'Content-Type': 'text/plain' })).toEqual([400, 'NotJson']);
    expect(await raw('{}', { 'Content-Type': 'multipart/form-data; boundary=x' })).toEqual([400, 'NotJson']);
    expect(await raw('{}', { 'Content-Encoding': 'gzip' })).toEqual([400, 'BadHeader']);
  });

  test('that hide keys or are too deep are 422', async () => {
    expect(await raw('{"__proto__":{"a":1}}')).toEqual([422, 'BodyInvalid']);
    expect(await raw(`{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`)).toEqual([422, 'BodyInvalid']);
  });

  test('keep a request id that can be used, and make one otherwise', async () => {
    expect(await requestId('trace-1234')).toBe('trace-1234');
    expect(await requestId('no spaces')).toMatch(/^req-/);
  });

  test('leave with headers that keep browsers from harm', async () => {
    const { headers } = await api.request('pia', '/v1/me');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('access-control-allow-origin')).toBeNull();
  });
});

const simple = (target: string, over = {}) =>
  makePlan([{ id: 'one', phases: [{ name: 'go', effect: 'reversible', target }] }], {
    environment: 'lab',
    ...over,
  });

describe('a run', () => {
  test('is accepted with its place, while Temporal cannot be reached', async () => {
    const plan = await api.savePlan(simple('first'));
    const response = await api.request('dana', '/v1/runs', { body: { plan } });
    const body = (await response.json()) as { run: number };
    expect(response.status).toBe(202);
    expect(response.headers.get('location')).toBe(`/v1/runs/${body.run}`);
    expect(body).toEqual({
      run: body.run,
      state: 'planned',
      step: null,
      requester: 'dana',
      dueAt: null,
      notAfter: null,
      waitUntil: null,
      waitingFor: null,
    });
  });

  test('with the same Idempotency-Key starts once; the key with another body is refused', async () => {
    const [plan, other] = [await api.savePlan(simple('second')), await api.savePlan(simple('third'))];
    const headers = { 'Idempotency-Key': '"5d1c7b0e"' };
    const start = (body: object, person = 'dana', more = headers) =>
      api.ok<{ run: number }>(person, '/v1/runs', { body, headers: more });
    const [one, two] = await Promise.all([start({ plan }), start({ plan })]);
    expect(one.run).toBe(two.run);
    expect((await start({ plan }, 'dana', { 'Idempotency-Key': '5d1c7b0e' })).run).toBe(one.run);
    expect(await api.refusal('dana', '/v1/runs', { body: { plan: other }, headers })).toEqual([
      422,
      'KeyReused',
    ]);
    expect(await api.refusal('dana', '/v1/runs', { body: { plan, failAt: 'one' }, headers })).toEqual([
      422,
      'KeyReused',
    ]);
    expect((await start({ plan: other }, 'ben')).run).not.toBe(one.run);
    expect(
      await api.refusal('dana', '/v1/runs', { body: { plan }, headers: { 'Idempotency-Key': '"' } }),
    ).toEqual([400, 'BadHeader']);
  });

  test('on a target of another run is refused and names the holder', async () => {
    const plan = await api.savePlan(simple('held'));
    const { run } = await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan } });
    const response = await api.request('ben', '/v1/runs', { body: { plan } });
    const problem = (await response.json()) as Record<string, unknown>;
    expect([response.status, problem['code'], problem['run']]).toEqual([409, 'TargetLeased', run]);
    expect(problem['detail']).toBe(`held is held by run ${run} (test, requester dana), about 1s left.`);
    expect(problem['hint']).toBe(`wait for it: countdown run ${plan.slice(0, 12)} --wait 1h`);
    const shown = await api.ok<PlanBody>('ben', `/v1/plans/${plan}`);
    const known = { runbook: 'test', requester: 'dana', waits: false, leftMs: 10, waitsFor: null };
    expect(shown.now.leases).toEqual([{ target: 'held', run, ...known }]);
  });

  test('is refused where the requester makes a quorum impossible, and names the people', async () => {
    const asks = { approval: approval({ sre: 2 }) };
    const plan = await api.savePlan(
      makePlan([{ id: 'one', phases: [{ name: 'go', effect: 'reversible', target: 'q', ...asks }] }], {
        environment: 'lab',
      }),
    );
    const response = await api.request('ben', '/v1/runs', { body: { plan } });
    const problem = (await response.json()) as Record<string, unknown>;
    expect([response.status, problem['code']]).toEqual([422, 'QuorumImpossible']);
    expect(problem['detail']).toContain(
      'one needs 2 people of sre, and 1 can vote for it (ana); ben asks for this run.',
    );
    expect((await api.request('dana', '/v1/runs', { body: { plan } })).status).toBe(202);
  });

  test('takes a fault only where it can be taken back', async () => {
    const specs = [
      { id: 'one', phases: [{ name: 'a', effect: 'reversible' as const, target: 'f' }, { name: 'b' }] },
      { id: 'keep', phases: [{ name: 'keep', wait: 'point-of-no-return' as const }] },
      { id: 'open', phases: [{ name: 'c' }] },
    ];
    const plan = await api.savePlan(makePlan(specs, { environment: 'lab' }));
    const safe = await api.savePlan(makePlan(specs, { environment: 'vault' }));
    const refuse = (failAt: string, of = plan) =>
      api.refusal('dana', '/v1/runs', { body: { plan: of, failAt } });
    expect(await refuse('open')).toEqual([422, 'FaultRefused']);
    expect(await refuse('keep')).toEqual([422, 'FaultRefused']);
    expect(await refuse('nowhere')).toEqual([422, 'FaultRefused']);
    expect(await refuse('one/a', safe)).toEqual([422, 'FaultRefused']);
    expect(await refuse('../etc')).toEqual([422, 'BodyInvalid']);
    const { run } = await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan, failAt: 'one' } });
    expect((await api.ok('dana', `/v1/runs/${run}`))['failAt']).toBe('one/b');
  });

  test('of a plan that nobody made is 404, and a plan that is no hash 422', async () => {
    expect(await api.refusal('dana', '/v1/runs', { body: { plan: 'a'.repeat(64) } })).toEqual([
      404,
      'PlanUnknown',
    ]);
    expect(await api.refusal('dana', '/v1/runs', { body: { plan: 'abc' } })).toEqual([422, 'BodyInvalid']);
    expect(await api.refusal('dana', '/v1/plans/abc')).toEqual([404, 'PlanUnknown']);
    for (const id of ['0', '-1', '1e3', 'x', '99999999', '4 1', "1'--"]) {
      expect(await api.refusal('dana', `/v1/runs/${encodeURIComponent(id)}`), id).toEqual([
        404,
        'RunUnknown',
      ]);
    }
  });

  test('shows its evidence: plan, rows and head', async () => {
    const plan = await api.savePlan(simple('proof'));
    const { run } = await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan } });
    const evidence = await api.ok<{
      rows: { kind: string; hash: string }[];
      head: { seq: number; hash: string };
    }>('eva', `/v1/runs/${run}/evidence`);
    expect(evidence.rows.map(({ kind }) => kind)).toEqual(['asked']);
    expect(evidence.head).toEqual({ seq: 1, hash: evidence.rows[0]?.hash });
  });
});

describe('the list of runs', () => {
  test('comes in pages, newest first, without a gap', async () => {
    for (let index = 0; index < 5; index += 1) {
      await api.ok('dana', '/v1/runs', { body: { plan: await api.savePlan(simple(`page-${index}`)) } });
    }
    type Page = { items: { run: number }[]; next: string | null };
    const all = (await api.ok<Page>('pia', '/v1/runs?limit=100')).items.map(({ run }) => run);
    const seen: number[] = [];
    let cursor: string | null = null;
    do {
      const page: Page = await api.ok<Page>(
        'pia',
        `/v1/runs?limit=2${cursor === null ? '' : `&cursor=${cursor}`}`,
      );
      seen.push(...page.items.map(({ run }) => run));
      cursor = page.next;
    } while (cursor !== null);
    expect(seen).toEqual(all);
    expect(seen).toEqual(seen.toSorted((one, other) => other - one));
  });

  test('refuses parameters that mean nothing', async () => {
    for (const query of ['limit=0', 'limit=101', 'limit=x', 'cursor=abc', 'cursor=LTE', 'order=up']) {
      expect(await api.refusal('pia', `/v1/runs?${query}`), query).toEqual([400, 'BadQuery']);
    }
  });
});

describe('health', () => {
  test('is live without a token, and not ready while Temporal is away', async () => {
    expect((await api.request(null, '/health/live')).status).toBe(200);
    const response = await api.request(null, '/health/ready');
    expect([response.status, ((await response.json()) as { detail: string }).detail]).toEqual([
      503,
      'temporal cannot be reached: look at it.',
    ]);
  });
});

describe('the environment files', () => {
  test('are read again when they change, and the last good state holds when a change is broken', async () => {
    const file = join(api.environmentFolder, 'lab.yaml');
    expect((await api.request('pia', '/v1/plans', { body: hold })).status).toBe(403);
    await writeFile(file, ENVIRONMENT.replace('operator: [dana, ben]', 'operator: [dana, ben, pia]'));
    expect((await api.request('pia', '/v1/plans', { body: hold })).status).toBe(201);
    await writeFile(file, 'environment: [');
    expect((await api.request('pia', '/v1/plans', { body: hold })).status).toBe(201);
    await writeFile(file, ENVIRONMENT);
    expect((await api.request('pia', '/v1/plans', { body: hold })).status).toBe(403);
  });
});
