/** Tokens: an admin gives them out and takes them back. The secret is in one answer and in no row. */
import { createHash, randomBytes } from 'node:crypto';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Environment } from '../../procedures/environment.ts';
import type { TokenAudit } from '../../store/types.ts';
import { type ApiContext, type ApiDeps, type ApiEnv, doorOf, grant } from '../context.ts';
import { mayDo, rolesIn } from '../permissions.ts';
import { ApiProblem } from '../problems.ts';
import { TokenList, TokenMade, TokenRequest } from '../schemas.ts';
import { createRoute, json, paging, problems, query, signedIn, z } from './define.ts';

const TOKEN_BYTES = 32;
/** Pages of the store that one page of the answer may look through. */
const LOOKS_MAX = 20;

export function addTokens(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/tokens',
      summary: 'Give a person a token; its secret is in this answer alone',
      security: signedIn,
      request: { body: { required: true, content: json(TokenRequest) } },
      responses: {
        201: { description: 'The token, with its secret', content: json(TokenMade) },
        ...problems(400, 401, 403, 413, 422),
      },
    }),
    async (c) => {
      const { person, expiresMs } = c.req.valid('json');
      await assertAdmin(c, deps);
      const environments = await naming(deps, person);
      if (environments.length === 0) {
        const detail = `${person} is named in no environment, so a token would give no right: add the person first.`;
        throw new ApiProblem('BodyInvalid', detail, { errors: [{ pointer: '/person', detail }] });
      }
      for (const environment of environments) await grant(c, deps, environment);
      const token = `cd_${randomBytes(TOKEN_BYTES).toString('base64url')}`;
      const hash = createHash('sha256').update(token).digest('hex');
      const expiresAt = new Date(deps.now().getTime() + expiresMs);
      const row = await deps.store.issueToken({ hash, person, expiresAt }, auditOf(c, environments));
      return c.json({ ...row, token }, 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/tokens',
      summary: 'Tokens that can be used, of people whom the admin looks after',
      security: signedIn,
      request: { query: query(paging) },
      responses: {
        200: { description: 'A page, newest first, without secrets', content: json(TokenList) },
        ...problems(400, 401, 403),
      },
    }),
    async (c) => {
      await assertAdmin(c, deps);
      const { limit, cursor } = c.req.valid('query');
      const found = [];
      let before = cursor === undefined ? undefined : tokenOfCursor(cursor);
      for (let looks = 0; looks < LOOKS_MAX && found.length <= limit; looks += 1) {
        const page = await deps.store.tokens({
          limit: limit + 1,
          ...(before === undefined ? {} : { before }),
        });
        for (const token of page) if (await looksAfter(c, deps, token.person)) found.push(token);
        before = page.at(-1)?.id;
        if (page.length <= limit) {
          before = undefined;
          break;
        }
      }
      const items = found.slice(0, limit);
      const last = found.length > limit ? items.at(-1)?.id : before;
      const next = last === undefined ? null : Buffer.from(`token:${last}`).toString('base64url');
      return c.json({ items, next }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v1/tokens/{id}',
      summary: 'Take a token back at once',
      security: signedIn,
      request: {
        params: z.object({ id: z.string().openapi({ param: { name: 'id', in: 'path' } }) }),
      },
      responses: { 204: { description: 'It is worth nothing now' }, ...problems(401, 403, 404) },
    }),
    async (c) => {
      await assertAdmin(c, deps);
      const { id } = c.req.valid('param');
      const token = await deps.store.tokenById(id);
      const unknown = new ApiProblem(
        'TokenUnknown',
        `There is no token '${id.slice(0, 40)}' that can be used: look at GET /v1/tokens.`,
      );
      if (token === undefined) throw unknown;
      const environments = await naming(deps, token.person);
      for (const environment of environments) await grant(c, deps, environment);
      // Whom no environment names any more is anybody's to take out, and written down where the admin is one.
      const where = environments.length > 0 ? environments : await adminOf(c, deps);
      if (!(await deps.store.revokeToken(id, auditOf(c, where)))) throw unknown;
      return c.body(null, 204);
    },
  );
}

/** The environments that name this person. */
async function naming(deps: ApiDeps, person: string): Promise<Environment[]> {
  const all = [...(await deps.environments.current()).values()];
  return all.filter((environment) => rolesIn(environment, person).length > 0);
}

/** The environments in which the caller is an admin. */
async function adminOf(c: ApiContext, deps: ApiDeps): Promise<Environment[]> {
  const all = [...(await deps.environments.current()).values()];
  return all.filter((environment) => mayDo('tokens', rolesIn(environment, c.get('person'))));
}

/** Throws NotAllowed for who is admin nowhere; the attempt is journalled where the caller is named first. */
async function assertAdmin(c: ApiContext, deps: ApiDeps): Promise<void> {
  const person = c.get('person');
  const [home] = await adminOf(c, deps);
  const [known] = home === undefined ? await naming(deps, person) : [home];
  if (known === undefined) {
    throw new ApiProblem(
      'NotAllowed',
      `${person} is named in no environment: ask the owner of one to be added.`,
    );
  }
  await grant(c, deps, known);
}

/** Whether the caller is admin wherever this person is named. */
async function looksAfter(c: ApiContext, deps: ApiDeps, person: string): Promise<boolean> {
  const caller = c.get('person');
  return (await naming(deps, person)).every((environment) => mayDo('tokens', rolesIn(environment, caller)));
}

function auditOf(c: ApiContext, environments: readonly Environment[]): TokenAudit {
  return {
    actor: c.get('person'),
    door: doorOf(c),
    environments: environments.map(({ environment }) => environment),
  };
}

/** Throws BadQuery for a cursor that no page gave. */
function tokenOfCursor(cursor: string): string {
  const id = /^token:([0-9a-f-]{36})$/.exec(Buffer.from(cursor, 'base64url').toString())?.[1];
  if (id !== undefined) return id;
  throw new ApiProblem('BadQuery', "The cursor cannot be used: take it from 'next' of the page before.");
}
