/**
 * Workflows named `launch` that are not the one of the release: what they do is named by the plan's parameter `other`. They
 * stand for a broken worker.
 */
import { ApplicationFailure } from '@temporalio/common';
import { condition, scheduleActivity, setHandler } from '@temporalio/workflow';
import { type LaunchInput, decisionUpdate } from '../../workflows/messages.ts';

export async function launch({ plan }: LaunchInput): Promise<void> {
  const other = plan.params['other'];
  if (other === 'fails once') {
    let told = 0;
    setHandler(decisionUpdate, async () => {
      told += 1;
      if (told === 1)
        throw ApplicationFailure.create({ type: 'PlanUnknown', message: 'broken', nonRetryable: true });
      return { result: 'Accepted' as const, detail: `told ${told} times` };
    });
  }
  if (other === 'knows no update' || other === 'fails once') await condition(() => false);
  // No history of the release begins with it.
  await scheduleActivity('test/f/run', [{}], { startToCloseTimeout: '1h' });
}
