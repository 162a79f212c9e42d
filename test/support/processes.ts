import { startStack } from '../../scripts/lib/stack.ts';
import type { Stack } from '../../scripts/lib/stack.ts';
import { makeFolder } from '../../scripts/lib/processes.ts';
import { postgresUrl } from './postgres.ts';
import { temporalAddress } from './temporal.ts';

export type TestStack = Stack & AsyncDisposable;

/**
 * API, worker, Piano Keys and its writer as processes of their own, on the suite's servers with databases and a task queue of
 * their own; stopped when the test leaves its scope. `rows` is 2,000 by default: what matters is that there are some.
 */
export async function makeStack(options: { rows?: number; ratePerSecond?: number } = {}): Promise<TestStack> {
  const folder = await makeFolder('countdown-stack-');
  const lines: string[] = [];
  try {
    const stack = await startStack({
      folder: folder.path,
      progress: (line) => lines.push(line),
      rows: options.rows ?? 2_000,
      ...(options.ratePerSecond === undefined ? {} : { ratePerSecond: options.ratePerSecond }),
      servers: { temporalAddress: await temporalAddress(), postgresUrl: await postgresUrl() },
    });
    return {
      ...stack,
      async [Symbol.asyncDispose]() {
        await stack.stop();
        await folder.discard();
      },
    };
  } catch (error) {
    await folder.discard();
    throw error;
  }
}
