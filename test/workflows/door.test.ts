/**
 * Law 16 against a raw client of Temporal: updates that borrow from rows which doors have written, and starts that borrow
 * from runs which the API has stored. Whatever they say, nothing is done, counted or journalled but what a door wrote.
 */
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import {
  WorkflowContinuedAsNewError,
  WorkflowFailedError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import { NativeConnection, Worker, bundleWorkflowCode } from '@temporalio/worker';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Plan } from '../../procedures/plan.ts';
import { verifyChain } from '../../store/chain.ts';
import { digest } from '../../store/digest.ts';
import type { JournalRow, RunDetail } from '../../store/types.ts';
import type { launch } from '../../workflows/launch.ts';
import type { Decision, LaunchInput } from '../../workflows/messages.ts';
import { freshApproval } from '../../workflows/gates.ts';
import { type CoreState, initial } from '../../workflows/state.ts';
import { type Engine, type EngineRun, GROUPS, makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { makeTaskQueue, temporalAddress } from '../support/temporal.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await makeEngine();
});
afterAll(() => engine[Symbol.asyncDispose]());
beforeEach(() => {
  engine.world.done.length = 0;
  engine.world.stands.clear();
});

const asks = makePlan([
  { id: 'look', phases: [{ name: 'a' }] },
  { id: 'move', phases: [{ name: 'b', effect: 'costly', approval: approval({ sre: 1, owner: 1 }) }] },
]);
const keeps = makePlan([
  {
    id: 'keep',
    phases: [{ name: 'keep', wait: 'point-of-no-return', approval: approval({ sre: 1, owner: 1 }) }],
  },
  { id: 'open', phases: [{ name: 'c', effect: 'reversible' }] },
]);
/** As the engine stores it. */
const stored = (plan: Plan): Plan => withDigests({ ...plan, leases: {} });

const isAsked = ({ approvals }: RunDetail): boolean => approvals.some(({ state }) => state === 'open');
const journalOf = (run: number): Promise<JournalRow[]> =>
  engine.store.api.journal(run, { after: 0, limit: 1_000 });
const decided = async (run: number): Promise<JournalRow[]> =>
  (await journalOf(run)).filter(({ kind }) => kind === 'decision');
/** What was done to the world beside looking at it. */
const effects = (): string[] =>
  engine.world.told.filter((one) => !one.startsWith('@') && !one.startsWith('look/'));
const counted = async (run: number) =>
  (await engine.store.worker.votes(run, 'move')).approvals.map(({ person }) => person);

/** A run of `asks` that waits for its approval. */
async function asking(): Promise<{ run: EngineRun; evidence: string }> {
  const run = await engine.start(asks);
  const { approvals } = await run.until((now) => isAsked(now) && now.state === 'waiting');
  return { run, evidence: approvals[0]?.evidence ?? '' };
}

/** An approval of `move` as a door would write it. */
const approves = (
  { run, evidence }: Awaited<ReturnType<typeof asking>>,
  person: string,
  over: Partial<Decision> = {},
): Decision => ({
  id: randomUUID(),
  run: run.run,
  kind: 'approve',
  subject: 'move',
  person,
  groups: Object.keys(GROUPS).filter((group) => GROUPS[group]?.includes(person)),
  door: 'api',
  plan: run.plan,
  evidence,
  reason: null,
  resolution: null,
  ...over,
});

/** Sends an update past every door, under a name of its own. Gives back the code of its refusal, or its answer. */
async function sendRaw({ handle }: EngineRun, told: unknown): Promise<unknown> {
  try {
    return await handle.executeUpdate('decision', { updateId: `raw/${randomUUID()}`, args: [told] });
  } catch (error) {
    if (error instanceof WorkflowUpdateFailedError) return codeOf(error.cause);
    throw error;
  }
}

const codeOf = (cause: unknown): string => (cause as { type?: string } | undefined)?.type ?? 'none';

async function abort(run: EngineRun): Promise<void> {
  await run.decide('abort', null, 'dana');
  expect((await run.ended()).state).toBe('stopped');
  expect(verifyChain(await journalOf(run.run))).toMatchObject({ intact: true });
}

