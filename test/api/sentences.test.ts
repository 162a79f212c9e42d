import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PROBLEMS } from '../../api/problem-codes.ts';
import { type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await makeTestApi();
});
afterAll(() => api[Symbol.asyncDispose]());

type Told = { status: number; code: string; detail: string; errors: { pointer: string; detail: string }[] };

async function told(path: string, body?: object, person = 'dana'): Promise<Told> {
  const response = await api.request(person, path, body === undefined ? {} : { body });
  return (await response.json()) as Told;
}

const RUNBOOK = 'send the name of a runbook, or { "text": … } with the YAML of one.';
const PLAN = 'send the 64 hex digits of a plan.';

/** Path, body, and the whole of what is answered. */
const CASES: [string, object | undefined, string][] = [
  ['/v1/plans', { environment: 'lab' }, `runbook is missing: ${RUNBOOK}`],
  ['/v1/plans', { runbook: 1, environment: 'lab' }, `runbook is 1: ${RUNBOOK}`],
  ['/v1/plans', { runbook: [], environment: 'lab' }, `runbook is a list: ${RUNBOOK}`],
  ['/v1/plans', { runbook: {}, environment: 'lab' }, `runbook is an object: ${RUNBOOK}`],
  [
    '/v1/plans',
    { runbook: { text: '' }, environment: 'lab' },
    'runbook.text is empty: send the YAML of a runbook.',
  ],
  ['/v1/plans', { text: 'name: x' }, `runbook is missing: ${RUNBOOK} 2 more: look at errors.`],
  [
    '/v1/plans',
    { runbook: 'No Name', environment: 'lab' },
    "runbook is 'No Name': send a name of a-z, 0-9 and -.",
  ],
  ['/v1/plans', { runbook: 'hold', environment: 'lab', params: 1 }, 'params is 1: send an object.'],
  ['/v1/plans', { runbook: 'hold', environment: 'lab', x: 1 }, 'x is no field here: leave it out.'],
  ['/v1/runs', {}, `plan is missing: ${PLAN}`],
  ['/v1/runs', { plan: 'abc' }, `plan is 'abc': ${PLAN}`],
  ['/v1/runs/1/decisions', { step: 'hold', decision: 'approve' }, `plan is missing: ${PLAN}`],
  ['/v1/runs/1/decisions', { step: 'hold' }, "decision is missing: send 'approve' or 'reject'."],
  [
    '/v1/runs/1/decisions',
    { step: 'hold', decision: 'maybe' },
    "decision is 'maybe': send 'approve' or 'reject'.",
  ],
  [
    '/v1/runs/1/resolve',
    { phase: 'hold' },
    'The body is an object: send { phase, "retry": true }, { phase, "done": true, evidence }, or { "retry": true } for the whole desk.',
  ],
  ['/v1/runs/1/retry', { phase: 'a b' }, "phase is 'a b': send 'step' or 'step/phase'."],
  ['/v1/tokens', { person: '' }, 'person is empty: send some text.'],
  ['/v1/runs?limit=abc', undefined, "limit is 'abc': send a whole number from 1 to 100."],
  ['/v1/runs?limit=0', undefined, "limit is '0': send a whole number from 1 to 100."],
  ['/v1/runs?bogus=1', undefined, 'bogus is no parameter here: leave it out, or send limit or cursor.'],
  ['/v1/refused', undefined, 'environment is missing: send the name of an environment.'],
];

describe('what cannot be used is told in one sentence that says what to send', () => {
  test.each(CASES)('%s %j', async (path, body, detail) => {
    const answer = await told(path, body);
    expect(answer.detail).toBe(detail);
    expect(answer.errors.length).toBeGreaterThan(0);
  });

  test('and names each field of a body that has several', async () => {
    const { errors } = await told('/v1/plans', { text: 'name: x' });
    expect(errors).toEqual([
      { pointer: '/runbook', detail: `runbook is missing: ${RUNBOOK}` },
      { pointer: '/environment', detail: 'environment is missing: send a name of a-z, 0-9 and -.' },
      { pointer: '/text', detail: 'text is no field here: leave it out.' },
    ]);
  });

  test('and repeats no more than the beginning of what was sent', async () => {
    const { detail } = await told('/v1/runs', { plan: `a\u0000${'b'.repeat(5_000)}` });
    expect(detail).toBe(`plan is 'a ${'b'.repeat(38)}…': ${PLAN}`);
  });
});

