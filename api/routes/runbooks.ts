/** The runbooks that this server holds, what is wrong with one, and the schemas by which editors check them. */
import { readFile } from 'node:fs/promises';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { describeRunbook, listRunbooks } from '../../store/runbooks.ts';
import { type ApiContext, type ApiDeps, type ApiEnv, environmentNamed, grant } from '../context.ts';
import { rolesIn } from '../permissions.ts';
import { ApiProblem } from '../problems.ts';
import { LintAnswer, LintRequest, RunbookAnswer, RunbookList } from '../schemas.ts';
import { createRoute, json, problems, signedIn, z } from './define.ts';
import { lintOf, shippedSource } from './plans.ts';

const SCHEMAS = ['runbook', 'environment'] as const;

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
      await grantAnybody(c, deps);
      return c.json({ items: await listRunbooks(deps.runbooks) }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/runbooks/{name}',
      summary: 'One runbook as it is written, with the digest of its version',
      security: signedIn,
      request: {
        params: z.object({
          name: z.string().openapi({ param: { name: 'name', in: 'path' }, example: 'first-launch' }),
        }),
      },
      responses: {
        200: { description: 'The runbook', content: json(RunbookAnswer) },
        ...problems(401, 403, 404, 422),
      },
    }),
    async (c) => {
      await grantAnybody(c, deps);
      const { name } = c.req.valid('param');
      const found = await shippedSource(deps, name);
      return c.json({ name, ...describeRunbook(found.text, found.file), text: found.text }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/lint',
      summary: 'Every problem of a runbook; with an environment also what a plan there would find',
      security: signedIn,
      request: { body: { required: true, content: json(LintRequest) } },
      responses: {
        200: { description: 'The problems; none where it is good', content: json(LintAnswer) },
        ...problems(400, 401, 403, 404, 413, 422),
      },
    }),
    async (c) => {
      const { runbook, environment: named, params } = c.req.valid('json');
      const environment = named === undefined ? undefined : await environmentNamed(deps, named);
      if (environment === undefined) await grantAnybody(c, deps);
      else await grant(c, deps, environment);
      return c.json({ problems: await lintOf(deps, environment, { runbook, params }) }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/schemas/{name}',
      summary: 'The JSON Schema of runbooks or of environment files, for editors',
      request: {
        params: z.object({
          name: z.string().openapi({ param: { name: 'name', in: 'path' }, example: 'runbook' }),
        }),
      },
      responses: {
        200: {
          description: 'The schema, draft 7',
          content: { 'application/schema+json': { schema: z.record(z.string(), z.unknown()) } },
        },
        ...problems(404),
      },
    }),
    async (c) => {
      const name = SCHEMAS.find((one) => one === c.req.valid('param').name);
      if (name === undefined) {
        throw new ApiProblem('RouteUnknown', `There are schemas of ${SCHEMAS.join(' and ')} alone.`);
      }
      const file = new URL(`../../docs/schemas/${name}.schema.json`, import.meta.url);
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a file of ours, which a test compares
      const schema = JSON.parse(await readFile(file, 'utf8')) as { [key: string]: string };
      return c.json(schema, 200, { 'Content-Type': 'application/schema+json' });
    },
  );
}

/** Gives the right to everybody whom any environment names. */
async function grantAnybody(c: ApiContext, deps: ApiDeps): Promise<void> {
  const person = c.get('person');
  const all = [...(await deps.environments.current()).values()];
  if (!all.some((environment) => rolesIn(environment, person).length > 0)) {
    throw new ApiProblem(
      'NotAllowed',
      `${person} is named in no environment: ask the owner of one to be added.`,
    );
  }
  c.set('granted', true);
}