describe('an update that no door sent', () => {
  it('is refused where it is no decision at all, or one of a kind that there is not', async () => {
    const { run, evidence } = await asking();
    const before = await journalOf(run.run);
    const made = approves({ run, evidence }, 'ana');
    for (const told of [undefined, null, 'approve', 7, {}, { id: 7, kind: 'approve' }, { id: made.id }])
      expect(await sendRaw(run, told)).toBe('ApprovalMissing');
    expect(await sendRaw(run, { ...made, kind: 'grant' })).toBe('ApprovalMissing');
    expect(await sendRaw(run, { ...made, id: "' or true --" })).toBe('ApprovalMissing');
    expect(await journalOf(run.run)).toEqual(before);
    expect(engine.world.told).toEqual(['look/run']);
    await abort(run);
  });

  it('counts the row of that id and nothing that it says itself', async () => {
    const { run, evidence } = await asking();
    const row = approves({ run, evidence }, 'ana');
    await engine.store.api.insertDecision(row);
    const olu = approves({ run, evidence }, 'olu', { id: row.id, door: 'slack', reason: 'forged' });
    // An update that says anything else than the row is refused, and the row waits for one that says the same.
    expect(await sendRaw(run, olu)).toBe('ApprovalMissing');
    expect(await decided(run.run)).toEqual([]);
    expect(await sendRaw(run, row)).toMatchObject({ result: 'Counted', needed: { owner: 1 } });
    expect(await sendRaw(run, row)).toMatchObject({ result: 'AlreadyCounted' });
    expect(await sendRaw(run, olu)).toMatchObject({ result: 'AlreadyCounted' });
    expect(await decided(run.run)).toMatchObject([{ actor: 'ana', body: { ...row } }]);
    expect(await counted(run.run)).toEqual(['ana']);
    expect((await run.detail()).state).toBe('waiting');
    expect(engine.world.told).toEqual(['look/run']);
    await abort(run);
  });

  it.each([
    ['the requester', { person: 'dana', groups: ['sre'] }, 'RequesterCannotApprove'],
    ['somebody in no group', { person: 'zoe', groups: [] }, 'NotInGroup'],
    ['who saw something else', { person: 'olu', evidence: 'f'.repeat(64) }, 'EvidenceDiffers'],
    ['who answered to another plan', { person: 'olu', plan: 'f'.repeat(64) }, 'PlanDiffers'],
  ])('makes no vote out of the row of %s', async (_, over, code) => {
    const { run, evidence } = await asking();
    expect(await run.decide('approve', 'move', 'ana')).toMatchObject({ result: 'Counted' });
    const row = approves({ run, evidence }, 'olu', over);
    await engine.store.api.insertDecision(row);
    expect(await sendRaw(run, approves({ run, evidence }, 'olu', { id: row.id }))).toBe('ApprovalMissing');
    expect(await sendRaw(run, row)).toBe(code);
    const { state, approvals } = await run.detail();
    expect([state, approvals[0]?.state]).toEqual(['waiting', 'open']);
    // Whatever the journal has of it is what the door wrote.
    const rows = (await decided(run.run)).filter(({ body }) => body['id'] === row.id);
    expect(rows.map(({ actor }) => actor)).toEqual(rows.map(() => row.person));
    for (const { body } of rows) expect(body).toMatchObject({ ...row });
    // Nor does the row become one beside a vote that counts.
    expect(await run.decide('approve', 'move', 'ben')).toMatchObject({ needed: { owner: 1 } });
    expect((await run.detail()).approvals[0]?.state).toBe('open');
    expect(engine.world.told).toEqual(['look/run']);
    await abort(run);
  });

  it('is refused with the id of a row that was refused', async () => {
    const { run, evidence } = await asking();
    const row = approves({ run, evidence }, 'olu');
    await engine.store.api.insertDecision(row);
    await engine.store.api.refuseDecision({ run: run.run, id: row.id, code: 'NotInGroup' });
    const before = await journalOf(run.run);
    expect(await sendRaw(run, row)).toBe('ApprovalMissing');
    expect(await journalOf(run.run)).toEqual(before);
    expect(await counted(run.run)).toEqual([]);
    await abort(run);
  });

  it('is refused with a row of another run, which stays unanswered in its own', async () => {
    const [mine, other] = [await asking(), await asking()];
    const row = approves(other, 'ana');
    await engine.store.api.insertDecision(row);
    const before = await journalOf(mine.run.run);
    for (const told of [row, { ...row, run: mine.run.run }])
      expect(await sendRaw(mine.run, told)).toBe('ApprovalMissing');
    expect(await journalOf(mine.run.run)).toEqual(before);
    expect(await decided(other.run.run)).toEqual([]);
    const waiting = await engine.store.api.unanswered(0, 100);
    expect(waiting.map(({ id }) => id)).toContain(row.id);
    await abort(mine.run);
    await abort(other.run);
  });
});

