/** From what the store and the plan know to what the API answers. Pure: the time comes in. */
import type { z } from '@hono/zod-openapi';
import { groupsOf } from '../procedures/environment.ts';
import type { Environment } from '../procedures/environment.ts';
import { type Approval, type Phase, type Plan, isWait } from '../procedures/plan.ts';
import { isTerminal } from '../procedures/states.ts';
import type { ApprovalView, ExpectedPhase, Recovery, RunDetail, RunView } from '../store/types.ts';
import { freezeAt, nextFreeze } from '../procedures/calendar.ts';
import { count } from '../procedures/votes.ts';
import { leftOutBecause } from '../procedures/when.ts';
import type { HeldLease } from './leases.ts';
import { basisOf, rollbackNow } from './rollback.ts';
import type { PlanAnswer, Run, RunDetailAnswer } from './schemas.ts';

/** The plan as people read it, with what holds at this moment beside it. */
export function planAnswer(
  hash: string,
  plan: Plan,
  now: {
    environment: Environment;
    person: string;
    leases: HeldLease[];
    expected: readonly ExpectedPhase[];
    at: Date;
  },
): z.infer<typeof PlanAnswer> {
  const expected = new Map(now.expected.map((phase) => [phase.phase, phase]));
  const undoMsOf = (phases: readonly Phase[]) =>
    phases.reduce((sum, { id }) => sum + (expected.get(id)?.undoMs ?? 0), 0);
  const phasesOf = (step: string) => plan.phases.filter((phase) => phase.step === step);
  const groups = new Set(Object.values(plan.approvals).flatMap((approval) => Object.keys(approval.from)));
  return {
    plan: hash,
    runbook: plan.runbook.name,
    environment: plan.environment,
    params: plan.params,
    rollback: plan.rollback,
    pointOfNoReturn: pointOfNoReturn(plan)?.step ?? null,
    steps: plan.steps.map((step) => {
      const phases = phasesOf(step.id);
      const approval = askedOf(plan, step.id);
      const run = phases[0]?.run;
      return {
        id: step.id,
        kind: step.kind,
        effect: step.effect,
        onFail: step.onFail,
        block: step.block ?? null,
        window: step.window?.name ?? null,
        targets: [...new Set(phases.filter((phase) => phase.effect !== 'none').flatMap(targetsOf))],
        undoMs: undoMsOf(phases),
        approval: approval === undefined ? null : approvalAsked(approval),
        wait: run !== undefined && isWait(run) ? run : null,
        phases: phases.map((phase) => ({
          id: phase.id,
          title: phase.title,
          effect: phase.effect,
          targets: phase.targets,
          undo: undoOf(phase),
          timeoutMs: phase.limits.timeoutMs,
          undoMs: undoMsOf([phase]),
          tries: phase.limits.tries,
        })),
      };
    }),
    blocks: [...new Set(plan.steps.flatMap(({ block }) => block ?? []))].map((id) => {
      const approval = askedOf(plan, id);
      return { id, approval: approval === undefined ? null : approvalAsked(approval) };
    }),
    leftOut: (plan.leftOut ?? []).map((step) => ({
      id: step.id,
      kind: step.kind,
      because: leftOutBecause(step, plan.params),
    })),
    unverifiable: plan.unverifiable,
    emergency: plan.emergency ?? null,
    followUps: plan.followUps ?? [],
    now: {
      person: now.person,
      takesMs: now.expected.reduce((sum, phase) => sum + phase.runMs, 0),
      undoMs: undoMsOf(plan.phases),
      undoBasis: basisOf(now.expected),
      canApprove: Object.fromEntries(
        [...groups].sort().map((group) => [group, membersOf(now.environment, group, [now.person])]),
      ),
      leases: now.leases,
      leasesNeeded: Object.keys(plan.leases).length,
      ...freezes(now.environment, now.at),
    },
  };
}

function freezes({ changeFreezes = [] }: Environment, at: Date) {
  const held = freezeAt(changeFreezes, at.getTime());
  const next = nextFreeze(changeFreezes, at.getTime());
  return {
    changeFreeze: held === undefined ? null : { names: held.names, until: isoOf(held.untilMs) },
    nextChangeFreeze:
      next === undefined ? null : { name: next.name, from: isoOf(next.fromMs), to: isoOf(next.toMs) },
  };
}

const isoOf = (ms: number) => new Date(ms).toISOString();

/** What the step or the block waits for; leave to skip it is asked only when somebody wants to. */
function askedOf({ approvals }: Plan, id: string): Approval | undefined {
  const approval = approvals[id];
  return approval?.skip === true ? undefined : approval;
}

/** In words: by a person where no program can. */
function undoOf({ undo, undoTitle, undoWait }: Phase): string | null {
  if (undoWait !== undefined) return 'A person takes it back';
  return undo === undefined ? null : (undoTitle ?? undo.activity);
}

const targetsOf = (phase: Phase) => phase.targets;

function approvalAsked(approval: Approval) {
  const { from, expiresMs, via, covers } = approval;
  return { from, expiresMs, via, covers };
}

export function pointOfNoReturn(plan: Plan): Phase | undefined {
  return plan.phases.find((phase) => isWait(phase.run) && phase.run.wait === 'point-of-no-return');
}

