/** What people say to a run: approve or reject, abort, retry, skip, resolve. All go one way, in `decide.ts`. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Environment } from '../../procedures/environment.ts';
import type { Json } from '../../procedures/plan.ts';
import type { RunDetail } from '../../store/types.ts';
import type { DecisionAnswer } from '../../workflows/messages.ts';
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
import { type NewDecision, decide } from '../decide.ts';
import { ApiProblem } from '../problems.ts';
import {
  AbortRequest,
  DecisionRequest,
  DecisionResult,
  DoneRequest,
  ResolveRequest,
  SkipRequest,
  SteerRequest,
} from '../schemas.ts';
import { checkVoter } from '../voter.ts';
import { RunId, createRoute, json, problems, signedIn } from './define.ts';

const answers = {
  200: { description: 'What it counted for', content: json(DecisionResult) },
  ...problems(400, 401, 403, 404, 409, 413, 422),
};

export function addDecisions(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/runs/{id}/decisions',
      summary: 'Approve or reject a step',
      security: signedIn,
      request: { params: RunId, body: { required: true, content: json(DecisionRequest) } },
      responses: answers,
    }),
    async (c) => {
      const body = c.req.valid('json');
      const { run, environment } = await open(deps, c.req.valid('param').id);
      await checkVoter(deps, { run, environment, step: body.step, person: c.get('person'), door: doorOf(c) });
      await grant(c, deps, environment, run);
      checkEvidence(run, body);
      const answer = await decide(deps, run, environment, {
        ...asked(c),
        kind: body.decision,
        subject: body.step,
        plan: body.plan,
        evidence: body.evidence ?? null,
        reason: body.reason ?? null,
        ...('breakGlass' in body && body.breakGlass === true ? { breakGlass: true as const } : {}),
      });
      return c.json(wire(answer), 200);
    },
  );

  for (const kind of ['pause', 'resume'] as const) {
    app.openapi(
      createRoute({
        method: 'post',
        path: `/v1/runs/{id}/${kind}`,
        summary:
          kind === 'pause'
            ? 'Let what runs end and begin nothing new; approval clocks stand still'
            : 'Let a paused run go on',
        security: signedIn,
        request: { params: RunId, body: { required: true, content: json(AbortRequest) } },
        responses: answers,
      }),
      async (c) => {
        const body = c.req.valid('json');
        const answer = await steer(c, deps, c.req.valid('param').id, {
          ...asked(c),
          kind,
          subject: null,
          plan: body.plan ?? null,
          reason: body.reason ?? null,
        });
        return c.json(wire(answer), 200);
      },
    );
  }

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/runs/{id}/abort',
      summary: 'End a run and undo what it did',
      security: signedIn,
      request: { params: RunId, body: { required: true, content: json(AbortRequest) } },
      responses: answers,
    }),
    async (c) => {
      const body = c.req.valid('json');
      const answer = await steer(c, deps, c.req.valid('param').id, {
        ...asked(c),
        kind: 'abort',
        subject: null,
        plan: body.plan ?? null,
        reason: body.reason ?? null,
      });
      return c.json(wire(answer), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/runs/{id}/retry',
      summary: 'Try a phase that waits for a person again',
      security: signedIn,
      request: { params: RunId, body: { required: true, content: json(SteerRequest) } },
      responses: answers,
    }),
    async (c) => {
      const body = c.req.valid('json');
      const answer = await steer(c, deps, c.req.valid('param').id, {
        ...asked(c),
        kind: 'retry',
        subject: body.phase,
        plan: body.plan ?? null,
        reason: body.reason ?? null,
      });
      return c.json(wire(answer), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/runs/{id}/skip',
      summary: 'Leave out a phase that waits for a person; a gate or a verification only with leave',
      security: signedIn,
      request: { params: RunId, body: { required: true, content: json(SkipRequest) } },
      responses: answers,
    }),
    async (c) => {
      const body = c.req.valid('json');
      const answer = await steer(c, deps, c.req.valid('param').id, {
        ...asked(c),
        kind: 'skip',
        subject: body.phase,
        plan: body.plan ?? null,
        reason: body.reason ?? null,
        ...(body.output === undefined ? {} : { output: body.output as Record<string, Json> }),
      });
      return c.json(wire(answer), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/runs/{id}/done',
      summary: 'Say that what a phase asks of a person is done',
      security: signedIn,
      request: { params: RunId, body: { required: true, content: json(DoneRequest) } },
      responses: answers,
    }),
    async (c) => {
      const body = c.req.valid('json');
      const answer = await steer(c, deps, c.req.valid('param').id, {
        ...asked(c),
        kind: 'done',
        subject: body.phase,
        plan: body.plan ?? null,
        reason: null,
        resolution: { done: true, evidence: body.evidence ?? '' },
      });
      return c.json(wire(answer), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/runs/{id}/resolve',
      summary:
        'Take an undo off the desk: try it again, or say with evidence that it is done. Without a phase the whole desk is tried again, in order of undoing',
      security: signedIn,
      request: { params: RunId, body: { required: true, content: json(ResolveRequest) } },
      responses: answers,
    }),
    async (c) => {
      const body = c.req.valid('json');
      const answer = await steer(c, deps, c.req.valid('param').id, {
        ...asked(c),
        kind: 'resolve',
        subject: 'phase' in body ? body.phase : null,
        plan: body.plan ?? null,
        reason: body.reason ?? null,
        resolution:
          'done' in body
            ? { done: true, evidence: body.evidence }
            : {
                retry: true,
                ...('phase' in body ? await changedParams(deps, c.req.valid('param').id, body) : {}),
              },
      });
      return c.json(wire(answer), 200);
    },
  );
}

/** Params of an undo that a person changes. Throws ParamsRefused where one is not there, or names a target. */
async function changedParams(
  deps: ApiDeps,
  id: string,
  { phase, params }: { phase: string; params?: Record<string, unknown> | undefined },
): Promise<{ params?: Record<string, Json> }> {
  if (params === undefined) return {};
  const run = await runById(deps, id);
  const plan = await deps.store.plan(run.plan);
  const undo = plan?.phases.find((one) => one.id === phase)?.undo?.params;
  const own = undo !== null && typeof undo === 'object' && !Array.isArray(undo) ? undo : {};
  for (const key of Object.keys(params)) {
    const before = Object.hasOwn(own, key) ? own[key] : undefined;
    if (before === undefined)
      throw new ApiProblem(
        'ParamsRefused',
        `The undo of ${phase} has no param '${key}', expected one of ${listNames(Object.keys(own))}.`,
      );
    if (typeof before === 'string' && Object.hasOwn(plan?.targets ?? {}, before))
      throw new ApiProblem(
        'ParamsRefused',
        `Param '${key}' of the undo of ${phase} names target ${before}, and an undo reaches what the plan says.`,
      );
  }
  return { params: params as Record<string, Json> };
}

