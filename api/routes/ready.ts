/** Somebody says that he is there to approve a run that waits to hear it. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { groupsOf } from '../../procedures/environment.ts';
import { isTerminal } from '../../procedures/states.ts';
import type { RunDetail } from '../../store/types.ts';
import { listNames } from '../../workflows/approvals.ts';
import {
  type ApiContext,
  type ApiDeps,
  type ApiEnv,
  doorOf,
  environmentNamed,
  grant,
  runById,
} from '../context.ts';
import { beginRun } from '../janitor.ts';
import { ApiProblem } from '../problems.ts';
import { RunStarted } from '../schemas.ts';
import { RunId, createRoute, json, problems, signedIn } from './define.ts';
import { startedAnswer } from './runs.ts';

export function addReady(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/runs/{id}/ready',
      summary: 'Say that you are there to approve the run',
      security: signedIn,
      request: { params: RunId },
      responses: {
        200: { description: 'The run, as it stands', content: json(RunStarted) },
        ...problems(400, 401, 403, 404, 409, 413, 422),
      },
    }),
    async (c) => {
      const run = await runById(deps, c.req.valid('param').id);
      const environment = await environmentNamed(deps, run.environment);
      await grant(c, deps, environment, run);
      const person = c.get('person');
      if (run.state !== 'planned' || !run.readyCheck) throw notWaiting(run);
      await assertAsked(c, deps, run, groupsOf(environment, person));
      if (!(await deps.store.sayReady({ run: run.run, person, door: doorOf(c) }))) throw notWaiting(run);
      await beginRun(deps, run.run);
      return c.json(await startedAnswer(deps, run.run), 200);
    },
  );
}

function notWaiting({ run, state, readyCheck }: RunDetail): ApiProblem {
  const found = isTerminal(state)
    ? `is ${state}`
    : readyCheck
      ? 'begins already'
      : 'asks nobody whether he is there';
  return new ApiProblem('NotAsked', `run ${run} ${found}. Nothing was counted.`);
}

/** Throws RequesterCannotApprove or NotInGroup, and journals the attempt. */
async function assertAsked(
  c: ApiContext,
  deps: ApiDeps,
  run: RunDetail,
  groups: readonly string[],
): Promise<void> {
  const person = c.get('person');
  const plan = await deps.store.plan(run.plan);
  const asked = [
    ...new Set(Object.values(plan?.approvals ?? {}).flatMap(({ from }) => Object.keys(from))),
  ].toSorted();
  const isAsked = asked.some((group) => groups.includes(group));
  if (person !== run.requester && isAsked) return;
  const [code, detail] =
    person === run.requester
      ? ([
          'RequesterCannotApprove',
          `You asked for run ${run.run}, so others must be ready to approve it.`,
        ] as const)
      : (['NotInGroup', `run ${run.run} asks ${listNames(asked)}; you are in none of them.`] as const);
  await deps.store.refused({
    environment: run.environment,
    person,
    door: doorOf(c),
    run: run.run,
    code,
    detail,
  });
  throw new ApiProblem(code, detail);
}
