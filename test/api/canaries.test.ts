/** What only the API knows is planted and looked for in its log, its answers, its streams, its numbers and its tables. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readConfig } from '../../api/config.ts';
import { makeLog } from '../../api/log.ts';
import { startApi } from '../../api/server.ts';
import { digest } from '../../store/digest.ts';
import { makePlan } from '../support/plans.ts';
import { makeStoreDatabase } from '../support/store.ts';
import { makeNamespace, makeTaskQueue, temporalAddress } from '../support/temporal.ts';
import { ENVIRONMENT } from './support.ts';

const word = (): string => randomBytes(16).toString('hex');
const passwordOf = (url: string): string => decodeURIComponent(new URL(url).password);

/** The ways in which somebody could write it. */
function formsOf(secret: string): string[] {
  return [
    secret,
    encodeURIComponent(secret),
    Buffer.from(secret).toString('base64').replace(/=+$/, ''),
    Buffer.from(secret).toString('hex'),
    JSON.stringify(secret).slice(1, -1),
  ];
}

function found(where: string, secrets: readonly string[]): string[] {
  return secrets.flatMap((secret) => formsOf(secret).filter((form) => where.includes(form)));
}

test('no line of the log holds a secret, wherever it stands in what is logged', () => {
  const secrets = [`${word()}/+"ä ${word()}`, word()];
  const token = `cd_${randomBytes(32).toString('base64url')}`;
  const jwt = `eyJhbGciOiJSUzI1NiJ9.${randomBytes(30).toString('base64url')}.${randomBytes(30).toString('base64url')}`;
  let text = '';
  const log = makeLog({ level: 'debug', secrets, out: { write: (line) => void (text += line) } });
  for (const secret of [...secrets, token, jwt]) {
    const cause = new Error(`inner postgres://api:${encodeURIComponent(secret)}@db/x`);
    log.error(
      { err: new Error(`outer ${secret}`, { cause }), [secret]: 1, deep: [{ a: { b: secret } }] },
      secret,
    );
    log.debug({ base64: Buffer.from(`user:${secret}`).toString('base64') }, 'debug: said');
    log.warn({ header: `Authorization: Bearer ${secret}` }, `a path: /v1/runs/${secret}?token=${secret}`);
  }
  expect(text.split('\n').length).toBeGreaterThan(12);
  expect(found(text, [...secrets, token, jwt])).toEqual([]);
  expect(text).toContain('[secret]');
  for (const line of text.trim().split('\n')) expect(() => JSON.parse(line) as unknown).not.toThrow();
});

test('what the process and its callers hold as secret is in no answer, stream, number, line or row', async () => {
  await using database = await makeStoreDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'countdown-canaries-'));
  await mkdir(join(folder, 'environments'));
  await writeFile(join(folder, 'environments', 'lab.yaml'), ENVIRONMENT);
  const [bot, app, signing] = [`xoxb-${word()}`, `xapp-${word()}`, word()];
  const token = `cd_${randomBytes(32).toString('base64url')}`;
  const wrong = `cd_${randomBytes(32).toString('base64url')}`;
  const address = await temporalAddress();
  const config = readConfig({
    COUNTDOWN_DATABASE_URL: database.apiUrl,
    COUNTDOWN_MIGRATE_URL: database.ownerUrl,
    TEMPORAL_ADDRESS: address,
    TEMPORAL_NAMESPACE: await makeNamespace(address),
    COUNTDOWN_TASK_QUEUE: makeTaskQueue(),
    COUNTDOWN_ENVIRONMENTS: join(folder, 'environments'),
    COUNTDOWN_RUNBOOKS: folder,
    COUNTDOWN_LISTEN: '127.0.0.1:0',
    COUNTDOWN_SLACK_BOT_TOKEN: bot,
    COUNTDOWN_SLACK_APP_TOKEN: app,
    COUNTDOWN_SLACK_SIGNING_SECRET: signing,
    COUNTDOWN_SLACK_TEAM: 'T0PIANO',
    COUNTDOWN_SLACK_APP: 'A0COUNTDOWN',
    // Nothing listens there, so that it fails all the time and says so.
    COUNTDOWN_SLACK_URL: 'http://127.0.0.1:9/',
    COUNTDOWN_LOG_LEVEL: 'debug',
  });
  const secrets = [
    passwordOf(database.apiUrl),
    passwordOf(database.ownerUrl),
    bot,
    app,
    signing,
    token,
    wrong,
  ];
  let text = '';
  const api = await startApi(config, { out: { write: (line) => void (text += line) } });
  const hash = createHash('sha256').update(token).digest('hex');
  await database.api.insertToken({ hash, person: 'dana', expiresAt: new Date(Date.now() + 60_000) });
  const plan = makePlan([{ id: 'one', phases: [{ name: 'a' }] }], { environment: 'lab' });
  await database.api.savePlan({ hash: digest(plan), plan, person: 'dana' });

  const ask = async (path: string, bearer: string, body?: string) => {
    const response = await fetch(`${api.url}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        Authorization: `Bearer ${bearer}`,
        'Content-Type': 'application/json',
        'X-Request-Id': bearer,
      },
      ...(body === undefined ? {} : { body }),
    });
    if (response.headers.get('content-type') === 'text/event-stream') {
      const { value } = (await response.body?.getReader().read()) ?? {};
      text += Buffer.from(value ?? []).toString();
      return;
    }
    // An answer may repeat where it was asked; the caller has that already.
    text += (await response.text()).replaceAll(path, '');
  };
  for (const bearer of [token, wrong, 'short']) {
    for (const path of ['/v1/me', '/v1/runs/1/events', `/v1/plans/${'x'.repeat(12)}`, '/health/ready'])
      await ask(path, bearer);
    await ask('/v1/runs', bearer, JSON.stringify({ plan: digest(plan) }));
    await ask('/v1/runs/1/abort', bearer, '{"reason":"to see it refused"}');
    await ask('/v1/plans', bearer, '{');
  }
  await ask(`/v1/runs?token=${wrong}`, token);
  await ask(`/v1/runs/${wrong}`, token);
  text += JSON.stringify(await database.api.metrics());
  await database.owner.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1',
    ['countdown-api'],
  );
  await ask('/v1/runs', token);
  await api.stop();

  const { rows: tables } = await database.owner.query<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'countdown'`,
  );
  for (const { name } of tables)
    text += JSON.stringify((await database.owner.query(`select * from ${name}`)).rows);
  await rm(folder, { recursive: true });
  expect(text).toContain('request: answered');
  expect(found(text, secrets)).toEqual([]);
});
