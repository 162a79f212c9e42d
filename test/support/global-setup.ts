/**
 * One Temporal and one PostgreSQL for the whole suite, each started when the first test asks for it: a run of pure tests
 * starts neither. Tests run in processes of their own, so they ask over HTTP on 127.0.0.1.
 */
import { createServer } from 'node:http';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { listenLocally } from '../../scripts/lib/ports.ts';
import { startPostgres } from '../../scripts/lib/postgres.ts';
import { makeFolder, stopAll } from '../../scripts/lib/processes.ts';
import { startTemporal } from '../../scripts/lib/temporal.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Where the suite's servers are asked for; see servers.ts. */
    servers: string;
  }
}

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const folder = await makeFolder('countdown-test-');
  const start: Record<string, () => Promise<string>> = {
    '/postgres': once(async () => {
      const server = await startPostgres({ folder: join(folder.path, 'postgres'), log, durable: false });
      return server.url();
    }),
    '/temporal': once(
      async () => (await startTemporal({ folder: join(folder.path, 'temporal'), log })).address,
    ),
  };
  const server = createServer((request, response) => {
    const asked = start[request.url ?? ''];
    if (asked === undefined) return void response.writeHead(404).end(`There is no ${request.url}.`);
    asked().then(
      (answer) => response.end(answer),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  const port = await listenLocally(server);
  project.provide('servers', `http://127.0.0.1:${port}`);
  return async () => {
    server.closeAllConnections();
    server.close();
    await stopAll();
    await folder.discard();
  };
}

function once(work: () => Promise<string>): () => Promise<string> {
  let answer: Promise<string> | undefined;
  return () => (answer ??= work());
}

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}
