/** Runs: start one, list them, look at one. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Environment } from '../../procedures/environment.ts';
import { type Plan, isWait } from '../../procedures/plan.ts';
import { digest } from '../../store/digest.ts';
import type { CreatedRun, IdempotencyKey } from '../../store/types.ts';
import { READY_WAIT_MS } from '../../procedures/limits.ts';
import { quorumPossible } from '../../procedures/quorum.ts';
import { waitingForOf } from '../admission.ts';
import {
  type ApiContext,
  type ApiDeps,
  type ApiEnv,
  doorOf,
  environmentNamed,
  grant,
  runById,
} from '../context.ts';
import { frozenAt } from '../freeze.ts';
import { heldSentence, holderOf } from '../leases.ts';
import { rolesIn } from '../permissions.ts';
import { ApiProblem } from '../problems.ts';
import { RunDetailAnswer, RunPage, RunRequest, RunStarted } from '../schemas.ts';
import { startOf } from '../start.ts';
import { pointOfNoReturn, runAnswer, runDetailAnswer, votersOf } from '../views.ts';
import {
  RunId,
  createRoute,
  json,
  paging,
  problems,
  query,
  readCursor,
  signedIn,
  writeCursor,
  z,
} from './define.ts';

/** Pages of the store that one page of the answer may look through for runs that the person may see. */
const LOOKS_MAX = 20;

export function addRuns(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/runs',
      summary: 'Start a run of a plan',
      security: signedIn,
      request: {
        headers: z.object({
          'idempotency-key': z
            .string()
            .optional()
            .openapi({ description: 'Repeating the request with it starts nothing new' }),
        }),
        body: { required: true, content: json(RunRequest) },
      },
      responses: {
        202: {
          description: 'The run, as it stands',
          headers: z.object({ Location: z.string() }),
          content: json(RunStarted),
        },
        ...problems(400, 401, 403, 404, 409, 413, 422),
      },
    }),
    async (c) => {
      const person = c.get('person');
      const body = c.req.valid('json');
      const key = idempotencyKey(c.req.header('idempotency-key'));
      const plan = await deps.store.plan(body.plan);
      if (plan === undefined) {
        throw new ApiProblem(
          'PlanUnknown',
          `There is no plan ${body.plan.slice(0, 12)}: make it with POST /v1/plans.`,
        );
      }
      const environment = await environmentNamed(deps, plan.environment);
      await grant(c, deps, environment);
      const idempotency = key === null ? null : { key, person, bodyHash: digest({ ...body }) };
      // What was answered before is answered again, whatever has changed since.
      const known = idempotency === null ? undefined : await deps.store.replay(idempotency);
      const run =
        known === undefined
          ? await startRun(c, deps, { body, plan, environment, idempotency })
          : await runOf(deps, known, body.plan);
      c.header('Location', `/v1/runs/${run}`);
      return c.json(await startedAnswer(deps, run), 202);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/runs',
      summary: 'The runs that the person may see, newest first',
      security: signedIn,
      request: {
        query: query(paging),
      },
      responses: { 200: { description: 'A page', content: json(RunPage) }, ...problems(400, 401) },
    }),
    async (c) => {
      const person = c.get('person');
      const { limit, cursor } = c.req.valid('query');
      const environments = await deps.environments.current();
      const mayRead = (name: string) => {
        const environment = environments.get(name);
        return environment !== undefined && rolesIn(environment, person).length > 0;
      };
      let before = cursor === undefined ? undefined : readCursor(cursor);
      const found: Awaited<ReturnType<typeof deps.store.runs>> = [];
      for (let looks = 0; looks < LOOKS_MAX && found.length <= limit; looks += 1) {
        const page = await deps.store.runs({ limit: limit + 1, ...(before === undefined ? {} : { before }) });
        found.push(...page.filter((run) => mayRead(run.environment)));
        before = page.at(-1)?.run;
        if (page.length <= limit) {
          before = undefined;
          break;
        }
      }
      c.set('granted', true);
      const items = found.slice(0, limit);
      const last = found.length > limit ? items.at(-1)?.run : before;
      return c.json(
        { items: items.map(runAnswer), next: last === undefined ? null : writeCursor(last) },
        200,
      );
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/runs/{id}',
      summary: 'One run with its phases, approvals and decisions',
      security: signedIn,
      request: { params: RunId },
      responses: {
        200: { description: 'The run', content: json(RunDetailAnswer) },
        ...problems(401, 403, 404),
      },
    }),
    async (c) => {
      const run = await runById(deps, c.req.valid('param').id);
      const environment = await environmentNamed(deps, run.environment);
      await grant(c, deps, environment, run);
      const plan = await deps.store.plan(run.plan);
      if (plan === undefined) throw new Error(`The plan of run ${run.run} is not in the store.`);
      const recovery = run.state === 'rolled-back' ? await deps.store.recovery(run.run) : undefined;
      const waitingFor = await waitingForOf(deps, run);
      return c.json(runDetailAnswer(run, plan, { environment, recovery, waitingFor, at: deps.now() }), 200);
    },
  );
}

/** A structured-field string in quotes, or the same bare. Throws BadHeader. */
export function idempotencyKey(header: string | undefined): string | null {
  if (header === undefined) return null;
  const key =
    /^"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"$/.exec(header)?.[1] ??
    /^[\x21\x23-\x7e]{1,255}$/.exec(header)?.[0];
  if (key !== undefined) return key;
  throw new ApiProblem(
    'BadHeader',
    'Idempotency-Key cannot be used: send 1 to 255 visible ASCII characters.',
  );
}

