/** What follows days after a run has succeeded: made once, shown, due at its time, held against what has changed since. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { tidyOnce } from '../../api/janitor.ts';
import { type Engine, makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { ENGINE, type TestApi, makeTestApi } from './support.ts';

const DAY_MS = 86_400_000;
const AFTER_MS = 7 * DAY_MS;

let engine: Engine;
let api: TestApi;
/** The API's clock: it stands still unless a test moves it. */
let now: Date;
beforeAll(async () => {
  engine = await makeEngine();
  api = await makeTestApi({ engine, now: () => now });
});
beforeEach(async () => {
  now = new Date();
  engine.world.stands.clear();
  await writeFile(join(api.environmentFolder, 'test.yaml'), ENGINE);
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

type FollowUp = {
  id: string;
  afterMs: number;
  run: number | null;
  state: string | null;
  dueAt: string | null;
};
type Shown = {
  run: number;
  state: string;
  because: string | null;
  requester: string;
  plan: string;
  endedAt: string | null;
  follows: { run: number; followUp: string } | null;
  followUps: FollowUp[];
};
const show = (run: number) => api.ok<Shown>('dana', `/v1/runs/${run}`);
const janitor = () => tidyOnce(api);

/** What is due of other runs may hold the target for a moment: `tends` lets the janitor pass meanwhile. */
async function until(
  run: number,
  isSo: (shown: Shown) => boolean,
  { tends = true }: { tends?: boolean } = {},
): Promise<Shown> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const shown = await show(run);
    if (isSo(shown)) return shown;
    if (Date.now() > deadline) throw new Error(JSON.stringify(shown));
    if (tends) await janitor();
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

let plans = 0;
/** A plan with an effect, and the plan of what follows it. */
async function planned(
  over: { asks?: boolean; fails?: boolean } = {},
): Promise<{ parent: string; later: string }> {
  const nonce = { params: { n: (plans += 1) } };
  const asks = over.asks === true ? { approval: approval({ owner: 1 }) } : {};
  const later = await api.savePlan(
    withDigests(
      makePlan([{ id: 'cleanup', phases: [{ name: 'b', effect: 'reversible', ...asks }] }], {
        ...nonce,
        runbook: { name: 'test.cleanup', digest: '0'.repeat(64) },
      }),
    ),
  );
  const made = makePlan([{ id: 'one', phases: [{ name: 'a', effect: 'reversible' }] }], nonce);
  const followUps = [{ id: 'cleanup', afterMs: AFTER_MS, plan: later }];
  return { parent: await api.savePlan({ ...withDigests(made), followUps }), later };
}

async function ended(plan: string, body: object = {}): Promise<Shown> {
  const { run } = await api.ok<Shown>('dana', '/v1/runs', { body: { plan, ...body } });
  return until(run, ({ endedAt }) => endedAt !== null, { tends: false });
}

/** A run that has succeeded, and the one that follows it. */
async function followed(over: { asks?: boolean } = {}): Promise<{ parent: Shown; child: number }> {
  const { parent } = await planned(over);
  const { run } = await ended(parent);
  await janitor();
  const shown = await show(run);
  const child = shown.followUps[0]?.run;
  if (typeof child !== 'number') throw new Error(JSON.stringify(shown));
  return { parent: shown, child };
}
const pass = (ms: number) => {
  now = new Date(Date.now() + ms);
};

test('a run that has succeeded is followed by a run of its own, once, in the name of who asked for the first', async () => {
  const { parent, later } = await planned();
  const before = await ended(parent);
  expect(before).toMatchObject({ state: 'succeeded', follows: null });
  expect(before.followUps).toEqual([
    { id: 'cleanup', afterMs: AFTER_MS, run: null, state: null, dueAt: null },
  ]);
  await Promise.all([janitor(), janitor()]);
  await janitor();
  const { run, endedAt, followUps } = await show(before.run);
  const [made] = followUps;
  expect(followUps).toHaveLength(1);
  expect(made?.dueAt).toBe(new Date(Date.parse(endedAt ?? '') + AFTER_MS).toISOString());
  expect(await show(made?.run ?? 0)).toMatchObject({
    state: 'planned',
    plan: later,
    requester: 'dana',
    follows: { run, followUp: 'cleanup' },
  });
  const next = await api.ok<{ items: { run: number }[] }>('dana', '/v1/runs?limit=1');
  expect(next.items[0]?.run).toBe(made?.run);
});

test('it begins at its time and not before, and asks for its own approval', async () => {
  const { child } = await followed({ asks: true });
  pass(AFTER_MS - DAY_MS);
  await janitor();
  expect((await show(child)).state).toBe('planned');
  pass(AFTER_MS + 1_000);
  await janitor();
  expect((await until(child, ({ state }) => state === 'waiting')).state).toBe('waiting');
  await api.ok('dana', `/v1/runs/${child}/abort`, { body: { reason: 'it stays' } });
  await until(child, ({ state }) => state === 'stopped');
});

test('what follows a run that was rolled back or stopped is never made', async () => {
  const { parent } = await planned();
  const { run, state } = await ended(parent, { failAt: 'one' });
  expect(state).toBe('rolled-back');
  pass(AFTER_MS + DAY_MS);
  await janitor();
  expect((await show(run)).followUps).toMatchObject([{ run: null }]);
});

test('it ends at its time where a target has changed since it was planned', async () => {
  const { child } = await followed();
  await writeFile(join(api.environmentFolder, 'test.yaml'), ENGINE.replace('127.0.0.1:9', '127.0.0.1:10'));
  pass(AFTER_MS + 1_000);
  await janitor();
  expect(await show(child)).toMatchObject({
    state: 'stopped',
    because: 'Target thing has changed since it was planned: plan anew.',
  });
});

test('it ends at its time where its target is gone', async () => {
  const { child } = await followed();
  await writeFile(join(api.environmentFolder, 'test.yaml'), ENGINE.replace('thing:', 'other:'));
  pass(AFTER_MS + 1_000);
  await janitor();
  expect((await show(child)).because).toBe('Target thing is not in environment test any more: plan anew.');
});

test('it ends at its time where nobody is left who could approve it', async () => {
  const { child } = await followed({ asks: true });
  await writeFile(join(api.environmentFolder, 'test.yaml'), ENGINE.replace('owner: [olu]', 'owner: []'));
  pass(AFTER_MS + 1_000);
  await janitor();
  const { state, because } = await show(child);
  expect([state, because]).toEqual(['stopped', expect.stringMatching(/^cleanup .*owner/)]);
});

test('a follow-up that is long due still goes through the same door', async () => {
  const { parent } = await planned();
  const { run } = await ended(parent);
  pass(AFTER_MS + 30 * DAY_MS);
  await janitor();
  const [made] = (await show(run)).followUps;
  expect(made).toMatchObject({ state: 'planned' });
  pass(AFTER_MS + 31 * DAY_MS);
  await janitor();
  expect(await until(made?.run ?? 0, ({ endedAt }) => endedAt !== null)).toMatchObject({
    state: 'succeeded',
  });
});

test('the store makes no follow-up of another plan, for another person, or of a run that has not succeeded', async () => {
  const { parent, later } = await planned();
  const { run } = await ended(parent);
  const open = await planned({ asks: true });
  const row = { groups: {}, failAt: null, idempotency: null, follows: { run, followUp: 'cleanup' } };
  const make = (over: object) => api.store.createRun({ ...row, plan: later, requester: 'dana', ...over });
  await expect(make({ plan: open.later })).rejects.toThrow(/has not succeeded/);
  await expect(make({ requester: 'olu' })).rejects.toThrow(/has not succeeded/);
  await expect(make({ follows: { run, followUp: 'other' } })).rejects.toThrow(/has not succeeded/);
  await expect(make({ follows: { run: 99_999, followUp: 'cleanup' } })).rejects.toThrow(/has not succeeded/);
  expect((await show(run)).followUps).toMatchObject([{ run: null }]);
});