describe('a token', () => {
  test.each([
    ['Bearer short', 'The token is unknown, expired or revoked: ask for a new one.'],
    [`Bearer ${'x'.repeat(600)}`, 'The token is unknown, expired or revoked: ask for a new one.'],
    ['Bearer with a space inside it', 'The token is unknown, expired or revoked: ask for a new one.'],
    ['Basic ZGFuYTp4', 'No bearer token was sent: send Authorization: Bearer TOKEN.'],
    ['Bearer', 'No bearer token was sent: send Authorization: Bearer TOKEN.'],
  ])('%s', async (authorization, detail) => {
    const response = await api.request(null, '/v1/me', { headers: { Authorization: authorization } });
    expect([response.status, ((await response.json()) as Told).detail]).toEqual([401, detail]);
  });
});

describe('what was refused', () => {
  test('can be read by the auditor, by environment in pages and with the run that it names', async () => {
    const made = await api.ok<{ plan: string }>('dana', '/v1/plans', {
      body: { runbook: 'hold', environment: 'lab' },
    });
    const { run } = await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan: made.plan } });
    for (const person of ['pia', 'eva', 'pia']) await told(`/v1/runs/${run}/pause`, {}, person);
    await told('/v1/plans', { runbook: 'hold', environment: 'lab' }, 'pia');

    type Row = { actor: string; kind: string; seq: number; body: { run: number | null; code: string } };
    type Page = { items: Row[]; next: string | null };
    const one = await api.ok<Page>('eva', '/v1/refused?environment=lab&limit=3');
    expect(one.items.map(({ actor, kind, body }) => [kind, actor, body.run, body.code])).toEqual([
      ['refused', 'pia', null, 'NotAllowed'],
      ['refused', 'pia', run, 'NotAllowed'],
      ['refused', 'eva', run, 'NotAllowed'],
    ]);
    const two = await api.ok<Page>('olu', `/v1/refused?environment=lab&limit=3&cursor=${one.next}`);
    expect([two.items.map(({ body }) => body.run), two.next]).toEqual([[run], null]);
    expect((await api.ok<Page>('eva', '/v1/refused?environment=vault')).items).toEqual([]);

    const evidence = await api.ok<{ refused: Row[] }>('eva', `/v1/runs/${run}/evidence`);
    expect(evidence.refused.map(({ actor }) => actor)).toEqual(['pia', 'eva', 'pia']);
    expect(await api.refusal('dana', '/v1/refused?environment=lab')).toEqual([403, 'NotAllowed']);
    expect(await api.refusal('eva', '/v1/refused?environment=mars')).toEqual([404, 'EnvironmentUnknown']);
  });
});

describe('the page of errors', () => {
  test('has a place for the type of each problem, and is plain text for whoever asks for no HTML', async () => {
    const { type } = (await (await api.request(null, '/v1/me')).json()) as { type: string };
    const [path = '', anchor] = type.split('#');
    const response = await api.request(null, path, { headers: { Accept: 'text/html,*/*' } });
    const html = await response.text();
    expect(html).toContain(`id="${anchor}"`);
    for (const code of Object.keys(PROBLEMS)) expect(html).toContain(`id="${code.toLowerCase()}"`);
    expect(response.headers.get('content-security-policy')).toMatch(/default-src 'none'; style-src 'sha256-/);
    expect(html).not.toMatch(/<script|undefined/);
    const text = await api.request(null, '/docs/errors');
    expect(text.headers.get('content-type')).toMatch(/^text\/plain/);
    expect(await text.text()).toContain('| `NotJson` | 400 |');
  });

  test('stands beside the reference, which has every route and an example of each body', async () => {
    const { paths } = (await (await api.request(null, '/openapi.json')).json()) as { paths: object };
    const html = await (await api.request(null, '/docs/api', { headers: { Accept: 'text/html' } })).text();
    const text = await (await api.request(null, '/docs/api')).text();
    for (const path of Object.keys(paths)) {
      expect(html).toContain(path);
      expect(text).toContain(path);
    }
    expect(text).toContain('"decision": "approve"');
    expect(html).not.toMatch(/<script|undefined/);
  });
});
