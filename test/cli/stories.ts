/** Runs and plans as the API answers them, for the golden views: the story of first-launch at its moments. */
import type { PhaseWire, PlanWire, RunDetailWire } from '../../cli/wire.ts';

const START = Date.parse('2026-11-22T01:00:00Z');

export function at(second: number): string {
  return new Date(START + second * 1000).toISOString();
}

/** `back` is when its undo began. */
type PhaseStory = Partial<PhaseWire> & { from?: number; to?: number; back?: number };

function phase(id: string, story: PhaseStory = {}): PhaseWire {
  const { from, to, back, ...rest } = story;
  const state = rest.state ?? (to !== undefined ? 'done' : from !== undefined ? 'running' : 'pending');
  return {
    phase: id,
    step: id.split('/')[0] ?? id,
    title: id,
    effect: 'none',
    state,
    verdict: state === 'done' || state === 'undone' ? 'pass' : null,
    summary: null,
    error: null,
    try: from === undefined ? 0 : 1,
    waitingFor: null,
    progress: null,
    startedAt: from === undefined ? null : at(from),
    endedAt: to === undefined ? null : at(to),
    undo: null,
    wait: null,
    expectedMs: 0,
    actAt: back !== undefined ? at(back) : from === undefined ? null : at(from),
    newsAt: null,
    ...rest,
  };
}

const UNDO: Record<string, string> = {
  'database/hold-writes': 'let app write to SQLite again',
  'database/copy': 'drop what was created',
  'database/switch': 'put app-database-mode back',
  open: 'put app-database-mode back',
};
const KINDS = {
  ready: 'http.check',
  database: 'database.import',
  smoke: 'http.check',
  watch: 'http.check',
  keep: 'point-of-no-return',
  open: 'app.switch',
};
const PHASES = [
  'ready',
  'database/inspect',
  'database/backup',
  'database/hold-writes',
  'database/copy',
  'database/verify',
  'database/switch',
  'smoke',
  'watch',
  'keep',
  'open',
];

export function makeRun(
  stories: Record<string, PhaseStory> = {},
  more: Partial<RunDetailWire> = {},
): RunDetailWire {
  return {
    run: 41,
    check: false,
    runbook: 'first-launch',
    environment: 'demo',
    plan: '7f3a91c204de'.padEnd(64, '0'),
    requester: 'dana',
    state: 'running',
    verdict: null,
    because: null,
    verified: null,
    notVerified: [],
    step: 'database',
    createdAt: at(0),
    startedAt: at(0),
    endedAt: null,
    unwindingAt: null,
    unwoundAt: null,
    head: { seq: 12, hash: 'e0a7319c55d1'.padEnd(64, '0') },
    at: at(149),
    dueAt: null,
    notAfter: null,
    waitUntil: null,
    waitingFor: null,
    rollback: { withinMs: 300_000, undoMs: 0, phases: 0, lastSafeAt: null },
    recovery: null,
    abort: { allowed: true, undoes: 0, undoMs: 0 },
    steps: Object.entries(KINDS).map(([id, kind]) => ({
      id,
      kind,
      effect: 'none',
      phases: PHASES.filter((name) => name.split('/')[0] === id),
    })),
    phases: PHASES.map((id) =>
      phase(id, {
        undo: UNDO[id] ?? null,
        effect: UNDO[id] === undefined ? 'none' : 'reversible',
        ...stories[id],
      }),
    ),
    approvals: [],
    decisions: [],
    targets: ['app-database-mode', 'app-postgres', 'app-sqlite'].map((target) => ({ target, equal: null })),
    ...more,
  };
}

const inspected: Record<string, PhaseStory> = {
  ready: { from: 0, to: 1, summary: '2 of 2 requests' },
  'database/inspect': { from: 2, to: 6, summary: '6 tables, 104,381 rows, every value fits' },
  'database/backup': { from: 6, to: 14, summary: 'app.db, 41 MB, sha256 77c1d0a4e9b2' },
};

const approvalOfDatabase = {
  step: 'database',
  state: 'open' as const,
  evidence: '9b1d04e7c2aa'.padEnd(64, '0'),
  from: { sre: 1, owner: 1 },
  openedAt: at(14),
  dueAt: at(14 + 4 * 3600),
  votes: [{ person: 'ana', group: 'sre', door: 'cli', at: at(302) }],
  needed: { owner: 1 },
  canApprove: { owner: ['olu'] },
};

export const waiting = makeRun(
  { ...inspected, 'database/hold-writes': { state: 'waiting', waitingFor: 'approval' } },
  { state: 'waiting', approvals: [approvalOfDatabase] },
);

