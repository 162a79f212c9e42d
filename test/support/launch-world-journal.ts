/** Takes Countdown's own database away for a while: its sessions end and no new one is let in. The targets stay. */
import { readFile } from 'node:fs/promises';
import { Client } from 'pg';
import type { Stack } from '../../scripts/lib/stack.ts';
import { eventually } from './launch-world.ts';

export type CutJournal = {
  /** Waits until the worker wanted to write and could not, and the least time is over. */
  missed(): Promise<void>;
  mend(): Promise<void>;
};

export async function cutJournal(stack: Stack, { leastMs }: { leastMs: number }): Promise<CutJournal> {
  const name = new URL(stack.databaseUrl).pathname.slice(1);
  const { logFile } = stack.processes.worker();
  const told = (await readFile(logFile, 'utf8')).length;
  const since = Date.now();
  await besides(stack, [
    `alter database ${name} with allow_connections false`,
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '${name}'`,
  ]);
  return {
    missed: () =>
      eventually(async () => {
        const log = (await readFile(logFile, 'utf8')).slice(told);
        return log.includes('journal: unreachable') && Date.now() - since >= leastMs;
      }, 'the worker misses its journal'),
    mend: () => besides(stack, [`alter database ${name} with allow_connections true`]),
  };
}

/** Statements as the superuser from another database of the same server. */
async function besides(stack: Stack, statements: string[]): Promise<void> {
  const url = new URL(stack.databaseUrl);
  url.pathname = '/postgres';
  const client = new Client({ connectionString: url.href });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}
