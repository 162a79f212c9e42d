/** Pages about the API that the server itself holds; problems point at them. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { ApiContext, ApiEnv } from '../context.ts';
import { type ApiDocument, openApiDocument, operationsOf, renderReference } from '../document.ts';
import { EXAMPLES } from '../examples.ts';
import { PROBLEMS, renderErrorsPage } from '../problem-codes.ts';
import { page } from '../page.ts';
import { createRoute, problems, z } from './define.ts';

/** The last of the routes to be added: the document holds those before it. */
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
      if (!wantsHtml(c)) return c.text(renderErrorsPage(), 200);
      return c.html(page('Errors of the API', errorsBody()), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/docs/api',
      summary: 'Every route with an example; for people',
      responses: {
        200: {
          description: 'The page; as plain text for whoever does not ask for HTML',
          content: { 'text/plain': { schema: z.string() }, 'text/html': { schema: z.string() } },
        },
        ...problems(),
      },
    }),
    (c) => {
      const made = document();
      if (!wantsHtml(c)) return c.text(renderReference(made), 200);
      return c.html(page('The HTTP API', referenceBody(made)), 200);
    },
  );

  let known: ApiDocument | undefined;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- see there
  const document = () => (known ??= openApiDocument(app) as unknown as ApiDocument);
  app.get('/openapi.json', (c) => c.json(document()));
}

function wantsHtml(c: ApiContext): boolean {
  return c.req.header('accept')?.includes('text/html') === true;
}

/** The reference, section by section. */
function referenceBody(document: ApiDocument): string {
  return operationsOf(document)
    .map(({ name, operation }) => {
      const { request, answer } = EXAMPLES[name] ?? {};
      const shown = [request, answer]
        .filter((one) => one !== undefined)
        .map((one) => `<pre>${escaped(JSON.stringify(one, null, 2))}</pre>`);
      const statuses = Object.keys(operation.responses).join(', ');
      return `<section><h2>${escaped(name)}</h2><p>${escaped(operation.summary ?? '')}. <small>${statuses}</small></p>${shown.join('\n')}</section>`;
    })
    .join('\n');
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
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
