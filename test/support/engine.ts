/**
 * The engine without a kind: a real Temporal, a real store, a worker in this process, and a scripted world instead of
 * targets. Plans come from `plans.ts`; the world says what each activity does and remembers what was done.
 */
import { randomUUID } from 'node:crypto';
import {
  type Client,
  Connection,
  Client as TemporalClient,
  type WorkflowHandleWithFirstExecutionRunId,
} from '@temporalio/client';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import { pino } from 'pino';
import { type Activity, createActivities } from '../../activities/index.ts';
import { makeScrubber } from '../../store/scrub.ts';
import type { PhaseContext, PhaseResult, ProbeResult } from '../../activities/phase.ts';
import type { Environment } from '../../procedures/environment.ts';
import type { Plan } from '../../procedures/plan.ts';
import { isTerminal } from '../../procedures/states.ts';
import { digest } from '../../store/digest.ts';
import type { RunDetail } from '../../store/types.ts';
import type { launch } from '../../workflows/launch.ts';
import {
  type Decision,
  type DecisionAnswer,
  type DecisionKind,
  type Recorder,
  decisionUpdate,
} from '../../workflows/messages.ts';
import { workflowBundle } from './bundle.ts';
import { makeStoreDatabase } from './store.ts';
import { makeTaskQueue, temporalAddress } from './temporal.ts';

export const GROUPS: Record<string, string[]> = { sre: ['ana', 'ben'], owner: ['olu'] };

const WAIT_MS = 20_000;

/** What an activity of the scripted world does instead of its default: run makes, undo takes away, probe looks. */
export type Script = (phase: string, context: PhaseContext) => Promise<PhaseResult | ProbeResult | undefined>;

export class World {
  /** Phases whose effect stands. */
  readonly stands = new Set<string>();
  /** Phases that only look: they leave nothing. */
  readonly looks = new Set(['look', 'check']);
  /** Every activity that was performed: `phase/direction/try`. */
  readonly done: string[] = [];
  /** By `phase/direction`; returns undefined to go on with the default. */
  readonly scripts = new Map<string, Script>();

  async perform(context: PhaseContext): Promise<unknown> {
    const { phase, direction } = context;
    this.done.push(`${phase}/${direction}/${context.try}`);
    const said = await this.scripts.get(`${phase}/${direction}`)?.(phase, context);
    if (said !== undefined) return said;
    if (direction === 'probe') return { answer: this.stands.has(phase) ? 'yes' : 'no', summary: 'looked' };
    if (direction === 'undo') this.stands.delete(phase);
    else if (direction === 'run') {
      if (!this.looks.has(phase)) this.stands.add(phase);
    } else return { state: [...this.stands].toSorted().join(), data: null, summary: 'printed' };
    return { verdict: 'pass', summary: `${direction} done`, output: { phase }, binds: { phase } };
  }

  /** What was done, without tries, in order. */
  get told(): string[] {
    return this.done.map((one) => one.slice(0, one.lastIndexOf('/')));
  }
}

/** Waits until the phase is cancelled; throws as activities do. */
export function untilCancelled(context: PhaseContext): Promise<never> {
  return new Promise((_resolve, reject) => {
    context.signal.addEventListener('abort', () => reject(new CancelledFailure('cancelled')), { once: true });
  });
}

export function refuse(type: string, message: string): never {
  throw ApplicationFailure.create({ type, message, nonRetryable: true });
}

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];
const ENVIRONMENT: Environment = {
  environment: 'test',
  protected: false,
  targets: {
    thing: { kind: 'switch', url: 'http://127.0.0.1:9', values: ['off', 'on'] },
    other: { kind: 'switch', url: 'http://127.0.0.1:9', values: ['off', 'on'] },
  },
  people: {},
  roles: { operator: [], admin: [], auditor: [] },
  groups: GROUPS,
  approvals: { least: {} },
};

export type Engine = AsyncDisposable & {
  world: World;
  client: Client;
  taskQueue: string;
  store: Awaited<ReturnType<typeof makeStoreDatabase>>;
  /** Stores the plan, asks for the run and starts its workflow. */
  start(plan: Plan, over?: StartOver): Promise<EngineRun>;
  /** All pairs of workers, or only that of one address of `workersAt`. */
  stopWorker(which?: number): Promise<void>;
  startWorker(which?: number): Promise<void>;
  /** Replays every history that this engine made; gives back the ids of those that do not replay. */
  replay(): Promise<{ replayed: number; broken: string[] }>;
};

