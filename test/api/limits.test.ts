import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addressOf, makeIsProxy } from '../../api/address.ts';
import type { ApiContext } from '../../api/context.ts';
import { type Taken, makeLimits } from '../../api/limits.ts';
import { makePool } from '../../store/pool.ts';
import { makeStoreDatabase } from '../support/store.ts';
import { type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
const lines: Record<string, unknown>[] = [];
const log = pino(
  { level: 'info' },
  new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  }),
);
beforeAll(async () => {
  api = await makeTestApi({ quotas: { read: 3, write: 2, decide: 2, abort: 1, signIn: 2 }, log });
});
afterAll(() => api[Symbol.asyncDispose]());

const asked = async (person: string, path: string, body?: object) => {
  const response = await api.request(person, path, body === undefined ? {} : { body });
  return [response.status, response.headers.get('ratelimit')?.split(';t=')[0] ?? null];
};

describe('a token', () => {
  test('may read and write so often a minute, is told how much is left, and when to come back', async () => {
    expect([
      await asked('pia', '/v1/me'),
      await asked('pia', '/v1/me'),
      await asked('pia', '/v1/me'),
    ]).toEqual([
      [200, '"read";r=2'],
      [200, '"read";r=1'],
      [200, '"read";r=0'],
    ]);
    const response = await api.request('pia', '/v1/me');
    const problem = (await response.json()) as { code: string; detail: string };
    expect([response.status, problem.code]).toEqual([429, 'TooManyRequests']);
    expect(problem.detail).toMatch(/^pia may send 3 such requests a minute, and has: try again in \d+ s\.$/);
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(Number(response.headers.get('retry-after'))).toBeLessThanOrEqual(60);
    expect(response.headers.get('ratelimit-policy')).toBe('"read";q=3;w=60');
    expect(await asked('eva', '/v1/me')).toEqual([200, '"read";r=2']);
  });

  test('that has used up all reads and writes still decides and aborts', async () => {
    for (let index = 0; index < 4; index += 1) await asked('dana', '/v1/me');
    for (let index = 0; index < 3; index += 1) await asked('dana', '/v1/plans', {});
    expect([await asked('dana', '/v1/me'), await asked('dana', '/v1/runs', {})]).toEqual([
      [429, '"read";r=0'],
      [429, '"write";r=0'],
    ]);
    expect(await asked('dana', '/v1/runs/1/pause', {})).toEqual([404, '"decide";r=1']);
    expect(await asked('dana', '/v1/runs/1/resume', {})).toEqual([404, '"decide";r=0']);
    expect(await asked('dana', '/v1/runs/1/retry', { phase: 'a' })).toEqual([429, '"decide";r=0']);
    expect(await asked('dana', '/v1/runs/1/abort', {})).toEqual([404, '"abort";r=0']);
  });

  test('is counted by all processes together', async () => {
    await using database = await makeStoreDatabase();
    const pool = makePool(database.apiUrl, { name: 'another-process' });
    const [one, two] = [makeLimits({ pool: database.apiPool }), makeLimits({ pool })];
    const taken: Taken[] = [];
    for (let index = 0; index < 50; index += 1) {
      taken.push(
        ...(await Promise.all([one.take('write', 'a'), two.take('write', 'a'), two.take('write', 'b')])),
      );
    }
    await pool.end();
    expect(Math.min(...taken.map(({ left }) => left))).toBe(20);
    expect(taken.every(({ isWithin }) => isWithin)).toBe(true);
  });

  test('is counted in memory while the database is away, and nobody is kept out by that', async () => {
    const pool = makePool('postgres://nobody@127.0.0.1:1/nothing', { name: 'away' });
    const limits = makeLimits({ pool, quotas: { abort: 2 } });
    const all: boolean[] = [];
    for (let index = 0; index < 3; index += 1) all.push((await limits.take('abort', 'a')).isWithin);
    await pool.end();
    expect(all).toEqual([true, true, false]);
  });
});

describe('an address', () => {
  test('that fails to sign in too often is told to wait, while good tokens of the same address come in', async () => {
    const guess = async (index: number) =>
      (await api.request(`cd_guess-number-${index}-of-somebody`, '/v1/me')).status;
    expect([await guess(1), await guess(2), await guess(3), await guess(4)]).toEqual([401, 401, 429, 429]);
    const refused = await api.request(null, '/v1/me');
    expect([refused.status, refused.headers.get('ratelimit-policy')]).toEqual([429, '"sign-in";q=2;w=60']);
    expect((await api.request('ana', '/v1/me')).status).toBe(200);
    expect((await api.request(null, '/health/live')).status).toBe(200);
  });

  test.each([
    ['203.0.113.9', undefined, '203.0.113.9'],
    ['203.0.113.9', '198.51.100.1', '203.0.113.9'],
    ['10.1.2.3', '198.51.100.1', '198.51.100.1'],
    ['::ffff:10.1.2.3', '6.6.6.6, 198.51.100.1, 10.9.9.9', '198.51.100.1'],
    ['10.1.2.3', 'not an address', '10.1.2.3'],
    ['10.1.2.3', undefined, '10.1.2.3'],
    ['2001:db8:1:2:3:4:5:6', undefined, '2001:db8:1:2::/64'],
    ['2001:DB8::9', undefined, '2001:db8:0:0::/64'],
    ['::1', '198.51.100.1', '0:0:0:0::/64'],
  ])('%s with X-Forwarded-For %s is %s', (socket, forwarded, expected) => {
    const context = {
      env: { incoming: { socket: { remoteAddress: socket } } },
      req: { header: (name: string) => (name === 'x-forwarded-for' ? forwarded : undefined) },
    };
    expect(addressOf(context as unknown as ApiContext, makeIsProxy(['10.0.0.0/8']))).toBe(expected);
  });

  test('of a proxy is one, or a range, and nothing else', () => {
    for (const wrong of ['proxy.internal', '10.0.0.0/33', '10.0.0.0/x', ''])
      expect(() => makeIsProxy([wrong]), wrong).toThrow(/is no/);
  });
});

test('the log tells the names that a request brings', async () => {
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  await api.request('ben', '/v1/me', { headers: { 'X-Request-Id': 'deploy-4711', traceparent } });
  expect(lines.at(-1)).toMatchObject({ requestId: 'deploy-4711', traceparent, person: 'ben', status: 200 });
  await api.request('ben', '/v1/me', {
    headers: { 'X-Request-Id': 'deploy-4712', traceparent: '00-0-0-00' },
  });
  expect(lines.at(-1)).toMatchObject({ requestId: 'deploy-4712' });
  expect(lines.at(-1)).not.toHaveProperty('traceparent');
});
