/** The interpreter on a real Temporal server with a real journal; only the world is scripted. */
import { randomUUID } from 'node:crypto';
import { WorkflowFailedError, WorkflowUpdateFailedError } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunDetail } from '../../store/types.ts';
import { verifyChain } from '../../store/chain.ts';
import type { launch } from '../../workflows/launch.ts';
import { type Decision, decisionUpdate } from '../../workflows/messages.ts';
import { type Engine, makeEngine, refuse, untilCancelled, withDigests } from '../support/engine.ts';
import { initial } from '../../workflows/state.ts';
import { approval, makePlan } from '../support/plans.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await makeEngine();
});
afterAll(() => engine[Symbol.asyncDispose]());

const two = makePlan([
  { id: 'look', phases: [{ name: 'a' }] },
  {
    id: 'move',
    phases: [
      { name: 'b', effect: 'reversible' },
      { name: 'c', effect: 'reversible' },
    ],
  },
  { id: 'check', phases: [{ name: 'd' }] },
]);

const asks = makePlan([
  { id: 'look', phases: [{ name: 'a' }] },
  { id: 'move', phases: [{ name: 'b', effect: 'costly', approval: approval({ sre: 1, owner: 1 }) }] },
]);

/** Gives each test a world of its own. */
function fresh(): Engine['world'] {
  engine.world.done.length = 0;
  engine.world.stands.clear();
  engine.world.scripts.clear();
  return engine.world;
}

const isAsked = (detail: RunDetail): boolean => detail.approvals.some((one) => one.state === 'open');
const states = (detail: RunDetail): string[] => detail.phases.map((one) => `${one.phase} ${one.state}`);

async function refusalOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  if (!(error instanceof WorkflowUpdateFailedError)) throw new Error(`Not refused: ${String(error)}`);
  return (error.cause as { type?: string }).type ?? 'none';
}

describe('a run that goes forwards', () => {
  it('performs the phases in order, after the fingerprints, and succeeds with an intact journal', async () => {
    const world = fresh();
    const run = await engine.start(two);
    const detail = await run.ended();
    expect(detail.state).toBe('succeeded');
    expect(detail.verdict).toBe('pass');
    expect(world.told).toEqual(['look/run', '@thing/before', 'move/b/run', 'move/c/run', 'check/run']);
    expect(states(detail)).toEqual(['look done', 'move/b done', 'move/c done', 'check done']);
    const rows = await engine.store.api.journal(run.run, { after: 0, limit: 1_000 });
    expect(verifyChain(rows)).toMatchObject({ intact: true });
    expect(rows.map((row) => row.seq)).toEqual(rows.map((_, index) => index + 1));
    const kinds = rows.map((row) => row.kind);
    expect(kinds[0]).toBe('asked');
    expect(kinds.filter((kind) => kind === 'intent')).toHaveLength(5);
    expect(kinds.filter((kind) => kind === 'outcome')).toHaveLength(5);
  });

  it('goes on where continue-as-new cut the history, with nothing done twice', async () => {
    const world = fresh();
    const run = await engine.start(two, { historyEventsMax: 15 });
    const detail = await run.ended();
    expect(detail.state).toBe('succeeded');
    expect(world.told).toEqual(['look/run', '@thing/before', 'move/b/run', 'move/c/run', 'check/run']);
    const { runId } = await engine.client.workflow.getHandle(run.handle.workflowId).describe();
    expect(runId).not.toBe(run.handle.firstExecutionRunId);
  });

  it('gives the second run on one target to nobody while the first holds its lease', async () => {
    const world = fresh();
    world.scripts.set('move/b/run', (_phase, context) => untilCancelled(context));
    const first = await engine.start(two, { leased: true });
    await first.until((detail) =>
      detail.phases.some((one) => one.phase === 'move/b' && one.state === 'running'),
    );
    await expect(engine.start(two, { leased: true })).rejects.toThrow('TargetLeased');
    await first.decide('abort', null, 'dana');
    expect((await first.ended()).state).toBe('rolled-back');
    world.scripts.clear();
    const second = await engine.start(two, { leased: true });
    expect((await second.ended()).state).toBe('succeeded');
  });
});

