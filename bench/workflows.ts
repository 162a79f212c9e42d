/** The interpreter beside a bare workflow of the same number of activities, in one bundle on one worker. */
import { scheduleActivity, workflowInfo } from '@temporalio/workflow';

export { launch } from '../workflows/launch.ts';

export async function bare({ activities }: { activities: number }): Promise<void> {
  for (let index = 0; index < activities; index += 1) {
    await scheduleActivity('bare', [], {
      taskQueue: `${workflowInfo().taskQueue}-default`,
      startToCloseTimeout: '10s',
      heartbeatTimeout: '2s',
    });
  }
}
