/** Law 16: only the workflow that the API started speaks for a run. Temporal keeps one open workflow an id. */
import { activityInfo } from '@temporalio/activity';
import { fail } from './lib/fail.ts';

/** Throws PlanUnknown where the calling workflow is not `PREFIXrun/N`. Without a prefix every workflow may speak: benches bring their own. */
export function assertOwnWorkflow(run: number, prefix: string | undefined): void {
  if (prefix === undefined) return;
  const found = activityInfo().workflowExecution?.workflowId;
  if (found === `${prefix}run/${run}`) return;
  throw fail('PlanUnknown', `Workflow '${found}' is not that of run ${run}. Start runs through the API.`);
}
