/**
 * Follow-ups: what happens days after a run has succeeded. Each is a runbook of one step with the name `PARENT.ID`, planned
 * now, so that it is known what will be asked then; it knows the params of its parent, and nothing that the run found.
 */
import { Collector } from './collector.ts';
import type { CompileInput } from './compile.ts';
import type { Environment } from './environment.ts';
import type { Json, Plan } from './plan.ts';
import { PlanProblem, type Problem } from './problem.ts';
import { fillParams } from './references.ts';
import type { Runbook } from './runbook.ts';
import { writeDuration } from './units.ts';
import { failingCondition } from './when.ts';

type Planned = { id: string; afterMs: number; plan: Plan };
type FollowUpOf = Runbook['followUps'][number];

/** Throws PlanProblem with what is wrong in any of them. One whose condition does not hold for the params is left out. */
export function planFollowUps(
  input: CompileInput,
  values: Readonly<Record<string, Json>>,
  compileOne: (input: CompileInput) => Plan,
): Planned[] {
  const { runbook, environment } = input;
  // A follow-up is not in the emergency: it starts days later, as any other run.
  const { emergency: _none, ...plain } = input;
  const problems: Problem[] = [];
  const planned = runbook.followUps.flatMap((one): Planned[] => {
    const { step, afterMs } = one;
    if (failingCondition(step, { declared: runbook.params, values }) !== undefined) return [];
    try {
      checkFollowUp(one, runbook, values, environment);
      const plan = compileOne({ ...plain, runbook: runbookOf(one, runbook) });
      return [{ id: step.id, afterMs, plan }];
    } catch (error) {
      if (!(error instanceof PlanProblem)) throw error;
      problems.push(...error.problems);
      return [];
    }
  });
  if (problems.length > 0) throw new PlanProblem(problems);
  return planned;
}

function runbookOf({ step }: FollowUpOf, parent: Runbook): Runbook {
  return {
    name: `${parent.name}.${step.id}`,
    params: parent.params,
    rollback: parent.rollback,
    steps: [step],
    blocks: [],
    followUps: [],
    source: parent.source,
  };
}

function checkFollowUp(
  { step, afterMs }: FollowUpOf,
  { source }: Runbook,
  values: Readonly<Record<string, Json>>,
  { environment, retention }: Environment,
): void {
  const found = new Collector(source);
  if (retention !== undefined && afterMs < retention.leastMs) {
    const message = `Follow-up ${step.id} begins after ${writeDuration(afterMs)}, expected at least the ${writeDuration(retention.leastMs)} of retention.least in environment ${environment}.`;
    found.add([...step.path, 'after'], {
      message,
      hint: `write  after: ${writeDuration(retention.leastMs)}`,
    });
  }
  const references = fillParams(step.with, values).outputs.map(({ path, step: giver, output }) => ({
    path: ['with', ...path],
    reference: `${giver}.${output}`,
  }));
  const conditions = step.whenOutputs.map(({ output }) => ({ path: ['when', 'output'], reference: output }));
  for (const { path, reference } of [...references, ...conditions]) {
    const message = `${reference} is what a step of another run found, expected params or plain text in a followUp.`;
    found.add([...step.path, ...path], {
      message,
      hint: 'write a value, or look again with a step of its own',
    });
  }
  found.finish();
}
