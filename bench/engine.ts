/**
 * What the interpreter costs: 100 phases that do nothing against a bare workflow of 100 activities that do nothing, on
 * one server and one worker, the sides interleaved and taking turns at going first.
 */
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Runtime, Worker, bundleWorkflowCode } from '@temporalio/worker';
import { Pool } from 'pg';
import { pino } from 'pino';
import { createActivities } from '../activities/index.ts';
import type { PhaseResult } from '../activities/phase.ts';
import type { Plan } from '../procedures/plan.ts';
import { startPostgres } from '../scripts/lib/postgres.ts';
import { makeFolder, stopAll } from '../scripts/lib/processes.ts';
import { startTemporal } from '../scripts/lib/temporal.ts';
import { digest } from '../store/digest.ts';
import { makeApiStore, makeWorkerStore } from '../store/index.ts';
import { migrate } from '../store/migrate.ts';
import { createLogins } from '../store/roles.ts';
import { makePlan } from '../test/support/plans.ts';
import { median, table } from './table.ts';

const PHASES = 100;
const QUEUE = 'bench';
const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, log() {} };

type Sides = { countdown: () => Promise<number>; bare: () => Promise<number> };

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function nothing(): Promise<PhaseResult> {
  return { verdict: 'pass', summary: 'nothing' };
}

export async function benchEngine({ repeats }: { repeats: number }): Promise<Record<string, number>> {
  Runtime.install({ logger: quiet });
  const folder = await makeFolder('countdown-bench-');
  try {
    const postgres = await startPostgres({ folder: join(folder.path, 'postgres'), log });
    const temporal = await startTemporal({ folder: join(folder.path, 'temporal'), log });
    return await withSides({ databaseUrl: postgres.url(), temporal: temporal.address }, (sides) =>
      measure(sides, repeats),
    );
  } finally {
    await stopAll();
    await folder.discard();
  }
}

async function measure({ countdown, bare }: Sides, repeats: number): Promise<Record<string, number>> {
  await countdown();
  await bare();
  const rows: string[][] = [['repeat', 'countdown ms/phase', 'bare ms/activity', 'ratio']];
  const ratios: number[] = [];
  for (let repeat = 1; repeat <= repeats; repeat += 1) {
    // Whoever goes second finds a warmer machine: the sides take turns.
    const first = repeat % 2 === 0 ? await countdown() : undefined;
    const theirs = await bare();
    const ours = first ?? (await countdown());
    ratios.push(ours / theirs);
    rows.push([
      String(repeat),
      (ours / PHASES).toFixed(1),
      (theirs / PHASES).toFixed(1),
      (ours / theirs).toFixed(2),
    ]);
  }
  const serial = Number(median(ratios).toFixed(2));
  rows.push(['median', '', '', serial.toFixed(2)]);
  process.stdout.write(`${PHASES} phases in a row, the journal included; aim at most 1.30\n${table(rows)}\n`);
  return { serial };
}

async function withSides<T>(
  at: { databaseUrl: string; temporal: string },
  use: (sides: Sides) => Promise<T>,
): Promise<T> {
  await migrate(at.databaseUrl);
  const logins = await createLogins(at.databaseUrl, {
    apiPassword: 'bench',
    workerPassword: 'bench',
    suffix: 'bench',
  });
  const pools = [logins.api, logins.worker].map((user) => {
    const url = new URL(at.databaseUrl);
    url.username = user;
    url.password = 'bench';
    return new Pool({ connectionString: url.href });
  });
  const [apiPool, workerPool] = pools as [Pool, Pool];
  const api = makeApiStore(apiPool);
  const activities = createActivities(
    {
      store: makeWorkerStore(workerPool),
      log: pino({ level: 'silent' }),
      environments: new Map([
        [
          'test',
          {
            environment: 'test',
            protected: false,
            targets: {},
            people: {},
            roles: { operator: [], admin: [], auditor: [] },
            groups: {},
            approvals: { least: {} },
          },
        ],
      ]),
      stateFolder: '/nonexistent',
      env: {},
      journalWaitMs: 5_000,
    },
    { 'test/a/run': nothing, bare: async () => 'nothing' },
  );
  const native = await NativeConnection.connect({ address: at.temporal });
  const connection = await Connection.connect({ address: at.temporal });
  const client = new Client({ connection });
  const workflowBundle = await bundleWorkflowCode({
    workflowsPath: new URL('./workflows.ts', import.meta.url).pathname,
    logger: quiet,
  });
  const workers = await Promise.all([
    Worker.create({
      connection: native,
      taskQueue: QUEUE,
      workflowBundle,
      activities: { ...activities.recorder },
    }),
    Worker.create({
      connection: native,
      taskQueue: `${QUEUE}-default`,
      activities: activities.phases,
      interceptors: { activity: [activities.aroundPhase] },
      maxHeartbeatThrottleInterval: '200ms',
    }),
  ]);
  const running = Promise.all(workers.map((worker) => worker.run()));
  const plan = nothingPlan();
  const hash = digest(plan);
  await api.savePlan({ hash, plan, person: 'bench' });
  let count = 0;
  const timed = async (type: string, args: unknown[]): Promise<number> => {
    const from = performance.now();
    count += 1;
    await client.workflow.execute(type, { taskQueue: QUEUE, workflowId: `bench/${count}`, args });
    return performance.now() - from;
  };
  try {
    return await use({
      bare: () => timed('bare', [{ activities: PHASES }]),
      countdown: async () => {
        const created = await api.createRun({
          plan: hash,
          requester: 'bench',
          groups: {},
          failAt: null,
          idempotency: null,
        });
        if ('refused' in created) throw new Error(`The run was refused: ${created.refused}`);
        return timed('launch', [{ run: created.run, plan }]);
      },
    });
  } finally {
    for (const worker of workers) worker.shutdown();
    await running;
    await native.close();
    await connection.close();
    await Promise.all(pools.map((pool) => pool.end()));
  }
}

/** Ten steps of ten phases: as a long runbook, and none of them with an effect. */
function nothingPlan(): Plan {
  const plan = makePlan(
    Array.from({ length: 10 }, (_, step) => ({ id: `s${step}`, phases: [{ name: 'a' }] })),
  );
  const phases = plan.phases.flatMap((phase) =>
    Array.from({ length: PHASES / 10 }, (_, at) => ({ ...phase, id: `${phase.id}/p${at}` })),
  );
  const steps = plan.steps.map((step) => ({
    ...step,
    phases: phases.filter((phase) => phase.step === step.id).map((phase) => phase.id),
  }));
  return { ...plan, steps, phases };
}
