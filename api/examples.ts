/** What a request looks like, and its answer: put into the document, shown on the reference page, and held by a test against both. */

/** By `METHOD PATH`, as the document has the path. */
export const EXAMPLES: Record<string, { request?: object; answer?: object }> = {
  'GET /v1/me': {
    answer: {
      person: 'dana',
      tokenExpiresAt: '2026-12-21T09:00:00.000Z',
      environments: [{ environment: 'production', roles: ['viewer', 'operator'], groups: [] }],
    },
  },
  'GET /v1/runbooks': {
    answer: {
      items: [
        {
          name: 'first-launch',
          description: 'Moves Piano Keys from SQLite to PostgreSQL.',
          digest: '2f1c9a0e7b5d48361f0e9d8c7b6a59483726150493827160594837261504938a',
        },
      ],
    },
  },
  'POST /v1/lint': {
    request: { runbook: { text: 'name: first\nsteps:\n  - { id: look, uses: weit, with: { for: 2m } }\n' } },
    answer: {
      problems: [
        {
          pointer: '/steps/0/uses',
          detail: "There is no kind 'weit', expected app.switch, approval or wait.",
          file: 'your text',
          line: 3,
          column: 23,
          hint: 'write wait',
        },
      ],
    },
  },
  'POST /v1/plans': {
    request: { runbook: 'first-launch', environment: 'staging', params: {} },
  },
  'POST /v1/checks': {
    request: { runbook: 'first-launch', environment: 'staging', params: {} },
  },
  'POST /v1/runs': {
    request: {
      plan: '7f3a91c204de55aa90b1c2d3e4f5061728394a5b6c7d8e9f0a1b2c3d4e5f6071',
      at: '2026-11-22T01:00Z',
      notAfter: '2026-11-22T04:00Z',
    },
    answer: {
      run: 41,
      state: 'planned',
      step: null,
      requester: 'dana',
      dueAt: '2026-11-22T01:00:00.000Z',
      notAfter: '2026-11-22T04:00:00.000Z',
      waitUntil: null,
      waitingFor: null,
    },
  },
  'POST /v1/runs/{id}/decisions': {
    request: {
      step: 'database',
      decision: 'approve',
      plan: '7f3a91c204de55aa90b1c2d3e4f5061728394a5b6c7d8e9f0a1b2c3d4e5f6071',
      evidence: '0c5b7a3f1e2d4c6b8a9f0e1d2c3b4a5968778695a4b3c2d1e0f9e8d7c6b5a493',
      reason: 'Counts and lint were looked at.',
    },
    answer: {
      result: 'Counted',
      detail: 'Counted. database still needs owner 1 (olu).',
      votes: [{ person: 'ana', group: 'sre', door: 'api', at: '2026-11-22T01:04:05.000Z' }],
      needed: { owner: 1 },
    },
  },
  'POST /v1/runs/{id}/abort': {
    request: { reason: 'Error rates rise on the checkout.' },
    answer: { result: 'Accepted', detail: 'run 41 unwinds: 3 phases are taken back.' },
  },
  'POST /v1/runs/{id}/pause': { request: { reason: 'Looking at a slow query first.' } },
  'POST /v1/runs/{id}/resume': { request: { reason: 'The query is understood.' } },
  'POST /v1/runs/{id}/retry': { request: { phase: 'smoke', reason: 'The cache was cold.' } },
  'POST /v1/runs/{id}/skip': { request: { phase: 'smoke', reason: 'Looked at by hand, all pages answer.' } },
  'POST /v1/runs/{id}/done': {
    request: { phase: 'warn-support', evidence: 'Told in the channel of support at 01:02.' },
  },
  'POST /v1/runs/{id}/resolve': {
    request: { phase: 'database/switch', done: true, evidence: 'Set back by hand; GET says sqlite.' },
  },
  'POST /v1/tokens': {
    request: { person: 'dana', expiresMs: 2_592_000_000 },
    answer: {
      id: '0f4c2d1e-3b5a-4968-8776-95a4b3c2d1e0',
      person: 'dana',
      createdAt: '2026-11-21T09:00:00.000Z',
      expiresAt: '2026-12-21T09:00:00.000Z',
      token: 'cd_…',
    },
  },
};

/** What a refusal looks like. */
export const PROBLEM_EXAMPLE = {
  type: '/docs/errors#targetleased',
  title: 'A target is held by another run',
  status: 409,
  code: 'TargetLeased',
  detail: 'app-postgres is held by run 40 (first-launch, requester ben), about 2m left.',
  instance: '/v1/runs',
  requestId: 'req-3f0c1f9e-6a54-4c1e-9c58-0a7f0d3c2b11',
  errors: [],
  run: 40,
  hint: 'wait for it: countdown run 7f3a91c204de --wait 1h',
};
