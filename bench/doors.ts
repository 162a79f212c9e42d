/**
 * Launch night at the doors: 200 runs are asked for within ten seconds, 50 people watch, and 1,000 clicks in Slack approve
 * them. The API is a process of its own with its limits as shipped; Slack is the faithful one of the tests.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../scripts/lib/ports.ts';
import { startPostgres } from '../scripts/lib/postgres.ts';
import { makeFolder, stopAll } from '../scripts/lib/processes.ts';
import { startTemporal } from '../scripts/lib/temporal.ts';
import { digest } from '../store/digest.ts';
import { makeApiStore } from '../store/index.ts';
import { migrate } from '../store/migrate.ts';
import { makePool } from '../store/pool.ts';
import { createLogins } from '../store/roles.ts';
import type { ApiStore } from '../store/types.ts';
import { type FakeMessage, type FakeSlack, startFakeSlack } from '../test/support/fake-slack.ts';
import { approval, makePlan } from '../test/support/plans.ts';
import { startWorker } from './sides.ts';
import { percentile, table } from './table.ts';

const RUNS = 200;
const START_MS = 10_000;
const VIEWERS = 50;
/** What a round leaves behind in memory is seen in the next one. */
const ROUNDS = 3;
/** Slack takes about one message a second and channel, and the API keeps to that: a channel an environment. */
const ENVIRONMENTS = 20;
const VOTERS = 5;
const OPERATORS = 5;
/** Streams of one person are bounded. */
const WATCHERS = 5;
const CLICK_EVERY_MS = 20;
const WAIT_MS = 120_000;
const AIM_MS = 250;
const ROOT = fileURLToPath(new URL('../', import.meta.url));

const names = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`);
const VOTER_NAMES = names('voter', VOTERS);
const OPERATOR_NAMES = names('operator', OPERATORS);
const WATCHER_NAMES = names('watcher', WATCHERS);

function environmentText(name: string, channel: string): string {
  const people = VOTER_NAMES.map((voter) => `${voter}: { slack: U0${voter.toUpperCase()} }`);
  for (const one of [...OPERATOR_NAMES, ...WATCHER_NAMES]) people.push(`${one}: {}`);
  return `environment: ${name}
