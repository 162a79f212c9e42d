/** Plans: a runbook made exact for one environment. Planning touches no target and changes nothing. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { type CompileInput, type Compiled, compileAll } from '../../procedures/compile.ts';
import { loadRunbooks } from '../../procedures/load-runbooks.ts';
import { PlanProblem, render } from '../../procedures/problem.ts';
import { TEXT_FILE, parseRunbook } from '../../procedures/runbook.ts';
import type { Environment } from '../../procedures/environment.ts';
import type { Json, Plan } from '../../procedures/plan.ts';
import { digest } from '../../store/digest.ts';
import { listRunbooks, shippedRunbook } from '../../store/runbooks.ts';
import { type ApiContext, type ApiDeps, type ApiEnv, environmentNamed, grant } from '../context.ts';
import { emergencyMeant } from '../freeze.ts';
import { leasesAgainst } from '../leases.ts';
import { ApiProblem, type ProblemError, isProblemCode } from '../problems.ts';
import { type CheckRequest, PlanAnswer, PlanRequest } from '../schemas.ts';
import { planAnswer } from '../views.ts';
import { createRoute, json, problems, signedIn, z } from './define.ts';

export function addPlans(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/plans',
      summary: 'Make a plan of a runbook',
      security: signedIn,
      request: { body: { required: true, content: json(PlanRequest) } },
      responses: {
        201: {
          description: 'The plan',
          headers: z.object({ Location: z.string() }),
          content: json(PlanAnswer),
        },
        ...problems(400, 401, 403, 404, 413, 422),
      },
    }),
    async (c) => {
      const body = c.req.valid('json');
      const environment = await environmentNamed(deps, body.environment);
      await grant(c, deps, environment);
      const { plan, followUps } = await compiledPlan(deps, environment, body);
      const hash = digest(plan);
      const person = c.get('person');
      // Those that follow first: a stored plan names no plan that is not there.
      for (const { plan: own } of followUps)
        await deps.store.savePlan({ hash: digest(own), plan: own, person });
      await deps.store.savePlan({ hash, plan, person });
      c.header('Location', `/v1/plans/${hash}`);
      return c.json(await answer(c, deps, hash, plan, environment), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/plans/{plan}',
      summary: 'A plan by its hash, or by at least its first 12 digits',
      security: signedIn,
      request: { params: PlanName },
      responses: { 200: { description: 'The plan', content: json(PlanAnswer) }, ...problems(401, 403, 404) },
    }),
    async (c) => {
      const found = await planNamed(deps, c.req.valid('param').plan);
      const environment = await environmentNamed(deps, found.plan.environment);
      await grant(c, deps, environment);
      return c.json(await answer(c, deps, found.hash, found.plan, environment), 200);
    },
  );
}

/** The plan that a request asks for, and those of the runs that follow it; nothing is stored. Throws what is wrong with runbook and params. */
export async function compiledPlan(
  deps: ApiDeps,
  environment: Environment,
  body: z.infer<typeof CheckRequest> & Pick<z.infer<typeof PlanRequest>, 'emergency'>,
): Promise<Compiled> {
  const source = await sourceOf(deps, environment, body.runbook);
  const emergency = body.emergency && emergencyMeant(environment, body.emergency, deps.now());
  return planOf(deps, source, { environment, params: jsonOf(body.params), ...(emergency && { emergency }) });
}

export const PlanName = z.object({
  plan: z.string().openapi({ param: { name: 'plan', in: 'path' }, example: '7f3a91c204de' }),
});

/** A stored plan by at least 12 digits of its hash. Throws PlanUnknown. */
export async function planNamed(deps: ApiDeps, prefix: string): Promise<{ hash: string; plan: Plan }> {
  const found = /^[0-9a-f]{12,64}$/.test(prefix) ? await deps.store.planByPrefix(prefix) : undefined;
  if (found !== undefined) return found;
  throw new ApiProblem(
    'PlanUnknown',
    `There is no plan '${prefix.slice(0, 12)}': give at least 12 digits of a hash that POST /v1/plans answered.`,
  );
}

async function answer(c: ApiContext, deps: ApiDeps, hash: string, plan: Plan, environment: Environment) {
  const leases = await leasesAgainst(deps, plan);
  const expected = await deps.store.expected(hash);
  return planAnswer(hash, plan, { environment, person: c.get('person'), leases, expected, at: deps.now() });
}