const granted = {
  ...approvalOfDatabase,
  state: 'granted' as const,
  votes: [...approvalOfDatabase.votes, { person: 'olu', group: 'owner', door: 'cli', at: at(540) }],
  needed: {},
  canApprove: {},
};

export const copying = makeRun(
  {
    ...inspected,
    'database/hold-writes': { from: 541, to: 542, summary: 'writes held' },
    'database/copy': {
      from: 542,
      progress: { done: 66_000, total: 100_000, unit: 'rows', detail: 'songs' },
    },
  },
  {
    rollback: { withinMs: 300_000, undoMs: 8_000, phases: 2, lastSafeAt: at(1_800) },
    abort: { allowed: true, undoes: 2, undoMs: 8_000 },
    approvals: [granted],
    at: at(552),
  },
);

const copied: Record<string, PhaseStory> = {
  ...inspected,
  'database/hold-writes': { from: 541, to: 542, summary: 'writes held' },
  'database/copy': { from: 542, to: 551, summary: '104,381 rows in 6 tables' },
  'database/verify': { from: 551, to: 560, summary: '911,504 of 911,504 cells equal' },
};

const because = 'database/switch: a fault was injected after its effect, as --fail-at asked';

export const unwinding = makeRun(
  {
    ...copied,
    'database/hold-writes': { from: 541, to: 542, state: 'done' },
    'database/copy': { from: 542, back: 563, state: 'undoing', title: 'Copy' },
    'database/switch': {
      from: 560,
      back: 561,
      to: 563,
      state: 'undone',
      summary: 'app-database-mode is sqlite-held again',
    },
  },
  {
    state: 'unwinding',
    because,
    unwindingAt: at(561),
    at: at(566),
    abort: { allowed: false, undoes: 2, undoMs: 6_000 },
    approvals: [granted],
  },
);

/** An attempt of the undo lost its connection, and Temporal starts the next one in a moment. */
export const retrying: RunDetailWire = {
  ...unwinding,
  phases: unwinding.phases.map((one) =>
    one.phase === 'database/copy'
      ? {
          ...one,
          summary:
            "Attempt 2 of 5 failed and is tried again: PostgreSQL 'app-postgres' at db-1:5432 cannot be reached",
          error: {
            type: 'Unreachable',
            message: "PostgreSQL 'app-postgres' at db-1:5432 cannot be reached",
          },
        }
      : one,
  ),
};

const decisions = [
  {
    kind: 'approve',
    subject: 'database',
    person: 'ana',
    door: 'cli',
    reason: null,
    at: at(302),
    counted: true,
  },
  {
    kind: 'approve',
    subject: 'database',
    person: 'olu',
    door: 'cli',
    reason: null,
    at: at(540),
    counted: true,
  },
];

export const rolledBack = makeRun(
  {
    ...copied,
    'database/hold-writes': {
      from: 541,
      back: 569,
      to: 570,
      state: 'undone',
      summary: 'writes go to app-sqlite again',
    },
    'database/copy': { from: 542, back: 563, to: 569, state: 'undone', summary: '6 tables dropped' },
    'database/switch': {
      from: 560,
      back: 561,
      to: 563,
      state: 'undone',
      summary: 'app-database-mode is sqlite-held again',
    },
  },
  {
    state: 'rolled-back',
    because,
    verified: true,
    verdict: 'error',
    unwindingAt: at(561),
    unwoundAt: at(571),
    endedAt: at(571),
    recovery: { detectMs: 1_000, decideMs: 0, executeMs: 9_000, verifyMs: 1_000 },
    abort: { allowed: false, undoes: 0, undoMs: 0 },
    approvals: [granted],
    decisions,
    targets: ['app-database-mode', 'app-postgres', 'app-sqlite'].map((target) => ({ target, equal: true })),
  },
);

export const succeeded = makeRun(
  {
    ...copied,
    'database/switch': { from: 560, to: 561, summary: 'app-database-mode is postgres-held' },
    smoke: { from: 561, to: 562, summary: '2 of 2 requests' },
    watch: { from: 562, to: 577, summary: '15 of 15 readings' },
    keep: {
      state: 'done',
      wait: 'point-of-no-return',
      verdict: 'pass',
      summary: 'past it: one copy is left.',
    },
    open: { from: 620, to: 620.4, summary: 'app-database-mode is postgres' },
  },
  {
    state: 'succeeded',
    verdict: 'pass',
    endedAt: at(621),
    abort: { allowed: false, undoes: 4, undoMs: 12_000 },
    approvals: [granted],
    decisions: [
      ...decisions,
      {
        kind: 'approve',
        subject: 'keep',
        person: 'ana',
        door: 'cli',
        reason: null,
        at: at(600),
        counted: true,
      },
      {
        kind: 'approve',
        subject: 'keep',
        person: 'olu',
        door: 'cli',
        reason: null,
        at: at(610),
        counted: true,
      },
    ],
  },
);

