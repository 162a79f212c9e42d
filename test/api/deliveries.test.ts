/** A decision is settled once its run has answered, and not before: what is sent again, and what people are told. */
import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker, bundleWorkflowCode } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { tidyOnce } from '../../api/janitor.ts';
import type { Launcher } from '../../api/launcher.ts';
import type { RunDetailWire } from '../../cli/wire.ts';
import type { Plan } from '../../procedures/plan.ts';
import type { Decision } from '../../workflows/messages.ts';
import { type Engine, makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { temporalAddress } from '../support/temporal.ts';
import { type TestApi, makeTestApi } from './support.ts';

let engine: Engine;
let api: TestApi;
let launcher: Launcher;
beforeAll(async () => {
  engine = await makeEngine();
  api = await makeTestApi({
    engine,
    parts: (made) => ({ launcher: { ...made.launcher, decide: (told) => launcher.decide(told) } }),
  });
  launcher = api.launcher;
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

let plans = 0;
const asking = (params: Plan['params'] = {}) =>
  withDigests(
    makePlan([{ id: 'one', phases: [{ name: 'a' }, { name: 'b', approval: approval({ sre: 1 }) }] }], {
      params: { n: (plans += 1), ...params },
    }),
  );

async function start(plan = asking()): Promise<number> {
  return (await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan: await api.savePlan(plan) } }))
    .run;
}
const show = (run: number) => api.ok<RunDetailWire>('dana', `/v1/runs/${run}`);
async function until(run: number, isSo: (detail: RunDetailWire) => boolean): Promise<RunDetailWire> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const detail = await show(run);
    if (isSo(detail)) return detail;
    if (Date.now() > deadline) throw new Error(`The run stays as it is: ${JSON.stringify(detail)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
const WAIT_MS = 10_000;
const isAsked = ({ approvals }: RunDetailWire) => approvals.some(({ state }) => state === 'open');
const hasEnded = ({ endedAt }: RunDetailWire) => endedAt !== null;
const deliveries = async (run: number) => (await show(run)).decisions.map(({ delivery }) => delivery);

/** Stores a decision as the API does, old enough for the janitor. */
async function store(run: number, kind: Decision['kind'], over: Partial<Decision> = {}): Promise<string> {
  const { plan } = await show(run);
  const id = `${kind} ${run} ${(plans += 1)}`;
  await api.store.insertDecision({
    id,
    run,
    kind,
    subject: null,
    person: 'zoe',
    groups: [],
    door: 'api',
    plan,
    evidence: null,
    reason: 'a test says so',
    resolution: null,
    ...over,
  });
  await api.owner.query(`update countdown.decisions set at = at - interval '1 minute' where id = $1`, [id]);
  return id;
}

const rowsOf = async (run: number, id: string): Promise<number> => {
  const rows = await api.store.journal(run, { after: 0, limit: 1_000 });
  return rows.filter(({ kind, body }) => kind === 'decision' && body['id'] === id).length;
};
const abort = (run: number) =>
  api.request('dana', `/v1/runs/${run}/abort`, { body: { reason: 'a test says so' } });

describe('a decision that is journalled', () => {
  test('is sent again until its run has heard it', async () => {
    const run = await start();
    await until(run, isAsked);
    const id = await store(run, 'abort');
    // As a worker does whose answer to Temporal is lost.
    await api.worker.countDecision(run, id);
    expect(await deliveries(run)).toEqual(['journalled']);
    await tidyOnce(api);
    expect((await until(run, hasEnded)).state).toBe('stopped');
    expect(await deliveries(run)).toEqual(['confirmed']);
    expect(await rowsOf(run, id)).toBe(1);
    const { rows } = await api.owner.query<{ answered: boolean }>(
      'select answered_at is not null as answered from countdown.decisions where id = $1',
      [id],
    );
    expect(rows).toEqual([{ answered: true }]);
  });

  test('stays counted if the run refuses it when it is sent again, and is not sent any more', async () => {
    const run = await start();
    await until(run, isAsked);
    // The run is not paused, so it refuses to resume.
    const id = await store(run, 'resume');
    await api.worker.countDecision(run, id);
    await tidyOnce(api);
    expect((await show(run)).decisions).toMatchObject([
      { id, counted: true, delivery: 'confirmed', result: 'Accepted' },
    ]);
    expect((await api.store.unanswered(0, 100, { of: run })).length).toBe(0);
    const refused = await api.store.refusals({ environment: 'test', run, limit: 10 });
    expect(refused).toEqual([]);
    await abort(run);
    await until(run, hasEnded);
  });
});

describe('a decision that is not journalled', () => {
  test('is refused once, and shown with the code', async () => {
    const run = await start();
    await until(run, isAsked);
    const id = await store(run, 'resume');
    await tidyOnce(api);
    await tidyOnce(api);
    expect((await show(run)).decisions).toMatchObject([
      { id, counted: false, delivery: 'refused', result: 'NotPaused' },
    ]);
    const refused = await api.store.refusals({ environment: 'test', run, limit: 10 });
    expect(refused.map(({ body }) => body['code'])).toEqual(['NotPaused']);
    await abort(run);
    await until(run, hasEnded);
  });

  test('is too late once its run has ended', async () => {
    const run = await start();
    await until(run, isAsked);
    await abort(run);
    await until(run, hasEnded);
    await store(run, 'pause');
    const late = (await show(run)).decisions.find(({ kind }) => kind === 'pause');
    expect(late).toMatchObject({ counted: false, delivery: 'too-late', result: null });
  });
});

describe('the answer to a person', () => {
  test('is given although the mark could not be set, and the janitor sets it', async () => {
    const run = await start();
    await until(run, isAsked);
    await api.owner.query('revoke update (answered_at) on countdown.decisions from countdown_api');
    try {
      await api.ok('dana', `/v1/runs/${run}/pause`, { body: { reason: 'a test says so' } });
    } finally {
      await api.owner.query('grant update (answered_at) on countdown.decisions to countdown_api');
    }
    expect(await deliveries(run)).toEqual(['journalled']);
    await api.owner.query(`update countdown.decisions set at = at - interval '1 minute' where run = ${run}`);
    await tidyOnce(api);
    expect(await deliveries(run)).toEqual(['confirmed']);
    await abort(run);
    await until(run, hasEnded);
  });

  test('says that the decision was counted, if the answer was lost and the run has ended with it', async () => {
    const run = await start();
    await until(run, isAsked);
    launcher = {
      ...api.launcher,
      decide: async (decision) => {
        await api.launcher.decide(decision);
        await until(run, hasEnded);
        return { unanswered: new Error('The answer was lost.') };
      },
    };
    const response = await abort(run);
    launcher = api.launcher;
    expect([response.status, await response.json()]).toEqual([
      200,
      { result: 'Accepted', detail: `Accepted. run ${run} has ended: it is stopped.` },
    ]);
  });

  test('says that the decision was counted, if its row is journalled and the run refuses it', async () => {
    const run = await start();
    await until(run, isAsked);
    launcher = {
      ...api.launcher,
      decide: async (decision) => {
        // As a worker does whose workflow task is lost afterwards.
        await api.worker.countDecision(run, decision.id);
        return { refused: 'NotPaused', detail: `run ${run} is not paused. Nothing was changed.` };
      },
    };
    const body = { reason: 'a test says so' };
    const answer = await api.ok('dana', `/v1/runs/${run}/resume`, { body });
    launcher = api.launcher;
    expect(answer).toEqual({
      result: 'Accepted',
      detail: `Accepted. The journal has it, and run ${run} answered: run ${run} is not paused. Nothing was changed.`,
    });
    await abort(run);
    await until(run, hasEnded);
  });

  test('says that the run has ended, if it ended without the decision', async () => {
    const run = await start();
    await until(run, (now) => isAsked(now) && now.state === 'waiting');
    // Rows that are still on their way would hear of the abort.
    const { workflow } = engine.client;
    await vi.waitFor(async () => {
      const { raw } = await workflow.getHandle(`${engine.taskQueue}/run/${run}`).describe();
      expect(raw.pendingActivities ?? []).toEqual([]);
    }, WAIT_MS);
    launcher = {
      ...api.launcher,
      decide: async () => {
        await engine.client.workflow.getHandle(`${engine.taskQueue}/run/${run}`).terminate('a test says so');
        await tidyOnce(api);
        await until(run, hasEnded);
        return { closed: true };
      },
    };
    const response = await abort(run);
    launcher = api.launcher;
    expect([response.status, await response.json()]).toEqual([
      409,
      expect.objectContaining({
        code: 'AlreadyEnded',
        detail: `run ${run} has ended: it is stopped. Nothing was changed.`,
      }),
    ]);
    expect(await deliveries(run)).toEqual(['too-late']);
  });
});

/** A worker of this queue that knows another workflow than the release's. */
async function withOtherWorker(use: () => Promise<void>): Promise<void> {
  await engine.stopWorker();
  const connection = await NativeConnection.connect({ address: await temporalAddress() });
  const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, log() {} };
  const workflowsPath = fileURLToPath(new URL('../support/other-launch.ts', import.meta.url));
  const workflowBundle = await bundleWorkflowCode({ workflowsPath, logger: quiet });
  const worker = await Worker.create({ connection, taskQueue: engine.taskQueue, workflowBundle });
  try {
    await worker.runUntil(use);
  } finally {
    await connection.close();
    await engine.startWorker();
  }
}

describe('an update that failed without an answer of the run', () => {
  test.each([
    ['fails once', 'PlanUnknown'],
    ['knows no update', 'Error'],
  ])('is no refusal: a workflow that %s', async (other, code) => {
    let run = 0;
    await withOtherWorker(async () => {
      run = await start(asking({ other }));
      const response = await abort(run);
      const problem = (await response.json()) as { code: string; detail: string; decision: string };
      expect([response.status, problem.code]).toEqual([503, 'NoWorker']);
      expect(problem.detail).toBe(
        `run ${run} could not take the decision (${code}). Decision ${problem.decision} is stored and is sent again until run ${run} answers or ends.`,
      );
      expect(await deliveries(run)).toEqual(['stored']);
      expect((await api.store.unanswered(0, 10, { of: run })).length).toBe(1);
      expect(await api.store.refusals({ environment: 'test', run, limit: 10 })).toEqual([]);
      if (other !== 'fails once') return;
      // Temporal keeps that failure under the name of the update, so it is sent under another one.
      await api.owner.query(
        `update countdown.decisions set at = at - interval '1 minute' where run = ${run}`,
      );
      await tidyOnce(api);
      expect(await deliveries(run)).toEqual(['confirmed']);
    });
    await engine.client.workflow.getHandle(`${engine.taskQueue}/run/${run}`).terminate('a test says so');
    await tidyOnce(api);
    // The run's own workflow hears of the stored abort with its first rows.
    expect(await until(run, hasEnded)).toMatchObject({ state: 'stopped' });
    expect(await deliveries(run)).toEqual(['confirmed']);
  });
});
