/** Tokens of an identity provider, true and forged, against a real set of keys (attacks S3 and S27 of docs/security.md). */
import { createHmac, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { SignJWT, UnsecuredJWT, base64url, exportJWK, exportSPKI, generateKeyPair } from 'jose';
import type { CryptoKey, JWTPayload } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Identity, type Provider, isSigned, makeIdentity } from '../../api/oidc.ts';
import { ApiProblem } from '../../api/problems.ts';
import { listenLocally } from '../../scripts/lib/ports.ts';

const AUDIENCE = 'countdown';
let server: Server;
let url: string;
let asked: string[];
let own: { publicKey: CryptoKey; privateKey: CryptoKey };
let stranger: CryptoKey;
let provider: Provider;
let identity: Identity;

beforeAll(async () => {
  own = await generateKeyPair('RS256', { extractable: true });
  stranger = (await generateKeyPair('RS256')).privateKey;
  const keys = { keys: [{ ...(await exportJWK(own.publicKey)), kid: 'k1', alg: 'RS256', use: 'sig' }] };
  server = createServer((request, response) => {
    asked.push(request.url ?? '');
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(keys));
  });
  url = `http://127.0.0.1:${await listenLocally(server)}`;
  asked = [];
  provider = {
    issuer: url,
    audience: AUDIENCE,
    jwks: `${url}/keys`,
    algorithms: ['RS256'],
    typ: 'JWT',
    people: [
      { person: 'deploy', claims: { repository: 'acme/piano', ref: 'refs/heads/main' } },
      { person: 'release', claims: { repository: 'acme/piano', ref_type: 'tag' } },
    ],
  };
  identity = makeIdentity([provider]);
});
afterAll(() => server.close());

const second = (): number => Math.floor(Date.now() / 1_000);
const CLAIMS = { repository: 'acme/piano', ref: 'refs/heads/main' };

async function token(
  over: {
    claims?: JWTPayload;
    header?: object;
    key?: CryptoKey;
    without?: readonly string[];
  } = {},
): Promise<string> {
  const payload: JWTPayload = {
    iss: url,
    aud: AUDIENCE,
    sub: 'repo:acme/piano',
    iat: second(),
    exp: second() + 300,
    jti: randomUUID(),
    ...CLAIMS,
    ...over.claims,
  };
  for (const name of over.without ?? []) delete payload[name];
  return new SignJWT(payload)
    .setProtectedHeader({ alg: 'RS256', kid: 'k1', typ: 'JWT', ...over.header })
    .sign(over.key ?? own.privateKey);
}

async function refusal(made: string, who: Identity = identity): Promise<[string, string]> {
  try {
    return ['taken', (await who(made)).person];
  } catch (error) {
    if (error instanceof ApiProblem) return [error.code, error.message];
    throw error;
  }
}

test('a token stands for the person whose claims it has, until it expires', async () => {
  const exp = second() + 300;
  expect(await identity(await token({ claims: { exp } }))).toEqual({
    person: 'deploy',
    expiresAt: new Date(exp * 1_000).toISOString(),
  });
  const tag = { ref: 'refs/tags/v1', ref_type: 'tag' };
  expect((await identity(await token({ claims: tag }))).person).toBe('release');
});

test.each([
  ['of another issuer', { claims: { iss: 'https://elsewhere.example' } }, /issuer is none/],
  ['for somebody else', { claims: { aud: 'others' } }, /its aud/],
  ['for others too', { claims: { aud: [AUDIENCE, 'others'] } }, /meant for others/],
  ['that has expired', { claims: { iat: 1_000_000, exp: 1_000_300 } }, /expired/],
  ['that is not good yet', { claims: { nbf: 4_000_000_000 } }, /its nbf/],
  ['that is good for ten years', { claims: { exp: 4_000_000_000 } }, /more than 12 hours/],
  ['without an end', { without: ['exp'] }, /its exp/],
  ['without an audience', { without: ['aud'] }, /its aud/],
  ['without a beginning', { without: ['iat'] }, /its iat/],
  ['without a subject', { without: ['sub'] }, /its sub/],
  ['of another type', { header: { typ: 'at+jwt' } }, /its typ/],
  ['of an unknown key', { header: { kid: 'k2' } }, /signature/],
  ['of a key with a path for a name', { header: { kid: '../../etc/passwd' } }, /signature/],
  ['of nobody here', { claims: { repository: 'mallory/piano' } }, /nobody here/],
  ['of two people', { claims: { ref_type: 'tag' } }, /several people/],
])('a token %s is refused', async (_, over, why) => {
  const [code, said] = await refusal(await token(over));
  expect(code).toBe('Unauthenticated');
  expect(said).toMatch(why);
});

test('a signature of somebody else, of none, or by the public key as a password is refused', async () => {
  expect(await refusal(await token({ key: stranger }))).toEqual([
    'Unauthenticated',
    'The token was refused: its signature cannot be taken.',
  ]);
  const unsigned = new UnsecuredJWT({ iss: url, aud: AUDIENCE, sub: 's', ...CLAIMS }).encode();
  expect(isSigned(unsigned)).toBe(false);
  expect((await refusal(`${unsigned}x`))[0]).toBe('Unauthenticated');
  const body = (await token()).split('.')[1] ?? '';
  const head = base64url.encode(JSON.stringify({ alg: 'HS256', kid: 'k1', typ: 'JWT' }));
  const secret = await exportSPKI(own.publicKey);
  const mac = createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url');
  expect((await refusal(`${head}.${body}.${mac}`))[0]).toBe('Unauthenticated');
  const [first, , last] = (await token()).split('.');
  const other = (await token({ claims: { ref: 'refs/heads/other' } })).split('.')[1];
  expect((await refusal(`${first}.${other}.${last}`))[0]).toBe('Unauthenticated');
});

test('keys are fetched from the configured address, and from none that a token names', async () => {
  const elsewhere: string[] = [];
  const trap = createServer((request, response) => {
    elsewhere.push(request.url ?? '');
    response.end('{"keys":[]}');
  });
  const port = await listenLocally(trap);
  const jwk = await exportJWK(own.publicKey);
  for (const header of [
    { jku: `http://127.0.0.1:${port}/k` },
    { x5u: `http://127.0.0.1:${port}/x` },
    { jwk },
  ])
    await refusal(await token({ header, key: stranger }));
  expect(elsewhere).toEqual([]);
  expect(new Set(asked)).toEqual(new Set(['/keys']));
  trap.close();
});

test('keys that cannot be had refuse everybody, and say that it is not the token', async () => {
  const away = makeIdentity([{ ...provider, jwks: 'http://127.0.0.1:1/keys' }]);
  expect((await refusal(await token(), away))[0]).toBe('IdentityUnavailable');
  const broken = createServer((_, response) => response.writeHead(500).end('no'));
  const at = `http://127.0.0.1:${await listenLocally(broken)}/keys`;
  expect((await refusal(await token(), makeIdentity([{ ...provider, jwks: at }])))[0]).toBe(
    'IdentityUnavailable',
  );
  broken.close();
});

test('what is no signed token, or too long, is none', () => {
  expect(['a.b', 'a.b.c.d', 'a..c', 'a b.c.d', `a.${'b'.repeat(70_000)}.c`].map(isSigned)).toEqual(
    Array.from({ length: 5 }, () => false),
  );
});