export type StartOver = { failAt?: string; requester?: string; historyEventsMax?: number; leased?: true };

export type EngineRun = {
  run: number;
  plan: string;
  handle: WorkflowHandleWithFirstExecutionRunId<typeof launch>;
  detail(): Promise<RunDetail>;
  /** Waits until the run looks as wanted; fails with what it looks like after 20 s. */
  until(what: (detail: RunDetail) => boolean, waitMs?: number): Promise<RunDetail>;
  ended(): Promise<RunDetail>;
  /** Writes the decision row as a door does, then sends the update. */
  decide(
    kind: DecisionKind,
    subject: string | null,
    person: string,
    over?: Partial<Decision>,
  ): Promise<DecisionAnswer>;
};

/** How an engine differs from the usual one. */
export type EngineOptions = {
  /** Where workers connect, one pair of workers for each address. Default: one pair at the suite's server. */
  workersAt?: readonly [string, ...string[]];
  /** Default 5 s. */
  workflowTaskTimeout?: '5s' | '1s';
  /** The bundle that the workers run; replays always use the product's own. */
  bundle?: { codePath: string };
  /** Options of the worker that runs workflows. */
  worker?: Pick<WorkerOptions, 'maxCachedWorkflows' | 'stickyQueueScheduleToStartTimeout'>;
  /** Wraps the recorder. */
  recorder?: (recorder: Recorder) => Recorder;
  /** Takes the place of `world`. */
  perform?: (context: PhaseContext) => Promise<unknown>;
  /** The memo of each workflow. */
  memo?: Record<string, unknown>;
};

export async function makeEngine(options: EngineOptions = {}): Promise<Engine> {
  const store = await makeStoreDatabase();
  const world = new World();
  const address = await temporalAddress();
  const connection = await Connection.connect({ address });
  const natives = await Promise.all(
    (options.workersAt ?? [address]).map((one) => NativeConnection.connect({ address: one })),
  );
  const client = new TemporalClient({ connection });
  const taskQueue = makeTaskQueue();
  const { codePath } = await workflowBundle();
  const perform: Activity = (_params: unknown, context: PhaseContext) =>
    options.perform === undefined ? world.perform(context) : options.perform(context);
  const extra = Object.fromEntries(
    NAMES.flatMap((name) =>
      ['run', 'probe', 'undo'].map((direction) => [`test/${name}/${direction}`, perform]),
    ),
  );
  const activities = createActivities(
    {
      store: store.worker,
      log: pino({ level: process.env['COUNTDOWN_TEST_LOG'] ?? 'silent' }),
      environments: new Map([['test', ENVIRONMENT]]),
      scrubber: makeScrubber(),
      stateFolder: '/nonexistent',
      env: {},
      journalWaitMs: 5_000,
      workflowIdPrefix: `${taskQueue}/`,
    },
    { ...extra, 'fingerprint/test': perform },
  );

  const started: string[] = [];
  const pairs = natives.map((native) => makeWorkers({ native, taskQueue, activities, codePath, options }));
  const chosen = (which: number | undefined) =>
    pairs.filter((_, index) => which === undefined || which === index);
  const startWorker = async (which?: number): Promise<void> => {
    await Promise.all(chosen(which).map((pair) => pair.start()));
  };
  const stopWorker = async (which?: number): Promise<void> => {
    await Promise.all(chosen(which).map((pair) => pair.stop()));
  };
  await startWorker();

  const start = async (planned: Plan, over: StartOver = {}): Promise<EngineRun> => {
    // Most tests are not about leases, and one that fails must not fail the others.
    const plan = withDigests(over.leased === true ? planned : { ...planned, leases: {} });
    const hash = digest(plan);
    const requester = over.requester ?? 'dana';
    await store.api.savePlan({ hash, plan, person: requester });
    const created = await store.api.createRun({
      plan: hash,
      requester,
      groups: GROUPS,
      failAt: over.failAt ?? null,
      idempotency: null,
    });
    if ('refused' in created) throw new Error(`The run was refused: ${created.refused}`);
    const { run } = created;
    const handle = await client.workflow.start<typeof launch>('launch', {
      taskQueue,
      workflowId: `${taskQueue}/run/${run}`,
      args: [
        {
          run,
          plan,
          ...(over.historyEventsMax === undefined ? {} : { historyEventsMax: over.historyEventsMax }),
        },
      ],
      workflowTaskTimeout: options.workflowTaskTimeout ?? '5s',
      ...(options.memo === undefined ? {} : { memo: options.memo }),
    });
    started.push(handle.workflowId);
    return makeRun({ run, plan: hash, handle, store });
  };

  return {
    world,
    client,
    taskQueue,
    store,
    start,
    startWorker,
    stopWorker,
    async replay() {
      const broken: string[] = [];
      const histories = started.map(async (workflowId) => ({
        workflowId,
        history: await client.workflow.getHandle(workflowId).fetchHistory(),
      }));
      for await (const { workflowId, error } of Worker.runReplayHistories(
        { workflowBundle: { codePath } },
        await Promise.all(histories),
      )) {
        if (error !== undefined) broken.push(`${workflowId}: ${error.message}`);
      }
      return { replayed: started.length, broken };
    },
    async [Symbol.asyncDispose]() {
      await stopWorker();
      await connection.close();
      await Promise.all(natives.map((native) => native.close()));
      await store[Symbol.asyncDispose]();
    },
  };
}