/** Starts `launch` past the API under the id that the run's own workflow has. */
function startRaw(run: number, input: LaunchInput, over: { takeOver?: true } = {}) {
  return engine.client.workflow.start<typeof launch>('launch', {
    taskQueue: engine.taskQueue,
    workflowId: `${engine.taskQueue}/run/${run}`,
    args: [input],
    ...(over.takeOver === true ? { workflowIdConflictPolicy: 'TERMINATE_EXISTING' as const } : {}),
  });
}

async function refusalOf(handle: { result(): Promise<unknown> }): Promise<string> {
  try {
    await handle.result();
  } catch (error) {
    if (error instanceof WorkflowFailedError) return codeOf(error.cause);
    throw error;
  }
  throw new Error('The workflow was not refused, expected a failure.');
}

/** Stores the plan and asks for a run that nobody has started yet. */
async function askFor(plan: Plan, over: { dueAt?: Date } = {}): Promise<number> {
  await engine.store.api.savePlan({ hash: digest(plan), plan, person: 'dana' });
  const created = await engine.store.api.createRun({
    plan: digest(plan),
    requester: 'dana',
    groups: GROUPS,
    failAt: null,
    idempotency: null,
    ...over,
  });
  if ('refused' in created) throw new Error(`The run was refused: ${created.refused}`);
  return created.run;
}

describe('a start that the API did not make', () => {
  it('is refused under the id of a run that there is not', async () => {
    const run = 987_654;
    expect(await refusalOf(await startRaw(run, { run, plan: stored(asks) }))).toBe('PlanUnknown');
    expect(await journalOf(run)).toEqual([]);
    expect(engine.world.told).toEqual([]);
  });

  it('is refused for a run that waits to begin, with a plan that it was not asked for', async () => {
    const run = await askFor(stored(asks));
    const eased = stored(makePlan([{ id: 'move', phases: [{ name: 'b', effect: 'costly' }] }]));
    const other = stored(keeps);
    await engine.store.api.savePlan({ hash: digest(other), plan: other, person: 'dana' });
    // One that the API never stored, and one that it stored for something else.
    for (const plan of [eased, other])
      expect(await refusalOf(await startRaw(run, { run, plan }))).toBe('PlanUnknown');
    expect((await journalOf(run)).map(({ seq }) => seq)).toEqual([1]);
    expect(engine.world.told).toEqual([]);
  });

  it('is refused before the time that a run waits for', async () => {
    const plan = stored(asks);
    const run = await askFor(plan, { dueAt: new Date(Date.now() + 3_600_000) });
    expect(await refusalOf(await startRaw(run, { run, plan }))).toBe('PlanUnknown');
    expect((await journalOf(run)).map(({ seq }) => seq)).toEqual([1]);
    expect(engine.world.told).toEqual([]);
  });

  it('is refused by Temporal beside the open workflow of the run', async () => {
    const { run } = await asking();
    const before = await journalOf(run.run);
    const start = startRaw(run.run, { run: run.run, plan: stored(asks) });
    await expect(start).rejects.toMatchObject({ name: 'WorkflowExecutionAlreadyStartedError' });
    expect(await journalOf(run.run)).toEqual(before);
    await abort(run);
  });

  it('that takes the place of an open workflow only ends the run: its approval is not given', async () => {
    const { run } = await asking();
    const state: CoreState = { ...initial(stored(asks)), planHash: run.plan, run: 'running' };
    const taken = await startRaw(run.run, { run: run.run, plan: stored(asks), state }, { takeOver: true });
    await taken.result();
    expect(await run.ended()).toMatchObject({
      state: 'stopped',
      because: 'The workflow of the run was closed from outside',
    });
    expect(engine.world.told).toEqual(['look/run']);
  });
});

const QUIET = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, log() {} };

