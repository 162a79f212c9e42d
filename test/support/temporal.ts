import { randomBytes } from 'node:crypto';
import { askForServer } from './servers.ts';

/** `host:port` of the suite's Temporal server. */
export function temporalAddress(): Promise<string> {
  return askForServer('temporal');
}

/** A task queue of its own for each test: two tests must never take each other's tasks. */
export function makeTaskQueue(): string {
  return `test-${randomBytes(6).toString('hex')}`;
}
