/** Small pieces that all route files share. */
import { type RouteConfig, createRoute, z } from '@hono/zod-openapi';
import { Problem } from '../schemas.ts';

const STATUS_TEXT: Record<number, string> = {
  400: 'The body is not JSON, or a header or parameter cannot be used',
  401: 'No valid token',
  403: 'No right to do this',
  404: 'Not found',
  409: 'Not at this moment',
  413: 'Too large',
  422: 'Cannot be used',
  429: 'Too many streams',
  500: 'Something went wrong inside',
  503: 'A part does not answer',
};

type Answers = RouteConfig['responses'];

/** The problem answers of a route, for the document. 500 and 503 are always among them. */
export function problems(...statuses: number[]): Answers {
  return Object.fromEntries(
    [...statuses, 500, 503].map((status) => [
      status,
      {
        description: STATUS_TEXT[status] ?? 'Problem',
        content: { 'application/problem+json': { schema: Problem } },
      },
    ]),
  );
}

export function json<S extends z.ZodType>(schema: S) {
  return { 'application/json': { schema } };
}

export const signedIn = [{ bearer: [] }];

export const RunId = z.object({
  id: z
    .string()
    .openapi({ param: { name: 'id', in: 'path' }, description: 'Number of the run', example: '41' }),
});

export { createRoute, z };
