/** Workflows that were closed, are gone or cannot be replayed: each run goes on by itself, and says the true reason. */
import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker, bundleWorkflowCode } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tidyOnce } from '../../api/janitor.ts';
import { type Launcher, makeLauncher } from '../../api/launcher.ts';
import { ASK_SIGNAL } from '../../api/look.ts';
import { type Engine, type EngineRun, makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { temporalAddress } from '../support/temporal.ts';
import { type TestApi, makeTestApi } from './support.ts';

/** Fewer attempts and less time than in production: a workflow task times out after 5 s. */
const FAILING = { attemptsMax: 2, failingMs: 2_000 };
const POLL_MS = 60_000;
const UNTIL_MS = 90_000;

let engine: Engine;
let api: TestApi;
let connection: NativeConnection;
let otherBundle: Awaited<ReturnType<typeof bundleWorkflowCode>>;
beforeAll(async () => {
  engine = await makeEngine();
  api = await makeTestApi({ engine });
  connection = await NativeConnection.connect({ address: await temporalAddress() });
  const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, log() {} };
  const workflowsPath = fileURLToPath(new URL('../support/other-launch.ts', import.meta.url));
  otherBundle = await bundleWorkflowCode({ workflowsPath, logger: quiet });
});
afterAll(async () => {
  await connection.close();
  await api[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

/** Its first phase has an effect; the second one waits for an approval. */
const moves = makePlan([
  {
    id: 'one',
    phases: [
      { name: 'a', effect: 'reversible' },
      { name: 'b', effect: 'reversible', approval: approval({ sre: 1 }) },
    ],
  },
]);

async function waiting(): Promise<EngineRun> {
  const run = await engine.start(moves);
  await run.until(({ state }) => state === 'waiting');
  return run;
}

const janitor = () => ({
  ...api,
  launcher: makeLauncher(api.client, {
    taskQueue: engine.taskQueue,
    workflowIdPrefix: `${engine.taskQueue}/`,
    failing: FAILING,
  }),
});

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + UNTIL_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`It did not happen within ${UNTIL_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** The execution that the run's workflow has now. */
const executionOf = async ({ handle }: EngineRun): Promise<string> =>
  (await engine.client.workflow.getHandle(handle.workflowId).describe()).runId;

/** Passes of the janitor until it has opened the workflow of the run again. */
async function untilReopened(run: EngineRun, deps = janitor()): Promise<void> {
  const before = await executionOf(run);
  await until('the workflow is opened again', async () => {
    await tidyOnce(deps);
    return (await executionOf(run)) === before ? undefined : true;
  });
}

/**
 * The same with a worker whose workflow cannot replay any history of the release. It leaves before the new workflow starts,
 * which would be its own otherwise.
 */
async function untilReopenedUnderOtherWorker(run: EngineRun): Promise<void> {
  const worker = await Worker.create({
    connection,
    taskQueue: engine.taskQueue,
    workflowBundle: otherBundle,
  });
  const running = worker.run();
  const leave = async () => {
    if (worker.getState() === 'RUNNING') worker.shutdown();
    await running;
  };
  const deps = janitor();
  const launcher: Launcher = {
    ...deps.launcher,
    start: async (row) => {
      await leave();
      await deps.launcher.start(row);
    },
  };
  try {
    await untilReopened(run, { ...deps, launcher });
  } finally {
    await leave();
    await engine.startWorker();
  }
}

/** Gives the workflow a task without a decision of a person. */
const wake = ({ handle }: EngineRun) => handle.signal('wake up');

type Polled = { attempt: number; workflowId: string };
/** Takes a workflow task as a worker that never answers. */
async function takeTask(): Promise<Polled> {
  const { workflowService } = api.client.connection;
  const { attempt, workflowExecution } = await api.client.connection.withDeadline(Date.now() + POLL_MS, () =>
    workflowService.pollWorkflowTaskQueue({
      namespace: 'default',
      taskQueue: { name: engine.taskQueue },
      identity: 'a worker that never answers',
    }),
  );
  return { attempt, workflowId: workflowExecution?.workflowId ?? '' };
}

/** Events of the run's first workflow. */
const eventsOf = async ({ handle }: EngineRun) => {
  const first = engine.client.workflow.getHandle(handle.workflowId, handle.firstExecutionRunId);
  return (await first.fetchHistory()).events ?? [];
};
const hasTimedOut = async (run: EngineRun): Promise<true | undefined> =>
  (await eventsOf(run)).some((event) => event.workflowTaskTimedOutEventAttributes) ? true : undefined;

describe('a workflow that cannot be replayed', () => {
  test(
    'is closed and opened again, and its run is rolled back and says so',
    async () => {
      const run = await waiting();
      expect(engine.world.stands.has('one/a')).toBe(true);
      await engine.stopWorker();
      await wake(run);
      await untilReopenedUnderOtherWorker(run);
      const ended = await run.ended();
      expect([ended.state, ended.verified]).toEqual(['rolled-back', true]);
      expect(ended.because).toMatch(
        /^The workflow of the run could not be replayed \(\[TMPRL1100\] Nondeterminism error: .+\), so it was closed and opened again$/,
      );
      expect(engine.world.stands.has('one/a')).toBe(false);
      // Its first execution says the same in Temporal.
      const terminated = (await eventsOf(run)).at(-1)?.workflowExecutionTerminatedEventAttributes;
      expect(terminated?.reason).toBe(ended.because);
    },
    2 * UNTIL_MS,
  );

  test(
    'is found although its first attempt timed out: the worker is asked why',
    async () => {
      const run = await waiting();
      await engine.stopWorker();
      await wake(run);
      expect(await takeTask()).toEqual({ attempt: 1, workflowId: run.handle.workflowId });
      await until('the first attempt times out', () => hasTimedOut(run));
      await untilReopenedUnderOtherWorker(run);
      const ended = await run.ended();
      expect([ended.state, ended.verified]).toEqual(['rolled-back', true]);
      expect(ended.because).toMatch(/^The workflow of the run could not be replayed \(\[TMPRL1100\] /);
      const asked = (await eventsOf(run)).filter(
        (event) => event.workflowExecutionSignaledEventAttributes?.signalName === ASK_SIGNAL,
      );
      expect(asked.length).toBe(1);
    },
    2 * UNTIL_MS,
  );
});

describe('a workflow whose worker', () => {
  test(
    'is away for long is left alone, and goes on when the worker is back',
    async () => {
      const run = await waiting();
      const before = await executionOf(run);
      await engine.stopWorker();
      await wake(run);
      // Its own queue gave the task back.
      await until('the task waits for any worker', () => hasTimedOut(run));
      const deps = janitor();
      await until('the task has waited', async () => {
        await tidyOnce(deps);
        const { raw } = await run.handle.describe();
        const since = Number(raw.pendingWorkflowTask?.scheduledTime?.seconds ?? 0) * 1_000;
        return Date.now() - since > 3 * FAILING.failingMs ? true : undefined;
      });
      expect(await deps.launcher.look(run.run)).toEqual({ state: 'open' });
      await engine.startWorker();
      await run.decide('abort', null, 'dana');
      expect((await run.ended()).because).toBe('dana aborted the run: a test says so');
      expect(await executionOf(run)).toBe(before);
    },
    2 * UNTIL_MS,
  );

  test(
    'never answers in time is asked why and never closed, and goes on with another worker',
    async () => {
      const run = await waiting();
      const before = await executionOf(run);
      await engine.stopWorker();
      await wake(run);
      const deps = janitor();
      const seen = new Set<string>();
      const attempts: number[] = [];
      while (attempts.length < 4) {
        attempts.push((await takeTask()).attempt);
        await tidyOnce(deps);
        const found = await deps.launcher.look(run.run);
        seen.add('unexplained' in found ? 'unexplained' : found.state);
      }
      // The question makes the attempt after it a first one.
      expect([attempts[0], attempts.lastIndexOf(1) > 0]).toEqual([1, true]);
      expect([...seen]).toEqual(['open', 'unexplained']);
      await engine.startWorker();
      // Until then Temporal delivers no decision.
      await until('the task is done', async () => {
        const { raw } = await run.handle.describe();
        return (raw.pendingWorkflowTask ?? null) === null ? true : undefined;
      });
      await run.decide('abort', null, 'dana');
      expect((await run.ended()).because).toBe('dana aborted the run: a test says so');
      expect(await executionOf(run)).toBe(before);
    },
    2 * UNTIL_MS,
  );
});

/** Why the run says that it was rolled back. */
const because = async (run: EngineRun): Promise<string | null> => {
  await untilReopened(run);
  const ended = await run.ended();
  expect([ended.state, ended.verified]).toEqual(['rolled-back', true]);
  return ended.because;
};

describe('a run says of its closed workflow', () => {
  test('that it was terminated from outside', async () => {
    const run = await waiting();
    await run.handle.terminate('from outside');
    expect(await because(run)).toBe('The workflow of the run was terminated from outside');
  });

  test('that it failed, and with what', async () => {
    const run = await waiting();
    const plan = withDigests(makePlan([{ id: 'two', phases: [{ name: 'a' }] }]));
    const taken = await engine.client.workflow.start('launch', {
      taskQueue: engine.taskQueue,
      workflowId: run.handle.workflowId,
      args: [{ run: run.run, plan }],
      workflowIdConflictPolicy: 'TERMINATE_EXISTING',
    });
    await expect(taken.result()).rejects.toThrow();
    expect(await because(run)).toBe(
      `The workflow of the run failed: The plan that run ${run.run} was started with is not the one that the API stored. Start runs through the API.`,
    );
  });

  test('that it is gone', async () => {
    const run = await waiting();
    const workflowExecution = { workflowId: run.handle.workflowId };
    await api.client.workflowService.deleteWorkflowExecution({ namespace: 'default', workflowExecution });
    const deps = janitor();
    await until('the workflow is gone', async () => {
      const found = await deps.launcher.look(run.run);
      return found.state === 'closed' && found.how === 'gone' ? true : undefined;
    });
    await tidyOnce(deps);
    expect((await run.ended()).because).toBe('The workflow of the run is gone from Temporal');
  });

  test('that it could not be replayed, if the janitor closed it and did not come to open it again', async () => {
    const run = await waiting();
    const deps = janitor();
    const reason =
      'The workflow of the run could not be replayed (a test says so), so it was closed and opened again';
    await deps.launcher.close(run.run, await executionOf(run), reason);
    expect(await because(run)).toBe(reason);
  });
});
