/** The runbooks that this server holds. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { listRunbooks } from '../../store/runbooks.ts';
import type { ApiDeps, ApiEnv } from '../context.ts';
import { rolesIn } from '../permissions.ts';
import { ApiProblem } from '../problems.ts';
import { RunbookList } from '../schemas.ts';
import { createRoute, json, problems, signedIn } from './define.ts';

export function addRunbooks(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/runbooks',
      summary: 'The runbooks of the server',
      security: signedIn,
      responses: { 200: { description: 'By name', content: json(RunbookList) }, ...problems(401, 403) },
    }),
    async (c) => {
      const person = c.get('person');
      const all = [...(await deps.environments.current()).values()];
      if (!all.some((environment) => rolesIn(environment, person).length > 0)) {
        throw new ApiProblem(
          'NotAllowed',
          `${person} is named in no environment: ask the owner of one to be added.`,
        );
      }
      c.set('granted', true);
      const items = await listRunbooks(deps.runbooks);
      return c.json({ items }, 200);
    },
  );
}
