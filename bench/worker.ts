/**
 * The worker of the benches, a process of its own as in life, with the settings of `worker.ts`: the interpreter with
 * phases that do nothing, and beside it a bare workflow. Its parent asks it for its memory.
 */
import { CancelledFailure } from '@temporalio/common';
import {
  NativeConnection,
  Runtime,
  Worker,
  type WorkerOptions,
  bundleWorkflowCode,
} from '@temporalio/worker';
import { pino } from 'pino';
import { createActivities } from '../activities/index.ts';
import { makeScrubber } from '../store/scrub.ts';
import type { PhaseContext, PhaseResult, ProbeResult } from '../activities/phase.ts';
import { makeEnvironments } from '../store/environment-files.ts';
import { makeWorkerStore } from '../store/index.ts';
import { makePool } from '../store/pool.ts';

export type WorkerSettings = {
  databaseUrl: string;
  temporal: string;
  taskQueue: string;
  environments: string;
};
/** Bytes of the whole process after a collection, and the workflows that it keeps at once. */
export type Memory = { rssBytes: number; cachedMax: number };

const CONNECTIONS_MAX = 20;
const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, log() {} };

async function nothing(): Promise<PhaseResult> {
  return { verdict: 'pass', summary: 'nothing' };
}

async function stands(): Promise<ProbeResult> {
  return { answer: 'yes', summary: 'nothing' };
}

function untilCancelled(_params: unknown, { signal }: PhaseContext): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(new CancelledFailure('cancelled')), { once: true });
  });
}

const PHASES = {
  bare: async () => 'nothing',
  'test/a/run': nothing,
  'test/a/undo': nothing,
  'test/a/probe': stands,
  'test/hold/run': untilCancelled,
  'test/hold/undo': nothing,
  'test/hold/probe': stands,
  'fingerprint/test': async () => ({ state: 'as it was', data: null, summary: 'nothing' }),
};

async function start(settings: WorkerSettings): Promise<Worker[]> {
  Runtime.install({ logger: quiet });
  const log = pino({ level: 'silent' });
  const files = await makeEnvironments(settings.environments, log);
  const pool = makePool(settings.databaseUrl, { name: 'bench-worker', max: CONNECTIONS_MAX });
  const activities = createActivities(
    {
      store: makeWorkerStore(pool),
      log,
      environments: await files.current(),
      scrubber: makeScrubber(),
      stateFolder: '/nonexistent',
      env: {},
      journalWaitMs: 5_000,
      workflowIdPrefix: '',
    },
    PHASES,
  );
  const workflowBundle = await bundleWorkflowCode({
    workflowsPath: new URL('./workflows.ts', import.meta.url).pathname,
    logger: quiet,
  });
  const shared: Omit<WorkerOptions, 'taskQueue'> = {
    connection: await NativeConnection.connect({ address: settings.temporal }),
    interceptors: { activity: [activities.aroundPhase] },
  };
  return Promise.all([
    Worker.create({
      ...shared,
      taskQueue: settings.taskQueue,
      workflowBundle,
      activities: { ...activities.recorder },
      stickyQueueScheduleToStartTimeout: '1s',
      workflowTaskPollerBehavior: { type: 'simple-maximum', maximum: 2 },
    }),
    Worker.create({
      ...shared,
      taskQueue: `${settings.taskQueue}-default`,
      activities: activities.phases,
      activityTaskPollerBehavior: { type: 'simple-maximum', maximum: 1 },
      maxHeartbeatThrottleInterval: '200ms',
      defaultHeartbeatThrottleInterval: '200ms',
    }),
  ]);
}

function memory(workers: readonly Worker[]): Memory {
  globalThis.gc?.();
  globalThis.gc?.();
  return {
    rssBytes: process.memoryUsage().rss,
    cachedMax: workers[0]?.options.maxCachedWorkflows ?? 0,
  };
}

if (import.meta.main) {
  const workers = await start(JSON.parse(process.argv[2] ?? '{}') as WorkerSettings);
  const running = Promise.all(workers.map((worker) => worker.run()));
  process.on('message', () => process.send?.(memory(workers)));
  process.on('disconnect', () => {
    for (const worker of workers) worker.shutdown();
    void running.finally(() => process.exit(0));
  });
  process.send?.('ready');
}
