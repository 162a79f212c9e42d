/**
 * Whether a worker of this machine polls its task queues: exit 0, or 1 with what is missing. For health checks of containers.
 *
 *   node scripts/worker-health.ts [--pool NAME]…     the pools that the worker was started with
 *
 * It asks Temporal, since a worker that cannot reach the server is not healthy either. Settings are those of the worker.
 */
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';

/** A poll lasts a minute at most, so a worker that lives was seen since. */
const SEEN_MS = 70_000;
const CALL_MS = 5_000;
const WORKFLOW_QUEUE = 1;
const ACTIVITY_QUEUE = 2;

const { values } = parseArgs({ options: { pool: { type: 'string', multiple: true, default: ['default'] } } });
const { env } = process;
const queue = env['COUNTDOWN_TASK_QUEUE'] ?? 'countdown';
const namespace = env['TEMPORAL_NAMESPACE'] ?? 'default';
const apiKey = env['TEMPORAL_API_KEY'];

try {
  const connection = await Connection.connect({
    address: env['TEMPORAL_ADDRESS'] ?? '',
    connectTimeout: CALL_MS,
    ...(env['TEMPORAL_TLS'] === 'true' || apiKey !== undefined ? { tls: true } : {}),
    ...(apiKey === undefined ? {} : { apiKey }),
  });
  const { workflowService } = new Client({ connection, namespace });
  const wanted = [
    { name: queue, taskQueueType: WORKFLOW_QUEUE },
    ...values.pool.map((pool) => ({ name: `${queue}-${pool}`, taskQueueType: ACTIVITY_QUEUE })),
  ];
  const missing: string[] = [];
  await connection.withDeadline(Date.now() + CALL_MS, async () => {
    for (const { name, taskQueueType } of wanted) {
      const { pollers } = await workflowService.describeTaskQueue({
        namespace,
        taskQueue: { name },
        // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- the enum is in a package that nobody here depends on
        taskQueueType,
      });
      const isPolled = (pollers ?? []).some(
        ({ identity, lastAccessTime }) =>
          identity?.endsWith(`@${hostname()}`) === true &&
          Number(lastAccessTime?.seconds ?? 0) * 1_000 > Date.now() - SEEN_MS,
      );
      if (!isPolled) missing.push(name);
    }
  });
  await connection.close();
  if (missing.length > 0) throw new Error(`No worker of ${hostname()} polls ${missing.join(' and ')}.`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
