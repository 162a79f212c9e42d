/**
 * The API as one hono application: `createApi(deps)` composes it and does not listen.
 *
 *   request ─▶ request id, headers ─▶ route table, token ─▶ body guard ─▶ zod ─▶ handler (grant) ─▶ answer
 *                                        any of them ──▶ onError ─▶ problem+json
 */
import { OpenAPIHono } from '@hono/zod-openapi';
import { secureHeaders } from 'hono/secure-headers';
import { addressOf, nobody } from './address.ts';
import { guardRoute } from './auth.ts';
import { guardBody } from './body.ts';
import type { ApiContext, ApiDeps, ApiEnv } from './context.ts';
import { invalid } from './invalid.ts';
import { STYLE_DIGEST } from './page.ts';
import { routeNamed } from './permissions.ts';
import { ApiProblem, PROBLEMS, type ProblemBody } from './problems.ts';
import { addChecks } from './routes/checks.ts';
import { addReady } from './routes/ready.ts';
import { addDecisions } from './routes/decisions.ts';
import { addDocs } from './routes/docs.ts';
import { addEvents } from './routes/events.ts';
import { addEvidence } from './routes/evidence.ts';
import { addHealth } from './routes/health.ts';
import { addLeases } from './routes/leases.ts';
import { addMe } from './routes/me.ts';
import { addPlans } from './routes/plans.ts';
import { addRunbooks } from './routes/runbooks.ts';
import { addRuns } from './routes/runs.ts';
import { addSlack } from './routes/slack.ts';
import { addTokens } from './routes/tokens.ts';
import { addUndoSheet } from './routes/undo-sheet.ts';
import { trace, traceOf, traced } from './trace.ts';

export type { ApiDeps } from './context.ts';

/** Throws where a route stands in no row of the table of rights. */
export function createApi(deps: ApiDeps): OpenAPIHono<ApiEnv> {
  const app = new OpenAPIHono<ApiEnv>({
    defaultHook: (result) => {
      if (!result.success) throw invalid(result.target, result.error.issues, sentOf(result));
    },
  });
  app.use(async (c, next) => {
    const names = traceOf(c.req.header('x-request-id'), c.req.header('traceparent'));
    c.set('requestId', names.requestId);
    await traced(names, next);
    c.header('X-Request-Id', names.requestId);
    if (deps.isEnding?.() === true) c.header('Connection', 'close');
    if (!c.res.headers.has('Cache-Control')) c.header('Cache-Control', 'no-store');
  });
  app.use(
    secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: ["'none'"],
        styleSrc: [STYLE_DIGEST],
        frameAncestors: ["'none'"],
      },
      permissionsPolicy: { camera: false, geolocation: false, microphone: false },
      xFrameOptions: 'DENY',
      strictTransportSecurity: false,
    }),
  );
  app.use(async (c, next) => {
    const startedAt = performance.now();
    await next();
    const route = matchRoute(app, c.req.method, c.req.path)?.split(' ')[1] ?? 'none';
    const { method } = c.req;
    const ms = performance.now() - startedAt;
    deps.metrics?.answered({ method, route, status: c.res.status, ms });
    deps.log.info(
      {
        ...trace(),
        method: c.req.method,
        path: c.req.path,
        address: addressOf(c, deps.isProxy ?? nobody),
        status: c.res.status,
        tookMs: Math.round(ms),
        person: c.get('person') || undefined,
      },
      'request: answered',
    );
  });
  app.use(guardRoute(deps, (method, path) => matchRoute(app, method, path)));
  addSlack(app, deps);
  app.use(guardBody);

  addHealth(app, deps);
  addMe(app, deps);
  addRunbooks(app, deps);
  addPlans(app, deps);
  addUndoSheet(app, deps);
  addChecks(app, deps);
  addReady(app, deps);
  addRuns(app, deps);
  addLeases(app, deps);
  addTokens(app, deps);
  addEvents(app, deps);
  addEvidence(app, deps);
  addDecisions(app, deps);
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' });
  addDocs(app);

  app.notFound((c) => {
    throw new ApiProblem('RouteUnknown', `There is no ${c.req.method} ${c.req.path}: look at /openapi.json.`);
  });
  app.onError((error, c) => answerProblem(deps, error, c as ApiContext));
  for (const route of routesOf(app)) {
    if (routeNamed(route) === undefined) {
      throw new Error(`Route ${route} has no row in the table of routes: add it to api/permissions.ts.`);
    }
  }
  return app;
}

/** Method and path of each route, middleware left out. */
export function routesOf(app: OpenAPIHono<ApiEnv>): string[] {
  const routes = app.routes.filter(({ method }) => method !== 'ALL');
  return [...new Set(routes.map(({ method, path }) => `${method} ${path}`))];
}

function matchRoute(app: OpenAPIHono<ApiEnv>, method: string, path: string): string | undefined {
  const [handlers] = app.router.match(method, path);
  for (const [[, route]] of handlers) {
    if (route.method !== 'ALL') return `${route.method} ${route.path}`;
  }
  return undefined;
}

/** What was validated: the library hands it to the hook beside the result, and its type does not say so. */
function sentOf(result: object): unknown {
  return 'data' in result ? result.data : undefined;
}

function answerProblem(deps: ApiDeps, error: Error, c: ApiContext): Response {
  const problem = error instanceof ApiProblem ? error : unexpected(error);
  const entry = PROBLEMS[problem.code];
  if (entry.status >= 500) {
    deps.log.error({ err: error, ...trace(), code: problem.code }, 'request: failed');
  }
  const body: ProblemBody = {
    ...problem.members,
    type: `/docs/errors#${problem.code.toLowerCase()}`,
    title: entry.title,
    status: entry.status,
    code: problem.code,
    detail: problem.message,
    instance: c.req.path,
    requestId: c.get('requestId'),
    errors: problem.errors,
  };
  return c.body(JSON.stringify(body), entry.status, {
    ...problem.headers,
    'Content-Type': 'application/problem+json',
    'X-Request-Id': c.get('requestId'),
    'Cache-Control': 'no-store',
  });
}

/** What no handler foresaw. A database that is out is told as such; of anything else the log knows more than the caller. */
function unexpected(error: Error): ApiProblem {
  if (isStoreOut(error)) {
    return new ApiProblem('StoreUnavailable', 'The database cannot be reached: try again later.', {
      headers: { 'Retry-After': '5' },
      cause: error,
    });
  }
  return new ApiProblem('Internal', 'Something went wrong inside: tell the operator the requestId.', {
    cause: error,
  });
}

function isStoreOut(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isStoreOut);
  if (!(error instanceof Error)) return false;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (/^(ECONNREFUSED|ECONNRESET|ENOENT|ETIMEDOUT|EPIPE|EHOSTUNREACH|ENOTFOUND)$/.test(code)) return true;
  // Classes of PostgreSQL: connection exception, insufficient resources, operator intervention.
  if (/^(08|53|57)[0-9A-Z]{3}$/.test(code)) return true;
  if (
    /^(timeout exceeded when trying to connect|Connection terminated|Query read timeout)/.test(error.message)
  )
    return true;
  return error.cause !== undefined && isStoreOut(error.cause);
}