/** The body came out of JSON.parse, so all in it is JSON. */
function jsonOf(params: Record<string, unknown>): Record<string, Json> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- see above
  return params as Record<string, Json>;
}

/** Problems that one answer tells. */
const PROBLEMS_MAX = 50;

type Source = { text: string; file: string };

/** Everything that is wrong with a runbook; with an environment also what a plan there would find. Nothing is stored. */
export async function lintOf(
  deps: ApiDeps,
  environment: Environment | undefined,
  body: { runbook: string | { text: string }; params: Record<string, unknown> },
): Promise<ProblemError[]> {
  // What nobody can run from here may still be looked at, whatever the environment.
  const source = await sourceOf(deps, undefined, body.runbook);
  try {
    if (environment === undefined) parseRunbook(source.text, source.file);
    else await planOf(deps, source, { environment, params: jsonOf(body.params) });
    return [];
  } catch (error) {
    const problem =
      error instanceof PlanProblem ? problemOfPlan(error, new Map([[source.file, source.text]])) : error;
    if (problem instanceof ApiProblem && problem.cause instanceof PlanProblem) return problem.errors;
    throw error;
  }
}

/** The runbook's text: of the server's folder, or of the request where the environment takes that. */
async function sourceOf(
  deps: ApiDeps,
  environment: Environment | undefined,
  runbook: string | { text: string },
): Promise<Source> {
  if (typeof runbook !== 'string') {
    if (environment?.protected === true) {
      throw new ApiProblem(
        'TextRefused',
        `${environment.environment} is protected, so it takes runbooks of the server only: plan one by its name.`,
        { errors: [{ pointer: '/runbook/text', detail: 'not allowed here' }] },
      );
    }
    return { text: runbook.text, file: TEXT_FILE };
  }
  return shippedSource(deps, runbook);
}

/** A runbook of the server's folder. Throws RunbookUnknown, and what is wrong with a file that is no text. */
export async function shippedSource(deps: ApiDeps, name: string): Promise<Source> {
  let found: Source | undefined;
  try {
    found = await shippedRunbook(deps.runbooks, name);
  } catch (error) {
    if (error instanceof PlanProblem) throw problemOfPlan(error, new Map());
    throw error;
  }
  if (found !== undefined) return found;
  const names = (await listRunbooks(deps.runbooks)).map((one) => one.name).join(', ');
  throw new ApiProblem(
    'RunbookUnknown',
    `There is no runbook '${name.slice(0, 40)}': use one of ${names || 'none'}.`,
  );
}

async function planOf(
  deps: ApiDeps,
  source: Source,
  input: Pick<CompileInput, 'environment' | 'params' | 'emergency'>,
): Promise<Compiled> {
  let texts: ReadonlyMap<string, string> = new Map([[source.file, source.text]]);
  try {
    const runbook = parseRunbook(source.text, source.file);
    const loaded = await loadRunbooks(runbook, (name) => shippedRunbook(deps.runbooks, name));
    texts = loaded.texts;
    return compileAll({ ...input, runbook, digest, runbooks: loaded.runbooks });
  } catch (error) {
    if (error instanceof PlanProblem) throw problemOfPlan(error, texts);
    throw error;
  }
}

function problemOfPlan(error: PlanProblem, texts: ReadonlyMap<string, string>): ApiProblem {
  const code = isProblemCode(error.code) ? error.code : 'RunbookInvalid';
  const [first] = error.problems;
  const more = error.problems.length > 1 ? ` ${error.problems.length - 1} more: look at errors.` : '';
  const at = first === undefined ? '' : `${first.file}:${first.line}:${first.column} `;
  return new ApiProblem(code, `${at}${first?.message ?? error.message}${more}`, {
    errors: error.problems.slice(0, PROBLEMS_MAX).map((problem) => ({
      pointer: problem.pointer,
      detail: problem.message,
      ...(problem.hint === undefined ? {} : { hint: problem.hint }),
      file: problem.file,
      line: problem.line,
      column: problem.column,
      excerpt: render(problem, texts.get(problem.file) ?? ''),
    })),
    cause: error,
  });
}
