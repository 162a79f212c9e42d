/** Runs that begin later, or wait for a target: asked for, shown, admitted by the janitor, ended. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { tidyOnce } from '../../api/janitor.ts';
import { type Engine, makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { ENGINE, type TestApi, makeTestApi } from './support.ts';

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
  await writeFile(join(api.environmentFolder, 'test.yaml'), ENGINE);
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

const later = (minutes: number) => new Date(now.getTime() + minutes * 60_000);
const pass = (minutes: number) => {
  now = later(minutes);
};

type Shown = {
  run: number;
  state: string;
  because: string | null;
  dueAt: string | null;
  waitUntil: string | null;
  waitingFor: string | null;
  decisions: { kind: string; counted: boolean }[];
};
const show = (run: number) => api.ok<Shown>('dana', `/v1/runs/${run}`);
const janitor = () => tidyOnce(api);

let plans = 0;
/** A plan that asks for an approval before its only effect, so that its run goes on until somebody ends it. */
async function plan(target = 'thing', over: { asks?: boolean } = {}): Promise<string> {
  const phase = { name: 'a', effect: 'reversible' as const, target };
  const asks = over.asks === false ? {} : { approval: approval({ sre: 1 }) };
  const made = makePlan([{ id: 'one', phases: [{ ...phase, ...asks }] }], { params: { n: (plans += 1) } });
  return api.savePlan(withDigests(made));
}

const ask = (body: object, person = 'dana', headers: Record<string, string> = {}) =>
  api.request(person, '/v1/runs', { body, headers });
