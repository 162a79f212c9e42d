/**
 * A whole launch for one test file: API, worker and Piano Keys under write traffic as processes of their own, on the
 * suite's Temporal (in a namespace of its own, since workflow ids are `run/N`) and PostgreSQL, with few rows and a short
 * watch, so that a launch takes seconds.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { makeClient } from '../../cli/client.ts';
import type { Client } from '../../cli/client.ts';
import { ApiError } from '../../cli/errors.ts';
import type { RunDetailWire } from '../../cli/wire.ts';
import { startWriter } from '../../examples/piano-keys/writer.ts';
import { isTerminal } from '../../procedures/states.ts';
import { ROOT } from '../../scripts/lib/checks.ts';
import { makeFolder, startChild } from '../../scripts/lib/processes.ts';
import type { Child } from '../../scripts/lib/processes.ts';
import { acknowledged, startStack } from '../../scripts/lib/stack.ts';
import type { Stack } from '../../scripts/lib/stack.ts';
import { workflowBundle } from './bundle.ts';
import { dropTargetTables, setMode } from './launch-world-looks.ts';
import { postgresUrl } from './postgres.ts';
import { makeNamespace, temporalAddress } from './temporal.ts';

const ROWS = 3_000;
const LAUNCH_MS = 90_000;
const WRITE_MS = 20_000;
const LOOK_MS = 50;
const EVENTUALLY_MS = 30_000;

export const REQUESTER = 'dana';
/** Who votes for the groups sre and owner. */
const APPROVERS = ['ana', 'olu'] as const;

/** How quick a launch is; a small chunk makes the copy slow enough to be disturbed. */
export type Pace = { watchMs?: number; chunkRows?: number };

export type Launch = {
  failAt?: string;
  pace?: Pace;
};

export type Said = { child: Child; code: Promise<number | null>; text: () => Promise<string> };

export type LaunchWorld = AsyncDisposable & {
  stack: Stack;
  /** Its namespace in Temporal. */
  namespace: string;
  /** The ledgers of all writers since the start or the last reset. */
  ledgers(): readonly string[];
  client(person?: string): Client;
  /** Makes a plan of first-launch and gives its hash. */
  plan(pace?: Pace): Promise<string>;
  /** Starts a run and gives its number. */
  start(launch?: Launch): Promise<number>;
  /**
   * Waits until the run looks as wanted, giving the approvals of `steps` (default: of every step) meanwhile. An API that
   * is away for a moment is asked again. Throws with the run as it is after 90 s, or where it ended otherwise.
   */
  until(
    run: number,
    what: (run: RunDetailWire) => boolean,
    more?: { steps: readonly string[] },
  ): Promise<RunDetailWire>;
  /** Starts a run, gives its approvals, and waits for its end (`stuck` counts). */
  launch(launch?: Launch): Promise<RunDetailWire>;
  /** Waits until the application has acknowledged a write that was sent after now. */
  written(): Promise<void>;
  /** Ends the traffic for the time of the work: only then can each row be held against the last line about it. */
  quietly<T>(work: () => Promise<T>): Promise<T>;
  /** Back to the start after a launch that succeeded: the mode, an empty target, and new traffic with a new ledger. */
  reset(): Promise<void>;
  /** Runs the real command line as a person. */
  cli(person: string, args: string[]): Promise<Said>;
};

export type MakeLaunchWorld = {
  worker?: { program?: string; variables?: Record<string, string> };
  /** More variables for the API's process. */
  api?: { variables: Record<string, string> };
  /** More entries for the demo environment, by their path in the file. */
  environment?: readonly (readonly [path: string[], value: unknown])[];
};

/** Ready when the API, a worker and the traffic run. Everything ends with the scope. */
export async function makeLaunchWorld(options: MakeLaunchWorld = {}): Promise<LaunchWorld> {
  const defer = new AsyncDisposableStack();
  try {
    return await makeWorld(options, defer);
  } catch (error) {
    await defer.disposeAsync();
    throw error;
  }
}