function asked(c: ApiContext): Pick<NewDecision, 'person' | 'door' | 'evidence' | 'resolution'> {
  return { person: c.get('person'), door: doorOf(c), evidence: null, resolution: null };
}

async function open(deps: ApiDeps, id: string): Promise<{ run: RunDetail; environment: Environment }> {
  const run = await runById(deps, id);
  return { run, environment: await environmentNamed(deps, run.environment) };
}

async function steer(
  c: ApiContext,
  deps: ApiDeps,
  id: string,
  decision: NewDecision,
): Promise<DecisionAnswer> {
  const { run, environment } = await open(deps, id);
  await grant(c, deps, environment, run);
  return decide(deps, run, environment, decision);
}

/** What is open is decided with its evidence: nobody approves what he has not seen. */
function checkEvidence(run: RunDetail, body: { step: string; evidence?: string | undefined }): void {
  const isOpen = run.approvals.some(({ step, state }) => step === body.step && state === 'open');
  if (!isOpen || body.evidence !== undefined) return;
  throw new ApiProblem(
    'BodyInvalid',
    `evidence is missing: send the evidence of ${body.step} as the run shows it.`,
    {
      errors: [{ pointer: '/evidence', detail: 'expected 64 hex digits' }],
    },
  );
}

function wire(answer: DecisionAnswer) {
  return {
    result: answer.result,
    detail: answer.detail,
    ...(answer.votes === undefined
      ? {}
      : { votes: answer.votes.map((vote) => ({ ...vote, at: new Date(vote.at).toISOString() })) }),
    ...(answer.needed === undefined ? {} : { needed: answer.needed }),
  };
}
