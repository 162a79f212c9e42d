/** The API with its real store, for requests without a socket; each answer is held against /openapi.json. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { type Logger, pino } from 'pino';
import { expect } from 'vitest';
import { z } from 'zod';
import { makeEnvironments } from '../../store/environment-files.ts';
import { makeIsProxy } from '../../api/address.ts';
import { makeEventHub } from '../../api/events.ts';
import { openApiDocument } from '../../api/document.ts';
import { type ApiDeps, createApi } from '../../api/index.ts';
import { makeLauncher } from '../../api/launcher.ts';
import type { Identity } from '../../api/oidc.ts';
import { traceInterceptor } from '../../api/trace.ts';
import { type Quotas, makeLimits } from '../../api/limits.ts';
import { digest } from '../../store/digest.ts';
import type { Plan } from '../../procedures/plan.ts';
import type { Engine } from '../support/engine.ts';
import { type StoreDatabase, makeStoreDatabase } from '../support/store.ts';

export const ENVIRONMENT = `environment: lab
protected: false
targets:
  app: { kind: http, url: 'http://127.0.0.1:9' }
  mode: { kind: switch, url: 'http://127.0.0.1:9/mode', values: [old, held, new] }
people: { ana: {}, ben: {}, chi: {}, dana: {}, eva: {}, olu: {}, pia: {} }
roles: { operator: [dana, ben], admin: [olu], auditor: [eva] }
groups: { sre: [ana, ben], owner: [olu, chi] }
`;

export const PROTECTED = ENVIRONMENT.replace('environment: lab', 'environment: vault').replace(
  'protected: false',
  'protected: true',
);

export const RUNBOOK = `name: hold
description: Holds writes for a moment.
steps:
  - id: hold
    uses: app.switch
    with: { switch: mode, to: held }
    approval: { from: { sre: 1, owner: 1 } }
  - { id: look, uses: wait, with: { for: 1s } }
  - { id: release, uses: app.switch, with: { switch: mode, to: old } }
`;

export type TestApi = Awaited<ReturnType<typeof makeTestApi>>;

/** The environment of the engine's scripted world. */
export const ENGINE = `environment: test
protected: false
targets: { thing: { kind: switch, url: 'http://127.0.0.1:9', values: ['off', 'on'] } }
people: { ana: {}, ben: {}, dana: {}, olu: {}, zoe: {} }
roles: { operator: [dana], admin: [zoe], auditor: [] }
groups: { sre: [ana, ben], owner: [olu] }
`;

/** Many tests ask as one person. */
const PLENTY: Quotas = { read: 1e6, write: 1e6, decide: 1e6, abort: 1e6, signIn: 1e6 };

