import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { routesOf } from '../../api/index.ts';
import { ROUTES } from '../../api/permissions.ts';
import { makePlan } from '../support/plans.ts';
import { type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
let plan: string;
let run: number;

beforeAll(async () => {
  api = await makeTestApi();
  plan = await api.savePlan(makePlan([{ id: 'one', phases: [{ name: 'go' }] }], { environment: 'lab' }));
  run = (await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan } })).run;
});
afterAll(() => api[Symbol.asyncDispose]());

const BODIES: Record<string, object> = {
  'POST /v1/plans': { runbook: 'hold', environment: 'lab' },
  'POST /v1/lint': { runbook: 'hold', environment: 'lab' },
  'POST /v1/checks': { runbook: 'hold', environment: 'lab' },
  'POST /v1/runs/:id/decisions': {
    step: 'one',
    decision: 'approve',
    plan: '0'.repeat(64),
    evidence: '0'.repeat(64),
  },
  'POST /v1/tokens': { person: 'pia' },
  'POST /v1/runs/:id/ready': {},
  'POST /v1/runs/:id/abort': {},
  'POST /v1/runs/:id/pause': {},
  'POST /v1/runs/:id/resume': {},
  'POST /v1/runs/:id/retry': { phase: 'one' },
  'POST /v1/runs/:id/skip': { phase: 'one' },
  'POST /v1/runs/:id/done': { phase: 'one' },
  'POST /v1/runs/:id/resolve': { phase: 'one', retry: true },
};

const QUERIES: Record<string, string> = { 'GET /v1/refused': '?environment=lab' };

/** Status of each route for each person: 2xx and 4xx past the door count as let in. */
const LET_IN: Record<string, string> = {
  // viewer pia, operator dana (requester), approver ana, admin and owner olu, auditor eva, unnamed mallory
  'GET /v1/leases': 'pia dana ana olu eva mallory',
  'GET /v1/tokens': 'olu',
  'POST /v1/tokens': 'olu',
  'DELETE /v1/tokens/:id': 'olu',
  'GET /v1/me': 'pia dana ana olu eva mallory',
  'GET /v1/runbooks': 'pia dana ana olu eva',
  'GET /v1/runbooks/:name': 'pia dana ana olu eva',
  'POST /v1/lint': 'pia dana ana olu eva',
  'GET /v1/runs': 'pia dana ana olu eva mallory',
  'POST /v1/plans': 'dana',
  'POST /v1/checks': 'dana',
  'GET /v1/plans/:plan': 'pia dana ana olu eva',
  'GET /v1/plans/:plan/undo-sheet': 'pia dana ana olu eva',
  'POST /v1/runs': 'dana',
  'GET /v1/runs/:id': 'pia dana ana olu eva',
  'GET /v1/runs/:id/events': 'pia dana ana olu eva',
  'GET /v1/runs/:id/evidence': 'dana olu eva',
  'GET /v1/refused': 'olu eva',
  'POST /v1/runs/:id/decisions': 'ana olu',
  'POST /v1/runs/:id/ready': 'ana olu',
  'POST /v1/runs/:id/abort': 'dana ana olu',
  'POST /v1/runs/:id/pause': 'dana',
  'POST /v1/runs/:id/resume': 'dana',
  'POST /v1/runs/:id/retry': 'dana',
  'POST /v1/runs/:id/skip': 'dana',
  'POST /v1/runs/:id/done': 'dana',
  'POST /v1/runs/:id/resolve': 'olu',
};

function ask(route: string, person: string | null) {
  const [method = '', path = ''] = route.split(' ');
  const query = QUERIES[route] ?? '';
  const filled = path.replace(':id', String(run)).replace(':plan', plan).replace(':name', 'hold') + query;
  const body = route === 'POST /v1/runs' ? { plan } : BODIES[route];
  return api.request(person, filled, { method, ...(method === 'POST' ? { body } : {}) });
}

