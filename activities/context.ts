/** What a phase's activity can reach: its fence, earlier outputs, targets of the worker's own environment, secrets, a folder. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CancelledFailure } from '@temporalio/common';
import type { Logger } from 'pino';
import type { Environment, Target } from '../procedures/environment.ts';
import type { Json } from '../procedures/plan.ts';
import type { RunRow, WorkerStore } from '../store/types.ts';
import type { Envelope } from '../workflows/messages.ts';
import { fail } from './lib/fail.ts';
import type { Journal } from './journal.ts';
import type { Scrubber } from '../store/scrub.ts';
import type { Fence, PhaseContext } from './phase.ts';

export type ContextDeps = {
  store: WorkerStore;
  log: Logger;
  environments: ReadonlyMap<string, Environment>;
  /** The worker's folder for files of runs: backups, reports. */
  stateFolder: string;
  /** Knows every secret that this worker has read. */
  scrubber: Scrubber;
  /** Where `{ env: NAME }` is looked up. */
  env: Readonly<Record<string, string | undefined>>;
};

const PROGRESS_EVERY_MS = 1_000;

export function makeContext(
  deps: ContextDeps & {
    run: RunRow;
    envelope: Envelope;
    fence: Fence;
    environment: Environment;
    outputs: Record<string, Record<string, Json>>;
    error?: { type: string; message: string };
    signal: AbortSignal;
    /** The patience with which the phase reads Countdown's own database. */
    journal: Journal;
  },
): PhaseContext {
  const { envelope, environment, fence, outputs, signal, store, journal } = deps;
  let toldAt = 0;
  return {
    ...envelope,
    runbook: deps.run.plan.runbook.name,
    fence,
    outputs,
    ...(deps.error === undefined ? {} : { error: deps.error }),
    environment,
    signal,
    target: (name, kind) => targetOf(environment, name, kind),
    async secret(reference) {
      const secret = await readSecret(reference, deps.env);
      deps.scrubber.add(secret);
      return secret;
    },
    async folder() {
      const folder = join(deps.stateFolder, 'runs', String(envelope.run));
      await mkdir(folder, { recursive: true, mode: 0o700 });
      return folder;
    },
    progress(progress) {
      if (signal.aborted) throw new CancelledFailure('The phase was cancelled.');
      const now = Date.now();
      if (now - toldAt < PROGRESS_EVERY_MS && progress.done !== progress.total) return;
      toldAt = now;
      store
        .saveProgress({ run: envelope.run, phase: envelope.phase, progress: deps.scrubber.json(progress) })
        .catch((error: unknown) => {
          // Progress is a courtesy and is not waited for: the next report follows within a second.
          deps.log.debug({ err: error }, 'progress: not stored');
        });
    },
    async isPaused() {
      try {
        return await journal.during(() => store.isPaused(envelope.run));
      } catch (error) {
        signal.throwIfAborted();
        // A database that stays away is not a pause: the work goes on under the fence of its target.
        deps.log.warn({ err: error }, 'pause: unknown, going on');
        return false;
      }
    },
    async assertCurrent() {
      const { run, phase } = envelope;
      const current = await journal.during(() => store.isCurrent({ run, phase, seq: fence.seq }));
      if (!current)
        throw fail(
          'FenceLost',
          `A later attempt of ${envelope.phase} has begun; this one may not act any more.`,
        );
    },
  };
}

function targetOf<K extends Target['kind']>(
  environment: Environment,
  name: string,
  kind: K,
): Extract<Target, { kind: K }> {
  const target = environment.targets[name];
  if (target?.kind !== kind) {
    throw fail(
      'PreconditionFailed',
      `Target '${name}' is ${target === undefined ? 'unknown' : `a ${target.kind}`}, expected a ${kind}.`,
    );
  }
  return target as Extract<Target, { kind: K }>;
}

async function readSecret(
  reference: { env: string } | { file: string },
  env: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  const name = 'env' in reference ? `environment variable ${reference.env}` : `file ${reference.file}`;
  const value =
    'env' in reference ? env[reference.env] : await readFile(reference.file, 'utf8').catch(() => undefined);
  const trimmed = value?.trim();
  if (trimmed === undefined || trimmed === '') {
    throw fail(
      'PreconditionFailed',
      `The secret in ${name} cannot be read or is empty. Set it for the worker.`,
    );
  }
  return trimmed;
}