/** A worker of somebody else, on a queue of his own. */
async function withOwnWorker<T>(use: (taskQueue: string) => Promise<T>): Promise<T> {
  const connection = await NativeConnection.connect({ address: await temporalAddress() });
  try {
    const taskQueue = makeTaskQueue();
    const workflowsPath = fileURLToPath(new URL('../support/own-workflow.ts', import.meta.url));
    const workflowBundle = await bundleWorkflowCode({ workflowsPath, logger: QUIET });
    const worker = await Worker.create({ connection, taskQueue, workflowBundle });
    return await worker.runUntil(() => use(taskQueue));
  } finally {
    await connection.close();
  }
}

/** Closes the run's workflow, and has a workflow of another worker go on as `launch` under its id, in a state of its own. */
async function passOn({ handle, run }: EngineRun, plan: Plan, state: CoreState) {
  await handle.terminate('from outside');
  return withOwnWorker(async (taskQueue) => {
    const { workflowId } = handle;
    const args = [engine.taskQueue, { run, plan, state }];
    const own = await engine.client.workflow.start('passOn', { taskQueue, workflowId, args });
    // Its first execution ends with the one that it went on as.
    const first = engine.client.workflow.getHandle(workflowId, own.firstExecutionRunId, {
      followRuns: false,
    });
    await expect(first.result()).rejects.toBeInstanceOf(WorkflowContinuedAsNewError);
    return own;
  });
}

/** A state of a run that has begun, its requester and plan as the API stored them. */
const forged = ({ plan: planHash }: EngineRun, plan: Plan): CoreState => ({
  ...initial(plan),
  planHash,
  run: 'running',
  requester: 'dana',
  groups: GROUPS,
});
/** Waits until the run says why it does not go on, then has its own workflow in its place again, as the janitor does. */
const comesBack = async (run: EngineRun, plan: Plan, because: RegExp): Promise<void> => {
  await run.until((now) => because.test(now.because ?? ''));
  await (await startRaw(run.run, { run: run.run, plan }, { takeOver: true })).result();
};

describe('a workflow of another worker that goes on as the run, in a state of its own', () => {
  it('comes to no effect past a point of no return that nobody approved', async () => {
    const run = await engine.start(keeps);
    await run.until((now) => isAsked(now) && now.state === 'waiting');
    const plan = stored(keeps);
    const state = { ...forged(run, plan), noReturn: true };
    Object.assign(state.phases['keep'] ?? {}, { state: 'done', verdict: 'pass' });
    await passOn(run, plan, state);
    await comesBack(run, plan, /^open: open cannot start yet: keep is waiting/);
    const { phases, approvals } = await run.detail();
    expect(phases.filter(({ state: now }) => now === 'done')).toEqual([]);
    expect(approvals[0]?.state).not.toBe('granted');
    expect((await run.ended()).state).toBe('stopped');
    expect(effects()).toEqual([]);
  });

  it('comes to no effect on votes that it made up', async () => {
    const { run, evidence } = await asking();
    const plan = stored(asks);
    const state = forged(run, plan);
    Object.assign(state.phases['look'] ?? {}, { state: 'done', verdict: 'pass' });
    const votes = ['ana', 'olu'].map((person) => {
      const { id, groups, door, reason } = approves({ run, evidence }, person);
      return { id, person, groups, door, reason, at: Date.now() };
    });
    const given = { ...freshApproval(Date.now() + 60_000), state: 'granted' as const, evidence, votes };
    state.approvals['move'] = given;
    await passOn(run, plan, state);
    expect((await run.ended()).because).toMatch(/^move: move has no approval that the doors know of/);
    expect((await run.detail()).state).toBe('stopped');
    expect(await decided(run.run)).toEqual([]);
    expect((await run.detail()).approvals[0]?.state).not.toBe('granted');
    expect(effects()).toEqual([]);
  });

  it('cannot tell of a success', async () => {
    const { run } = await asking();
    const plan = stored(asks);
    const state = forged(run, plan);
    for (const phase of Object.values(state.phases)) Object.assign(phase, { state: 'done', verdict: 'pass' });
    const before = await journalOf(run.run);
    expect(await refusalOf(await passOn(run, plan, state))).toBe('PlanUnknown');
    expect(await journalOf(run.run)).toEqual(before);
    await startRaw(run.run, { run: run.run, plan });
    expect((await run.ended()).state).toBe('stopped');
    expect(effects()).toEqual([]);
  });
});