/** With an engine its store, server and worker; without one nothing listens where the API looks for Temporal. */
export async function makeTestApi(
  options: {
    engine?: Engine;
    /** Budgets a minute; by default more than any test uses. */
    quotas?: Partial<Quotas>;
    log?: Logger;
    identity?: Identity;
    /** A database that the caller made and ends; default one of its own. */
    database?: StoreDatabase;
    now?: () => Date;
    /** More parts of the API, made of those that it has. */
    parts?: (made: Pick<ApiDeps, 'store' | 'environments' | 'launcher' | 'log' | 'now'>) => Partial<ApiDeps>;
  } = {},
) {
  const { engine } = options;
  const database = engine?.store ?? options.database ?? (await makeStoreDatabase());
  const folder = await mkdtemp(join(tmpdir(), 'countdown-api-'));
  const [environmentFolder, runbooks] = [join(folder, 'environments'), join(folder, 'runbooks')];
  await Promise.all([mkdir(environmentFolder), mkdir(runbooks)]);
  await writeFile(join(environmentFolder, 'lab.yaml'), ENVIRONMENT);
  await writeFile(join(environmentFolder, 'vault.yaml'), PROTECTED);
  await writeFile(join(environmentFolder, 'test.yaml'), ENGINE);
  await writeFile(join(runbooks, 'hold.yaml'), RUNBOOK);
  const log = options.log ?? pino({ level: process.env['COUNTDOWN_TEST_LOG'] ?? 'silent' });
  const environments = await makeEnvironments(environmentFolder, log);
  const nowhere = Connection.lazy({ address: '127.0.0.1:1', connectTimeout: 500 });
  const client = new Client({
    connection: engine?.client.connection ?? nowhere,
    namespace: engine?.client.options.namespace ?? 'default',
    interceptors: { workflow: [traceInterceptor] },
  });
  const launcher = makeLauncher(client, {
    taskQueue: engine?.taskQueue ?? 'nobody',
    ...(engine === undefined
      ? { updateWaitMs: 300, callMs: 300 }
      : { workflowIdPrefix: `${engine.taskQueue}/` }),
  });
  const ending = new AbortController();
  const now = options.now ?? (() => new Date());
  const store = database.api;
  const events = makeEventHub({ store, signal: ending.signal, log, heartbeatMs: 200 });
  const app = createApi({
    store,
    environments,
    runbooks,
    launcher,
    events,
    log,
    now,
    ...(options.identity === undefined ? {} : { identity: options.identity }),
    limits: makeLimits({ pool: database.apiPool, quotas: { ...PLENTY, ...options.quotas } }),
    isProxy: makeIsProxy(['127.0.0.1', '10.0.0.0/8']),
    ...options.parts?.({ store, environments, launcher, log, now }),
  });
  const tokens = new Map<string, string>();
  for (const person of ['ana', 'ben', 'chi', 'dana', 'eva', 'olu', 'pia', 'zoe', 'mallory']) {
    const token = `cd_${randomBytes(24).toString('base64url')}`;
    tokens.set(person, token);
    const hash = createHash('sha256').update(token).digest('hex');
    // Whatever time a test has made up, its people are signed in.
    const expiresAt = options.now === undefined ? new Date(Date.now() + 3_600_000) : new Date('2100-01-01');
    await store.insertToken({ hash, person, expiresAt });
  }
  const document = openApiDocument(app);

  /** Sends a request as a person; `null` sends no token. */
  async function request(
    person: string | null,
    path: string,
    init: { method?: string; body?: unknown; text?: string; headers?: Record<string, string> } = {},
  ): Promise<Response> {
    const method = init.method ?? (init.body === undefined && init.text === undefined ? 'GET' : 'POST');
    const hasBody = init.body !== undefined || init.text !== undefined;
    const response = await app.request(path, {
      method,
      headers: {
        ...(person === null ? {} : { Authorization: `Bearer ${tokens.get(person) ?? person}` }),
        ...(hasBody ? { 'Content-Type': 'application/json' } : {}),
        ...init.headers,
      },
      ...(hasBody ? { body: init.text ?? JSON.stringify(init.body) } : {}),
    });
    // A copy of a stream would keep the stream open after its reader has left.
    const isStream = response.headers.get('content-type') === 'text/event-stream';
    if (!isStream) await holdAgainst(document, method, path, response.clone());
    return response;
  }

  /** A request that must succeed, as its JSON. */
  async function ok<T = Record<string, unknown>>(...args: Parameters<typeof request>): Promise<T> {
    const response = await request(...args);
    const body = (await response.json()) as T;
    expect(response.status, JSON.stringify(body)).toBeLessThan(300);
    return body;
  }

  /** A request that must be refused, as `[status, code]`. */
  async function refusal(...args: Parameters<typeof request>): Promise<[number, string]> {
    const response = await request(...args);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    const body = (await response.json()) as { code: string; detail: string; requestId: string };
    expect(body.requestId).toBe(response.headers.get('x-request-id'));
    expect(body.detail).toMatch(/[.:!?]$|[^.]$/);
    expect(JSON.stringify(body)).not.toMatch(/node_modules|\.ts:\d|postgres:\/\//);
    return [response.status, body.code];
  }

  return {
    app,
    store,
    worker: database.worker,
    /** The superuser's pool: for looking behind the store. */
    owner: database.owner,
    environments,
    now,
    environmentFolder,
    launcher,
    client,
    events,
    log,
    runbooks,
    tokens,
    document,
    request,
    ok,
    refusal,
    /** Stores a plan as it is, without a runbook. */
    async savePlan(plan: Plan): Promise<string> {
      const hash = digest(plan);
      await store.savePlan({ hash, plan, person: 'dana' });
      return hash;
    },
    async [Symbol.asyncDispose]() {
      events.drain();
      ending.abort();
      await nowhere.close();
      if (engine === undefined && options.database === undefined) await database[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

type Document = ReturnType<typeof openApiDocument>;

/** Throws where the document does not know the answer, or describes another one. */
async function holdAgainst(
  document: Document,
  method: string,
  path: string,
  response: Response,
): Promise<void> {
  const pathname = path.split('?')[0] ?? path;
  const templates = Object.keys(document.paths ?? {});
  const template = templates.find((one) =>
    new RegExp(`^${one.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(pathname),
  );
  const item = template === undefined ? undefined : document.paths?.[template];
  const operation = item?.[method.toLowerCase() as 'get' | 'post'];
  if (operation === undefined) return;
  const answer = operation.responses?.[String(response.status)] as
    | { content?: Record<string, { schema: unknown }> }
    | undefined;
  expect(
    answer,
    `${method} ${template} answers ${response.status}: ${await response.clone().text()}`,
  ).toBeDefined();
  const type = response.headers.get('content-type')?.split(';')[0] ?? '';
  const content = answer?.content?.[type];
  if (type === 'text/event-stream' || response.status === 204) return;
  expect(content, `${method} ${template} ${response.status} is ${type}`).toBeDefined();
  const value = type.startsWith('text/') ? await response.text() : await response.json();
  expect(misfits(document, content?.schema, value), `${method} ${template} ${response.status}`).toEqual([]);
}

/** What of a value does not fit a schema of the document; empty where all of it does. */
export function misfits(document: Document, schema: unknown, value: unknown): object[] {
  return z.fromJSONSchema(inline(document, schema) as never).safeParse(value).error?.issues ?? [];
}

function inline(document: Document, schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map((one) => inline(document, one));
  if (typeof schema !== 'object' || schema === null) return schema;
  if ('$ref' in schema && typeof schema.$ref === 'string') {
    const name = schema.$ref.replace('#/components/schemas/', '');
    return inline(document, document.components?.schemas?.[name]);
  }
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, inline(document, value)]));
}
