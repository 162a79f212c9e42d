/** Who the token names, and what that person may do where. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { groupsOf } from '../../procedures/environment.ts';
import type { ApiDeps, ApiEnv } from '../context.ts';
import { rolesIn } from '../permissions.ts';
import { Me } from '../schemas.ts';
import { createRoute, json, problems, signedIn } from './define.ts';

export function addMe(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/me',
      summary: 'The person of the token, with roles and groups',
      security: signedIn,
      responses: { 200: { description: 'The person', content: json(Me) }, ...problems(401) },
    }),
    async (c) => {
      const person = c.get('person');
      const all = [...(await deps.environments.current()).values()];
      const environments = all
        .map((environment) => ({
          environment: environment.environment,
          roles: rolesIn(environment, person) as string[],
          groups: groupsOf(environment, person),
        }))
        .filter(({ roles }) => roles.length > 0);
      c.set('granted', true);
      return c.json({ person, tokenExpiresAt: c.get('tokenExpiresAt'), environments }, 200);
    },
  );
}
