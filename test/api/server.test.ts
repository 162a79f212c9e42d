import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readConfig } from '../../api/config.ts';
import { startApi } from '../../api/server.ts';
import { digest } from '../../store/digest.ts';
import { makePlan } from '../support/plans.ts';
import { makeStoreDatabase } from '../support/store.ts';
import { makeNamespace, makeTaskQueue, temporalAddress } from '../support/temporal.ts';
import { ENVIRONMENT } from './support.ts';

const TOKEN = 'cd_a-token-for-the-server-test';
const signedIn = { Authorization: `Bearer ${TOKEN}` };

/** The server as a process composes it, with one token of dana's and one run. */
async function makeServer(options: { requestMs?: number; namespace?: string } = {}) {
  const database = await makeStoreDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'countdown-server-'));
  const environments = join(folder, 'environments');
  await mkdir(environments);
  await writeFile(join(environments, 'lab.yaml'), ENVIRONMENT);
  const config = readConfig({
    COUNTDOWN_DATABASE_URL: database.apiUrl,
    COUNTDOWN_MIGRATE_URL: database.ownerUrl,
    TEMPORAL_ADDRESS: await temporalAddress(),
    TEMPORAL_NAMESPACE: options.namespace ?? 'default',
    COUNTDOWN_TASK_QUEUE: makeTaskQueue(),
    COUNTDOWN_ENVIRONMENTS: environments,
    COUNTDOWN_RUNBOOKS: folder,
    COUNTDOWN_LISTEN: '127.0.0.1:0',
    COUNTDOWN_LOG_LEVEL: 'silent',
  });
  const api = await startApi(config, options);
  const hash = createHash('sha256').update(TOKEN).digest('hex');
  await database.api.insertToken({ hash, person: 'dana', expiresAt: new Date(Date.now() + 60_000) });
  const plan = makePlan([{ id: 'one', phases: [{ name: 'a' }] }], { environment: 'lab' });
  await database.api.savePlan({ hash: digest(plan), plan, person: 'dana' });
  return {
    api,
    database,
    plan: digest(plan),
    async start(): Promise<number> {
      const response = await fetch(`${api.url}/v1/runs`, {
        method: 'POST',
        headers: { ...signedIn, 'Content-Type': 'application/json' },
        body: JSON.stringify({ plan: digest(plan) }),
      });
      return ((await response.json()) as { run: number }).run;
    },
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}

test('the server listens, is ready, and drains while a stream is open', async () => {
  await using server = await makeServer();
  const { api, database, plan } = server;
  expect(await (await fetch(`${api.url}/health/ready`)).json()).toEqual({
    status: 'ok',
    parts: { postgresql: 'ok', temporal: 'ok' },
  });
  const created = await database.api.createRun({
    plan,
    requester: 'dana',
    groups: {},
    failAt: null,
    idempotency: null,
  });
  if ('refused' in created) throw new Error(created.refused);
  const stream = await fetch(`${api.url}/v1/runs/${created.run}/events`, { headers: signedIn });
  const text = stream.text();
  await api.stop();
  expect(await text).toMatch(/^retry: 1000\n\n(id: 1\nevent: run\n[\s\S]*)?: come back\n\n$/);
  await expect(fetch(`${api.url}/health/live`)).rejects.toThrow();
});

test('a request that is on its way when the server is told to end is answered in full', async () => {
  const namespace = await makeNamespace(await temporalAddress());
  await using server = await makeServer({ namespace });
  const { api, database } = server;
  const run = await server.start();
  // No worker polls, so this takes as long as a decision is waited for.
  const answered = fetch(`${api.url}/v1/runs/${run}/abort`, {
    method: 'POST',
    headers: { ...signedIn, 'Content-Type': 'application/json' },
    body: '{}',
  });
  const deadline = Date.now() + 10_000;
  while ((await database.owner.query('select from countdown.decisions')).rowCount === 0) {
    if (Date.now() > deadline) throw new Error('The abort does not arrive.');
  }
  const stopped = api.stop();
  const response = await answered;
  expect([response.status, response.headers.get('connection')]).toEqual([503, 'close']);
  expect(await response.json()).toMatchObject({ code: 'NoWorker' });
  await stopped;
});

/** What the server says on a connection until it closes it. */
async function saidUntilClosed(url: string, sent: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let text = '';
  socket.on('data', (chunk) => (text += chunk.toString()));
  socket.write(sent);
  await once(socket, 'close');
  return text;
}

test('a client that sends its headers or its body without an end is cut off, and others are answered', async () => {
  await using server = await makeServer({ requestMs: 500 });
  const { url } = server.api;
  const head = `POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Type: application/json\r\n`;
  const slow = [
    saidUntilClosed(url, 'GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: '),
    saidUntilClosed(url, `${head}Content-Length: 100\r\n\r\n{`),
  ];
  expect((await fetch(`${url}/health/live`)).status).toBe(200);
  for (const text of await Promise.all(slow)) expect(text).toMatch(/^(HTTP\/1\.1 408 |$)/);
  await server.api.stop();
});
