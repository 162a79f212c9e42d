/**
 * Answers sent at once to a real Temporal and a real PostgreSQL, as people send them: while a worker runs, and while none
 * does. What each was told, the decision rows, the journal and what became of the run must say the same.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tidyOnce } from '../../api/janitor.ts';
import type { RunDetailWire } from '../../cli/wire.ts';
import { isTerminal } from '../../procedures/states.ts';
import { verifyChain } from '../../store/chain.ts';
import { type Engine, makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { type TestApi, makeTestApi } from './support.ts';

const RUNS = 15;
const WAIT_MS = 40_000;
const SEED = Number(process.env['COUNTDOWN_TEST_SEED'] ?? Date.now() % 1_000_000);
/** What an answer may be told here. */
const RESULTS = [
  'Counted',
  'AlreadyCounted',
  'Accepted',
  'AlreadyDecided',
  'AlreadyEnded',
  'AlreadyPaused',
  'EvidenceDiffers',
  'RequesterCannotApprove',
  'NotInGroup',
];
const STALE = 'f'.repeat(64);

let engine: Engine;
let api: TestApi;
beforeAll(async () => {
  engine = await makeEngine();
  api = await makeTestApi({ engine });
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

type Say = { person: string; what: 'approve' | 'reject' | 'pause'; door: 'api' | 'cli'; stale: boolean };
/** Mostly the quorum, some of it twice; and now and then somebody who is not asked, what is stale, or a no. */
const say: fc.Arbitrary<Say> = fc
  .record({
    person: fc.constantFrom('ana', 'ana', 'ben', 'olu', 'olu', 'dana', 'zoe'),
    door: fc.constantFrom('api' as const, 'cli' as const),
    luck: fc.nat(23),
  })
  .map(({ person, door, luck }) => ({
    person: luck === 1 ? 'dana' : person,
    what: luck === 0 ? 'reject' : luck === 1 ? 'pause' : 'approve',
    door,
    stale: luck === 2 || luck === 3,
  }));
const yes = (person: string, door: 'api' | 'cli' = 'api'): Say => ({
  person,
  what: 'approve',
  door,
  stale: false,
});
/** One story whose quorum stands and that is answered twice by both doors, and one that lacks somebody. */
const ALWAYS: Say[][] = [
  [yes('ana'), yes('ana', 'cli'), yes('olu'), yes('olu', 'cli'), yes('ben')],
  [yes('ana'), yes('ben'), yes('ana', 'cli')],
];
const stories = fc.sample(fc.array(say, { minLength: 3, maxLength: 8, size: 'max' }), {
  numRuns: 2 * RUNS,
  seed: SEED,
});

type Answer = Say & { status: number; code: string; decision: string | null };
type Story = { run: number; says: Say[]; answers: Answer[] };

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`Seed ${SEED}: ${what} did not come within ${WAIT_MS} ms.`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const detailOf = (run: number) => api.ok<RunDetailWire>('dana', `/v1/runs/${run}`);

/** As many runs as stories, each of them asking. */
async function asking(told: readonly Say[][]): Promise<{ asked: RunDetailWire; says: Say[] }[]> {
  const phases = [
    { name: 'a' },
    { name: 'b', effect: 'reversible' as const, approval: approval({ sre: 1, owner: 1 }) },
  ];
  const plan = await api.savePlan(withDigests({ ...makePlan([{ id: 'one', phases }]), leases: {} }));
  return Promise.all(
    told.map(async (says) => {
      const { run } = await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan } });
      const asked = await until(`the question of run ${run}`, async () => {
        const now = await detailOf(run);
        return now.approvals.some(({ state }) => state === 'open') ? now : undefined;
      });
      return { asked, says };
    }),
  );
}

async function send({ run, plan, approvals }: RunDetailWire, one: Say): Promise<Answer> {
  const isVote = one.what !== 'pause';
  const vote = {
    step: 'one',
    decision: one.what,
    plan,
    evidence: one.stale ? STALE : approvals[0]?.evidence,
    reason: 'Holiday traffic is still high.',
  };
  const response = await api.request(one.person, `/v1/runs/${run}/${isVote ? 'decisions' : 'pause'}`, {
    body: isVote ? vote : { reason: 'because' },
    headers: one.door === 'cli' ? { 'User-Agent': 'countdown-cli/0.1.0' } : {},
  });
  const body = (await response.json()) as { result?: string; code?: string; decision?: string };
  return {
    ...one,
    status: response.status,
    code: body.result ?? body.code ?? '',
    decision: body.decision ?? null,
  };
}

/** Everything of every story at once. */
async function sendAll(told: Awaited<ReturnType<typeof asking>>): Promise<Story[]> {
  return Promise.all(
    told.map(async ({ asked, says }) => ({
      run: asked.run,
      says,
      answers: await Promise.all(says.map((one) => send(asked, one))),
    })),
  );
}

type Row = {
  id: string;
  kind: string;
  person: string;
  seq: number | null;
  refused: string | null;
};

async function rowsOf(run: number): Promise<Row[]> {
  const { rows } = await api.owner.query<Row>(
    'select id, kind, person, seq::int as seq, refused from countdown.decisions where run = $1 order by seq',
    [run],
  );
  return rows;
}

const peopleOf = (rows: readonly { person: string }[]) => [...new Set(rows.map(({ person }) => person))];
const isQuorum = (people: readonly string[]) =>
  people.includes('olu') && people.some((one) => ['ana', 'ben'].includes(one));
const isApplied = ({ seq, refused }: Row) => seq !== null && refused === null;

