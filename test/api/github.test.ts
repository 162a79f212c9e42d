/** The workflow file for GitHub Actions, performed: its job gets a signed token and starts a run, once for each tag. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getRequestListener } from '@hono/node-server';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { makeIdentity, readProviders } from '../../api/oidc.ts';
import { listenLocally } from '../../scripts/lib/ports.ts';
import { ENVIRONMENT, RUNBOOK, type TestApi, makeTestApi } from './support.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const REQUEST_TOKEN = 'what-the-job-shows-github';
type Workflow = {
  on: { push: { branches: string[]; tags: string[] } };
  permissions: Record<string, string>;
  jobs: { launch: { steps: { run?: string; env?: Record<string, string> }[] } };
};
const workflow = parse(readFileSync(join(ROOT, 'examples/github/launch.yaml'), 'utf8')) as Workflow;
const step = workflow.jobs.launch.steps.find(({ run }) => run !== undefined);

let api: TestApi;
let github: Server;
let server: Server;
let folder: string;
let env: Record<string, string>;
/** What GitHub says of the job. */
let claims: Record<string, string>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countdown-github-'));
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: 'g', alg: 'RS256' };
  let at = '';
  github = createServer((request, response) => {
    const url = new URL(request.url ?? '', at);
    if (url.pathname === '/keys') return void response.end(JSON.stringify({ keys: [jwk] }));
    if (request.headers.authorization !== `Bearer ${REQUEST_TOKEN}`)
      return void response.writeHead(401).end('{}');
    new SignJWT({ ...claims, aud: url.searchParams.get('audience') ?? '' })
      .setProtectedHeader({ alg: 'RS256', kid: 'g', typ: 'JWT' })
      .setIssuer(at)
      .setSubject('repo:acme/piano-keys')
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(privateKey)
      .then(
        (value) => response.end(JSON.stringify({ value })),
        () => response.writeHead(500).end('{}'),
      );
    return undefined;
  });
  at = `http://127.0.0.1:${await listenLocally(github)}`;
  // The file of the documentation, with this GitHub in the place of the true one.
  const documented = /```yaml\n(- issuer:[\s\S]*?)```/.exec(
    readFileSync(join(ROOT, 'docs/operating.md'), 'utf8'),
  )?.[1];
  const file = join(folder, 'oidc.yaml');
  await writeFile(
    file,
    (documented ?? '')
      .replace('https://token.actions.githubusercontent.com/.well-known/jwks', `${at}/keys`)
      .replace('https://token.actions.githubusercontent.com', at),
  );
  api = await makeTestApi({ identity: makeIdentity(readProviders(file)) });
  const production = ENVIRONMENT.replace('environment: lab', 'environment: production')
    .replace('people: {', 'people: { release-bot: {},')
    .replace('operator: [', 'operator: [release-bot, ');
  await writeFile(join(api.environmentFolder, 'production.yaml'), production);
  await writeFile(
    join(api.runbooks, 'piano-keys.yaml'),
    RUNBOOK.replace('name: hold', 'name: piano-keys\nparams: { release: { type: string } }'),
  );
  const listener = getRequestListener(api.app.fetch);
  server = createServer((request, response) => void listener(request, response));
  env = {
    PATH: process.env['PATH'] ?? '',
    COUNTDOWN_URL: `http://127.0.0.1:${await listenLocally(server)}`,
    ACTIONS_ID_TOKEN_REQUEST_URL: `${at}/token?api-version=2`,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: REQUEST_TOKEN,
  };
});
afterAll(async () => {
  github.close();
  server.close();
  await api[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

/** The expressions of the step, as GitHub reads them for this push. */
function settings(push: { ref_type: string; ref_name: string; sha: string }): Record<string, string> {
  const isTag = push.ref_type === 'tag';
  return Object.fromEntries(
    Object.entries(step?.env ?? {}).flatMap(([name, text]) => {
      const found = /== 'tag' && (\S+) \|\| (\S+) \}\}/.exec(text);
      if (found === null) return [];
      const [, yes = '', no = ''] = found;
      const said = isTag ? yes : no;
      const value = said.startsWith("'") ? said.slice(1, -1) : push[said.replace('github.', '') as 'sha'];
      return [[name, value]];
    }),
  );
}

async function job(push: { ref_type: string; ref_name: string; sha: string }): Promise<[number, string]> {
  claims = {
    repository: 'acme/piano-keys',
    ref_type: push.ref_type,
    ref_protected: 'true',
    ref: push.ref_type === 'tag' ? `refs/tags/${push.ref_name}` : `refs/heads/${push.ref_name}`,
  };
  const summary = join(folder, 'summary');
  const child = spawn('bash', ['-e', '-c', step?.run ?? 'exit 9'], {
    cwd: ROOT,
    env: { ...env, ...settings(push), GITHUB_STEP_SUMMARY: summary },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said += String(data)));
  const [code] = (await once(child, 'close')) as [number];
  if (code === 0) expect(await readFile(summary, 'utf8')).toContain(said.trim());
  return [code, said.trim()];
}

test('the workflow asks GitHub for a token, and for nothing else that it could misuse', () => {
  expect(workflow.permissions).toEqual({ 'id-token': 'write', contents: 'read' });
  expect(workflow.on.push).toEqual({ branches: ['main'], tags: ['v*'] });
  expect(JSON.stringify(workflow)).not.toMatch(/secrets\./);
});

test('a tag starts the production launch, once however often its job is run', async () => {
  const tag = { ref_type: 'tag', ref_name: 'v1.4.0', sha: 'a'.repeat(40) };
  const [code, said] = await job(tag);
  expect([code, said]).toEqual([
    0,
    expect.stringMatching(/^run 1 of piano-keys in production is \w+: plan \w{12}, key v1\.4\.0$/),
  ]);
  expect((await job(tag))[1]).toMatch(/^run 1 of/);
  const run = await api.ok<{ requester: string }>('dana', '/v1/runs/1');
  expect(run.requester).toBe('release-bot');
});

test('a job that is somebody without a right is told so, and starts nothing', async () => {
  const [code, said] = await job({ ref_type: 'branch', ref_name: 'main', sha: 'b'.repeat(40) });
  expect([code, said]).toEqual([
    1,
    expect.stringMatching(/^The launch was not started\. (NotAllowed|EnvironmentUnknown): /),
  ]);
  const [other, why] = await job({ ref_type: 'branch', ref_name: 'feature', sha: 'c'.repeat(40) });
  expect([other, why]).toEqual([1, expect.stringContaining('Unauthenticated')]);
});
