/** Attacks on the HTTP door that no other file makes; the rows are those of docs/security.md. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createApi } from '../../api/index.ts';
import { makeLimits } from '../../api/limits.ts';
import { ROUTES } from '../../api/permissions.ts';
import { makeApiStore } from '../../store/index.ts';
import { makePool } from '../../store/pool.ts';
import { makePlan } from '../support/plans.ts';
import { type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
let run: number;
let plan: string;
beforeAll(async () => {
  api = await makeTestApi();
  plan = await api.savePlan(makePlan([{ id: 'one', phases: [{ name: 'go' }] }], { environment: 'lab' }));
  run = (await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan } })).run;
});
afterAll(() => api[Symbol.asyncDispose]());

const BODIES: Record<string, object> = {
  plans: { runbook: 'hold', environment: 'lab' },
  checks: { runbook: 'hold', environment: 'lab' },
  lint: { runbook: 'hold', environment: 'lab' },
  decisions: { step: 'one', decision: 'approve', plan: '0'.repeat(64) },
  retry: { phase: 'one' },
  skip: { phase: 'one' },
  done: { phase: 'one' },
  resolve: { phase: 'one', retry: true },
  tokens: { person: 'pia' },
};

describe('S1: an admin of another environment', () => {
  const ofLab = ROUTES.filter(
    ({ path, permission }) =>
      permission !== 'public' &&
      permission !== 'signed-in' &&
      !(path.startsWith('/v1/tokens') && path.length < 12),
  );
  test.each(ofLab.map(({ method, path }) => [method, path]))(
    'is nobody in this one: %s %s',
    async (method, path) => {
      const filled = path.replace(':id', String(run)).replace(':plan', plan);
      const body = path === '/v1/runs' ? { plan } : (BODIES[path.split('/').at(-1) ?? ''] ?? {});
      const query = path === '/v1/refused' ? '?environment=lab' : '';
      const [status] = await api.refusal('zoe', `${filled}${query}`, {
        method,
        ...(method === 'POST' ? { body } : {}),
      });
      expect(status).toBe(path.startsWith('/v1/tokens/') ? 404 : 403);
    },
  );

  test('sees no run, no lease and no token of it', async () => {
    for (const path of ['/v1/runs', '/v1/leases', '/v1/tokens']) {
      const { items } = await api.ok<{ items: { person?: string }[] }>('zoe', path);
      const others = items.filter(
        ({ person }) => person === undefined || ['pia', 'eva', 'chi'].includes(person),
      );
      expect(others, path).toEqual([]);
    }
  });
});

describe('S2: a path that only looks like a public one', () => {
  test.each([
    '/v1/runs/1/health/live',
    '/v1/runs/health',
    '/health/live/',
    '/health/live.',
    '/health/live;/v1/runs',
    '/health/live%2f..%2f..%2fv1%2fruns',
    '//health/live',
    '/HEALTH/LIVE',
    '/docs/errors/../../v1/runs',
    '/docs/..%2fv1%2fruns',
    '/v1/schemas/runbook/evidence',
    '/v1/slack/',
  ])('%s gives nothing without a token', async (path) => {
    const response = await api.app.request(path);
    expect([401, 404]).toContain(response.status);
    expect(await response.text()).not.toMatch(/"items"|"run":/);
  });
});

describe('S16: no pattern of the document takes long', () => {
  const text = 'a'.repeat(50_000);
  const hostile = [
    text,
    `${text}!`,
    `${'a-'.repeat(25_000)}/`,
    'a.'.repeat(25_000),
    '0'.repeat(50_000),
    ' '.repeat(50_000),
  ];

  test('on 50 KB of what it nearly fits', () => {
    const patterns = new Set<string>();
    const walk = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return;
      for (const [key, one] of Object.entries(value)) {
        if (key === 'pattern' && typeof one === 'string') patterns.add(one);
        else walk(one);
      }
    };
    walk(api.document);
    expect(patterns.size).toBeGreaterThan(2);
    for (const pattern of patterns) {
      for (const one of hostile) {
        const from = performance.now();
        new RegExp(pattern).test(one);
        expect(performance.now() - from, pattern).toBeLessThan(20);
      }
    }
  });

  test.each([
    'authorization',
    'x-request-id',
    'traceparent',
    'idempotency-key',
    'last-event-id',
    'x-forwarded-for',
  ])('in the header %s', async (name) => {
    for (const value of [
      `Bearer ${'a '.repeat(7_000)}`,
      'a-'.repeat(8_000),
      '"'.repeat(16_000),
      ','.repeat(16_000),
    ]) {
      const from = performance.now();
      const response = await api.app.request('/v1/runs/1/events', { headers: { [name]: value } });
      await response.body?.cancel();
      expect(response.status).toBeLessThan(500);
      expect(performance.now() - from).toBeLessThan(1_000);
    }
  });
});

describe('S18: what stands in a filter or a cursor', () => {
  test.each([
    "environment=lab'%20or%20'1'%3D'1",
    'environment=lab;drop%20table%20countdown.runs',
    'environment=%00',
    'environment=lab&cursor=JyBvciAxPTE',
    `environment=lab&cursor=${Buffer.from("before:1' or '1'='1").toString('base64url')}`,
    `environment=lab&cursor=${Buffer.from('before:99999999999999999999').toString('base64url')}`,
    `environment=lab&cursor=${Buffer.from('after:1').toString('base64url')}`,
    'environment=lab&limit=1%20union%20select%201',
    'environment=lab&limit=1&limit=2',
  ])('is refused, and nothing of it is carried out: %s', async (query) => {
    const [status] = await api.refusal('eva', `/v1/refused?${query}`);
    expect([400, 404]).toContain(status);
    expect((await api.owner.query('select from countdown.runs')).rowCount).toBe(1);
  });

  test('opens no page of another environment, made up or not', async () => {
    const all = Buffer.from('before:999999999').toString('base64url');
    for (const person of ['zoe', 'mallory'])
      expect((await api.ok(person, `/v1/runs?cursor=${all}`))['items'], person).toEqual([]);
  });
});

describe('S21: many wrong tokens at once', () => {
  test('are answered with 429, and good ones come in meanwhile', async () => {
    await using own = await makeTestApi({ quotas: { signIn: 20 } });
    const guesses = Array.from({ length: 300 }, (_, index) =>
      own.request(`cd_guess-${index}-of-many-more`, '/v1/me'),
    );
    const good = Array.from({ length: 20 }, () => own.request('pia', '/v1/me'));
    const statuses = (await Promise.all(guesses)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 401)).toHaveLength(20);
    expect(statuses.filter((status) => status === 429)).toHaveLength(280);
    expect((await Promise.all(good)).every(({ status }) => status === 200)).toBe(true);
  });
});

describe('S22: a page of another site', () => {
  test('finds no cookie to use, may read nothing, and can send no form', async () => {
    const headers = { Origin: 'https://evil.example', Cookie: 'session=x' };
    const read = await api.request('pia', '/v1/me', { headers });
    expect([read.headers.get('set-cookie'), read.headers.get('access-control-allow-origin')]).toEqual([
      null,
      null,
    ]);
    expect(read.headers.get('x-frame-options')).toBe('DENY');
    expect(read.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
    expect((await api.app.request('/v1/runs', { method: 'OPTIONS', headers })).status).toBe(404);
    for (const type of ['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain']) {
      const sent = { text: `plan=${plan}`, headers: { ...headers, 'Content-Type': type } };
      expect(await api.refusal('dana', '/v1/runs', sent), type).toEqual([400, 'NotJson']);
    }
  });
});

describe('S27: a database that is away', () => {
  test('lets nobody in, changes nothing, and tells no more than that', async () => {
    const pool = makePool('postgres://nobody@127.0.0.1:1/nothing', { name: 'away' });
    const { environments, runbooks, launcher, events, log, now } = api;
    const store = makeApiStore(pool);
    const deps = { store, environments, runbooks, launcher, events, log, now, limits: makeLimits({ pool }) };
    const app = createApi(deps);
    for (const path of ['/v1/me', '/v1/runs', '/v1/runs/1', '/health/ready']) {
      const headers = { Authorization: `Bearer ${api.tokens.get('dana') ?? ''}` };
      const response = await app.request(path, { headers });
      const text = await response.text();
      expect([path, response.status]).toEqual([path, 503]);
      expect(text).not.toMatch(/ECONNREFUSED|127\.0\.0\.1|node_modules|\.ts|postgres:|pg-/);
    }
    expect((await app.request('/health/live')).status).toBe(200);
    await pool.end();
  });
});