/** Held by dana while it copied. */
export const paused: RunDetailWire = {
  ...copying,
  state: 'paused',
  because: 'paused by dana: checking the disk of db-1',
};

type DecisionStory = RunDetailWire['decisions'][number];
const steered = (
  kind: string,
  second: number,
  delivery: NonNullable<DecisionStory['delivery']>,
  over: Partial<DecisionStory> = {},
): DecisionStory => {
  const counted = delivery === 'journalled' || delivery === 'confirmed';
  const result = counted ? 'Accepted' : null;
  const about = { subject: null, person: 'dana', door: 'cli', reason: null };
  return { ...about, kind, at: at(second), counted, result, delivery, ...over };
};

/** People steer it, and it does not answer all of them. */
export const undelivered: RunDetailWire = {
  ...copying,
  decisions: [
    ...decisions.map((one) => ({ ...one, result: 'Counted', delivery: 'confirmed' as const })),
    steered('pause', 543, 'confirmed'),
    steered('resume', 544, 'confirmed'),
    steered('resume', 545, 'refused', { person: 'ben', result: 'NotPaused' }),
    steered('retry', 546, 'journalled', { subject: 'database/copy' }),
    steered('abort', 550, 'stored', { person: 'ana' }),
  ],
};

/** A pause that came when it was over. */
export const tooLate: RunDetailWire = {
  ...succeeded,
  decisions: [
    ...succeeded.decisions,
    steered('pause', 570, 'confirmed'),
    steered('resume', 575, 'confirmed'),
    steered('pause', 620, 'too-late', { person: 'ben' }),
  ],
};

/** A run of tomorrow, and one that stands in line. */
export const begins = makeRun(
  {},
  {
    state: 'planned',
    startedAt: null,
    step: null,
    dueAt: at(24 * 3600),
    notAfter: at(26 * 3600),
    at: at(60),
  },
);
export const inLine = makeRun(
  {},
  {
    state: 'planned',
    startedAt: null,
    step: null,
    waitUntil: at(3600),
    waitingFor: 'app-postgres held by run 38 (ben), about 20m left',
    at: at(60),
  },
);

export const stuck = makeRun(
  {
    ...copied,
    'database/hold-writes': {
      from: 541,
      back: 569,
      to: 570,
      state: 'undone',
      summary: 'writes go to app-sqlite again',
    },
    'database/copy': {
      from: 542,
      state: 'undo-failed',
      error: { type: 'UndoFailed', message: 'app-postgres answered 403, expected to drop 6 tables' },
    },
    'database/switch': {
      from: 560,
      back: 561,
      to: 563,
      state: 'undone',
      summary: 'app-database-mode is sqlite-held again',
    },
  },
  { state: 'stuck', because, unwindingAt: at(561), unwoundAt: at(600), at: at(700) },
);

export const plan: PlanWire = {
  plan: '7f3a91c204de'.padEnd(64, '0'),
  runbook: 'first-launch',
  environment: 'demo',
  params: { release: '1.4.0' },
  rollback: { withinMs: 300_000 },
  pointOfNoReturn: 'keep',
  steps: Object.entries(KINDS).map(([id, kind]) => ({
    id,
    kind,
    effect: id === 'database' ? 'reversible' : id === 'open' || id === 'keep' ? 'irreversible' : 'none',
    targets:
      id === 'database' ? ['app-postgres', 'app-database-mode'] : id === 'open' ? ['app-database-mode'] : [],
    undoMs: id === 'database' ? 12_000 : 0,
    approval: id === 'database' || id === 'keep' ? { from: { sre: 1, owner: 1 }, via: 'any' } : null,
    wait: id === 'keep' ? { wait: 'point-of-no-return', because: 'PostgreSQL becomes the only copy.' } : null,
    phases: PHASES.filter((name) => name.split('/')[0] === id).map((name) => ({ id: name })),
  })),
  leftOut: [],
  unverifiable: [],
  now: {
    person: 'dana',
    takesMs: 65_000,
    undoMs: 12_000,
    undoBasis: { samples: 31, isP95: true },
    canApprove: { owner: ['olu'], sre: ['ana', 'ben', 'chi'] },
    leases: [],
    leasesNeeded: 4,
    changeFreeze: null,
    nextChangeFreeze: null,
  },
};
