/** What a service manager does: a worker that ends is started again at once. */
import type { Stack } from '../../scripts/lib/stack.ts';

export type Supervisor = AsyncDisposable & {
  /** How often a worker has been started again. */
  restarts: () => number;
};

/** Looks after the stack's worker until the scope ends. Throws at its end where a worker could not be started. */
export function superviseWorker(stack: Stack): Supervisor {
  const ending = new AbortController();
  const ended = new Promise<'ended'>((resolve) => {
    ending.signal.addEventListener('abort', () => resolve('ended'), { once: true });
  });
  let restarts = 0;
  const loop = async (): Promise<void> => {
    for (;;) {
      const how = await Promise.race([stack.processes.worker().exited, ended]);
      if (how === 'ended') return;
      restarts += 1;
      await stack.startWorker();
    }
  };
  const running = loop().then(
    () => undefined,
    (error: unknown) => error,
  );
  return {
    restarts: () => restarts,
    async [Symbol.asyncDispose]() {
      ending.abort();
      const error = await running;
      if (error !== undefined) throw error;
    },
  };
}