protected: false
slack: { channel: ${channel} }
targets: { thing: { kind: switch, url: 'http://127.0.0.1:9', values: ['off', 'on'] } }
people: { ${people.join(', ')} }
roles: { operator: [${OPERATOR_NAMES.join(', ')}], admin: [], auditor: [] }
groups: { sre: [${VOTER_NAMES.join(', ')}] }
`;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const log = (line: string): void => void process.stderr.write(`${line}\n`);

export async function benchDoors(): Promise<Record<string, number>> {
  const folder = await makeFolder('countdown-bench-');
  const defer = new AsyncDisposableStack();
  try {
    const postgres = await startPostgres({ folder: join(folder.path, 'postgres'), log });
    const temporal = await startTemporal({ folder: join(folder.path, 'temporal'), log });
    await migrate(postgres.url());
    const passwords = { apiPassword: secret(), workerPassword: secret(), suffix: 'bench' };
    const logins = await createLogins(postgres.url(), passwords);
    const apiUrl = postgres.url('postgres', logins.api, passwords.apiPassword);
    const environments = join(folder.path, 'environments');
    await mkdir(environments);
    const channels = names('C0BENCH', ENVIRONMENTS);
    for (const [index, channel] of channels.entries())
      await writeFile(join(environments, `lab${index}.yaml`), environmentText(`lab${index}`, channel));
    const users = VOTER_NAMES.map((name) => ({
      id: `U0${name.toUpperCase()}`,
      name,
      email: `${name}@a.example`,
    }));
    const fake = defer.use(await startFakeSlack({ users, channels }));
    const worker = await startWorker({
      databaseUrl: postgres.url('postgres', logins.worker, passwords.workerPassword),
      temporal: temporal.address,
      taskQueue: 'countdown',
      environments,
    });
    defer.defer(async () => {
      worker.disconnect();
      await once(worker, 'exit');
    });
    const pool = makePool(apiUrl, { name: 'bench' });
    defer.defer(() => pool.end());
    const api = await startApi({ apiUrl, temporal: temporal.address, environments, fake });
    defer.defer(() => api.stop());
    return await measure({ api, fake, store: makeApiStore(pool) });
  } finally {
    await defer.disposeAsync();
    await stopAll();
    await folder.discard();
  }
}

const secret = (): string => randomBytes(18).toString('hex');

type Api = { url: string; memoryBytes(): Promise<number>; stop(): Promise<void> };

async function startApi(part: {
  apiUrl: string;
  temporal: string;
  environments: string;
  fake: FakeSlack;
}): Promise<Api> {
  const [port, metricsPort] = [await freePort(), await freePort()];
  const { fake } = part;
  const child: ChildProcess = spawn(process.execPath, ['api/server.ts'], {
    cwd: ROOT,
    env: {
      PATH: process.env['PATH'],
      COUNTDOWN_DATABASE_URL: part.apiUrl,
      TEMPORAL_ADDRESS: part.temporal,
      COUNTDOWN_ENVIRONMENTS: part.environments,
      COUNTDOWN_RUNBOOKS: part.environments,
      COUNTDOWN_LISTEN: `127.0.0.1:${port}`,
      COUNTDOWN_METRICS_LISTEN: `127.0.0.1:${metricsPort}`,
      COUNTDOWN_LOG_LEVEL: 'error',
      COUNTDOWN_SLACK_URL: fake.url,
      COUNTDOWN_SLACK_BOT_TOKEN: fake.botToken,
      COUNTDOWN_SLACK_SIGNING_SECRET: fake.signingSecret,
      COUNTDOWN_SLACK_TEAM: fake.state.team,
      COUNTDOWN_SLACK_APP: fake.state.app,
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const url = `http://127.0.0.1:${port}`;
  for (const deadline = Date.now() + WAIT_MS; ; await pause(100)) {
    const answer = await fetch(`${url}/health/ready`).catch(() => undefined);
    if (answer?.ok === true) break;
    if (child.exitCode !== null || Date.now() > deadline)
      throw new Error('The API of the bench did not start.');
  }
  return {
    url,
    async memoryBytes() {
      const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
      return Number(/^countdown_api_process_resident_memory_bytes (\S+)/m.exec(text)?.[1]);
    },
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function measure(at: { api: Api; fake: FakeSlack; store: ApiStore }): Promise<Record<string, number>> {
  const { api, fake, store } = at;
  const tokens = await makeTokens(store);
  const plans = await makePlans(store);
  const took: Record<'start' | 'read' | 'click', number[]> = { start: [], read: [], click: [] };
  const call: Call = async (kind, path, init) => {
    const from = performance.now();
    const answer = await fetch(`${api.url}${path}`, init);
    took[kind].push(performance.now() - from);
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return answer;
  };
  fake.deliverTo(async ({ headers, body }) => {
    const answer = await call('click', '/v1/slack', { method: 'POST', headers, body });
    return { status: answer.status, body: await answer.text() };
  });

  const memory = [await api.memoryBytes()];
  let [succeeded, clicks, seen] = [0, 0, 0];
  for (let round = 0; round < ROUNDS; round += 1) {
    const night = await launchNight({ ...at, tokens, plans, call });
    succeeded += night.succeeded;
    clicks += night.clicks;
    seen += night.seen;
    memory.push(await api.memoryBytes());
  }

  const p99 = percentile(Object.values(took).flat(), 99);
  const row = (what: string, values: number[]): string[] => [
    what,
    String(values.length),
    percentile(values, 50).toFixed(0),
    percentile(values, 99).toFixed(0),
    `< ${AIM_MS}`,
  ];
  process.stdout.write(
    `${table([
      ['request', 'count', 'p50 ms', 'p99 ms', 'aim'],
      row('POST /v1/runs', took.start),
      row('GET /v1/runs/{id}', took.read),
      row('click in Slack', took.click),
      row('all', Object.values(took).flat()),
    ])}\n\n${table([
      ['what', 'measured', 'aim'],
      ['runs that succeeded', `${succeeded} of ${ROUNDS * RUNS}`, 'all'],
      ['clicks that counted', `${clicks} of ${ROUNDS * RUNS * VOTERS}`, 'all'],
      ['viewers who saw the end', `${seen} of ${ROUNDS * VIEWERS}`, 'all'],
      [
        'memory of the API, before and after each round',
        `${memory.map((bytes) => (bytes / 2 ** 20).toFixed(0)).join(' → ')} MiB`,
        'flat',
      ],
    ])}\n`,
  );
  return { p99: Number((p99 / AIM_MS).toFixed(2)) };
}

type Call = (kind: 'start' | 'read' | 'click', path: string, init: RequestInit) => Promise<Response>;
type Night = {
  api: Api;
  fake: FakeSlack;
  store: ApiStore;
  tokens: ReadonlyMap<string, string>;
  plans: readonly string[];
  call: Call;
};

async function launchNight(at: Night): Promise<{ succeeded: number; clicks: number; seen: number }> {
  const { api, fake, store, tokens, plans, call } = at;
  const as = (person: string) => ({
    Authorization: `Bearer ${tokens.get(person)}`,
    'Content-Type': 'application/json',
  });
  const watching: Promise<string>[] = [];
  const runs: number[] = [];
  for (let index = 0; index < RUNS; index += 1) {
    const from = performance.now();
    const body = JSON.stringify({ plan: plans[index % ENVIRONMENTS] });
    const person = OPERATOR_NAMES[index % OPERATORS] ?? '';
    const answer = await call('start', '/v1/runs', { method: 'POST', headers: as(person), body });
    const { run } = (await answer.json()) as { run: number };
    runs.push(run);
    const watcher = WATCHER_NAMES[index % WATCHERS] ?? '';
    if (index < VIEWERS) watching.push(watch(`${api.url}/v1/runs/${run}/events`, as(watcher)));
    await pause(Math.max(0, START_MS / RUNS - (performance.now() - from)));
  }
  const clicked = clickAll(fake, runs);
  for (const run of runs) {
    await call('read', `/v1/runs/${run}`, { headers: as(OPERATOR_NAMES[run % OPERATORS] ?? '') });
    await pause(CLICK_EVERY_MS);
  }
  const clicks = await clicked;
  const succeeded = await countSucceeded(store, runs);
  const seen = (await Promise.all(watching)).filter((end) => end === 'succeeded').length;
  return { succeeded, clicks, seen };
}

async function makeTokens(store: ApiStore): Promise<Map<string, string>> {
  const tokens = new Map<string, string>();
  for (const person of [...OPERATOR_NAMES, ...WATCHER_NAMES]) {
    const token = `cd_${randomBytes(24).toString('base64url')}`;
    tokens.set(person, token);
    const hash = createHash('sha256').update(token).digest('hex');
    await store.insertToken({ hash, person, expiresAt: new Date(Date.now() + 3_600_000) });
  }
  return tokens;
}

async function makePlans(store: ApiStore): Promise<string[]> {
  // What is measured is how the doors hold, not how long people have.
  const asked = approval({ sre: VOTERS }, { expiresMs: WAIT_MS * 10, remindEveryMs: WAIT_MS * 10 });
  const target = { kind: 'switch', url: 'http://127.0.0.1:9', values: ['off', 'on'] };
  const made: string[] = [];
  for (const environment of names('lab', ENVIRONMENTS)) {
    const plan = makePlan(
      [
        { id: 'look', phases: [{ name: 'a' }] },
        { id: 'move', phases: [{ name: 'a', effect: 'reversible', approval: asked }] },
      ],
      { environment, leases: {} },
    );
    const { thing } = plan.targets;
    if (thing !== undefined) thing.digest = digest(target);
    const hash = digest(plan);
    await store.savePlan({ hash, plan, person: 'operator0' });
    made.push(hash);
  }
  return made;
}

/** Reads the stream until the run has ended, coming back where it is told to; gives how it ended. */
async function watch(url: string, headers: Record<string, string>): Promise<string> {
  let last = '';
  for (const deadline = Date.now() + WAIT_MS; Date.now() < deadline;) {
    const answer = await fetch(url, {
      headers: { ...headers, ...(last === '' ? {} : { 'Last-Event-ID': last }) },
    });
    if (!answer.ok || answer.body === null) return `answered ${answer.status}`;
    let text = '';
    for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
      text += part;
      last = [...text.matchAll(/^id: (\S+)$/gm)].at(-1)?.[1] ?? last;
      const end = /"state":"(succeeded|stopped|rolled-back|stuck)"/.exec(text)?.[1];
      if (end !== undefined) return end;
    }
  }
  return 'nothing';
}

