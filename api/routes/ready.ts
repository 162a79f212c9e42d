/** Somebody says that he is there to approve a run that waits to hear it. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { type ApiDeps, type ApiEnv, doorOf, environmentNamed, grant, runById } from '../context.ts';
import { sayReady } from '../say-ready.ts';
import { RunStarted } from '../schemas.ts';
import { RunId, createRoute, json, problems, signedIn } from './define.ts';
import { startedAnswer } from './runs.ts';

export function addReady(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/runs/{id}/ready',
      summary: 'Say that you are there to approve the run',
      security: signedIn,
      request: { params: RunId },
      responses: {
        200: { description: 'The run, as it stands', content: json(RunStarted) },
        ...problems(400, 401, 403, 404, 409, 413, 422),
      },
    }),
    async (c) => {
      const run = await runById(deps, c.req.valid('param').id);
      const environment = await environmentNamed(deps, run.environment);
      await grant(c, deps, environment, run);
      await sayReady(deps, { run, environment, person: c.get('person'), door: doorOf(c) });
      return c.json(await startedAnswer(deps, run.run), 200);
    },
  );
}
