import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { verifyChain } from '../../store/chain.ts';
import { refusedRows } from '../../store/journal.ts';
import { makePool } from '../../store/pool.ts';
import { type StoreDatabase, makeStoreDatabase } from '../support/store.ts';
import { ENVIRONMENT, PROTECTED, type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await makeTestApi();
});
beforeEach(async () => {
  await writeFile(join(api.environmentFolder, 'vault.yaml'), PROTECTED);
});
afterAll(() => api[Symbol.asyncDispose]());

type Made = { id: string; person: string; token: string; expiresAt: string };
const make = (body: object, by = 'olu') => api.ok<Made>(by, '/v1/tokens', { body });
const list = async (by = 'olu') =>
  (await api.ok<{ items: { id: string; person: string }[] }>(by, '/v1/tokens')).items;
/** Rows of an environment's own chain. */
const chain = (environment: string) => refusedRows(api.owner, environment, { after: 0, limit: 1_000 });

test('a token is made by an admin, works at once, is listed without its secret, and is worth nothing once revoked', async () => {
  const made = await make({ person: 'pia', expiresMs: 3_600_000 });
  expect(made.token).toMatch(/^cd_[\w-]{43}$/);
  expect(Date.parse(made.expiresAt) - Date.now()).toBeGreaterThan(3_590_000);
  expect(await api.ok(made.token, '/v1/me')).toMatchObject({ person: 'pia' });
  const listed = (await list()).find(({ id }) => id === made.id);
  expect(listed).toEqual({
    id: made.id,
    person: 'pia',
    createdAt: expect.any(String) as string,
    expiresAt: made.expiresAt,
  });
  const gone = await api.request('olu', `/v1/tokens/${made.id}`, { method: 'DELETE' });
  expect(gone.status).toBe(204);
  expect(await api.refusal(made.token, '/v1/me')).toEqual([401, 'Unauthenticated']);
  expect((await list()).some(({ id }) => id === made.id)).toBe(false);
  expect(await api.refusal('olu', `/v1/tokens/${made.id}`, { method: 'DELETE' })).toEqual([
    404,
    'TokenUnknown',
  ]);
});

test('each token stands in the chain of every environment that names its person, and its secret in none', async () => {
  const made = await make({ person: 'eva' });
  await api.request('olu', `/v1/tokens/${made.id}`, { method: 'DELETE' });
  for (const environment of ['lab', 'vault']) {
    const rows = await chain(environment);
    const mine = rows.filter(({ kind, body }) => kind === 'token' && body['id'] === made.id);
    expect(mine.map(({ actor, body }) => [actor, body['act'], body['person'], body['door']])).toEqual([
      ['olu', 'created', 'eva', 'api'],
      ['olu', 'revoked', 'eva', 'api'],
    ]);
    expect(verifyChain(rows)).toMatchObject({ intact: true });
    const secret = createHash('sha256').update(made.token).digest('hex');
    expect(JSON.stringify(rows)).not.toContain(made.token);
    expect(JSON.stringify(rows)).not.toContain(secret);
  }
});

test('an admin gives no token to somebody whom another environment names where he is none', async () => {
  await writeFile(
    join(api.environmentFolder, 'vault.yaml'),
    PROTECTED.replace('admin: [olu]', 'admin: [chi]'),
  );
  const before = (await chain('vault')).length;
  expect(await api.refusal('olu', '/v1/tokens', { body: { person: 'eva' } })).toEqual([403, 'NotAllowed']);
  const refused = (await chain('vault')).slice(before);
  expect(refused.map(({ kind, actor, body }) => [kind, actor, body['code']])).toEqual([
    ['refused', 'olu', 'NotAllowed'],
  ]);
  expect((await list()).some(({ person }) => person === 'eva')).toBe(false);
  const theirs = await api.store.token(
    createHash('sha256')
      .update(api.tokens.get('eva') ?? '')
      .digest('hex'),
  );
  expect(await api.refusal('olu', `/v1/tokens/${theirs?.id}`, { method: 'DELETE' })).toEqual([
    403,
    'NotAllowed',
  ]);
});

test('a token is refused for nobody, for too long, and to who is no admin', async () => {
  expect(await api.refusal('olu', '/v1/tokens', { body: { person: 'nobody' } })).toEqual([
    422,
    'BodyInvalid',
  ]);
  const long = { person: 'ana', expiresMs: 366 * 86_400_000 };
  expect(await api.refusal('olu', '/v1/tokens', { body: long })).toEqual([422, 'BodyInvalid']);
  for (const who of ['dana', 'eva', 'mallory']) {
    expect(await api.refusal(who, '/v1/tokens', { body: { person: who } })).toEqual([403, 'NotAllowed']);
    expect(await api.refusal(who, '/v1/tokens')).toEqual([403, 'NotAllowed']);
  }
});

const without = (text: string) => text.replace(', pia: {}', '');

test('who has left every environment can still be taken out by an admin', async () => {
  const made = await make({ person: 'pia' });
  await writeFile(join(api.environmentFolder, 'lab.yaml'), without(ENVIRONMENT));
  await writeFile(join(api.environmentFolder, 'vault.yaml'), without(PROTECTED));
  const gone = await api.request('olu', `/v1/tokens/${made.id}`, { method: 'DELETE' });
  expect(gone.status).toBe(204);
  await writeFile(join(api.environmentFolder, 'lab.yaml'), ENVIRONMENT);
});

test('a token whose row of the chain cannot be written is not made', async () => {
  await using store: StoreDatabase = await makeStoreDatabase();
  await store.owner.query('revoke execute on function countdown.append_beside from countdown_api');
  const row = { hash: '0'.repeat(64), person: 'ana', expiresAt: new Date(Date.now() + 60_000) };
  await expect(
    store.api.issueToken(row, { actor: 'olu', door: 'api', environments: ['lab'] }),
  ).rejects.toThrow('permission denied');
  expect(await store.api.token(row.hash)).toBeUndefined();
  const pool = makePool(store.apiUrl, { name: 'test-tokens' });
  try {
    expect((await pool.query('select from countdown.tokens')).rowCount).toBe(0);
  } finally {
    await pool.end();
  }
});

test('tokens come in pages, newest first, without a gap and without those of people whom others look after', async () => {
  for (let index = 0; index < 5; index += 1) await make({ person: 'pia' });
  type Page = { items: { id: string; person: string }[]; next: string | null };
  const all = (await api.ok<Page>('olu', '/v1/tokens?limit=100')).items;
  expect(all.some(({ person }) => person === 'zoe')).toBe(false);
  const seen: string[] = [];
  let cursor: string | null = null;
  do {
    const page: Page = await api.ok<Page>(
      'olu',
      `/v1/tokens?limit=2${cursor === null ? '' : `&cursor=${cursor}`}`,
    );
    expect(page.items.length).toBeLessThanOrEqual(2);
    seen.push(...page.items.map(({ id }) => id));
    cursor = page.next;
  } while (cursor !== null);
  expect(seen).toEqual(all.map(({ id }) => id));
  for (const wrong of ['abc', Buffer.from('before:1').toString('base64url')])
    expect(await api.refusal('olu', `/v1/tokens?cursor=${wrong}`)).toEqual([400, 'BadQuery']);
});

test.each(['%00', 'x', '%E2%80%A8', '0f4c%27--'])('a token named %s is unknown', async (id) => {
  expect(await api.refusal('olu', `/v1/tokens/${id}`, { method: 'DELETE' })).toEqual([404, 'TokenUnknown']);
});
