/**
 * `docker-compose.yml` without Docker: its databases are made with its script, its API and its worker started with its command
 * and environment lines, asked with its health checks, and stopped as it would stop them. Only where things are differs.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Connection } from '@temporalio/client';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { freePort } from '../../scripts/lib/ports.ts';
import { type Postgres, startPostgres } from '../../scripts/lib/postgres.ts';
import { makeFolder } from '../../scripts/lib/processes.ts';
import { temporalAddress } from '../support/temporal.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const START_MS = 90_000;

type Service = {
  image: string;
  restart?: string;
  command?: string[];
  environment?: Record<string, string>;
  volumes?: string[];
  stop_grace_period?: string;
  healthcheck?: { test: string[] };
  depends_on?: Record<string, { condition: string }>;
};
type Compose = { services: Record<string, Service>; configs: Record<string, { content: string }> };

const compose = parse(readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8'), { merge: true }) as Compose;
const example = readFileSync(join(ROOT, 'docs/compose.env.example'), 'utf8');
const PASSWORDS = Object.fromEntries(
  [...example.matchAll(/^([A-Z_]+)=$/gm)].map(([, name = ''], index) => [name, `k7Qz2mXv9Lw4Tb6N${index}`]),
);

/** `${NAME:?why}` as compose fills it in. */
function filled(text: string): string {
  return text
    .replaceAll(/\$\{(\w+):\?[^}]*\}/g, (_, name: string) => {
      const value = PASSWORDS[name];
      if (value === undefined) throw new Error(`docs/compose.env.example has no line for ${name}.`);
      return value;
    })
    .replaceAll('$$', '$');
}

let postgres: Postgres;
let temporal: string;
let port: number;
let folder: Awaited<ReturnType<typeof makeFolder>>;
const started: ChildProcess[] = [];

/** What Docker's network and mounts do, for this machine: hosts, the port, and folders. */
function placed(text: string, volumes: readonly string[]): string {
  const at = new URL(postgres.url());
  let found = filled(text)
    .replace('@postgres/', `@${at.host}/`)
    .replace('temporal:7233', temporal)
    .replace(/^0\.0\.0\.0:8080$/, `127.0.0.1:${port}`)
    .replace('127.0.0.1:8080', `127.0.0.1:${port}`);
  for (const volume of volumes) {
    const [from = '', to = ''] = volume.split(':');
    found = found.replace(to, from.startsWith('./') ? resolve(ROOT, from) : join(folder.path, from));
  }
  return found;
}

function serviceNamed(name: string): Service {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`docker-compose.yml has no service ${name}.`);
  return found;
}

/** Exactly the variables of the file, and PATH, which an image has too. */
function environmentOf({ environment = {}, volumes = [] }: Service): Record<string, string> {
  const entries = Object.entries(environment).map(([name, value]) => [name, placed(value, volumes)]);
  return { PATH: process.env['PATH'] ?? '', ...Object.fromEntries(entries) };
}

