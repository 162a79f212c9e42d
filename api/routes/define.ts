/** Small pieces that all route files share. */
import { type RouteConfig, createRoute, z } from '@hono/zod-openapi';
import { ApiProblem } from '../problems.ts';
import { Problem } from '../schemas.ts';

const STATUS_TEXT: Record<number, string> = {
  400: 'The body is not JSON, or a header or parameter cannot be used',
  401: 'No valid token',
  403: 'No right to do this',
  404: 'Not found',
  409: 'Not at this moment',
  413: 'Too large',
  422: 'Cannot be used',
  429: 'Too many requests, or streams',
  500: 'Something went wrong inside',
  503: 'A part does not answer',
};

type Answers = RouteConfig['responses'];

/** The problem answers of a route, for the document. 500 and 503 are always among them, and 429 where a token is asked for. */
export function problems(...statuses: number[]): Answers {
  const limited = statuses.includes(401) ? [429] : [];
  return Object.fromEntries(
    [...new Set([...statuses, ...limited, 500, 503])].map((status) => [
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

/** The parameters of a list; an unknown one is told which there are. */
export function query<Shape extends z.ZodRawShape>(shape: Shape) {
  const names = Object.keys(shape).join(' or ');
  return z.strictObject(shape, {
    error: ({ code }) => (code === 'unrecognized_keys' ? `expected ${names}` : undefined),
  });
}

const PAGE_MAX = 100;
const PAGE = 50;
const aPage = `expected a whole number from 1 to ${PAGE_MAX}`;

/** What a list in pages takes: `cursor` is `next` of the page before. */
export const paging = {
  limit: z.coerce.number({ error: aPage }).int(aPage).min(1, aPage).max(PAGE_MAX, aPage).default(PAGE),
  cursor: z.string().max(64).optional(),
};

/** An opaque place in a list that goes down from a number. */
export function writeCursor(before: number): string {
  return Buffer.from(`before:${before}`).toString('base64url');
}

/** Throws BadQuery for what `writeCursor` did not write. */
export function readCursor(cursor: string): number {
  const before = /^before:([1-9]\d{0,8})$/.exec(Buffer.from(cursor, 'base64url').toString())?.[1];
  if (before !== undefined) return Number(before);
  throw new ApiProblem('BadQuery', "The cursor cannot be used: take it from 'next' of the page before.");
}

export { createRoute, z };
