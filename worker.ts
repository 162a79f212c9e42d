/**
 * The worker process: it polls the workflows' task queue and the queues of the pools that it serves, and drains on SIGTERM.
 *
 *   node worker.ts [--pool NAME]…     default: the pool `default`
 */
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { DefaultLogger, NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import { type Logger, pino } from 'pino';
import { z } from 'zod';
import { type Activities, type Activity, createActivities } from './activities/index.ts';
import { makeScrubber } from './store/scrub.ts';
import type { Environment } from './procedures/environment.ts';
import { JOURNAL_WAIT_MS } from './procedures/limits.ts';
import { makeEnvironments } from './store/environment-files.ts';
import { makeWorkerStore } from './store/index.ts';
import { waitForVersion } from './store/migrate.ts';
import { makePool } from './store/pool.ts';
import { readSettings } from './store/settings.ts';

const GRACE_MS = 10_000;
const FORCE_MS = 15_000;
/** The schema may still be migrated by an API that starts beside the worker. */
const SCHEMA_WAIT_MS = 60_000;
const CONNECTIONS_MAX = 20;
/** How often the environment files are looked at for changes. */
const ENVIRONMENTS_EVERY_MS = 5_000;
/**
 * A worker that is frozen still holds its polls, and each swallows one task. With the default of ten it would use up every
 * try of a phase and every attempt of an undo that another worker could do. One for the phases, and the least possible for
 * the workflows, of which one is for the sticky queue.
 */
/** Rows that a workflow records: a frozen worker holds one for `RECORD_TIMEOUT_MS`. */
const RECORD_POLLS = 1;
const PHASE_POLLS = 1;
const WORKFLOW_POLLS = 2;

const Settings = z.object({
  COUNTDOWN_DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/, error: 'expected a URL postgres://…' }),
  TEMPORAL_ADDRESS: z.string().regex(/^[^\s/]+:\d{1,5}$/, "expected HOST:PORT, as '127.0.0.1:7233'"),
  TEMPORAL_NAMESPACE: z.string().min(1).default('default'),
  TEMPORAL_TLS: z.enum(['true', 'false']).default('false'),
  TEMPORAL_API_KEY: z.string().min(1).optional(),
  COUNTDOWN_TASK_QUEUE: z.string().min(1).default('countdown'),
  COUNTDOWN_ENVIRONMENTS: z.string().min(1),
  COUNTDOWN_STATE: z.string().min(1),
  COUNTDOWN_WORKFLOW_BUNDLE: z.string().min(1).optional(),
  COUNTDOWN_JOURNAL_WAIT_MS: z.coerce.number().int().min(100).default(JOURNAL_WAIT_MS),
  COUNTDOWN_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});
type Settings = z.infer<typeof Settings>;

/** What of the settings is secret. */
const SECRETS = { COUNTDOWN_DATABASE_URL: 'url', TEMPORAL_API_KEY: 'all' } as const;

export type RunWorker = {
  pools: string[];
  variables: Record<string, string | undefined>;
  /** Stands around each phase's own function; a rehearsal of crashes uses it. */
  wrap?: (name: string, act: Activity) => Activity;
};

