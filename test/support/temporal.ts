import { randomBytes } from 'node:crypto';
import { Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { askForServer } from './servers.ts';

const NAMESPACE_MS = 30_000;
const LOOK_MS = 100;

/** `host:port` of the suite's Temporal server. */
export function temporalAddress(): Promise<string> {
  return askForServer('temporal');
}

/** A task queue of its own for each test: two tests must never take each other's tasks. */
export function makeTaskQueue(): string {
  return `test-${randomBytes(6).toString('hex')}`;
}

/** A namespace of its own, ready for workflows. */
export async function makeNamespace(address: string): Promise<string> {
  const namespace = `test-${randomBytes(6).toString('hex')}`;
  const connection = await Connection.connect({ address });
  try {
    await connection.workflowService.registerNamespace({
      namespace,
      workflowExecutionRetentionPeriod: msToTs('1 day'),
    });
    const deadline = Date.now() + NAMESPACE_MS;
    for (;;) {
      try {
        await connection.workflowService.listWorkflowExecutions({ namespace, pageSize: 1 });
        return namespace;
      } catch (error) {
        // The server's parts learn of a new namespace one after the other.
        if (Date.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    }
  } finally {
    await connection.close();
  }
}