/** Where a run comes to rest on what was applied, unless it ends; null where it must end. */
function restOf(rows: readonly Row[]): 'waiting' | 'paused' | null {
  const applied = rows.filter(isApplied);
  const has = (kind: string) => applied.some((one) => one.kind === kind);
  if (has('reject')) return null;
  if (has('pause') && !has('resume')) return 'paused';
  return isQuorum(peopleOf(applied.filter(({ kind }) => kind === 'approve'))) ? null : 'waiting';
}

/** Waits until the run rests: ended, or asking with nothing unanswered. What comes after its end is answered no more. */
async function settled(run: number): Promise<RunDetailWire> {
  return until(`the end of run ${run}`, async () => {
    const rows = await rowsOf(run);
    const isAnswered = rows.every(({ seq, refused }) => seq !== null || refused !== null);
    const now = await detailOf(run);
    return (isAnswered && now.state === restOf(rows)) || isTerminal(now.state) ? now : undefined;
  });
}

/** Decision rows, journal and run agree. Gives back the rows that were applied, in their order. */
async function checkRun(run: number): Promise<Row[]> {
  const name = `seed ${SEED}, run ${run}`;
  if ((await settled(run)).state === 'paused')
    await api.ok('dana', `/v1/runs/${run}/resume`, { body: { reason: 'because' } });
  const { state } = await settled(run);
  const journal = await api.store.journal(run, { after: 0, limit: 1_000 });
  expect(verifyChain(journal), name).toMatchObject({ intact: true });
  const rows = await rowsOf(run);
  const applied = rows.filter(isApplied);
  const journalled = journal.filter(({ kind }) => kind === 'decision').map(({ seq }) => seq);
  expect(
    rows.flatMap(({ seq }) => seq ?? []),
    `${name}: one journal row for each`,
  ).toEqual(journalled);

  const granted = journal.filter(({ kind, body }) => kind === 'approval' && body['state'] === 'granted');
  const approvals = applied.filter(({ kind }) => kind === 'approve');
  const [grant] = granted;
  if (grant === undefined) {
    expect(state, name).toBe(applied.some(({ kind }) => kind === 'reject') ? 'stopped' : 'waiting');
    expect(state === 'waiting' && isQuorum(peopleOf(approvals)), name).toBe(false);
  } else {
    expect(granted.length, `${name}: a quorum is met once`).toBe(1);
    const votes = grant.body['votes'] as string[];
    const counted = approvals.filter(({ id }) => votes.includes(id));
    expect(counted.length, `${name}: only what was applied counts`).toBe(votes.length);
    expect(peopleOf(counted).length, `${name}: nobody counts twice`).toBe(votes.length);
    expect(isQuorum(peopleOf(counted)), name).toBe(true);
    expect(state, name).toBe('succeeded');
  }
  return applied;
}

/** What people were told is what the rows say: as many answers that count as rows, as many refusals as refused rows. */
async function checkAnswers({ run, answers }: Story, applied: readonly Row[]): Promise<void> {
  const name = `seed ${SEED}, run ${run}: ${answers.map(({ person, what, code }) => `${person} ${what} ${code}`).join(', ')}`;
  const told = (codes: readonly string[]) =>
    answers
      .filter(({ code }) => codes.includes(code))
      .map(({ person, what }) => `${person} ${what}`)
      .toSorted();
  for (const { code } of answers) expect(RESULTS, name).toContain(code);
  const mine = applied.filter(({ kind }) => kind !== 'resume');
  expect(told(['Counted', 'AlreadyCounted', 'Accepted']), name).toEqual(
    mine.map(({ person, kind }) => `${person} ${kind}`).toSorted(),
  );
  const counted = answers.filter(({ code, what }) => code === 'Counted' && what === 'approve');
  expect(peopleOf(counted).length, `${name}: nobody counts twice`).toBe(counted.length);
  expect(peopleOf(counted).toSorted(), name).toEqual(
    peopleOf(mine.filter(({ kind }) => kind === 'approve')).toSorted(),
  );
  for (const { person, kind, refused } of (await rowsOf(run)).filter((row) => !isApplied(row))) {
    // Neither counted nor refused: the run had ended before it came.
    expect(told([refused ?? 'AlreadyEnded']), name).toContain(`${person} ${kind}`);
  }
}

describe('answers sent at once', () => {
  test('while a worker runs have one result each, and rows, journal and run say the same', async () => {
    for (const story of await sendAll(await asking([...ALWAYS, ...stories.slice(0, RUNS)])))
      await checkAnswers(story, await checkRun(story.run));
  }, 120_000);

  test('while no worker runs are kept, and applied once each when one does', async () => {
    const asked = await asking([...ALWAYS, ...stories.slice(RUNS)]);
    await engine.stopWorker();
    const told = await sendAll(asked);
    await engine.startWorker();
    await until('the last answer', async () => {
      await tidyOnce(api);
      return (await api.store.unanswered(0, 1)).length === 0 ? true : undefined;
    });
    for (const { run, answers } of told) {
      const kept = answers.filter(({ code }) => code === 'NoWorker');
      for (const { status, code } of answers) expect([403, 503], code).toContain(status);
      const applied = (await checkRun(run)).filter(({ kind }) => kind !== 'resume').map(({ id }) => id);
      const ids = kept.map(({ decision }) => decision);
      expect(applied.filter((id) => !ids.includes(id))).toEqual([]);
      const rows = await rowsOf(run);
      for (const id of ids) expect(rows.filter((row) => row.id === id).length).toBe(1);
    }
  }, 120_000);
});