/** The worker of workflows and that of phases, on one connection. */
function makeWorkers(parts: {
  native: NativeConnection;
  taskQueue: string;
  activities: ReturnType<typeof createActivities>;
  codePath: string;
  options: EngineOptions;
}): { start(): Promise<void>; stop(): Promise<void> } {
  const { native, taskQueue, activities, codePath, options } = parts;
  const recorder = options.recorder?.(activities.recorder) ?? activities.recorder;
  let workers: Worker[] = [];
  let running: Promise<unknown> = Promise.resolve();
  return {
    async start() {
      const shared: Omit<WorkerOptions, 'taskQueue'> = {
        connection: native,
        interceptors: { activity: [activities.aroundPhase] },
        shutdownForceTime: '2s',
      };
      workers = await Promise.all([
        Worker.create({
          ...shared,
          taskQueue,
          workflowBundle: options.bundle ?? { codePath },
          activities: { ...recorder },
          stickyQueueScheduleToStartTimeout: '1s',
          ...(process.env['COUNTDOWN_TEST_NO_CACHE'] === '1' ? { maxCachedWorkflows: 0 } : {}),
          ...options.worker,
        }),
        Worker.create({
          ...shared,
          taskQueue: `${taskQueue}-default`,
          activities: activities.phases,
          maxHeartbeatThrottleInterval: '100ms',
          defaultHeartbeatThrottleInterval: '100ms',
        }),
      ]);
      running = Promise.all(workers.map((worker) => worker.run()));
    },
    async stop() {
      for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
      await running.catch(() => undefined);
      workers = [];
    },
  };
}

/** The worker compares the digest of each target's entry with the plan's. */
export function withDigests(plan: Plan): Plan {
  const targets = Object.fromEntries(
    Object.entries(plan.targets).map(([name, target]) => [
      name,
      { ...target, digest: digest(ENVIRONMENT.targets[name] ?? {}) },
    ]),
  );
  return { ...plan, targets };
}

function makeRun(parts: {
  run: number;
  plan: string;
  handle: WorkflowHandleWithFirstExecutionRunId<typeof launch>;
  store: Engine['store'];
}): EngineRun {
  const { run, plan, handle, store } = parts;
  const detail = async (): Promise<RunDetail> => {
    const found = await store.api.run(run);
    if (found === undefined) throw new Error(`There is no run ${run}.`);
    return found;
  };
  const until: EngineRun['until'] = async (what, waitMs = WAIT_MS) => {
    const deadline = Date.now() + waitMs;
    for (;;) {
      const now = await detail();
      if (what(now)) return now;
      if (Date.now() > deadline)
        throw new Error(`It did not come to that within ${waitMs} ms: ${JSON.stringify(now, null, 1)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return {
    run,
    plan,
    handle,
    detail,
    until,
    ended: () => until((now) => isTerminal(now.state)),
    async decide(kind, subject, person, over = {}) {
      const now = await detail();
      const asked = now.approvals.find((one) => one.step === subject && one.state === 'open');
      const decision: Decision = {
        id: randomUUID(),
        run,
        kind,
        subject,
        person,
        groups: Object.keys(GROUPS).filter((group) => GROUPS[group]?.includes(person)),
        door: 'api',
        plan,
        evidence: asked?.evidence ?? null,
        reason: 'a test says so',
        resolution: null,
        ...over,
      };
      await store.api.insertDecision(decision);
      return handle.executeUpdate(decisionUpdate, { updateId: `decision/${decision.id}`, args: [decision] });
    },
  };
}
