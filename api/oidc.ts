/**
 * Who a signed token of an identity provider stands for. Providers come from a file of the operator; keys are fetched from the
 * address that this file names and from nowhere that a token names.
 *
 *   token ─▶ issuer known ─▶ signature, typ, issuer, audience, times ─▶ claims of exactly one person ─▶ person
 */
import { readFileSync } from 'node:fs';
import { createRemoteJWKSet, decodeJwt, errors, jwtVerify } from 'jose';
import type { JWTPayload } from 'jose';
import { parse } from 'yaml';
import { z } from 'zod';
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../procedures/limits.ts';
import { ApiProblem } from './problems.ts';

/** A token of a person or a job; longer ones are no such thing. */
const TOKEN_LENGTH_MAX = 8_192;
const CLOCK_TOLERANCE_S = 30;
/** From `iat` to `exp`: a token that is good for years is a password. */
const LIFE_MS_MAX = 12 * HOUR_MS;
const KEYS_WAIT_MS = 5 * SECOND_MS;
const KEYS_COOLDOWN_MS = 30 * SECOND_MS;
const KEYS_KEPT_MS = 10 * MINUTE_MS;
const PROVIDERS_MAX = 10;
const PEOPLE_MAX = 200;

const claims = z.record(z.string().min(1).max(100), z.string().min(1).max(500));
const Provider = z.strictObject({
  /** `iss`, letter for letter. */
  issuer: z.url(),
  /** `aud`; a token for others too is refused. */
  audience: z.string().min(1).max(200),
  /** Where its keys are: https, or a loopback address. */
  jwks: z.url().refine(isSafe, 'expected https, or a loopback address'),
  algorithms: z.array(z.enum(['RS256', 'PS256', 'ES256', 'EdDSA'])).min(1),
  /** `typ` of the header: access tokens say at+jwt; those of jobs, of GitHub among them, say JWT. */
  typ: z.string().default('at+jwt'),
  /** Who is meant by which claims; all of an entry's must be there, and one entry only may fit. */
  people: z
    .array(
      z.strictObject({
        person: z.string().min(1).max(100),
        claims: claims.refine((found) => Object.keys(found).length > 0, 'expected at least one claim'),
      }),
    )
    .min(1)
    .max(PEOPLE_MAX),
});
const Providers = z.array(Provider).min(1).max(PROVIDERS_MAX);
export type Provider = z.infer<typeof Provider>;

export type Identity = (token: string) => Promise<{ person: string; expiresAt: string }>;

/** Throws an Error whose message names each thing that is wrong in the file. */
export function readProviders(path: string): Provider[] {
  let found: unknown;
  try {
    found = parse(readFileSync(path, 'utf8'), { maxAliasCount: 0 });
  } catch (error) {
    throw new Error(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  const result = Providers.safeParse(found);
  if (result.success) return result.data;
  const lines = result.error.issues.map(({ path: at, message }) => `${at.join('.')}: ${message}`);
  throw new Error(`${path} cannot be used: ${lines.join(', ')}`);
}

/** Whether a bearer token is one of an identity provider: three parts with points between. */
export function isSigned(token: string): boolean {
  return token.length <= TOKEN_LENGTH_MAX && /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token);
}

/** Throws Unauthenticated; IdentityUnavailable where the keys of the issuer cannot be had. */
export function makeIdentity(providers: readonly Provider[], now: () => Date = () => new Date()): Identity {
  const known = new Map(
    providers.map((provider) => [
      provider.issuer,
      {
        provider,
        keys: createRemoteJWKSet(new URL(provider.jwks), {
          timeoutDuration: KEYS_WAIT_MS,
          cooldownDuration: KEYS_COOLDOWN_MS,
          cacheMaxAge: KEYS_KEPT_MS,
        }),
      },
    ]),
  );
  return async (token) => {
    const found = known.get(issuerOf(token));
    if (found === undefined) throw refused('its issuer is none that is trusted here');
    const { provider, keys } = found;
    let payload: JWTPayload;
    try {
      const verified = await jwtVerify(token, keys, {
        issuer: provider.issuer,
        audience: provider.audience,
        algorithms: provider.algorithms,
        typ: provider.typ,
        requiredClaims: ['iss', 'aud', 'sub', 'iat', 'exp'],
        maxTokenAge: LIFE_MS_MAX / SECOND_MS,
        clockTolerance: CLOCK_TOLERANCE_S,
        currentDate: now(),
      });
      payload = verified.payload;
    } catch (error) {
      throw problemOf(error, provider.issuer);
    }
    // The library takes a token that is for others too; one that somebody else may use is not ours.
    if (Array.isArray(payload.aud) && payload.aud.length !== 1) throw refused('it is meant for others too');
    const { iat = 0, exp = 0 } = payload;
    if ((exp - iat) * SECOND_MS > LIFE_MS_MAX) throw refused('it is good for more than 12 hours');
    return { person: personOf(provider, payload), expiresAt: new Date(exp * SECOND_MS).toISOString() };
  };
}

function issuerOf(token: string): string {
  try {
    return decodeJwt(token).iss ?? '';
  } catch {
    throw refused('it is no signed token');
  }
}

function personOf(provider: Provider, payload: JWTPayload): string {
  const fitting = provider.people.filter(({ claims: wanted }) =>
    Object.entries(wanted).every(([name, value]) => Object.hasOwn(payload, name) && payload[name] === value),
  );
  const people = [...new Set(fitting.map(({ person }) => person))];
  const [person] = people;
  if (person === undefined) throw refused('its claims are those of nobody here');
  if (people.length > 1) throw refused('its claims fit several people');
  return person;
}

function problemOf(error: unknown, issuer: string): ApiProblem {
  const isAway =
    error instanceof errors.JWKSTimeout ||
    !(error instanceof errors.JOSEError) ||
    // What answered was no set of keys.
    error.code === 'ERR_JOSE_GENERIC' ||
    error instanceof errors.JWKSInvalid;
  if (isAway) {
    return new ApiProblem('IdentityUnavailable', `The keys of ${issuer} cannot be had: try again later.`, {
      headers: { 'Retry-After': '30' },
      cause: error,
    });
  }
  if (error instanceof errors.JWTExpired) return refused('it has expired');
  if (error instanceof errors.JWTClaimValidationFailed) return refused(`its ${error.claim} cannot be taken`);
  return refused('its signature cannot be taken');
}

function refused(why: string): ApiProblem {
  return new ApiProblem('Unauthenticated', `The token was refused: ${why}.`, {
    headers: { 'WWW-Authenticate': 'Bearer realm="countdown", error="invalid_token"' },
  });
}

function isSafe(text: string): boolean {
  const { protocol, hostname } = new URL(text);
  return protocol === 'https:' || ['127.0.0.1', '[::1]', 'localhost'].includes(hostname);
}
