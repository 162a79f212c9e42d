/** `/health/live` says that the process answers; `/health/ready` that PostgreSQL and Temporal do. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { ApiDeps, ApiEnv } from '../context.ts';
import { ApiProblem } from '../problems.ts';
import { Health } from '../schemas.ts';
import { createRoute, json, problems } from './define.ts';

export function addHealth(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/health/live',
      summary: 'Whether the process answers',
      responses: { 200: { description: 'It does', content: json(Health) }, ...problems() },
    }),
    (c) => c.json({ status: 'ok' as const }, 200),
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/health/ready',
      summary: 'Whether PostgreSQL and Temporal answer',
      responses: { 200: { description: 'They do', content: json(Health) }, ...problems() },
    }),
    async (c) => {
      const parts = { postgresql: () => deps.store.ready(), temporal: () => deps.launcher.ready() };
      if (deps.isEnding?.() === true) {
        throw new ApiProblem('NotReady', 'This process is being ended: ask another one.');
      }
      const down: string[] = [];
      await Promise.all(
        Object.entries(parts).map(async ([part, ready]) => {
          try {
            await ready();
          } catch (error) {
            deps.log.warn({ err: error, part }, 'health: part does not answer');
            down.push(part);
          }
        }),
      );
      if (down.length > 0) {
        throw new ApiProblem('NotReady', `${down.sort().join(' and ')} cannot be reached: look at it.`);
      }
      return c.json({ status: 'ok' as const, parts: { postgresql: 'ok', temporal: 'ok' } }, 200);
    },
  );
}