describe('a run that fails', () => {
  it('takes back what was begun in reverse order and says that it is verified', async () => {
    const world = fresh();
    world.scripts.set('check/run', async () => ({ verdict: 'fail', summary: 'it is red' }));
    const run = await engine.start(two);
    const detail = await run.ended();
    expect(detail).toMatchObject({ state: 'rolled-back', verified: true, because: 'check: it is red' });
    expect(world.told.slice(5)).toEqual(['move/c/undo', 'move/b/undo', '@thing/after']);
    expect([...world.stands].filter((phase) => phase.startsWith('move'))).toEqual([]);
    expect(states(detail)).toEqual(['look done', 'move/b undone', 'move/c undone', 'check done']);
  });

  it.each([
    ['look', 'stopped', []],
    ['move/b', 'rolled-back', ['move/b/probe', 'move/b/undo', '@thing/after']],
    ['move/c', 'rolled-back', ['move/c/probe', 'move/c/undo', 'move/b/undo', '@thing/after']],
    ['check', 'rolled-back', ['move/c/undo', 'move/b/undo', '@thing/after']],
  ])('ends as it should when a fault is injected at %s', async (failAt, state, back) => {
    const world = fresh();
    const run = await engine.start(two, { failAt });
    const detail = await run.ended();
    expect(detail.state).toBe(state);
    expect(detail.because).toContain(failAt);
    expect(world.told.slice(world.told.indexOf(`${failAt}/run`) + 1)).toEqual(back);
    expect([...world.stands].filter((phase) => phase.startsWith('move'))).toEqual([]);
  });

  it('blocks on an inconclusive verdict as on a failure', async () => {
    const world = fresh();
    world.scripts.set('look/run', async () => ({ verdict: 'inconclusive', summary: 'no reading came' }));
    const detail = await (await engine.start(two)).ended();
    expect(detail).toMatchObject({
      state: 'stopped',
      verdict: 'inconclusive',
      because: 'look: no reading came',
    });
    expect(world.told).toEqual(['look/run']);
  });

  it('is stuck when an undo fails, undoes the others, and ends when a person resolves it', async () => {
    const world = fresh();
    world.scripts.set('check/run', async () => ({ verdict: 'fail', summary: 'it is red' }));
    let broken = true;
    world.scripts.set('move/c/undo', async () =>
      broken ? refuse('UndoFailed', 'the door is shut') : undefined,
    );
    const run = await engine.start(two);
    const stuck = await run.until((detail) => detail.state === 'stuck');
    expect(states(stuck)).toContain('move/c undo-failed');
    expect(states(stuck)).toContain('move/b undone');
    expect(await refusalOf(run.decide('resolve', 'move/b', 'olu', { resolution: { retry: true } }))).toBe(
      'NothingToResolve',
    );
    broken = false;
    const answer = await run.decide('resolve', 'move/c', 'olu', { resolution: { retry: true } });
    expect(answer.result).toBe('Accepted');
    expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
  });

  it('is stuck on a target that is not as before, names it, and is not verified when a person accepts it', async () => {
    const world = fresh();
    world.scripts.set('check/run', async () => ({ verdict: 'fail', summary: 'it is red' }));
    world.scripts.set('move/b/undo', async () => ({ verdict: 'pass', summary: 'said so, and did nothing' }));
    const run = await engine.start(two);
    const stuck = await run.until((detail) => detail.state === 'stuck');
    expect(stuck.targets).toMatchObject([{ target: 'thing', equal: false }]);
    await run.decide('resolve', 'thing', 'olu', {
      resolution: { done: true, evidence: 'taken back by hand' },
    });
    expect(await run.ended()).toMatchObject({
      state: 'rolled-back',
      verified: false,
      notVerified: ['thing'],
    });
  });

  it('waits for a person where the step asks: a retry goes on, a skip caps the verdict', async () => {
    const world = fresh();
    const plan = makePlan([
      { id: 'one', onFail: 'ask', phases: [{ name: 'a' }] },
      { id: 'two', onFail: 'ask', phases: [{ name: 'b' }] },
    ]);
    let red = true;
    world.scripts.set('one/run', async () => (red ? { verdict: 'fail', summary: 'red' } : undefined));
    world.scripts.set('two/run', async () => ({ verdict: 'fail', summary: 'red for good' }));
    const run = await engine.start(plan);
    await run.until((detail) => detail.state === 'waiting');
    expect(await refusalOf(run.decide('retry', 'two', 'ben'))).toBe('NotHeld');
    red = false;
    await run.decide('retry', 'one', 'ben');
    await run.until((detail) => detail.phases.some((one) => one.phase === 'two' && one.waitingFor !== null));
    await run.decide('skip', 'two', 'ben');
    expect(await run.ended()).toMatchObject({ state: 'succeeded', verdict: 'warn' });
  });
});

