import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { expect, test } from 'vitest';
import { makeTaskQueue, temporalAddress } from '../support/temporal.ts';
import { workflowBundle } from '../support/bundle.ts';

Runtime.install({ logger: new DefaultLogger('WARN') });

const SCRIPT = fileURLToPath(new URL('../../scripts/worker-health.ts', import.meta.url));

async function act(): Promise<void> {}

type Ended = { code: number; err: string };

async function look(env: Record<string, string>, ...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [SCRIPT, ...args],
      { env: { PATH: process.env['PATH'], ...env } },
      (error, _, err) => resolve({ code: error === null ? 0 : Number(error.code), err }),
    );
  });
}

test('a machine is healthy when its worker polls the workflows and each of its pools', async () => {
  const address = await temporalAddress();
  const queue = makeTaskQueue();
  const env = { TEMPORAL_ADDRESS: address, COUNTDOWN_TASK_QUEUE: queue };
  const connection = await NativeConnection.connect({ address });
  const workers = await Promise.all([
    Worker.create({
      connection,
      taskQueue: queue,
      workflowBundle: await workflowBundle(),
      activities: { act },
    }),
    Worker.create({ connection, taskQueue: `${queue}-default`, activities: { act } }),
  ]);
  const running = Promise.all(workers.map((worker) => worker.run()));
  try {
    await expect.poll(() => look(env), { timeout: 20_000 }).toEqual({ code: 0, err: '' });
    const other = await look(env, '--pool', 'default', '--pool', 'app-host');
    expect(other.code).toBe(1);
    expect(other.err).toMatch(new RegExp(`^No worker of \\S+ polls ${queue}-app-host\\.\\n$`));
  } finally {
    for (const worker of workers) worker.shutdown();
    await running;
    await connection.close();
  }
});

test('a machine whose worker cannot reach Temporal is not healthy', async () => {
  const ended = await look({ TEMPORAL_ADDRESS: '127.0.0.1:1' });
  expect(ended.code).toBe(1);
  expect(ended.err).not.toBe('');
});