/** Runs until SIGTERM or SIGINT, then drains. Throws where a setting, the schema or the server is missing. */
export async function runWorker({ pools, variables, wrap }: RunWorker): Promise<void> {
  const settings = readSettings(Settings, variables, { process: 'The worker', secrets: SECRETS });
  const scrubber = makeScrubber(
    [settings.COUNTDOWN_DATABASE_URL, settings.TEMPORAL_API_KEY ?? ''].filter((one) => one !== ''),
  );
  const out = pino.destination({ dest: 1, sync: true });
  const log = pino(
    { level: settings.COUNTDOWN_LOG_LEVEL, base: { process: 'worker' } },
    { write: (line: string) => out.write(scrubber.text(line)) },
  );
  installRuntime(log);

  const pool = makePool(settings.COUNTDOWN_DATABASE_URL, { name: 'worker', max: CONNECTIONS_MAX });
  await waitForVersion(settings.COUNTDOWN_DATABASE_URL, { timeoutMs: SCHEMA_WAIT_MS });
  const environments = await followEnvironments(settings.COUNTDOWN_ENVIRONMENTS, log);
  const store = makeWorkerStore(pool);
  const activities = createActivities({
    store,
    log,
    environments,
    scrubber,
    stateFolder: settings.COUNTDOWN_STATE,
    env: variables,
    journalWaitMs: settings.COUNTDOWN_JOURNAL_WAIT_MS,
    workflowIdPrefix: '',
  });
  if (wrap !== undefined) {
    for (const [name, act] of Object.entries(activities.phases)) activities.phases[name] = wrap(name, act);
  }
  const connection = await connect(settings);
  const workers = await Promise.all(workersOf({ settings, connection, activities, pools }));

  const running = Promise.all(workers.map((worker) => worker.run()));
  log.info({ pools, taskQueue: settings.COUNTDOWN_TASK_QUEUE }, 'worker: polling');
  await Promise.race([running, once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  log.info('worker: draining');
  // A native thread that hangs must not keep the process for ever.
  setTimeout(() => process.exit(1), FORCE_MS).unref();
  for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  await running;
  await connection.close();
  await pool.end();
  log.info('worker: stopped');
}

/** The environment files as they are, looked at again every few seconds, so that a change needs no new worker. */
async function followEnvironments(folder: string, log: Logger): Promise<ReadonlyMap<string, Environment>> {
  const files = await makeEnvironments(folder, log);
  const known = new Map(await files.current());
  const look = async (): Promise<void> => {
    const now = await files.current();
    for (const name of known.keys()) if (!now.has(name)) known.delete(name);
    for (const [name, environment] of now) known.set(name, environment);
  };
  setInterval(() => void look(), ENVIRONMENTS_EVERY_MS).unref();
  return known;
}

function connect(settings: Settings): Promise<NativeConnection> {
  const { TEMPORAL_API_KEY: apiKey } = settings;
  return NativeConnection.connect({
    address: settings.TEMPORAL_ADDRESS,
    ...(settings.TEMPORAL_TLS === 'true' || apiKey !== undefined ? { tls: true } : {}),
    ...(apiKey === undefined ? {} : { apiKey }),
  });
}

type Parts = { settings: Settings; connection: NativeConnection; activities: Activities; pools: string[] };

/** One worker for the workflows and the rows that they record, one for each pool's phases. */
function workersOf({ settings, connection, activities, pools }: Parts): Promise<Worker>[] {
  const shared: Omit<WorkerOptions, 'taskQueue'> = {
    connection,
    namespace: settings.TEMPORAL_NAMESPACE,
    shutdownGraceTime: GRACE_MS,
    shutdownForceTime: FORCE_MS,
    interceptors: { activity: [activities.aroundPhase] },
  };
  const workflows =
    settings.COUNTDOWN_WORKFLOW_BUNDLE === undefined
      ? { workflowsPath: new URL('./workflows/index.ts', import.meta.url).pathname }
      : { workflowBundle: { codePath: settings.COUNTDOWN_WORKFLOW_BUNDLE } };
  return [
    Worker.create({
      ...shared,
      ...workflows,
      taskQueue: settings.COUNTDOWN_TASK_QUEUE,
      activities: activities.recorder,
      // A task of a worker that died waits for it no longer than this.
      stickyQueueScheduleToStartTimeout: '1s',
      workflowTaskPollerBehavior: { type: 'simple-maximum', maximum: WORKFLOW_POLLS },
      activityTaskPollerBehavior: { type: 'simple-maximum', maximum: RECORD_POLLS },
    }),
    ...pools.map((name) =>
      Worker.create({
        ...shared,
        taskQueue: `${settings.COUNTDOWN_TASK_QUEUE}-${name}`,
        activities: activities.phases,
        // Not maxConcurrentActivityTaskPolls: SDK 1.24 takes it and does not look at it.
        activityTaskPollerBehavior: { type: 'simple-maximum', maximum: PHASE_POLLS },
        // An abort reaches a running phase with its next heartbeat.
        maxHeartbeatThrottleInterval: '200ms',
        defaultHeartbeatThrottleInterval: '200ms',
      }),
    ),
  ];
}

function installRuntime(log: Logger): void {
  Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      log[level === 'ERROR' ? 'error' : 'warn']({ temporal: meta }, `temporal: ${message}`);
    }),
  });
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { pool: { type: 'string', multiple: true, default: ['default'] } },
  });
  runWorker({ pools: values.pool, variables: process.env }).then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
      process.exit(1);
    },
  );
}
