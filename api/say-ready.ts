/** Somebody says that he is there, by whichever door. Whether he has the right to decide was asked before. */
import { type Environment, groupsOf } from '../procedures/environment.ts';
import { isTerminal } from '../procedures/states.ts';
import type { RunDetail } from '../store/types.ts';
import { listNames } from '../workflows/approvals.ts';
import type { Decision } from '../workflows/messages.ts';
import { type JanitorDeps, beginRun } from './janitor.ts';
import { ApiProblem } from './problems.ts';

type Said = { run: RunDetail; environment: Environment; person: string; door: Decision['door'] };

/** The run begins where that was all it waited for. Throws NotAsked, RequesterCannotApprove or NotInGroup. */
export async function sayReady(deps: JanitorDeps, said: Said): Promise<void> {
  const { run, environment, person, door } = said;
  if (run.state !== 'planned' || !run.readyCheck) throw notWaiting(run);
  await assertAsked(deps, said, groupsOf(environment, person));
  if (!(await deps.store.sayReady({ run: run.run, person, door }))) throw notWaiting(run);
  await beginRun(deps, run.run);
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
  deps: Pick<JanitorDeps, 'store'>,
  { run, person, door }: Said,
  groups: readonly string[],
): Promise<void> {
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
  await deps.store.refused({ environment: run.environment, person, door, run: run.run, code, detail });
  throw new ApiProblem(code, detail);
}