async function start(body: object, person = 'dana'): Promise<Shown> {
  const response = await ask(body, person);
  const said = (await response.json()) as Shown;
  expect(response.status, JSON.stringify(said)).toBe(202);
  return said;
}
async function refused(body: object): Promise<[number, string, string]> {
  const response = await ask(body);
  const { code, detail } = (await response.json()) as { code: string; detail: string };
  return [response.status, code, detail];
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
const abort = (run: number, person = 'dana') =>
  api.ok<{ detail: string }>(person, `/v1/runs/${run}/abort`, { body: { reason: 'not tonight' } });
const isAsked = ({ state }: Shown) => state === 'waiting';
const hasEnded = ({ state }: Shown) => ['stopped', 'succeeded', 'rolled-back'].includes(state);

describe('a run with a time', () => {
  test('is planned until then, holds nothing, and is begun by the janitor when it has come', async () => {
    const said = await start({ plan: await plan(), at: later(60).toISOString() });
    expect(said).toMatchObject({ state: 'planned', dueAt: later(60).toISOString(), waitingFor: null });
    await janitor();
    expect(await show(said.run)).toMatchObject({ state: 'planned', dueAt: later(60).toISOString() });
    // Meanwhile another run has the target and gives it back.
    const other = await start({ plan: await plan() });
    await until(other.run, isAsked);
    await abort(other.run);
    await until(other.run, hasEnded);
    pass(60);
    await janitor();
    await until(said.run, isAsked);
    await abort(said.run);
    expect((await until(said.run, hasEnded)).state).toBe('stopped');
  });

  test('is refused where the time has passed, is too far ahead, or leaves no time to begin', async () => {
    now = new Date('2026-11-22T01:00:00Z');
    const of = await plan();
    const [status, code, detail] = await refused({ plan: of, at: '2026-11-22T00:00Z' });
    expect([status, code]).toEqual([422, 'BodyInvalid']);
    expect(detail).toBe('at is 22 Nov 2026 00:00 UTC, expected a time to come: leave it out to start now.');
    expect((await refused({ plan: of, at: '2027-11-22T01:00Z' }))[2]).toBe(
      'at is 22 Nov 2027 01:00 UTC, expected at most 30 days from now.',
    );
    expect((await refused({ plan: of, at: 'tomorrow' }))[2]).toBe(
      "at is 'tomorrow', expected a time such as '2026-11-22T01:00Z'.",
    );
    expect((await refused({ plan: of, at: '2026-11-22T03:00Z', notAfter: '2026-11-22T02:00Z' }))[2]).toBe(
      'notAfter is 22 Nov 2026 02:00 UTC, expected a time after the start, 22 Nov 2026 03:00 UTC.',
    );
    expect((await refused({ plan: of, waitMs: 25 * 3_600_000 })).slice(0, 2)).toEqual([422, 'BodyInvalid']);
  });

  test('ends where its target is held when the time comes, and says by whom', async () => {
    const holder = await start({ plan: await plan() });
    await until(holder.run, isAsked);
    const said = await start({ plan: await plan(), at: later(10).toISOString() });
    pass(11);
    await janitor();
    expect(await show(said.run)).toMatchObject({
      state: 'stopped',
      because: `The wait is over: thing is held by run ${holder.run} (test, requester dana), which waits for an approval.`,
    });
    await abort(holder.run);
    await until(holder.run, hasEnded);
  });

  test('ends once it may begin no longer', async () => {
    now = new Date('2026-11-22T01:00:00Z');
    const said = await start({
      plan: await plan('elsewhere'),
      at: '2026-11-22T02:00Z',
      notAfter: '2026-11-22T03:00Z',
    });
    // No janitor was there between the two.
    now = new Date('2026-11-22T03:00:01Z');
    await janitor();
    expect(await show(said.run)).toMatchObject({
      state: 'stopped',
      because: 'It was not to begin after 22 Nov 2026 03:00 UTC.',
    });
  });

  test('ends where its requester has lost the right meanwhile', async () => {
    const said = await start({ plan: await plan('lost'), at: later(10).toISOString() });
    await writeFile(
      join(api.environmentFolder, 'test.yaml'),
      ENGINE.replace('operator: [dana]', 'operator: [zoe]'),
    );
    pass(10);
    await janitor();
    expect(await show(said.run)).toMatchObject({
      state: 'stopped',
      because: 'dana may no longer start a run in test.',
    });
  });
});

const freeze = (from: string, to: string) =>
  writeFile(
    join(api.environmentFolder, 'test.yaml'),
    `${ENGINE}changeFreezes: [{ name: year-end, from: '${from}', to: '${to}' }]\n`,
  );

describe('a run with a time and a change freeze', () => {
  test('is refused where the time lies inside it, and taken where the freeze is over by then', async () => {
    now = new Date('2026-12-20T00:00:00Z');
    await freeze('2026-12-18T00:00Z', '2027-01-04T00:00Z');
    const of = await plan('frozen');
    const detail = 'No run starts in test until 4 Jan 2027 00:00 UTC (year-end). Rollbacks go on.';
    expect(await refused({ plan: of, at: '2027-01-03T00:00Z' })).toEqual([409, 'ChangeFreeze', detail]);
    const said = await start({ plan: of, at: '2027-01-05T00:00Z' });
    await abort(said.run);
  });

  test('waits until it is over where it may, and ends where it may not', async () => {
    now = new Date('2026-12-17T00:00:00Z');
    const at = '2026-12-18T01:00Z';
    const waits = await start({ plan: await plan('thing', { asks: false }), at, waitMs: 3_600_000 });
    const cannot = await start({ plan: await plan('frozen'), at });
    await freeze('2026-12-18T00:00Z', '2026-12-18T01:30Z');
    now = new Date('2026-12-18T01:00:10Z');
    await janitor();
    expect(await show(waits.run)).toMatchObject({
      state: 'planned',
      waitingFor: 'the end of the change freeze, 18 Dec 2026 01:30 UTC',
    });
    expect(await show(cannot.run)).toMatchObject({
      state: 'stopped',
      because: 'No run starts in test until 18 Dec 2026 01:30 UTC (year-end). Rollbacks go on.',
    });
    now = new Date('2026-12-18T01:30:00Z');
    await janitor();
    expect((await until(waits.run, hasEnded)).state).toBe('succeeded');
  });
});

describe('a run that waits for a target', () => {
  test('is told who holds it, and begins after it without anybody asking again', async () => {
    const holder = await start({ plan: await plan() });
    await until(holder.run, isAsked);
    const of = await plan();
    expect(await refused({ plan: of })).toEqual([
      409,
      'TargetLeased',
      `thing is held by run ${holder.run} (test, requester dana), which waits for an approval.`,
    ]);
    const first = await start({ plan: of, waitMs: 3_600_000 });
    expect(first).toMatchObject({
      state: 'planned',
      waitingFor: `thing held by run ${holder.run} (dana), which waits for an approval`,
      waitUntil: later(60).toISOString(),
    });
    const second = await start({ plan: await plan('thing', { asks: false }), waitMs: 3_600_000 });
    await janitor();
    await abort(holder.run);
    await until(holder.run, hasEnded);
    // The target is free for a moment: who did not wait is not let past those who did.
    expect((await refused({ plan: await plan() }))[2]).toBe(
      `thing is next for run ${first.run} (test, requester dana), which has waited for longer.`,
    );
    await janitor();
    await until(first.run, isAsked);
    expect((await show(second.run)).state).toBe('planned');
    await abort(first.run);
    await until(first.run, hasEnded);
    await janitor();
    expect((await until(second.run, hasEnded)).state).toBe('succeeded');
  });

  test('is ended at once by an abort, without a worker, and hears no other decision', async () => {
    const holder = await start({ plan: await plan() });
    await until(holder.run, isAsked);
    const said = await start({ plan: await plan(), waitMs: 60_000 });
    await engine.stopWorker();
    const steer = (verb: string, body: object) =>
      api.refusal('dana', `/v1/runs/${said.run}/${verb}`, { body });
    expect(await steer('pause', {})).toEqual([409, 'NotBegun']);
    expect(await steer('retry', { phase: 'one' })).toEqual([409, 'NotBegun']);
    const vote = { step: 'one', decision: 'reject', reason: 'not tonight, please' };
    const [{ plan: of }] = [await api.ok<{ plan: string }>('dana', `/v1/runs/${said.run}`)];
    expect(
      await api.refusal('ana', `/v1/runs/${said.run}/decisions`, { body: { ...vote, plan: of } }),
    ).toEqual([409, 'NotBegun']);
    expect((await abort(said.run)).detail).toBe(`run ${said.run} is stopped; nothing had been changed.`);
    expect(await show(said.run)).toMatchObject({
      state: 'stopped',
      because: 'dana aborted the run: not tonight',
      decisions: [{ kind: 'abort', counted: true }],
    });
    await engine.startWorker();
    await abort(holder.run);
    await until(holder.run, hasEnded);
  });

  test('ends when its wait is over', async () => {
    const holder = await start({ plan: await plan() });
    await until(holder.run, isAsked);
    const said = await start({ plan: await plan(), waitMs: 60_000 });
    pass(1);
    await janitor();
    expect((await show(said.run)).state).toBe('planned');
    pass(0.1);
    await janitor();
    expect(await show(said.run)).toMatchObject({
      state: 'stopped',
      because: `The wait is over: thing is held by run ${holder.run} (test, requester dana), which waits for an approval.`,
    });
    await abort(holder.run);
    await until(holder.run, hasEnded);
  });
});

const key = (text: string) => ({ 'Idempotency-Key': text });

describe('a request that is sent again with its key', () => {
  test('gets the first answer, also inside a change freeze and after its leases went to the first run', async () => {
    const of = await plan();
    const first = (await (await ask({ plan: of }, 'dana', key('again'))).json()) as Shown;
    await until(first.run, isAsked);
    await writeFile(
      join(api.environmentFolder, 'test.yaml'),
      `${ENGINE}changeFreezes: [{ name: now, from: '2020-01-01T00:00Z', to: '2100-01-01T00:00Z' }]\n`,
    );
    const again = await ask({ plan: of }, 'dana', key('again'));
    expect([again.status, ((await again.json()) as Shown).run]).toEqual([202, first.run]);
    expect(((await (await ask({ plan: of }, 'dana', key('new'))).json()) as { code: string }).code).toBe(
      'ChangeFreeze',
    );
    await abort(first.run);
    await until(first.run, hasEnded);
  });

  test('gets the first answer also when the time that it named has passed', async () => {
    const body = { plan: await plan('later'), at: later(10).toISOString() };
    const first = (await (await ask(body, 'dana', key('late'))).json()) as Shown;
    pass(60);
    const again = await ask(body, 'dana', key('late'));
    expect([again.status, ((await again.json()) as Shown).run]).toEqual([202, first.run]);
    await abort(first.run);
  });
});

test('the list of leases says who holds what and what that waits for, to those who may see it', async () => {
  const holder = await start({ plan: await plan() });
  await until(holder.run, isAsked);
  type List = { items: object[] };
  const known = { environment: 'test', mode: 'exclusive', target: 'thing', run: holder.run, runbook: 'test' };
  const state = { requester: 'dana', waits: false, leftMs: null, waitsFor: 'an approval' };
  expect(await api.ok<List>('dana', '/v1/leases?environment=test')).toEqual({
    items: [{ ...known, ...state }],
  });
  expect((await api.ok<List>('dana', '/v1/leases?environment=lab')).items).toEqual([]);
  expect((await api.ok<List>('mallory', '/v1/leases')).items).toEqual([]);
  expect(await api.refusal('dana', '/v1/leases?environment=mars')).toEqual([404, 'EnvironmentUnknown']);
  await abort(holder.run);
  await until(holder.run, hasEnded);
});
