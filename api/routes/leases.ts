/** Which targets are held, by which runs, and for how long still. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { type ApiDeps, type ApiEnv, environmentNamed } from '../context.ts';
import { withHolders } from '../leases.ts';
import { rolesIn } from '../permissions.ts';
import { LeaseList } from '../schemas.ts';
import { createRoute, json, problems, query, signedIn, z } from './define.ts';

export function addLeases(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/leases',
      summary: 'The targets that runs hold, in the environments that the person may see',
      security: signedIn,
      request: { query: query({ environment: z.string().max(64).optional() }) },
      responses: {
        200: { description: 'By environment and target', content: json(LeaseList) },
        ...problems(400, 401, 404),
      },
    }),
    async (c) => {
      const { environment: asked } = c.req.valid('query');
      if (asked !== undefined) await environmentNamed(deps, asked);
      const environments = await deps.environments.current();
      const person = c.get('person');
      const leases = (await deps.store.leases()).filter(({ environment: name }) => {
        const environment = environments.get(name);
        const mayRead = environment !== undefined && rolesIn(environment, person).length > 0;
        return mayRead && (asked === undefined || asked === name);
      });
      c.set('granted', true);
      return c.json({ items: await withHolders(deps, leases) }, 200);
    },
  );
}