/** Members of a group in the environment file, without some. */
export function membersOf(environment: Environment, group: string, without: readonly string[]): string[] {
  return Object.keys(environment.people)
    .filter((person) => groupsOf(environment, person).includes(group) && !without.includes(person))
    .sort();
}

/** Who can vote in which group; the requester in none. */
export function votersOf(environment: Environment, requester: string): Record<string, string[]> {
  return Object.fromEntries(
    Object.keys(environment.groups).map((group) => [group, membersOf(environment, group, [requester])]),
  );
}

export function runAnswer(run: RunView): z.infer<typeof Run> {
  return {
    run: run.run,
    check: run.check,
    runbook: run.runbook,
    environment: run.environment,
    plan: run.plan,
    requester: run.requester,
    state: run.state,
    verdict: run.verdict,
    because: run.because,
    verified: run.verified,
    notVerified: run.notVerified,
    step: run.step,
    failAt: run.failAt,
    dueAt: run.dueAt,
    notAfter: run.notAfter,
    waitUntil: run.waitUntil,
    createdAt: run.createdAt,
    startedAt: run.startedAt,
    endedAt: run.endedAt,
    unwindingAt: run.unwindingAt,
    unwoundAt: run.unwoundAt,
    head: run.head,
  };
}

export function runDetailAnswer(
  run: RunDetail,
  plan: Plan,
  read: {
    environment: Environment;
    recovery: Recovery | undefined;
    waitingFor: string | null;
    at: Date;
  },
): z.infer<typeof RunDetailAnswer> {
  const planned = new Map(plan.phases.map((phase) => [phase.id, phase]));
  const back = rollbackNow(run, plan);
  const door = pointOfNoReturn(plan);
  const isPast = run.phases.some((phase) => phase.phase === door?.id && phase.state === 'done');
  const isLeaving = isTerminal(run.state) || run.state === 'unwinding' || run.state === 'stuck';
  return {
    ...runAnswer(run),
    at: read.at.toISOString(),
    ready: run.readyCheck ? run.ready : null,
    waitingFor: read.waitingFor,
    emergency: plan.emergency ?? null,
    follows: run.follows,
    followUps: (plan.followUps ?? []).map(({ id, afterMs }) => {
      const made = run.followUps.find(({ followUp }) => followUp === id);
      return { id, afterMs, run: made?.run ?? null, state: made?.state ?? null, dueAt: made?.dueAt ?? null };
    }),
    rollback: { ...plan.rollback, ...back },
    recovery: read.recovery ?? null,
    abort: { allowed: !isLeaving && !isPast, undoes: back.phases, undoMs: back.undoMs },
    steps: plan.steps.map(({ id, kind, effect, block, phases }) => ({
      id,
      kind,
      effect,
      block: block ?? null,
      phases,
    })),
    phases: run.phases.map(({ isOwed: _owed, runMs, undoMs: _undoMs, ...phase }) => {
      const inPlan = planned.get(phase.phase);
      return {
        ...phase,
        undo: inPlan?.undo === undefined ? null : (inPlan.undoTitle ?? inPlan.undo.activity),
        wait: inPlan !== undefined && isWait(inPlan.run) ? inPlan.run.wait : null,
        expectedMs: runMs,
      };
    }),
    approvals: run.approvals.map((approval) => approvalAnswer(run, approval, read.environment)),
    decisions: run.decisions.map((decision) => {
      const { id, kind, subject, person, door: via, reason, at, delivery } = decision;
      const result = resultOf(decision, run.decisions);
      const counted = result === 'Counted' || result === 'Accepted';
      const breakGlass = decision.breakGlass === true;
      return { id, kind, subject, person, door: via, reason, at, breakGlass, counted, result, delivery };
    }),
    targets: run.targets,
  };
}

/** What became of a decision: its refusal, or that it counted; null while nothing is known. Who votes twice counts once. */
function resultOf(decision: RunDetail['decisions'][number], all: RunDetail['decisions']): string | null {
  if (decision.refused !== null) return decision.refused;
  if (!decision.counted) return null;
  if (decision.kind !== 'approve' && decision.kind !== 'reject') return 'Accepted';
  const first = all.find(
    ({ counted, kind, subject, person, evidence, breakGlass }) =>
      counted &&
      kind === decision.kind &&
      subject === decision.subject &&
      person === decision.person &&
      evidence === decision.evidence &&
      breakGlass === decision.breakGlass,
  );
  return first === undefined || first.id === decision.id ? 'Counted' : 'AlreadyCounted';
}

function approvalAnswer(run: RunDetail, approval: ApprovalView, environment: Environment) {
  const given = run.decisions.filter(
    (decision) =>
      decision.counted &&
      decision.kind === 'approve' &&
      decision.subject === approval.step &&
      decision.evidence === approval.evidence,
  );
  // Who answers twice is told so and counts once: his first answer stands.
  const votes = given.filter(
    ({ person }, index) => given.findIndex((vote) => vote.person === person) === index,
  );
  const { counted, missing } = count(approval.from, votes);
  const without = [run.requester, ...votes.map((vote) => vote.person)];
  return {
    ...approval,
    votes: votes.map(({ person, door, at }) => ({ person, group: counted[person] ?? null, door, at })),
    needed: missing,
    canApprove: Object.fromEntries(
      Object.keys(missing).map((group) => [group, membersOf(environment, group, without)]),
    ),
  };
}
