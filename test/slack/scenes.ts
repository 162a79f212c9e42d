/** Made-up runs of every size, with texts that want to be more than text. */
import fc from 'fast-check';
import type { Environment } from '../../procedures/environment.ts';
import type { Approval, Effect } from '../../procedures/plan.ts';
import type { Scene } from '../../slack/scene.ts';
import type { Line, Round } from '../../slack/story.ts';
import { safe } from '../../slack/words.ts';
import type { PhaseView, RunDetail } from '../../store/types.ts';
import { approval, makePlan } from '../support/plans.ts';

/** Texts of people and of targets: long, empty, of many scripts, and such that want to be more than text. */
const EVIL = [
  '<!channel>',
  '<!here|here>',
  '<@U0MALLORY>',
  '<https://evil.example|Approve>',
  'https://evil.example/login',
  '*bold* _slanted_ ~struck~ `set`',
  '&lt;!channel&gt;',
  'a\n> quoted\n```code```',
  '\u202Eevorppa\u202C',
  'x'.repeat(20_000),
  '&'.repeat(5_000),
  '😀'.repeat(3_000),
  '\uD800',
  '',
];
export const evil = fc.oneof(fc.constantFrom(...EVIL), fc.string({ unit: 'grapheme', maxLength: 400 }));
const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,39}$/);

const effects: fc.Arbitrary<Effect> = fc.constantFrom('none', 'reversible', 'costly', 'irreversible');
const states = fc.constantFrom(
  ...([
    'planned',
    'waiting',
    'running',
    'paused',
    'succeeded',
    'stopped',
    'unwinding',
    'rolled-back',
    'stuck',
  ] as const),
);

type Size = { steps: number; phases: number; people: number; groups: number; rounds: number; votes: number };
const size: fc.Arbitrary<Size> = fc.record({
  steps: fc.constantFrom(1, 3, 40),
  phases: fc.constantFrom(1, 3, 12),
  people: fc.constantFrom(2, 5, 200),
  groups: fc.constantFrom(1, 2, 20),
  rounds: fc.constantFrom(0, 1, 4),
  votes: fc.constantFrom(0, 1, 60),
});

export const AT = '2026-11-22T01:05:00.000Z';

export const scenes: fc.Arbitrary<Scene> = fc
  .record({
    size,
    state: states,
    effect: effects,
    text: evil,
    reason: evil,
    name: word,
    via: fc.constantFrom('any' as const, 'slack' as const, 'api' as const),
    how: fc.constantFrom(...(['open', 'granted', 'rejected', 'expired', 'voided'] as const)),
    isSkip: fc.boolean(),
    isComment: fc.boolean(),
  })
  .map((made) => sceneOf(made));

function sceneOf(made: {
  size: Size;
  state: RunDetail['state'];
  effect: Effect;
  text: string;
  reason: string;
  name: string;
  via: Approval['via'];
  how: Round['state'];
  isSkip: boolean;
  isComment: boolean;
}): Scene {
  const { size: many, text, reason } = made;
  const people = Array.from({ length: many.people }, (_, index) => `person-${index}`);
  const groups = Object.fromEntries(
    Array.from({ length: many.groups }, (_, index) => [`group-${index}-${made.name}`.slice(0, 40), people]),
  );
  const from = Object.fromEntries(Object.keys(groups).map((group) => [group, 2]));
  const specs = Array.from({ length: many.steps }, (_, index) => ({
    id: `step-${index}`,
    phases: Array.from({ length: many.phases }, (__, at) => ({
      name: `phase-${at}`,
      effect: made.effect,
      target: `target-${index}-${at}`,
      ...(at === 0
        ? {
            approval: approval(from, {
              via: made.via,
              ...(made.isComment ? { comment: 'required' as const } : {}),
            }),
          }
        : {}),
    })),
  }));
  const plan = makePlan(specs);
  for (const phase of plan.phases) phase.title = text;
  for (const [step, asked] of Object.entries(plan.approvals))
    Object.assign(asked, { covers: plan.steps.map(({ id }) => id), leading: [`${step}/phase-0`] });
  const rounds: Round[] = Array.from({ length: many.rounds }, (_, index) => ({
    step: 'step-0',
    round: index + 1,
    evidence: 'e'.repeat(64),
    from,
    dueAt: Date.parse(AT),
    state: made.how,
    closedAt: made.how === 'open' ? null : AT,
    brokeGlass: [],
    about: made.isSkip ? { person: 'person-1', reason } : null,
    votes: people
      .slice(0, many.votes)
      .map((person) => ({ person, groups: Object.keys(groups), door: 'slack', at: AT })),
    rejection: made.how === 'rejected' ? { person: 'person-1', reason, at: AT } : null,
  }));
  const phases = plan.phases.map((phase): PhaseView => ({
    phase: phase.id,
    step: phase.step,
    title: text,
    effect: phase.effect,
    state: 'done',
    verdict: 'fail',
    summary: text,
    error: { type: 'Error', message: text },
    try: 1,
    waitingFor: null,
    progress: null,
    startedAt: AT,
    endedAt: AT,
    actAt: AT,
    newsAt: AT,
    runMs: 10,
    undoMs: 10,
    isOwed: true,
  }));
  const run: RunDetail = {
    run: 41,
    check: false,
    runbook: made.name,
    environment: made.name,
    plan: 'f'.repeat(64),
    requester: 'person-0',
    state: made.state,
    verdict: 'fail',
    because: text,
    verified: false,
    notVerified: plan.phases.map(({ id }) => id),
    step: 'step-0',
    failAt: null,
    notAfter: null,
    dueAt: null,
    waitUntil: null,
    readyCheck: false,
    ready: [],
    isAdmitted: true,
    createdAt: AT,
    startedAt: AT,
    endedAt: AT,
    unwindingAt: null,
    unwoundAt: null,
    head: { seq: 1, hash: '0' },
    follows: null,
    followUps: [],
    phases,
    approvals: [],
    decisions: [],
    targets: [],
  };
  const environment: Environment = {
    environment: made.name,
    protected: false,
    targets: {},
    people: Object.fromEntries(people.map((person) => [person, {}])),
    roles: { operator: [], admin: [], auditor: [] },
    groups,
    approvals: { least: {} },
  };
  const ids = people.filter((_, index) => index % 2 === 0).map((person, index) => [person, `U0P${index}`]);
  return { run, plan, rounds, environment, mentions: { people: Object.fromEntries(ids), groups: {} } };
}

export const lines: fc.Arbitrary<Line[]> = fc
  .array(
    fc.record({
      text: evil.map((text) => `✓ ${safe(text)}`),
      place: fc.nat(40).map((luck) => (luck === 0 ? ('both' as const) : ('thread' as const))),
    }),
    { maxLength: 120, size: 'max' },
  )
  .map((all) => all.map(({ text, place }, seq) => ({ seq, place, text: `${seq} ${text}` })));