function start(name: string): ChildProcess {
  const service = serviceNamed(name);
  const child = spawn(process.execPath, service.command ?? [], {
    cwd: ROOT,
    env: environmentOf(service),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(child);
  return child;
}

/** The health check of the file, as Docker performs it. */
async function isHealthy(name: string): Promise<boolean> {
  const service = serviceNamed(name);
  const [kind, program = '', ...args] = service.healthcheck?.test ?? [];
  expect([kind, program]).toEqual(['CMD', 'node']);
  const check = spawn(
    process.execPath,
    args.map((one) => placed(one, [])),
    { cwd: ROOT, env: environmentOf(service), stdio: 'ignore' },
  );
  const [code] = (await once(check, 'exit')) as [number];
  return code === 0;
}

async function healthy(name: string, child: ChildProcess): Promise<void> {
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (said += String(data)));
  for (const deadline = Date.now() + START_MS; !(await isHealthy(name));) {
    if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}: ${said}`);
    if (Date.now() > deadline) throw new Error(`${name} is not healthy: ${said}`);
  }
}

async function stop(child: ChildProcess, name: string): Promise<[number | null, number]> {
  const graceMs = Number.parseInt(serviceNamed(name).stop_grace_period ?? '10', 10) * 1_000;
  const from = performance.now();
  const ended = once(child, 'exit', { signal: AbortSignal.timeout(graceMs) });
  child.kill('SIGTERM');
  const [code] = (await ended) as [number | null];
  return [code, performance.now() - from];
}

/** The statements that psql is told, with its variables. */
async function makeDatabases(): Promise<void> {
  const script = filled(compose.configs['make-databases']?.content ?? '');
  const body = /<<'SQL'\n([\s\S]*?)\nSQL/.exec(script)?.[1] ?? '';
  const variables: Record<string, string> = Object.fromEntries(
    [...script.matchAll(/--set (\w+)="\$(\w+)"/g)].map(([, name = '', from = '']) => [
      name,
      PASSWORDS[from] ?? '',
    ]),
  );
  const client = new Client({ connectionString: postgres.url() });
  await client.connect();
  try {
    const statements = body.split(';').map((one) => one.trim());
    for (const statement of statements.filter((one) => one !== '')) {
      await client.query(statement.replaceAll(/:'(\w+)'/g, (_, name: string) => `'${variables[name]}'`));
    }
  } finally {
    await client.end();
  }
}

/** What the service `temporal-namespace` does. */
async function makeNamespace(): Promise<void> {
  const name = /namespace create --namespace (\w+)/.exec(
    serviceNamed('temporal-namespace').command?.join(' ') ?? '',
  )?.[1];
  expect(name).toBe(serviceNamed('api').environment?.['TEMPORAL_NAMESPACE']);
  const connection = await Connection.connect({ address: temporal });
  try {
    const namespace = name ?? '';
    const days = { seconds: (90 * 86_400) as never };
    await connection.workflowService
      .registerNamespace({ namespace, workflowExecutionRetentionPeriod: days })
      .catch((error: unknown) => {
        if (!String(error).includes('ALREADY_EXISTS')) throw error;
      });
  } finally {
    await connection.close();
  }
}

beforeAll(async () => {
  folder = await makeFolder('countdown-compose-');
  postgres = await startPostgres({ folder: join(folder.path, 'postgres'), durable: false });
  temporal = await temporalAddress();
  port = await freePort();
  await makeDatabases();
  await makeNamespace();
}, START_MS);
afterAll(async () => {
  for (const child of started) if (child.exitCode === null) child.kill('SIGKILL');
  await postgres?.stop();
  await folder?.discard();
});

test('each service that stays has a health check, and waits for what it needs', () => {
  const staying = Object.entries(compose.services).filter(
    ([name, { restart }]) => restart === 'unless-stopped' && name !== 'temporal-ui',
  );
  expect(staying.map(([name]) => name).toSorted()).toEqual(['api', 'postgres', 'temporal', 'worker']);
  for (const [, { healthcheck }] of staying) expect(healthcheck?.test.length).toBeGreaterThan(1);
  expect(serviceNamed('worker').depends_on).toEqual({ api: { condition: 'service_healthy' } });
});

test(
  'the API and the worker start by the lines of the file, run a runbook together, and drain when they are stopped',
  { timeout: 3 * START_MS },
  async () => {
    const api = start('api');
    await healthy('api', api);
    expect(await isHealthy('worker')).toBe(false);
    const worker = start('worker');
    await healthy('worker', worker);

    const token = spawn(process.execPath, ['scripts/token.ts', 'dana'], {
      cwd: ROOT,
      env: environmentOf(serviceNamed('api')),
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [said] = (await once(token.stdout, 'data')) as [Buffer];
    const ask = async (path: string, body?: object): Promise<Record<string, unknown>> => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        headers: { Authorization: `Bearer ${String(said).trim()}`, 'Content-Type': 'application/json' },
        ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      });
      const answer = (await response.json()) as Record<string, unknown>;
      expect(response.status, JSON.stringify(answer)).toBeLessThan(300);
      return answer;
    };
    const text = 'name: breath\nsteps:\n  - { id: hold, uses: wait, with: { for: 1s } }\n';
    const { plan } = await ask('/v1/plans', { runbook: { text }, environment: 'demo' });
    const { run } = await ask('/v1/runs', { plan });
    await expect
      .poll(async () => (await ask(`/v1/runs/${String(run)}`))['state'], { timeout: 30_000, interval: 100 })
      .toBe('succeeded');

    const [workerCode] = await stop(worker, 'worker');
    const [apiCode] = await stop(api, 'api');
    expect([workerCode, apiCode]).toEqual([0, 0]);
    expect(await isHealthy('api')).toBe(false);
  },
);
