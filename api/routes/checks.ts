/** Checks: what of a runbook can be looked at before anything is changed, run at once as a run of its own. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { checkPlan } from '../../procedures/check-plan.ts';
import type { Plan } from '../../procedures/plan.ts';
import { digest } from '../../store/digest.ts';
import type { IdempotencyKey } from '../../store/types.ts';
import { type ApiDeps, type ApiEnv, environmentNamed, grant } from '../context.ts';
import { ApiProblem } from '../problems.ts';
import { CheckRequest, CheckStarted } from '../schemas.ts';
import { createRoute, json, problems, signedIn, z } from './define.ts';
import { compiledPlan } from './plans.ts';
import { idempotencyKey, runOf } from './runs.ts';

export function addChecks(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/checks',
      summary: 'Look at what a runbook would meet, without changing anything',
      security: signedIn,
      request: {
        headers: z.object({
          'idempotency-key': z
            .string()
            .optional()
            .openapi({ description: 'Repeating the request with it starts nothing new' }),
        }),
        body: { required: true, content: json(CheckRequest) },
      },
      responses: {
        202: {
          description: 'The run of the check, as it stands',
          headers: z.object({ Location: z.string() }),
          content: json(CheckStarted),
        },
        ...problems(400, 401, 403, 404, 409, 413, 422),
      },
    }),
    async (c) => {
      const body = c.req.valid('json');
      const person = c.get('person');
      const key = idempotencyKey(c.req.header('idempotency-key'));
      const environment = await environmentNamed(deps, body.environment);
      await grant(c, deps, environment);
      const compiled = await compiledPlan(deps, environment, body);
      const { plan, notChecked } = checkPlan(compiled.plan);
      if (plan.phases.length === 0) {
        throw new ApiProblem(
          'NothingToCheck',
          `Nothing of ${plan.runbook.name} can be looked at before it changes something: plan it, and read the plan.`,
          { errors: notChecked.map(({ id, because }) => ({ pointer: `/steps/${id}`, detail: because })) },
        );
      }
      const hash = digest(plan);
      await deps.store.savePlan({ hash, plan, person });
      const run = await startCheck(deps, plan, {
        hash,
        person,
        idempotency: key === null ? null : { key, person, bodyHash: digest({ check: { ...body } }) },
      });
      const now = await deps.store.run(run);
      c.header('Location', `/v1/runs/${run}`);
      const checked = plan.steps.map(({ id }) => id);
      return c.json({ run, state: now?.state ?? 'planned', plan: hash, checked, notChecked }, 202);
    },
  );
}

type Asked = {
  hash: string;
  person: string;
  idempotency: IdempotencyKey | null;
};

/** No freeze is asked about and nobody votes: a check changes nothing. Throws TargetLeased, KeyReused. */
async function startCheck(deps: ApiDeps, plan: Plan, { hash, person, idempotency }: Asked): Promise<number> {
  const created = await deps.store.createRun({
    plan: hash,
    requester: person,
    groups: {},
    failAt: null,
    idempotency,
  });
  const run = await runOf(deps, created, hash);
  if ('created' in created && created.created) {
    try {
      await deps.launcher.start({ run, plan, requester: person, planHash: hash, unwind: false });
    } catch (error) {
      // The row stands; the janitor starts it as soon as Temporal answers.
      deps.log.warn({ err: error, run }, 'check: not started yet');
    }
  }
  return run;
}
