/** The shape of a procedure: a kind of step, with its params, its outputs, and one pure function that plans its phases. */
import type { z } from 'zod';
import type { Environment, Target } from './environment.ts';
import type { ByHand, Call, Effect, Json, Limits, PersonWait, Wait } from './plan.ts';
import { nearest } from './nearest.ts';
import type { ProblemCode } from './problem.ts';
import { listOr } from './schema.ts';
import type { Path } from './yaml.ts';

/** A phase as its kind plans it. The compiler adds what does not depend on the kind: id, pool, approval, every default. */
export type DraftPhase = {
  /** Unique within the step; its id is `step/name`, or the step's where the step has one phase. */
  name: string;
  title: string;
  effect: Effect;
  /** What the phase reaches, first what it changes. */
  targets: string[];
  run: Call | Wait;
  /** Required with an effect that is not irreversible, or `undoWait` instead. */
  undo?: Call;
  /** A person takes it back and says so: no probe can look. */
  undoWait?: PersonWait;
  undoTitle?: string;
  /** How the undo is done by hand while nothing of Countdown runs, and how to see that it is done; for the undo sheet. */
  byHand?: ByHand;
  /** It tells somebody outside: a check of the plan leaves it out. */
  tells?: true;
  /** A gate or a verification: an operator alone cannot skip it. */
  guards?: true;
  /** Required with an effect, where a program takes it back. */
  probe?: Call;
  /** Milliseconds, while no history is known. */
  expected: { runMs: number; undoMs: number };
  limits: { timeoutMs: number } & Partial<Limits>;
  /** Phases of the same step, by name, that are left out where its answer says so. */
  decides?: string[];
  /** It keeps something going for the way back, which only a point of no return below it ends. */
  endsAtNoReturn?: true;
  /** Targets that others go on writing to meanwhile: where no other phase changes them, their rows are not compared. */
  live?: string[];
};

/** A field of the step's `with` that cannot stand, and why. */
export type Refusal = { field: Path; code?: ProblemCode; message: string; hint?: string };

/** A step that stands earlier in the runbook. */
export type StepBefore = { id: string; kind: string; params: unknown };

export type PlanInput<P> = {
  step: string;
  /** As the kind's schema gives them, params of the runbook filled in. */
  params: P;
  environment: Environment;
  before: readonly StepBefore[];
  belowPointOfNoReturn: boolean;
  /** Milliseconds for one attempt of each phase, where the step says so itself. */
  timeoutMs?: number;
  /** Notes what is wrong; planning goes on, so that all of it is found. */
  refuse(refusal: Refusal): void;
};

export type Procedure<S extends z.ZodType = z.ZodType> = {
  /** As it stands after `uses`. */
  kind: string;
  /** One line for lists of kinds. */
  summary: string;
  params: S;
  /** Fields of `with` that are code of another language: nothing is filled in there, since what is filled in could say more than a value. */
  verbatim?: readonly string[];
  /** What later steps may refer to as `$(STEP.NAME)`: the union of what its phases give. */
  output: z.ZodObject;
  /** Touches nothing, knows no time, and gives the same phases for the same input. */
  plan(input: PlanInput<z.output<S>>): DraftPhase[];
};

/** The environment's entry of a target. Refuses TargetUnknown, or RunbookInvalid where it is of another kind, and gives undefined. */
export function targetOf<K extends Target['kind']>(
  { environment, refuse }: Pick<PlanInput<unknown>, 'environment' | 'refuse'>,
  field: Path,
  name: string,
  kind: K,
): Extract<Target, { kind: K }> | undefined {
  const target = Object.hasOwn(environment.targets, name) ? environment.targets[name] : undefined;
  const fitting = Object.keys(environment.targets).filter((one) => environment.targets[one]?.kind === kind);
  const near = nearest(name, fitting);
  const hint = near === undefined ? undefined : { hint: `write ${near}` };
  if (target === undefined) {
    refuse({
      field,
      code: 'TargetUnknown',
      message: `Environment ${environment.environment} has no target '${name}', expected ${listOr(fitting)}.`,
      ...(hint ?? { hint: `use a target of kind ${kind}, or add one to the environment file` }),
    });
    return undefined;
  }
  if (target.kind !== kind) {
    const message = `Target '${name}' is of kind ${target.kind}, expected one of kind ${kind}: ${listOr(fitting)}.`;
    refuse({ field, message, ...hint });
    return undefined;
  }
  return target as Extract<Target, { kind: K }>;
}

/** A call of an activity of this kind. */
export function callOf(kind: string, phase: string, direction: 'run' | 'probe' | 'undo', params: Json): Call {
  return { activity: `${kind}/${phase}/${direction}`, params };
}
