/**
 * Who asks: a bearer token, looked up by its sha256, so that no comparison can leak the token's digits by time; or one that an
 * identity provider signed.
 */
import { createHash } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import type { ApiDeps, ApiEnv } from './context.ts';
import { isSigned } from './oidc.ts';
import { PERMISSIONS } from './permissions.ts';
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
    const permission = route === undefined ? undefined : PERMISSIONS[route];
    if (permission === undefined) {
      throw new ApiProblem(
        'RouteUnknown',
        `There is no ${c.req.method.slice(0, 10)} ${c.req.path.slice(0, 80)}: look at /openapi.json.`,
      );
    }
    c.set('permission', permission);
    c.set('granted', permission === 'public');
    c.set('person', '');
    if (permission !== 'public') await authenticate(c, deps);
    await next();
    if (!c.get('granted') && c.res.status < 400) {
      throw new ApiProblem('Internal', 'This route answered without asking for a right.');
    }
  };
}

async function authenticate(c: Parameters<MiddlewareHandler<ApiEnv>>[0], deps: ApiDeps): Promise<void> {
  const header = c.req.header('authorization');
  const token = BEARER.exec(header ?? '')?.[1];
  if (token === undefined) {
    throw unauthenticated('No bearer token was sent: send Authorization: Bearer TOKEN.', '');
  }
  if (deps.identity !== undefined && isSigned(token)) {
    const { person, expiresAt } = await deps.identity(token);
    c.set('person', person);
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
  c.set('tokenExpiresAt', row.expiresAt);
}

function unauthenticated(detail: string, more: string): ApiProblem {
  return new ApiProblem('Unauthenticated', detail, {
    headers: { 'WWW-Authenticate': `Bearer realm="countdown"${more}` },
  });
}
