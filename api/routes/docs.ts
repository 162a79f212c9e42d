/** Pages about the API that the server itself holds; problems point at them. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { ApiEnv } from '../context.ts';
import { PROBLEMS, renderErrorsPage } from '../problem-codes.ts';
import { page } from '../page.ts';
import { createRoute, problems, z } from './define.ts';

export function addDocs(app: OpenAPIHono<ApiEnv>): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/docs/errors',
      summary: 'Every code of a problem, and what to do about it; for people',
      responses: {
        200: {
          description: 'The page; as plain text for whoever does not ask for HTML',
          content: { 'text/plain': { schema: z.string() }, 'text/html': { schema: z.string() } },
        },
        ...problems(),
      },
    }),
    (c) => {
      if (c.req.header('accept')?.includes('text/html') !== true) return c.text(renderErrorsPage(), 200);
      return c.html(page('Errors of the API', errorsBody()), 200);
    },
  );
}

/** One section a code, under the name that a problem's `type` has behind its `#`. */
function errorsBody(): string {
  return Object.entries(PROBLEMS)
    .map(
      ([code, { status, title, caller, operator }]) =>
        `<section id="${code.toLowerCase()}"><h2>${code} <small>${status}</small></h2><p>${title}.</p>` +
        `<dl><dt>You</dt><dd>${asHtml(caller)}</dd><dt>The operator</dt><dd>${asHtml(operator)}</dd></dl></section>`,
    )
    .join('\n');
}

/** What stands between backticks, as code. Texts of our own table alone come here. */
function asHtml(text: string): string {
  return text.replace(/`([^`]+)`/g, '<code>$1</code>');
}
