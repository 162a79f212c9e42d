/**
 * What every bench of the engine stands on: PostgreSQL that flushes each commit, Temporal, the API without its socket, and
 * a worker in a process of its own. Two sides run on it, Countdown and a bare workflow.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { pino } from 'pino';
import { makeEventHub } from '../api/events.ts';
import { createApi } from '../api/index.ts';
import { makeLauncher } from '../api/launcher.ts';
import { makeLimits } from '../api/limits.ts';
import type { Plan } from '../procedures/plan.ts';
import { startPostgres } from '../scripts/lib/postgres.ts';
import { makeFolder, stopAll } from '../scripts/lib/processes.ts';
import { startTemporal } from '../scripts/lib/temporal.ts';
import { digest } from '../store/digest.ts';
import { makeEnvironments } from '../store/environment-files.ts';
import { makeApiStore } from '../store/index.ts';
import { migrate } from '../store/migrate.ts';
import { makePool } from '../store/pool.ts';
import { createLogins } from '../store/roles.ts';
import type { ApiStore, JournalRow } from '../store/types.ts';
import type { Memory, WorkerSettings } from './worker.ts';

const QUEUE = 'bench';
const REQUESTER = 'dana';
const ENVIRONMENT = `environment: test
protected: false
targets: { thing: { kind: switch, url: 'http://127.0.0.1:9', values: ['off', 'on'] } }
people: { ana: {}, dana: {} }
roles: { operator: [dana], admin: [], auditor: [] }
groups: { sre: [ana] }
`;
const LOOK_EVERY_MS = 10;

export type Bench = {
  client: Client;
  store: ApiStore;
  /** Stores the plan and gives back its hash. */
  savePlan(plan: Plan): Promise<{ hash: string; plan: Plan }>;
  /** Asks for a run without starting its workflow. */
  ask(hash: string): Promise<number>;
  /** Starts the workflow of a run that was asked for. */
  start(run: number, plan: Plan): Promise<() => Promise<unknown>>;
  /** A bare workflow of so many activities, to its end. */
  bare(activities: number): Promise<unknown>;
  /** Sends a request through the API as a person. Throws where it is refused. */
  post(person: string, path: string, body: object): Promise<unknown>;
  /** The first journal row that is as wanted, once it is there. */
  row(run: number, what: (row: JournalRow) => boolean): Promise<JournalRow>;
  memory(): Promise<Memory>;
};

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}

export async function withBench<T>(use: (bench: Bench) => Promise<T>): Promise<T> {
  const folder = await makeFolder('countdown-bench-');
  try {
    const postgres = await startPostgres({ folder: join(folder.path, 'postgres'), log });
    const temporal = await startTemporal({ folder: join(folder.path, 'temporal'), log });
    const environments = join(folder.path, 'environments');
    await mkdir(environments);
    await writeFile(join(environments, 'test.yaml'), ENVIRONMENT);
    return await withWorker(
      { databaseUrl: postgres.url(), temporal: temporal.address, taskQueue: QUEUE, environments },
      use,
    );
  } finally {
    await stopAll();
    await folder.discard();
  }
}

