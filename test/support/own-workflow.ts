/** A workflow of somebody who reaches Temporal and runs a worker of his own: it goes on as `launch`, with a state that it made up. */
import { makeContinueAsNewFunc } from '@temporalio/workflow';
import type { launch } from '../../workflows/launch.ts';
import type { LaunchInput } from '../../workflows/messages.ts';

export async function passOn(taskQueue: string, input: LaunchInput): Promise<void> {
  await makeContinueAsNewFunc<typeof launch>({ workflowType: 'launch', taskQueue })(input);
}
