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
  const { logFile } = stack.processes.worker();
  const told = (await readFile(logFile, 'utf8')).length;
  const since = Date.now();
  const cut = await cutDatabase(stack.databaseUrl);
  return {
    missed: () =>
      eventually(async () => {
        const log = (await readFile(logFile, 'utf8')).slice(told);
        return log.includes('journal: unreachable') && Date.now() - since >= leastMs;
      }, 'the worker misses its journal'),
    mend: () => cut.mend(),
  };
}

/** Ends every session of the database that a superuser's URL names, and lets no new one in until `mend`. */
export async function cutDatabase(ownerUrl: string): Promise<{ mend(): Promise<void> }> {
  const name = new URL(ownerUrl).pathname.slice(1);
  await besides(ownerUrl, [
    `alter database ${name} with allow_connections false`,
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '${name}'`,
  ]);
  return { mend: () => besides(ownerUrl, [`alter database ${name} with allow_connections true`]) };
}

/** Statements as the superuser from another database of the same server. */
async function besides(ownerUrl: string, statements: string[]): Promise<void> {
  const url = new URL(ownerUrl);
  url.pathname = '/postgres';
  const client = new Client({ connectionString: url.href });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}
