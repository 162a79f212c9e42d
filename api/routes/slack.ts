/** Signed requests of Slack, as they came: what they are worth is for `slack/` to say. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { ApiDeps, ApiEnv } from '../context.ts';
import { ApiProblem } from '../problems.ts';
import { json, problems, z } from './define.ts';

const Form = z
  .looseObject({ payload: z.string().optional().openapi({ description: 'JSON, for a click or a window' }) })
  .openapi('SlackForm', {
    description: 'A click, the answer to a window, or a slash command, as Slack sends it',
  });
const Answer = z
  .looseObject({})
  .openapi('SlackAnswer', { description: 'What Slack shows at once; often there is no body at all' });

/** Stands before the guard of JSON bodies: a signature covers bytes that nobody has read yet. */
export function addSlack(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openAPIRegistry.registerPath({
    method: 'post',
    path: '/v1/slack',
    summary: 'Clicks and commands of Slack, signed by it',
    request: { body: { required: true, content: { 'application/x-www-form-urlencoded': { schema: Form } } } },
    responses: {
      200: { description: 'Taken; the answer comes in Slack', content: json(Answer) },
      ...problems(401, 404, 413),
    },
  });
  app.post('/v1/slack', async (c) => {
    if (deps.slack === undefined)
      throw new ApiProblem('RouteUnknown', 'No Slack is connected here by HTTP: look at docs/slack.md.');
    return deps.slack(c.req.raw);
  });
}