async function withWorker<T>(owner: WorkerSettings, use: (bench: Bench) => Promise<T>): Promise<T> {
  await migrate(owner.databaseUrl);
  const passwords = { apiPassword: 'bench', workerPassword: 'bench', suffix: 'bench' };
  const logins = await createLogins(owner.databaseUrl, passwords);
  const urlOf = (user: string): string => {
    const url = new URL(owner.databaseUrl);
    url.username = user;
    url.password = 'bench';
    return url.href;
  };
  const worker = await startWorker({ ...owner, databaseUrl: urlOf(logins.worker) });
  const pool = makePool(urlOf(logins.api), { name: 'bench-api' });
  const connection = await Connection.connect({ address: owner.temporal });
  const ending = new AbortController();
  try {
    const client = new Client({ connection });
    return await use(await makeBench({ owner, client, worker, store: makeApiStore(pool), ending }));
  } catch (error) {
    // What is still on its way when the servers go fails louder than what went wrong first.
    log(`bench: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    throw error;
  } finally {
    ending.abort();
    worker.disconnect();
    await once(worker, 'exit');
    await connection.close();
    await pool.end();
  }
}

export async function startWorker(settings: WorkerSettings): Promise<ChildProcess> {
  const path = new URL('./worker.ts', import.meta.url).pathname;
  const worker = fork(path, [JSON.stringify(settings)], { execArgv: ['--expose-gc'] });
  await Promise.race([
    once(worker, 'message'),
    once(worker, 'exit').then(() => {
      throw new Error('The worker of the bench ended before it was ready.');
    }),
  ]);
  return worker;
}

type Parts = {
  owner: WorkerSettings;
  client: Client;
  worker: ChildProcess;
  store: ApiStore;
  ending: AbortController;
};

async function makeBench({ owner, client, worker, store, ending }: Parts): Promise<Bench> {
  const silent = pino({ level: 'silent' });
  const environments = await makeEnvironments(owner.environments, silent);
  const launcher = makeLauncher(client, { taskQueue: QUEUE });
  const events = makeEventHub({ store, signal: ending.signal, log: silent });
  const app = createApi({
    store,
    environments,
    runbooks: owner.environments,
    launcher,
    events,
    log: silent,
    now: () => new Date(),
    limits: makeLimits({ quotas: { read: 1e9, write: 1e9, decide: 1e9, abort: 1e9 } }),
  });
  const tokens = new Map<string, string>();
  for (const person of ['ana', REQUESTER]) {
    const token = `cd_${randomBytes(24).toString('base64url')}`;
    tokens.set(person, token);
    const hash = createHash('sha256').update(token).digest('hex');
    await store.insertToken({ hash, person, expiresAt: new Date(Date.now() + 86_400_000) });
  }
  const targets = (await environments.current()).get('test')?.targets ?? {};
  return {
    client,
    store,
    async savePlan(made) {
      const named = Object.entries(made.targets).map(
        ([name, target]) => [name, { ...target, digest: digest(targets[name] ?? {}) }] as const,
      );
      // Many runs at once on one target: leases are not what is measured.
      const plan = { ...made, leases: {}, targets: Object.fromEntries(named) };
      const hash = digest(plan);
      await store.savePlan({ hash, plan, person: REQUESTER });
      return { hash, plan };
    },
    async ask(plan) {
      const asked = { plan, requester: REQUESTER, groups: { sre: ['ana'] }, failAt: null, idempotency: null };
      const created = await store.createRun(asked);
      if ('refused' in created) throw new Error(`The run was refused: ${created.refused}`);
      return created.run;
    },
    async start(run, plan) {
      const handle = await client.workflow.start('launch', {
        taskQueue: QUEUE,
        workflowId: `run/${run}`,
        args: [{ run, plan }],
      });
      return () => handle.result();
    },
    bare: (activities) =>
      client.workflow.execute('bare', {
        taskQueue: QUEUE,
        workflowId: `bare/${randomBytes(8).toString('hex')}`,
        args: [{ activities }],
      }),
    async post(person, path, body) {
      const response = await app.request(path, {
        method: 'POST',
        headers: { Authorization: `Bearer ${tokens.get(person)}`, 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      });
      if (!response.ok)
        throw new Error(`${path} answered ${response.status}, expected 200: ${await response.text()}`);
      return response.json();
    },
    async row(run, what) {
      for (const deadline = Date.now() + 60_000; Date.now() < deadline;) {
        const found = (await store.journal(run, { after: 0, limit: 1_000 })).find(what);
        if (found !== undefined) return found;
        await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      }
      throw new Error(`Run ${run} did not come to what is measured within a minute.`);
    },
    async memory() {
      worker.send('memory');
      const [answer] = (await once(worker, 'message')) as [Memory];
      return answer;
    },
  };
}