describe('the table of rights', () => {
  test('has a row for each route, and no row for none', () => {
    expect(ROUTES.map(({ method, path }) => `${method} ${path}`).sort()).toEqual(routesOf(api.app).sort());
  });

  test('names in this file who is let in where a token is needed', () => {
    const guarded = ROUTES.filter(({ permission }) => permission !== 'public');
    expect(Object.keys(LET_IN).sort()).toEqual(guarded.map(({ method, path }) => `${method} ${path}`).sort());
  });

  test('counts whatever asks for a token, and answers to a run against budgets of their own', () => {
    for (const { method, path, permission, limit } of ROUTES) {
      const ofRun = path.startsWith('/v1/runs/:id/') && method === 'POST';
      const isAbort = path.endsWith('/abort');
      const expected = method === 'GET' ? 'read' : isAbort ? 'abort' : ofRun ? 'decide' : 'write';
      expect(limit, `${method} ${path}`).toBe(permission === 'public' ? 'free' : expected);
    }
  });

  for (const [route, people] of Object.entries(LET_IN)) {
    test(`${route} asks for a token and lets in ${people}`, async () => {
      const without = await ask(route, null);
      expect([without.status, without.headers.get('www-authenticate')]).toEqual([
        401,
        'Bearer realm="countdown"',
      ]);
      expect((await ask(route, 'cd_not-a-token-of-anybody')).status).toBe(401);
      const letIn: string[] = [];
      for (const person of ['pia', 'dana', 'ana', 'olu', 'eva', 'mallory']) {
        const response = await ask(route, person);
        if (response.status !== 403) letIn.push(person);
        await response.body?.cancel();
      }
      expect(letIn.join(' ')).toBe(people);
    });
  }
});

describe('paths that stand in no row', () => {
  test('are 404 with a token and without, whatever they are made of', async () => {
    for (const path of [
      '/',
      '/v1',
      '/v2/runs',
      '/v1/runs/1/health',
      '/v1/runs/',
      '//v1/runs',
      '/V1/runs',
      '/health/live/..%2f..',
      '/v1/runs/1/evidence/',
      '/.env',
    ]) {
      expect(await api.refusal(null, path), path).toEqual([404, 'RouteUnknown']);
    }
    for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      expect((await api.app.request('/v1/runs', { method })).status).toBe(404);
    }
  });
});

describe('a token', () => {
  test('is refused when it has expired or was revoked', async () => {
    const { createHash } = await import('node:crypto');
    const [old, revoked] = ['cd_expired-token-of-pia-0001', 'cd_revoked-token-of-pia-0002'];
    const hash = (token: string) => createHash('sha256').update(token).digest('hex');
    await api.store.insertToken({ hash: hash(old), person: 'pia', expiresAt: new Date(Date.now() - 1000) });
    const row = await api.store.insertToken({
      hash: hash(revoked),
      person: 'pia',
      expiresAt: new Date(Date.now() + 60_000),
    });
    expect((await api.request(revoked, '/v1/me')).status).toBe(200);
    await api.store.revokeToken(row.id);
    expect(await api.refusal(old, '/v1/me')).toEqual([401, 'Unauthenticated']);
    expect(await api.refusal(revoked, '/v1/me')).toEqual([401, 'Unauthenticated']);
  });

  test('says whom it names and what that person may do', async () => {
    const me = await api.ok('ben', '/v1/me');
    expect(me['person']).toBe('ben');
    expect(me['environments']).toEqual([
      { environment: 'lab', roles: ['viewer', 'operator', 'approver'], groups: ['sre'] },
      { environment: 'test', roles: ['viewer', 'approver'], groups: ['sre'] },
      { environment: 'vault', roles: ['viewer', 'operator', 'approver'], groups: ['sre'] },
    ]);
    expect((await api.ok('mallory', '/v1/me'))['environments']).toEqual([]);
    expect((await api.ok('mallory', '/v1/runs'))['items']).toEqual([]);
  });
});
