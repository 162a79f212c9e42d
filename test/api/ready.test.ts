/** The ready check: a run that begins once enough people have said that they are there. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { tidyOnce } from '../../api/janitor.ts';
import { type Engine, makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { ENGINE, type TestApi, makeTestApi } from './support.ts';

let engine: Engine;
let api: TestApi;
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

type Shown = {
  run: number;
  state: string;
  because: string | null;
  waitingFor: string | null;
  ready: string[] | null;
};
const show = (run: number) => api.ok<Shown>('dana', `/v1/runs/${run}`);
const ready = (person: string, run: number) => api.request(person, `/v1/runs/${run}/ready`, { body: {} });
const janitor = () => tidyOnce(api);

let plans = 0;
const PHASE = { name: 'a', effect: 'reversible' as const };
async function asked(from: Record<string, number>, over: object = {}): Promise<number> {
  const made = makePlan([{ id: 'one', phases: [{ ...PHASE, approval: approval(from) }] }], {
    params: { n: (plans += 1) },
  });
  const body = { plan: await api.savePlan(withDigests(made)), readyCheck: true, ...over };
  return (await api.ok<Shown>('dana', '/v1/runs', { body })).run;
}
async function until(run: number, isSo: (shown: Shown) => boolean): Promise<Shown> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const shown = await show(run);
    if (isSo(shown)) return shown;
    if (Date.now() > deadline) throw new Error(JSON.stringify(shown));
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
async function abort(run: number): Promise<void> {
  await api.ok('dana', `/v1/runs/${run}/abort`, { body: { reason: 'enough seen' } });
  await until(run, ({ state }) => state === 'stopped');
}

test('a run begins once enough people have said that they are there, and then asks them as always', async () => {
  const run = await asked({ sre: 1, owner: 1 });
  await janitor();
  expect(await show(run)).toMatchObject({
    state: 'planned',
    ready: [],
    waitingFor: 'people to say that they are ready: owner 1 (olu), sre 1 (ana, ben)',
  });
  expect((await ready('ana', run)).status).toBe(200);
  expect((await ready('ana', run)).status).toBe(200);
  expect(await show(run)).toMatchObject({
    ready: ['ana'],
    waitingFor: 'people to say that they are ready: owner 1 (olu)',
  });
  expect((await ready('olu', run)).status).toBe(200);
  const begun = await until(run, ({ state }) => state === 'waiting');
  expect(begun).toMatchObject({ ready: ['ana', 'olu'], waitingFor: null });
  expect(await api.refusal('ben', `/v1/runs/${run}/ready`, { body: {} })).toEqual([409, 'NotAsked']);
  await abort(run);
});

test('it ends where too few have said so in time', async () => {
  const run = await asked({ owner: 1 });
  now = new Date(Date.now() + 16 * 60_000);
  await janitor();
  expect(await show(run)).toMatchObject({
    state: 'stopped',
    because: 'Not enough people said that they are ready. Still needed: owner 1 (olu).',
  });
  expect(await api.refusal('olu', `/v1/runs/${run}/ready`, { body: {} })).toEqual([409, 'NotAsked']);
});

test('one person is there once, whichever groups he is in', async () => {
  await writeFile(
    join(api.environmentFolder, 'test.yaml'),
    ENGINE.replace('owner: [olu]', 'owner: [olu, ana]'),
  );
  const run = await asked({ sre: 1, owner: 1 });
  await ready('ana', run);
  expect((await show(run)).waitingFor).toMatch(/^people to say that they are ready: \w+ 1/);
  await abort(run);
});

test('the requester and who is in no group asked are not counted, and that is written down', async () => {
  const groups = ENGINE.replace('owner: [olu]', 'owner: [olu, dana]');
  await writeFile(join(api.environmentFolder, 'test.yaml'), groups);
  const run = await asked({ owner: 1 });
  expect(await api.refusal('dana', `/v1/runs/${run}/ready`, { body: {} })).toEqual([
    403,
    'RequesterCannotApprove',
  ]);
  expect(await api.refusal('ana', `/v1/runs/${run}/ready`, { body: {} })).toEqual([403, 'NotInGroup']);
  expect((await show(run)).ready).toEqual([]);
  await abort(run);
});

test('a run that was not asked for with it waits for nobody', async () => {
  const run = await asked({ owner: 1 }, { readyCheck: false });
  await until(run, ({ state }) => state === 'waiting');
  expect((await show(run)).ready).toBeNull();
  await abort(run);
});
