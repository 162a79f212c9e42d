/** The undo sheet of a plan: every undo by hand, in words, to print before the launch. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { undoSheet } from '../../procedures/undo-sheet.ts';
import { type ApiDeps, type ApiEnv, environmentNamed, grant } from '../context.ts';
import { createRoute, problems, signedIn, z } from './define.ts';
import { PlanName, planNamed } from './plans.ts';

export function addUndoSheet(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/plans/{plan}/undo-sheet',
      summary: 'Every undo of a plan by hand, in words',
      security: signedIn,
      request: { params: PlanName },
      responses: {
        200: { description: 'Plain text to print', content: { 'text/plain': { schema: z.string() } } },
        ...problems(401, 403, 404),
      },
    }),
    async (c) => {
      const { hash, plan } = await planNamed(deps, c.req.valid('param').plan);
      await grant(c, deps, await environmentNamed(deps, plan.environment));
      return c.text(undoSheet(plan, hash), 200);
    },
  );
}