/** Makes the run and starts it, or lets it wait. Throws why it cannot be. */
async function startRun(
  c: ApiContext,
  deps: ApiDeps,
  asked: {
    body: z.infer<typeof RunRequest>;
    plan: Plan;
    environment: Environment;
    idempotency: IdempotencyKey | null;
  },
): Promise<number> {
  const { body, plan, environment, idempotency } = asked;
  const person = c.get('person');
  const now = deps.now();
  const start = startOf(body, now);
  await checkFreeze(c, deps, { environment, plan, startsAt: start.dueAt ?? now });
  checkQuorum(plan, environment, person);
  const created = await deps.store.createRun({
    plan: body.plan,
    requester: person,
    groups: votersOf(environment, person),
    failAt: faultOf(plan, environment, body.failAt),
    idempotency,
    ...start,
    ...(body.readyCheck === true ? { readyCheck: true, waitMs: start.waitMs ?? READY_WAIT_MS } : {}),
    now,
  });
  const run = await runOf(deps, created, body.plan);
  if ('created' in created && created.created && created.isAdmitted) {
    try {
      await deps.launcher.start({ run, plan, requester: person, planHash: body.plan, unwind: false });
    } catch (error) {
      // The row stands; the janitor starts it as soon as Temporal answers.
      deps.log.warn({ err: error, run }, 'run: not started yet');
    }
  }
  return run;
}

export async function startedAnswer(deps: ApiDeps, number: number): Promise<z.infer<typeof RunStarted>> {
  const run = await deps.store.run(number);
  if (run === undefined) throw new Error(`Run ${number} was made and cannot be read.`);
  const { state, step, requester, dueAt, notAfter, waitUntil } = run;
  const waitingFor = await waitingForOf(deps, run);
  return { run: number, state, step, requester, dueAt, notAfter, waitUntil, waitingFor };
}

/** The run that was made. Throws TargetLeased, KeyReused, PlanUnknown where none was. */
export async function runOf(
  deps: ApiDeps,
  created: CreatedRun | { run: number },
  plan: string,
): Promise<number> {
  if ('run' in created) return created.run;
  if (created.refused === 'TargetLeased') {
    const held = await holderOf(deps, created.blocker);
    const hint = `wait for it: countdown run ${plan.slice(0, 12)} --wait 1h`;
    throw new ApiProblem('TargetLeased', `${heldSentence(held)}.`, { members: { run: held.run, hint } });
  }
  if (created.refused === 'KeyReused') {
    throw new ApiProblem(
      'KeyReused',
      'This Idempotency-Key was sent with another body before: use a new key.',
    );
  }
  throw new ApiProblem('PlanUnknown', `There is no plan ${plan.slice(0, 12)}: make it with POST /v1/plans.`);
}

/** Throws ChangeFreeze where the run would start inside one, and journals the attempt. */
async function checkFreeze(
  c: ApiContext,
  deps: ApiDeps,
  { environment, plan, startsAt }: { environment: Environment; plan: Plan; startsAt: Date },
): Promise<void> {
  const frozen = frozenAt(environment, startsAt, plan.emergency);
  if (frozen === undefined) return;
  await deps.store.refused({
    environment: environment.environment,
    person: c.get('person'),
    door: doorOf(c),
    run: null,
    code: 'ChangeFreeze',
    detail: frozen.detail,
  });
  throw new ApiProblem('ChangeFreeze', frozen.detail, { members: { hint: frozen.hint } });
}

/** Throws QuorumImpossible where an approval of the plan can never be given once this person asks. */
function checkQuorum(plan: Plan, environment: Environment, requester: string): void {
  for (const [step, approval] of Object.entries(plan.approvals)) {
    const detail = quorumPossible(step, approval, environment, requester);
    if (detail === undefined) continue;
    throw new ApiProblem('QuorumImpossible', detail, {
      errors: [
        {
          pointer: `/steps/${step}/approval`,
          detail: 'let another person ask, or add a person to the group',
        },
      ],
    });
  }
}

/** The phase that fails after its effect. Throws FaultRefused. */
export function faultOf(
  plan: Plan,
  environment: Pick<Environment, 'environment' | 'protected'>,
  failAt: string | undefined,
): string | null {
  if (failAt === undefined) return null;
  const refuse = (detail: string) =>
    new ApiProblem('FaultRefused', detail, { errors: [{ pointer: '/failAt', detail: `found '${failAt}'` }] });
  if (environment.protected) {
    throw refuse(
      `${environment.environment} is protected, so no fault is injected there: use another environment.`,
    );
  }
  const phase =
    plan.phases.find(({ id }) => id === failAt) ?? plan.phases.findLast(({ step }) => step === failAt);
  const door = pointOfNoReturn(plan);
  const end = door === undefined ? plan.phases.length : plan.phases.indexOf(door);
  const possible = plan.phases.slice(0, end).filter(({ run }) => !isWait(run));
  const names = possible.map(({ id }) => id).join(', ');
  if (phase === undefined) throw refuse(`The plan has no phase '${failAt}': use one of ${names}.`);
  if (plan.phases.indexOf(phase) >= end) {
    throw refuse(
      `${failAt} stands at or below the point of no return, where nothing can be undone: use one of ${names}.`,
    );
  }
  if (isWait(phase.run))
    throw refuse(`${failAt} only waits, so it has no effect to fail after: use one of ${names}.`);
  return phase.id;
}
