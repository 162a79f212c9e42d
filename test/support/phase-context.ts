/** A PhaseContext for tests of activities: real targets, a fence that grows with every call, and outputs kept by hand. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fail } from '../../activities/lib/fail.ts';
import type { Fence, PhaseContext, Progress } from '../../activities/phase.ts';
import type { Environment, PostgresTarget, Target } from '../../procedures/environment.ts';
import type { Json } from '../../procedures/plan.ts';

export type TestContext = PhaseContext & {
  /** Everything that the phase reported. */
  told: Progress[];
  abort(): void;
};

export type TestContextOptions = {
  targets: Record<string, Target>;
  folder?: string;
  outputs?: Record<string, Record<string, Json>>;
  secrets?: Record<string, string>;
  run?: number;
  phase?: string;
  direction?: PhaseContext['direction'];
  fence?: Fence;
  onProgress?: (progress: Progress, context: TestContext) => void;
  /** False from then on where a later attempt has begun. */
  isCurrent?: () => boolean;
  /** True while somebody pauses the run. */
  isPaused?: () => boolean;
};

let lastSeq = 0;

/** The next seq of the suite's imaginary journal. */
export function nextSeq(): number {
  lastSeq += 1;
  return lastSeq;
}

export function makePhaseContext(options: TestContextOptions): TestContext {
  const controller = new AbortController();
  const environment: Environment = {
    environment: 'test',
    protected: false,
    targets: options.targets,
    people: {},
    roles: { operator: [], admin: [], auditor: [] },
    groups: {},
    approvals: { least: {} },
  };
  const context: TestContext = {
    run: options.run ?? 1,
    runbook: 'test',
    phase: options.phase ?? 'step/phase',
    direction: options.direction ?? 'run',
    try: 1,
    fence: options.fence ?? { epoch: 1, seq: nextSeq() },
    outputs: options.outputs ?? {},
    environment,
    signal: controller.signal,
    told: [],
    abort: () => controller.abort(new Error('The test cancelled the phase.')),
    target<K extends Target['kind']>(name: string, kind: K): Extract<Target, { kind: K }> {
      const target = options.targets[name];
      if (target?.kind !== kind) throw fail('PreconditionFailed', `Target '${name}' is no ${kind}.`);
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- its kind was compared
      return target as Extract<Target, { kind: K }>;
    },
    async secret(reference) {
      const value = 'env' in reference ? options.secrets?.[reference.env] : undefined;
      if (value === undefined) throw fail('PreconditionFailed', `No secret ${JSON.stringify(reference)}.`);
      return value;
    },
    async folder() {
      if (options.folder === undefined) throw new Error('This test gave no folder.');
      await mkdir(options.folder, { recursive: true });
      return options.folder;
    },
    progress(progress) {
      controller.signal.throwIfAborted();
      context.told.push(progress);
      options.onProgress?.(progress, context);
    },
    isPaused: () => Promise.resolve(options.isPaused?.() ?? false),
    async assertCurrent() {
      if (options.isCurrent?.() === false) throw fail('FenceLost', 'A later attempt has begun.');
    },
  };
  return context;
}

/** A folder that is gone when the test leaves its scope. */
export async function makeTestFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'countdown-activities-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** The target entry for a connection string, and the secret that it refers to. */
export function postgresTarget(url: string): { target: PostgresTarget; secrets: Record<string, string> } {
  const { hostname, port, pathname, username, password } = new URL(url);
  return {
    target: {
      kind: 'postgres',
      host: hostname,
      port: Number(port),
      database: pathname.slice(1),
      user: decodeURIComponent(username),
      password: { env: 'TEST_PG_PASSWORD' },
      tls: 'disable',
    },
    secrets: { TEST_PG_PASSWORD: decodeURIComponent(password) },
  };
}

/** The type and message of the failure that a promise ends with. Throws where it does not fail. */
export async function failureOf(
  work: Promise<unknown>,
): Promise<{ type: string | undefined; message: string }> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const type = 'type' in error && typeof error.type === 'string' ? error.type : undefined;
    return { type, message: error.message };
  }
  throw new Error('It was expected to fail, but it did not.');
}