describe('a pause', () => {
  it('lets what runs end and begins nothing new; the clock of an approval stands still', async () => {
    const world = fresh();
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    world.scripts.set('look/run', async () => {
      await held;
      return undefined;
    });
    const plan = makePlan([
      { id: 'look', phases: [{ name: 'a' }] },
      {
        id: 'move',
        phases: [{ name: 'b', effect: 'costly', approval: approval({ sre: 1 }, { expiresMs: 600 }) }],
      },
    ]);
    const run = await engine.start(plan);
    await run.until((detail) => detail.phases.some((one) => one.phase === 'look' && one.state === 'running'));
    await run.decide('pause', null, 'dana');
    expect(await refusalOf(run.decide('pause', null, 'dana'))).toBe('AlreadyPaused');
    release();
    await run.until((detail) => detail.phases.some((one) => one.phase === 'look' && one.state === 'done'));
    expect((await run.detail()).approvals).toEqual([]);
    await run.decide('resume', null, 'dana');
    await run.until(isAsked);
    await run.decide('pause', null, 'dana');
    const asked = (await run.detail()).approvals[0];
    // Longer than the approval lives: with a clock that runs on it would have expired.
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(await run.decide('approve', 'move', 'ana')).toMatchObject({ result: 'Counted' });
    expect(world.told).toEqual(['look/run']);
    await run.decide('resume', null, 'dana');
    expect((await run.ended()).state).toBe('succeeded');
    expect(asked?.state).toBe('open');
  });
});

describe('an effect that was lost half-way', () => {
  it.each([1, 2])(
    'is taken back and tried again until its tries (%i) are used up, and then fails',
    async (tries) => {
      const world = fresh();
      let runs = 0;
      world.scripts.set('move/run', async (_, context) => {
        runs += 1;
        return untilCancelled(context);
      });
      world.scripts.set('move/probe', async () => ({ answer: 'partly', summary: 'half of it stands' }));
      const run = await engine.start(
        makePlan([
          { id: 'move', phases: [{ name: 'b', effect: 'reversible', limits: { timeoutMs: 500, tries } }] },
        ]),
      );
      expect(await run.ended()).toMatchObject({ state: 'rolled-back', verified: true });
      expect(runs).toBe(tries);
    },
  );
});

describe('an effect that has happened in part and cannot be taken back', () => {
  it('waits for a person instead of being done again', async () => {
    const world = fresh();
    let runs = 0;
    world.scripts.set('open/run', async (_, context) =>
      (runs += 1) === 1 ? untilCancelled(context) : undefined,
    );
    world.scripts.set('open/probe', async () => ({ answer: 'partly', summary: 'half of it stands' }));
    const line = { name: 'keep', wait: 'point-of-no-return' as const, approval: approval({ sre: 1 }) };
    const run = await engine.start(
      makePlan([
        { id: 'keep', phases: [line] },
        { id: 'open', phases: [{ name: 'c', effect: 'irreversible', limits: { timeoutMs: 600, tries: 3 } }] },
      ]),
    );
    await run.until((detail) => detail.approvals.some(({ state }) => state === 'open'));
    await run.decide('approve', 'keep', 'ana');
    const held = await run.until((detail) => detail.phases.some((one) => one.waitingFor !== null));
    expect([held.because, ...held.phases.map(({ summary }) => summary)].join()).toMatch(/happened in part/);
    expect(runs).toBe(1);
    await run.decide('retry', 'open', 'dana');
    expect((await run.ended()).state).toBe('succeeded');
    expect(runs).toBe(2);
  });
});

