/**
 * Who asks: a bearer token, looked up by its sha256, so that no comparison can leak the token's digits by time; or one that an
 * identity provider signed.
 */
import { createHash } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import type { ApiContext, ApiDeps, ApiEnv } from './context.ts';
import { addressOf, nobody } from './address.ts';
import { type Budget, type Taken, limitHeaders } from './limits.ts';
import { isSigned } from './oidc.ts';
import { routeNamed } from './permissions.ts';
import { ApiProblem } from './problems.ts';

const BEARER = /^Bearer +(\S.*)$/i;
const TOKEN = /^[\x21-\x7e]{16,512}$/;

/**
 * Refuses what is in no route of the table, asks for a token where the table wants one, and holds back each answer
 * that no handler asked a right for.
 */
export function guardRoute(
  deps: ApiDeps,
  match: (method: string, path: string) => string | undefined,
): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const method = c.req.method === 'HEAD' ? 'GET' : c.req.method;
    const route = match(method, c.req.path);
    const row = route === undefined ? undefined : routeNamed(route);
    if (row === undefined) {
      throw new ApiProblem(
        'RouteUnknown',
        `There is no ${c.req.method.slice(0, 10)} ${c.req.path.slice(0, 80)}: look at /openapi.json.`,
      );
    }
    c.set('permission', row.permission);
    c.set('granted', row.permission === 'public');
    c.set('person', '');
    if (row.permission !== 'public') {
      await signIn(c, deps);
      await count(c, deps, row.limit);
    }
    await next();
    if (!c.get('granted') && c.res.status < 400) {
      throw new ApiProblem('Internal', 'This route answered without asking for a right.');
    }
  };
}

/** A token that is good is never held up: failures are counted by address, and only they are answered with 429. */
async function signIn(c: ApiContext, deps: ApiDeps): Promise<void> {
  try {
    await authenticate(c, deps);
  } catch (error) {
    if (!(error instanceof ApiProblem) || error.code !== 'Unauthenticated') throw error;
    const taken = await deps.limits.failedSignIn(addressOf(c, deps.isProxy ?? nobody));
    if (taken.isWithin) throw error;
    throw tooMany('sign-in', `${taken.quota} sign-ins of this address have failed within a minute`, taken);
  }
}

async function count(c: ApiContext, deps: ApiDeps, budget: Budget): Promise<void> {
  if (budget === 'free') return;
  const taken = await deps.limits.take(budget, c.get('credential'));
  if (!taken.isWithin) {
    throw tooMany(
      budget,
      `${c.get('person')} may send ${taken.quota} such requests a minute, and has`,
      taken,
    );
  }
  for (const [name, value] of Object.entries(limitHeaders(budget, taken))) c.header(name, value);
}

function tooMany(name: string, why: string, taken: Taken): ApiProblem {
  const seconds = Math.max(Math.ceil(taken.resetMs / 1_000), 1);
  return new ApiProblem('TooManyRequests', `${why}: try again in ${seconds} s.`, {
    headers: limitHeaders(name, taken),
  });
}

async function authenticate(c: ApiContext, deps: ApiDeps): Promise<void> {
  const header = c.req.header('authorization');
  const token = BEARER.exec(header ?? '')?.[1];
  if (token === undefined) {
    throw unauthenticated('No bearer token was sent: send Authorization: Bearer TOKEN.', '');
  }
  if (deps.identity !== undefined && isSigned(token)) {
    const { person, expiresAt } = await deps.identity(token);
    c.set('person', person);
    // Each of its tokens is new, so the person is what is counted.
    c.set('credential', `signed:${person}`);
    c.set('tokenExpiresAt', expiresAt);
    return;
  }
  const row = TOKEN.test(token)
    ? await deps.store.token(createHash('sha256').update(token).digest('hex'))
    : undefined;
  if (row === undefined || new Date(row.expiresAt).getTime() <= deps.now().getTime()) {
    throw unauthenticated(
      'The token is unknown, expired or revoked: ask for a new one.',
      ', error="invalid_token"',
    );
  }
  c.set('person', row.person);
  c.set('credential', row.id);
  c.set('tokenExpiresAt', row.expiresAt);
}

function unauthenticated(detail: string, more: string): ApiProblem {
  return new ApiProblem('Unauthenticated', detail, {
    headers: { 'WWW-Authenticate': `Bearer realm="countdown"${more}` },
  });
}
