import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tidyOnce } from '../../api/janitor.ts';
import type { RunDetailWire } from '../../cli/wire.ts';
import { type Engine, makeEngine, untilCancelled, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { type TestApi, makeTestApi } from './support.ts';

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

const asking = () =>
  withDigests(
    makePlan([
      {
        id: 'one',
        phases: [
          { name: 'a' },
          { name: 'b', effect: 'reversible', approval: approval({ sre: 1, owner: 1 }) },
        ],
      },
    ]),
  );

const show = (run: number) => api.ok<RunDetailWire>('dana', `/v1/runs/${run}`);

async function until(run: number, what: (detail: RunDetailWire) => boolean): Promise<RunDetailWire> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const detail = await show(run);
    if (what(detail)) return detail;
    if (Date.now() > deadline) throw new Error(`The run stays as it is: ${JSON.stringify(detail)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function start(plan = asking(), failAt?: string): Promise<number> {
  const hash = await api.savePlan(plan);
  const body = { plan: hash, ...(failAt === undefined ? {} : { failAt }) };
  return (await api.ok<{ run: number }>('dana', '/v1/runs', { body })).run;
}

const isAsked = (detail: RunDetailWire) => detail.approvals.some(({ state }) => state === 'open');

function vote(detail: RunDetailWire, over: object = {}) {
  return {
    step: 'one',
    decision: 'approve',
    plan: detail.plan,
    evidence: detail.approvals.at(-1)?.evidence ?? '0'.repeat(64),
    ...over,
  };
}

describe('decisions on a run', () => {
  test('count once a person, say what is missing, and let the run go on', async () => {
    const run = await start();
    const asked = await until(run, isAsked);
    const path = `/v1/runs/${run}/decisions`;
    expect(asked.approvals[0]).toMatchObject({
      needed: { owner: 1, sre: 1 },
      canApprove: { owner: ['olu'], sre: ['ana', 'ben'] },
    });

    const first = await api.ok('ana', path, {
      body: vote(asked),
      headers: { 'User-Agent': 'countdown-cli/0.1.0' },
    });
    expect(first).toMatchObject({
      result: 'Counted',
      needed: { owner: 1 },
      votes: [{ person: 'ana', group: 'sre', door: 'cli' }],
    });
    expect(first['detail']).toBe('Counted. one still needs owner 1 (olu).');
    expect(await api.ok('ana', path, { body: vote(asked) })).toMatchObject({ result: 'AlreadyCounted' });
    const between = await show(run);
    expect(between.approvals[0]).toMatchObject({
      needed: { owner: 1 },
      votes: [{ person: 'ana', group: 'sre' }],
    });

    expect(await api.refusal('dana', path, { body: vote(asked) })).toEqual([403, 'RequesterCannotApprove']);
    expect(await api.refusal('zoe', path, { body: vote(asked) })).toEqual([403, 'NotInGroup']);
    expect(await api.refusal('olu', path, { body: vote(asked, { plan: 'f'.repeat(64) }) })).toEqual([
      409,
      'PlanDiffers',
    ]);
    expect(await api.refusal('olu', path, { body: vote(asked, { evidence: 'f'.repeat(64) }) })).toEqual([
      409,
      'EvidenceDiffers',
    ]);
    expect(await api.refusal('olu', path, { body: vote(asked, { step: 'two' }) })).toEqual([409, 'NotAsked']);
    expect(await api.refusal('olu', path, { body: vote(asked, { evidence: undefined }) })).toEqual([
      422,
      'BodyInvalid',
    ]);
    expect(await api.refusal('olu', path, { body: vote(asked, { decision: 'reject' }) })).toEqual([
      422,
      'BodyInvalid',
    ]);

    expect(await api.ok('olu', path, { body: vote(asked) })).toMatchObject({ result: 'Counted', needed: {} });
    const ended = await until(run, ({ endedAt }) => endedAt !== null);
    expect([ended.state, ended.verdict]).toEqual(['succeeded', 'pass']);
    expect(await api.refusal('ben', path, { body: vote(asked) })).toEqual([409, 'AlreadyEnded']);
    expect(await api.store.unanswered(0, 10)).toEqual([]);
  });

  test('that reject stop the run and keep the reason', async () => {
    const run = await start();
    const asked = await until(run, isAsked);
    const body = vote(asked, { decision: 'reject', reason: 'Holiday traffic is still high.' });
    await api.ok('olu', `/v1/runs/${run}/decisions`, { body });
    const ended = await until(run, ({ endedAt }) => endedAt !== null);
    expect(ended.state).toBe('stopped');
    expect(ended.because).toContain('Holiday traffic is still high.');
  });

  test('that abort unwind what was done; a second abort is told so', async () => {
    engine.world.scripts.set('two/run', (_phase, context) => untilCancelled(context));
    const plan = makePlan([
      { id: 'one', phases: [{ name: 'a', effect: 'reversible' }] },
      { id: 'two', phases: [{ name: 'b' }] },
    ]);
    const run = await start(withDigests(plan));
    const running = await until(run, ({ phases }) =>
      phases.some(({ phase, state }) => phase === 'two' && state === 'running'),
    );
    expect(running.abort).toEqual({ allowed: true, undoes: 1, undoMs: 10 });
    const body = { plan: running.plan, reason: 'checking the way back' };
    expect(await api.ok('dana', `/v1/runs/${run}/abort`, { body })).toMatchObject({ result: 'Accepted' });
    engine.world.scripts.delete('two/run');
    const ended = await until(run, ({ endedAt }) => endedAt !== null);
    expect([ended.state, ended.verified]).toEqual(['rolled-back', true]);
    expect(await api.refusal('dana', `/v1/runs/${run}/abort`, { body: {} })).toEqual([409, 'AlreadyEnded']);
  });

  test('that retry, skip or resolve where nothing waits are refused', async () => {
    const run = await start();
    await until(run, isAsked);
    const say = (person: string, verb: string, body: object) =>
      api.refusal(person, `/v1/runs/${run}/${verb}`, { body });
    expect(await say('dana', 'retry', { phase: 'one/a' })).toEqual([409, 'NotHeld']);
    expect(await say('dana', 'skip', { phase: 'one/a' })).toEqual([409, 'NotHeld']);
    expect(await say('zoe', 'resolve', { phase: 'one/a', retry: true })).toEqual([409, 'NothingToResolve']);
    expect(await say('zoe', 'resolve', { retry: true })).toEqual([409, 'NothingToResolve']);
    expect(await say('zoe', 'resolve', { done: true, evidence: 'all of it was undone' })).toEqual([
      422,
      'BodyInvalid',
    ]);
    await api.ok('dana', `/v1/runs/${run}/abort`, { body: {} });
    expect((await until(run, ({ endedAt }) => endedAt !== null)).state).toBe('stopped');
  });
});

describe('without a worker', () => {
  test('a decision is kept, answered with NoWorker, and sent again by the janitor', async () => {
    const run = await start();
    const asked = await until(run, isAsked);
    await engine.stopWorker();
    const response = await api.request('ana', `/v1/runs/${run}/decisions`, { body: vote(asked) });
    const problem = (await response.json()) as Record<string, unknown>;
    expect([response.status, problem['code'], response.headers.get('retry-after')]).toEqual([
      503,
      'NoWorker',
      '10',
    ]);
    expect(problem['decision']).toMatch(/^[0-9a-f-]{36}$/);
    await engine.startWorker();
    const voted = await until(run, ({ approvals }) => approvals[0]?.votes.length === 1);
    expect(voted.approvals[0]?.votes[0]?.person).toBe('ana');
    await api.ok('olu', `/v1/runs/${run}/decisions`, { body: vote(asked) });
    await until(run, ({ state }) => state === 'succeeded');
  });
});

describe('the janitor', () => {
  test('starts a run that no workflow has, and leaves open ones alone', async () => {
    const hash = await api.savePlan(asking());
    const created = await api.store.createRun({
      plan: hash,
      requester: 'dana',
      groups: {},
      failAt: null,
      idempotency: null,
    });
    if ('refused' in created) throw new Error(created.refused);
    await tidyOnce(api);
    await until(created.run, isAsked);
    await tidyOnce(api);
    await api.ok('dana', `/v1/runs/${created.run}/abort`, { body: {} });
    await until(created.run, ({ state }) => state === 'stopped');
  });

  test('unwinds a run whose workflow was terminated from outside', async () => {
    engine.world.scripts.set('two/run', (_phase, context) => untilCancelled(context));
    const plan = makePlan([
      { id: 'one', phases: [{ name: 'a', effect: 'reversible' }] },
      { id: 'two', phases: [{ name: 'b' }] },
    ]);
    const run = await start(withDigests(plan));
    await until(run, ({ phases }) =>
      phases.some(({ phase, state }) => phase === 'two' && state === 'running'),
    );
    expect(engine.world.stands.has('one')).toBe(true);
    await engine.client.workflow.getHandle(`${engine.taskQueue}/run/${run}`).terminate('from outside');
    engine.world.scripts.delete('two/run');
    await tidyOnce(api);
    const ended = await until(run, ({ endedAt }) => endedAt !== null);
    expect([ended.state, ended.verified]).toEqual(['rolled-back', true]);
    expect(engine.world.stands.has('one')).toBe(false);
  });
});