async function makeWorld(options: MakeLaunchWorld, defer: AsyncDisposableStack): Promise<LaunchWorld> {
  const folder = await makeFolder('countdown-launch-');
  defer.defer(() => folder.discard());
  const address = await temporalAddress();
  const [namespace, bundle, postgres] = await Promise.all([
    makeNamespace(address),
    workflowBundle(),
    postgresUrl(),
  ]);
  const stack = await startStack({
    folder: folder.path,
    progress: () => {},
    rows: ROWS,
    servers: { temporalAddress: address, postgresUrl: postgres },
    temporalNamespace: namespace,
    ...(options.environment === undefined ? {} : { environment: options.environment }),
    // A test looks more often than a person does.
    api: {
      variables: {
        COUNTDOWN_LIMITS: 'read=1000000,write=1000000,decide=1000000,abort=1000000',
        ...options.api?.variables,
      },
    },
    worker: {
      ...options.worker,
      variables: { COUNTDOWN_WORKFLOW_BUNDLE: bundle.codePath, ...options.worker?.variables },
    },
  });
  defer.defer(() => stack.stop());

  const client = (person: string = REQUESTER): Client =>
    makeClient({ url: stack.url, token: stack.tokens[person] ?? person });
  const traffic = makeTraffic(stack);
  defer.defer(() => traffic.stop());
  let said = 0;

  const world: LaunchWorld = {
    stack,
    namespace,
    client,
    ledgers: traffic.ledgers,
    async plan(pace) {
      const text = await runbookText(pace);
      const made = await client().makePlan({ runbook: { text }, environment: 'demo', params: {} });
      return made.plan;
    },
    async start({ failAt, pace } = {}) {
      const plan = await world.plan(pace);
      const body = { plan, ...(failAt === undefined ? {} : { failAt }) };
      return (await client().start(body, randomUUID())).run;
    },
    until: (run, what, more) => follow({ client, run, what, steps: more?.steps }),
    async launch(launch) {
      return world.until(await world.start(launch), hasEnded);
    },
    written: () => traffic.written(),
    async quietly(work) {
      await traffic.stop();
      try {
        return await work();
      } finally {
        traffic.start();
      }
    },
    async reset() {
      await traffic.stop();
      await setMode(stack, 'sqlite');
      await dropTargetTables(stack);
      traffic.forget();
      traffic.start();
      await traffic.written();
    },
    async cli(person, args) {
      said += 1;
      const child = await startChild({
        name: `cli-${said}`,
        command: process.execPath,
        args: ['cli/countdown.ts', ...args],
        cwd: ROOT,
        env: {
          PATH: process.env['PATH'],
          COUNTDOWN_URL: stack.url,
          COUNTDOWN_TOKEN: stack.tokens[person] ?? person,
        },
        logFile: join(folder.path, `cli-${said}.log`),
      });
      return {
        child,
        code: child.exited.then(({ code }) => code),
        text: () => readFile(child.logFile, 'utf8'),
      };
    },
    [Symbol.asyncDispose]: () => defer.disposeAsync(),
  };
  return world;
}

/** Waits for a condition, with a deadline (default 30 s); `what` says it as a sentence. */
export async function eventually(
  condition: () => Promise<boolean> | boolean,
  what: string,
  withinMs: number = EVENTUALLY_MS,
): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`It was waited ${withinMs} ms in vain until ${what}.`);
    await pause(LOOK_MS);
  }
}

export function hasEnded(run: RunDetailWire): boolean {
  return isTerminal(run.state) || run.state === 'stuck';
}

/** The shipped runbook, quicker. Throws where its text has changed so that it cannot be. */
export async function runbookText({ watchMs = 1_000, chunkRows = 100 }: Pace = {}): Promise<string> {
  const shipped = await readFile(join(ROOT, 'runbooks/first-launch.yaml'), 'utf8');
  return replaced(
    replaced(shipped, 'for: 15s, every: 1s', `for: ${Math.ceil(watchMs / 1_000)}s, every: 200ms`),
    'reverseCapture: true }\n    approval',
    `reverseCapture: true, chunkRows: ${chunkRows} }\n    approval`,
  );
}

function replaced(text: string, from: string, to: string): string {
  if (text.split(from).length === 2) return text.replace(from, to);
  throw new Error(`runbooks/first-launch.yaml has '${from}' not exactly once; correct the replacement here.`);
}

/** The writer's traffic: first the stack's own process, after a reset one in this process with a ledger of its own. */
function makeTraffic(stack: Stack) {
  let stopCurrent: () => Promise<unknown> = () => stack.stopWriter();
  let ledgers = [stack.app.ledger];
  let turn = 1;
  return {
    ledgers: () => ledgers,
    forget(): void {
      ledgers = [];
    },
    async stop(): Promise<void> {
      await stopCurrent();
    },
    start(): void {
      turn += 1;
      const ledger = join(stack.folder, `ledger-${turn}.jsonl`);
      ledgers.push(ledger);
      const writer = startWriter({ url: stack.app.url, ledger, seed: turn });
      stopCurrent = () => writer.stop();
    },
    async written(): Promise<void> {
      const ledger = ledgers.at(-1) ?? '';
      const before = await acknowledged(ledger).catch(() => 0);
      // Each of the four lanes may have had a write under way: the fifth was sent after now.
      await eventually(
        async () => (await acknowledged(ledger).catch(() => 0)) >= before + 5,
        'the application acknowledges a write',
        WRITE_MS,
      );
    },
  };
}

type Follow = {
  client: (person?: string) => Client;
  run: number;
  what: (run: RunDetailWire) => boolean;
  steps: readonly string[] | undefined;
};

async function follow({ client, run, what, steps }: Follow): Promise<RunDetailWire> {
  const deadline = Date.now() + LAUNCH_MS;
  let last: RunDetailWire | undefined;
  while (Date.now() < deadline) {
    last = (await patiently(() => client().run(run))) ?? last;
    if (last !== undefined && what(last)) return last;
    if (last !== undefined && isTerminal(last.state)) break;
    if (last !== undefined) await giveApprovals(client, last, steps);
    await pause(LOOK_MS);
  }
  throw new Error(`Run ${run} did not come to what was expected: ${JSON.stringify(last, null, 1)}`);
}

async function giveApprovals(
  client: (person: string) => Client,
  run: RunDetailWire,
  steps: readonly string[] | undefined,
): Promise<void> {
  for (const { step, evidence, state, votes } of run.approvals) {
    if (state !== 'open' || steps?.includes(step) === false) continue;
    for (const person of APPROVERS) {
      if (votes.some((vote) => vote.person === person)) continue;
      await patiently(() =>
        client(person).decide(run.run, { step, decision: 'approve', plan: run.plan, evidence }),
      );
    }
  }
}

/** Undefined where the API was away, or the moment had passed: the next look at the run says what is left to do. */
async function patiently<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof ApiError && (error.status === 0 || error.status === 409 || error.status >= 500))
      return undefined;
    throw error;
  }
}