/** Every voter clicks on the question of every run, once it is there; gives how many clicks were sent. */
async function clickAll(fake: FakeSlack, runs: readonly number[]): Promise<number> {
  const open = new Set(runs);
  let clicks = 0;
  for (const deadline = Date.now() + WAIT_MS; open.size > 0 && Date.now() < deadline; await pause(100)) {
    for (const run of open) {
      const question = questionOf(fake, run);
      if (question === undefined) continue;
      open.delete(run);
      for (const voter of VOTER_NAMES) {
        await fake.click(`U0${voter.toUpperCase()}`, question, 'approve');
        clicks += 1;
        await pause(CLICK_EVERY_MS);
      }
    }
  }
  return clicks;
}

function questionOf(fake: FakeSlack, run: number): FakeMessage | undefined {
  return fake.state.messages.find(
    ({ blocks, text }) =>
      JSON.stringify(blocks).includes('"approve"') &&
      new RegExp(`\\brun ${run}\\b`, 'i').test(text + JSON.stringify(blocks)),
  );
}

async function countSucceeded(store: ApiStore, runs: readonly number[]): Promise<number> {
  for (const deadline = Date.now() + WAIT_MS; ; await pause(500)) {
    const states = await Promise.all(runs.map(async (run) => (await store.run(run))?.state));
    const succeeded = states.filter((state) => state === 'succeeded').length;
    if (succeeded === runs.length) return succeeded;
    if (Date.now() < deadline) continue;
    for (const [index, run] of runs.entries()) {
      if (states[index] === 'succeeded') continue;
      const found = await store.run(run);
      const votes = found?.decisions.map(
        ({ person, counted }) => `${person} ${counted ? 'counted' : 'not counted'}`,
      );
      log(
        `run ${run} is ${found?.state} (${found?.because ?? 'no reason'}): ${votes?.join(', ')}; ${found?.approvals.map(({ state }) => state).join()}`,
      );
    }
    return succeeded;
  }
}
