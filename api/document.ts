/** `/openapi.json` and the reference page: one made of the routes, the other made of it. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { ApiEnv } from './context.ts';
import { EXAMPLES, PROBLEM_EXAMPLE } from './examples.ts';
import { QUOTAS } from './limits.ts';
import { GRANTED, type Permission, type Route, routeNamed } from './permissions.ts';

const JSON_TYPE = 'application/json';

type Content = Record<string, { schema?: unknown; example?: unknown }>;
type Operation = {
  summary?: string;
  parameters?: { name: string; in: string; required?: boolean; description?: string }[];
  requestBody?: { content: Content };
  responses: Record<string, { description?: string; content?: Content }>;
};
/** As much of an OpenAPI document as is looked at here. */
export type ApiDocument = { paths: Record<string, Record<string, Operation>> };

/** The document that `/openapi.json` answers with. */
export function openApiDocument(app: OpenAPIHono<ApiEnv>) {
  const document = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Countdown',
      version: '1',
      description:
        'Plans, runs and steers launch runbooks. Errors are RFC 9457 problems; their codes are in docs/errors.md.',
    },
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the generator's type allows references that it never makes
  for (const { name, operation } of operationsOf(document as unknown as ApiDocument)) {
    const example = EXAMPLES[name];
    const body = operation.requestBody?.content[JSON_TYPE];
    if (body !== undefined && example?.request !== undefined) body.example = example.request;
    for (const [status, { content = {} }] of Object.entries(operation.responses)) {
      const good = status.startsWith('2') ? content[JSON_TYPE] : undefined;
      if (good !== undefined && example?.answer !== undefined) good.example = example.answer;
    }
  }
  const problem = document.components?.schemas?.['Problem'];
  if (problem !== undefined && !('$ref' in problem)) problem.example = PROBLEM_EXAMPLE;
  return document;
}

/** Each operation with its `METHOD PATH`. */
export function operationsOf(document: ApiDocument): { name: string; operation: Operation }[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      operation,
    })),
  );
}

/** The text of `docs/api.md`. */
export function renderReference(document: ApiDocument): string {
  const operations = operationsOf(document);
  return [
    '# The HTTP API',
    '',
    'Every route that there is, made of the code. [openapi.json](openapi.json) has the schemas; each server answers with its own at `/openapi.json`, and',
    'with this page at `/docs/api`. A token goes into `Authorization: Bearer TOKEN`. [Errors](errors.md) are problems of RFC 9457 with a stable `code`.',
    '',
    '- **Lists** come in pages: `limit` (50, at most 100) and `cursor`, which is `next` of the page before; `next` is null on the last one.',
    '- **Times** are RFC 3339 in UTC; lengths are milliseconds and end in `Ms`.',
    '- **Again**: `Idempotency-Key` on `POST /v1/runs` and `POST /v1/checks`. The same key with the same body starts nothing new, for ever; with another body it is 422.',
    '- **Events** (`GET /v1/runs/{id}/events`) are server-sent: the id is the row of the journal, so `Last-Event-ID` goes on without a gap. The server closes after the last one.',
    `- **Budgets** a minute and token: ${budgets()}. \`RateLimit\` says what is left; 429 comes with \`Retry-After\`.`,
    '- **Names**: `X-Request-Id` and `traceparent` are kept, in the log and in Temporal.',
    '',
    '| Route | What it does | Who may | Budget |',
    '|---|---|---|---|',
    ...operations.map(({ name, operation }) => {
      const { permission, limit } = rowOf(name);
      return `| [\`${name}\`](#${anchorOf(name)}) | ${operation.summary ?? ''} | ${whoMay(permission)} | ${limit === 'free' ? '–' : limit} |`;
    }),
    '',
    ...operations.flatMap(sectionOf),
  ].join('\n');
}

function budgets(): string {
  const { signIn: _, ...counted } = QUOTAS;
  return Object.entries(counted)
    .map(([name, quota]) => `${name} ${quota}`)
    .join(', ');
}

function rowOf(name: string): Route {
  const row = routeNamed(name.replaceAll(/\{(\w+)\}/g, ':$1'));
  if (row === undefined) throw new Error(`${name} has no row in the table of routes.`);
  return row;
}

/** As GitHub makes it of a heading. */
function anchorOf(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9 -]/g, '')
    .replaceAll(' ', '-');
}

const WHO: Partial<Record<Permission, string>> = {
  public: 'everybody',
  'signed-in': 'any token',
  read: 'whom the environment names',
  decide: 'members of the groups that are asked, never the requester',
  abort: 'operator, approver, admin, the requester',
  evidence: 'auditor, admin, operator, the requester',
};

function whoMay(permission: Permission): string {
  const said = WHO[permission];
  if (said !== undefined || permission === 'public' || permission === 'signed-in') return said ?? '';
  return GRANTED[permission].join(', ');
}

function sectionOf({ name, operation }: { name: string; operation: Operation }): string[] {
  const { request, answer } = EXAMPLES[name] ?? {};
  const statuses = Object.keys(operation.responses);
  const good = statuses.filter((status) => Number(status) < 300);
  const bad = statuses.filter((status) => Number(status) >= 400);
  const given = (operation.parameters ?? []).map(({ name: one, in: where }) => `\`${one}\` (${where})`);
  return [
    `## ${name}`,
    '',
    `${operation.summary ?? ''}.${given.length === 0 ? '' : ` Takes ${given.join(', ')}.`}`,
    '',
    `Answers ${good.join(' or ')}; problems ${bad.join(', ')}.`,
    '',
    ...(request === undefined ? [] : ['```json', JSON.stringify(request, null, 2), '```', '']),
    ...(answer === undefined
      ? []
      : [
          request === undefined ? 'Answer:' : 'is answered with',
          '',
          '```json',
          JSON.stringify(answer, null, 2),
          '```',
          '',
        ]),
  ];
}
