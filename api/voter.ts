/** Whether somebody can decide on an approval at all, said in the words of the approval and not in those of a role. */
import { type Environment, groupsOf } from '../procedures/environment.ts';
import type { RunDetail } from '../store/types.ts';
import { listNames, stillNeeded } from '../workflows/approvals.ts';
import type { Decision } from '../workflows/messages.ts';
import type { ApiDeps } from './context.ts';
import { ApiProblem } from './problems.ts';

/** Throws where a person of the environment is in no group, and journals the attempt. Whom it does not name is for the rights to refuse. */
export async function checkVoter(
  deps: Pick<ApiDeps, 'store'>,
  asked: { run: RunDetail; environment: Environment; step: string; person: string; door: Decision['door'] },
): Promise<void> {
  const { run, environment, step, person, door } = asked;
  if (groupsOf(environment, person).length > 0) return;
  if (!Object.hasOwn(environment.people, person)) return;
  const from = run.approvals.find((approval) => approval.step === step)?.from ?? {};
  const groups = Object.keys(from);
  const needed = stillNeeded(from, environment.groups, [run.requester]);
  const [code, detail] =
    person === run.requester
      ? ([
          'RequesterCannotApprove',
          `You asked for run ${run.run}, so you cannot approve it.${needed === '' ? '' : ` Needed: ${needed}.`}`,
        ] as const)
      : ([
          'NotInGroup',
          groups.length === 0
            ? `${step} is decided by members of a group; you are in none.`
            : `${step} asks ${listNames(groups)}; you are in ${groups.length === 1 ? 'no such group' : groups.length === 2 ? 'neither' : 'none'}. Needed: ${needed}.`,
        ] as const);
  await deps.store.refused({ environment: run.environment, person, door, run: run.run, code, detail });
  throw new ApiProblem(code, detail);
}
