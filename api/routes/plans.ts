/** Plans: a runbook made exact for one environment. Planning touches no target and changes nothing. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { type CompileInput, type Compiled, compileAll } from '../../procedures/compile.ts';
import { loadRunbooks } from '../../procedures/load-runbooks.ts';
import { PlanProblem, render } from '../../procedures/problem.ts';
import { TEXT_FILE, parseRunbook } from '../../procedures/runbook.ts';
import type { Environment } from '../../procedures/environment.ts';
import type { Json, Plan } from '../../procedures/plan.ts';
import { digest } from '../../store/digest.ts';
import { listRunbooks, readRunbook, shippedRunbook } from '../../store/runbooks.ts';
import { type ApiContext, type ApiDeps, type ApiEnv, environmentNamed, grant } from '../context.ts';
import { emergencyMeant } from '../freeze.ts';
import { leasesAgainst } from '../leases.ts';
import { ApiProblem, isProblemCode } from '../problems.ts';
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

/** The runbook's text: of the server's folder, or of the request where the environment takes that. */
async function sourceOf(
  deps: ApiDeps,
  environment: Environment,
  runbook: string | { text: string },
): Promise<Source> {
  if (typeof runbook !== 'string') {
    if (environment.protected) {
      throw new ApiProblem(
        'TextRefused',
        `${environment.environment} is protected, so it takes runbooks of the server only: plan one by its name.`,
        { errors: [{ pointer: '/runbook/text', detail: 'not allowed here' }] },
      );
    }
    return { text: runbook.text, file: TEXT_FILE };
  }
  const items = await listRunbooks(deps.runbooks);
  if (!items.some(({ name }) => name === runbook)) {
    const names = items.map(({ name }) => name).join(', ');
    throw new ApiProblem(
      'RunbookUnknown',
      `There is no runbook '${runbook}': use one of ${names || 'none'}.`,
    );
  }
  return readRunbook(deps.runbooks, runbook);
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