describe('of several who say the same at once', () => {
  it('one is heard, and what is refused is not in the journal', async () => {
    fresh();
    const run = await engine.start(
      makePlan([{ id: 'move', phases: [{ name: 'b', effect: 'costly', approval: approval({ sre: 1 }) }] }]),
    );
    await run.until(isAsked);
    // All of them reach the workflow in its next task.
    await engine.stopWorker();
    const told = ['ana', 'ben', 'dana'].map((one) => run.decide('pause', null, one));
    await engine.startWorker();
    const said = await Promise.allSettled(told);
    const { decisions } = await run.detail();
    expect(decisions.filter(({ counted }) => counted)).toHaveLength(1);
    expect(said.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    await run.decide('abort', null, 'dana');
    await run.ended();
  });
});

describe('an abort', () => {
  it('cancels what runs, waits for its end, and unwinds', async () => {
    const world = fresh();
    world.scripts.set('move/c/run', (phase, context) => {
      world.stands.add(phase);
      return untilCancelled(context);
    });
    const run = await engine.start(two);
    await run.until((detail) =>
      detail.phases.some((one) => one.phase === 'move/c' && one.state === 'running'),
    );
    const answer = await run.decide('abort', null, 'ben');
    expect(answer.result).toBe('Accepted');
    const detail = await run.ended();
    expect(detail).toMatchObject({
      state: 'rolled-back',
      verified: true,
      because: 'ben aborted the run: a test says so',
    });
    expect(world.told.slice(-4)).toEqual(['move/c/probe', 'move/c/undo', 'move/b/undo', '@thing/after']);
    expect(await run.decide('abort', null, 'ben').catch((error: Error) => error.name)).not.toMatchObject({
      result: 'Accepted',
    });
  });

  it('stops a run that has changed nothing', async () => {
    fresh();
    const run = await engine.start(asks);
    await run.until(isAsked);
    await run.decide('abort', null, 'dana');
    expect((await run.ended()).state).toBe('stopped');
  });

  it('that was stored and never reached the run is heard before it passes its point of no return', async () => {
    const world = fresh();
    const run = await engine.start(
      makePlan([
        { id: 'move', phases: [{ name: 'b', effect: 'reversible' }] },
        {
          id: 'keep',
          phases: [{ name: 'keep', wait: 'point-of-no-return', approval: approval({ sre: 1 }) }],
        },
        { id: 'open', phases: [{ name: 'c', effect: 'irreversible' }] },
      ]),
    );
    await run.until(isAsked);
    const lost: Decision = {
      id: randomUUID(),
      run: run.run,
      kind: 'abort',
      subject: null,
      person: 'ben',
      groups: [],
      door: 'api',
      plan: run.plan,
      evidence: null,
      reason: 'its update was lost',
      resolution: null,
    };
    await engine.store.api.insertDecision(lost);
    await run.decide('approve', 'keep', 'ana');
    expect(await run.ended()).toMatchObject({
      state: 'rolled-back',
      verified: true,
      because: 'ben aborted the run: its update was lost',
    });
    expect(world.told).not.toContain('open/run');
    const { decisions } = await run.detail();
    expect(decisions.map(({ kind, counted }) => [kind, counted])).toEqual([
      ['abort', true],
      ['approve', true],
    ]);
  });

  it('is refused past the point of no return, where a failing step waits for a person instead', async () => {
    const world = fresh();
    const plan = makePlan([
      { id: 'move', phases: [{ name: 'b', effect: 'reversible' }] },
      { id: 'keep', phases: [{ name: 'keep', wait: 'point-of-no-return', approval: approval({ sre: 1 }) }] },
      { id: 'open', phases: [{ name: 'c', effect: 'irreversible' }] },
    ]);
    let red = true;
    world.scripts.set('open/run', async () => (red ? refuse('PhaseFailed', 'the door is shut') : undefined));
    const run = await engine.start(plan);
    await run.until(isAsked);
    await run.decide('approve', 'keep', 'ana');
    await run.until(
      (detail) =>
        detail.state === 'waiting' &&
        detail.phases.some((one) => one.phase === 'open' && one.waitingFor !== null),
    );
    expect(await refusalOf(run.decide('abort', null, 'ben'))).toBe('PastPointOfNoReturn');
    red = false;
    await run.decide('retry', 'open', 'ben');
    expect((await run.ended()).state).toBe('succeeded');
    expect(world.told).not.toContain('move/undo');
  });
});

describe('an approval', () => {
  it('needs its quorum: never the requester, one person one vote, nobody outside the groups', async () => {
    const world = fresh();
    const run = await engine.start(asks, { requester: 'olu' });
    expect(await refusalOf(run.decide('approve', 'nothing', 'ana'))).toBe('NotAsked');
    await run.until(isAsked);
    expect(await refusalOf(run.decide('approve', 'move', 'olu'))).toBe('RequesterCannotApprove');
    expect(await refusalOf(run.decide('approve', 'move', 'eve'))).toBe('NotInGroup');
    expect(await refusalOf(run.decide('approve', 'move', 'ana', { evidence: 'another' }))).toBe(
      'EvidenceDiffers',
    );
    expect(await refusalOf(run.decide('approve', 'move', 'ana', { plan: '0'.repeat(64) }))).toBe(
      'PlanDiffers',
    );
    const first = await run.decide('approve', 'move', 'ana');
    expect(first).toMatchObject({ result: 'Counted', needed: { owner: 1 } });
    expect(await run.decide('approve', 'move', 'ana')).toMatchObject({
      result: 'AlreadyCounted',
      needed: { owner: 1 },
    });
    expect(await run.decide('approve', 'move', 'ben')).toMatchObject({ needed: { owner: 1 } });
    expect(world.told).toEqual(['look/run']);
    await run.decide('abort', null, 'olu');
    await run.ended();
  });

  it('lets the phase start when it stands, and answers a late vote without counting it', async () => {
    const world = fresh();
    world.scripts.set('move/run', (_phase, context) => untilCancelled(context));
    const run = await engine.start(asks);
    await run.until(isAsked);
    await run.decide('approve', 'move', 'ana');
    await run.decide('approve', 'move', 'olu');
    await run.until((detail) => detail.phases.some((one) => one.phase === 'move' && one.state === 'running'));
    expect(await refusalOf(run.decide('approve', 'move', 'ben'))).toBe('AlreadyDecided');
    await run.decide('abort', null, 'dana');
    expect((await run.ended()).state).toBe('rolled-back');
  });

  it('stops the run when it is rejected, and when nobody answers in time', async () => {
    fresh();
    const rejected = await engine.start(asks);
    await rejected.until(isAsked);
    await rejected.decide('reject', 'move', 'ben', { reason: 'not tonight' });
    expect(await rejected.ended()).toMatchObject({
      state: 'stopped',
      because: 'ben rejected move: not tonight',
    });

    const short = makePlan([
      {
        id: 'move',
        phases: [{ name: 'b', effect: 'costly', approval: approval({ sre: 1 }, { expiresMs: 300 }) }],
      },
    ]);
    const expired = await engine.start(short);
    expect(await expired.ended()).toMatchObject({
      state: 'stopped',
      because: 'The approval of move expired',
    });
  });

  it('inspects again when what was seen is old, and voids the votes when it has changed', async () => {
    const world = fresh();
    let size = 1;
    world.scripts.set('move/a/run', async () => ({ verdict: 'pass', summary: 'seen', binds: { size } }));
    const plan = makePlan([
      {
        id: 'move',
        phases: [
          { name: 'a' },
          { name: 'b', effect: 'costly', approval: approval({ sre: 1 }, { freshMs: 50 }) },
        ],
      },
    ]);
    const run = await engine.start(plan);
    const asked = await run.until(isAsked);
    const before = asked.approvals[0]?.evidence;
    await new Promise((resolve) => setTimeout(resolve, 60));
    size = 2;
    await run.decide('approve', 'move', 'ana');
    await run.until((detail) => isAsked(detail) && detail.approvals[0]?.evidence !== before);
    expect(world.told).toEqual(['move/a/run', 'move/a/run']);
    expect(await refusalOf(run.decide('approve', 'move', 'ana', { evidence: before ?? '' }))).toBe(
      'ApprovalVoided',
    );
    await run.decide('approve', 'move', 'ana');
    expect((await run.ended()).state).toBe('succeeded');
  });
});

describe('reaching Temporal alone', () => {
  it('is not enough to approve: an update without a row that a door wrote is refused', async () => {
    const world = fresh();
    const run = await engine.start(asks);
    const asked = await run.until(isAsked);
    for (const person of ['ana', 'olu']) {
      const forged: Decision = {
        id: randomUUID(),
        run: run.run,
        kind: 'approve',
        subject: 'move',
        person,
        groups: ['sre', 'owner'],
        door: 'api',
        plan: run.plan,
        evidence: asked.approvals[0]?.evidence ?? null,
        reason: null,
        resolution: null,
      };
      expect(await refusalOf(run.handle.executeUpdate(decisionUpdate, { args: [forged] }))).toBe(
        'ApprovalMissing',
      );
    }
    expect(world.told).toEqual(['look/run']);
    await run.decide('abort', null, 'dana');
    await run.ended();
  });

  it('is not enough to start: a run that the API did not store, or with another plan, is refused', async () => {
    const world = fresh();
    const begin = async (run: number, plan = withDigests({ ...two, leases: {} })): Promise<string> => {
      const handle = await engine.client.workflow.start<typeof launch>('launch', {
        taskQueue: engine.taskQueue,
        workflowId: `forged/${randomUUID()}`,
        args: [{ run, plan }],
      });
      const error = await handle.result().then(
        () => undefined,
        (failure: unknown) => failure,
      );
      if (!(error instanceof WorkflowFailedError)) throw new Error(`Not refused: ${String(error)}`);
      return (error.cause as { type?: string }).type ?? 'none';
    };
    expect(await begin(987_654)).toBe('PlanUnknown');
    const real = await engine.start(asks);
    await real.until(isAsked);
    expect(await begin(real.run)).toBe('PlanUnknown');
    expect(world.told).toEqual(['look/run']);
    await real.decide('abort', null, 'dana');
    await real.ended();
  });

  it('counts for nothing where somebody starts a workflow of his own for a run, or one with a state of his own', async () => {
    const world = fresh();
    const plan = makePlan([
      { id: 'keep', phases: [{ name: 'keep', wait: 'point-of-no-return', approval: approval({ sre: 1 }) }] },
      { id: 'open', phases: [{ name: 'a', effect: 'reversible' }] },
    ]);
    const run = await engine.start(plan);
    await run.until(isAsked);
    const stored = withDigests({ ...plan, leases: {} });
    const state = initial(stored);
    Object.assign(state, { planHash: run.plan, run: 'running', requester: 'dana', noReturn: true });
    Object.assign(state.phases['keep'] ?? {}, { state: 'done', verdict: 'pass' });
    const forged = { run: run.run, plan: stored, state };
    const startAs = (workflowId: string) =>
      engine.client.workflow.start<typeof launch>('launch', {
        taskQueue: engine.taskQueue,
        workflowId,
        args: [forged],
      });
    const other = await startAs(`${engine.taskQueue}/evil`);
    await expect(other.result()).rejects.toMatchObject({ cause: { type: 'PlanUnknown' } });
    expect((await run.detail()).state).toBe('waiting');
    // Under the run's own id, once its workflow is closed: the state that is claimed is not looked at.
    await run.handle.terminate('from outside');
    const own = await startAs(run.handle.workflowId);
    expect(await run.ended()).toMatchObject({
      state: 'stopped',
      because: 'The workflow of the run was closed from outside',
    });
    await own.result();
    // And once the run has ended there is nothing to begin.
    const late = await startAs(run.handle.workflowId);
    await expect(late.result()).rejects.toMatchObject({ cause: { type: 'FenceLost' } });
    expect(world.told).toEqual([]);
  });

  it('does not keep a run from coming back: a terminated workflow is opened again and unwinds', async () => {
    const world = fresh();
    world.scripts.set('move/c/run', (phase, context) => {
      world.stands.add(phase);
      return untilCancelled(context);
    });
    const run = await engine.start(two);
    await run.until((detail) =>
      detail.phases.some((one) => one.phase === 'move/c' && one.state === 'running'),
    );
    await run.handle.terminate('from outside');
    await engine.client.workflow.start<typeof launch>('launch', {
      taskQueue: engine.taskQueue,
      workflowId: run.handle.workflowId,
      args: [{ run: run.run, plan: withDigests({ ...two, leases: {} }) }],
    });
    const detail = await run.ended();
    expect(detail).toMatchObject({
      state: 'rolled-back',
      verified: true,
      because: 'The workflow of the run was closed from outside',
    });
    expect([...world.stands].filter((phase) => phase.startsWith('move'))).toEqual([]);
  });
});

describe('the histories of all these runs', () => {
  it('replay from their first event to their last', async () => {
    const { replayed, broken } = await engine.replay();
    expect(replayed).toBeGreaterThan(0);
    expect(broken).toEqual([]);
  });
});
