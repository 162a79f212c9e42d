/** The API's side of Temporal: starts runs, carries decisions, and tells whether a run's workflow is open. */
import {
  type Client,
  WorkflowExecutionAlreadyStartedError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import { ApplicationFailure, WorkflowNotFoundError } from '@temporalio/common';
import { SECOND_MS, UPDATE_WAIT_MS, WORKFLOW_TASK_TIMEOUT_MS } from '../procedures/limits.ts';
import type { Plan } from '../procedures/plan.ts';
import {
  type Decision,
  type DecisionAnswer,
  type LaunchInput,
  decisionUpdate,
} from '../workflows/messages.ts';
import { trace } from './trace.ts';

const CALL_MS = 3 * SECOND_MS;

export type Answered =
  | { answer: DecisionAnswer }
  /** The validator said no: a code of the workflow, and its sentence. */
  | { refused: string; detail: string }
  /** There is no open workflow of this run. */
  | { closed: true }
  /** No worker or no Temporal in time; the decision may still arrive. */
  | { unanswered: unknown };

export type StartRun = {
  run: number;
  plan: Plan;
  requester: string;
  planHash: string;
  /** Whether its workflow was closed from outside: for the log. The workflow sees it for itself in the journal. */
  unwind: boolean;
};

export type Launcher = {
  /** An open workflow of the same run is left alone. Throws where Temporal cannot be reached. */
  start(row: StartRun): Promise<void>;
  /** Whether the run's workflow is open. Throws where Temporal cannot be reached. */
  isOpen(run: number): Promise<boolean>;
  /** Sends a decision that is stored already; never throws. */
  decide(decision: Decision): Promise<Answered>;
  /** Throws where Temporal cannot be reached. */
  ready(): Promise<void>;
};

export function makeLauncher(
  client: Client,
  options: {
    taskQueue: string;
    /** Before `run/N`, where several installations share a namespace; default none. */
    workflowIdPrefix?: string;
    updateWaitMs?: number;
    /** For one call of Temporal that waits for nobody; default 3 s. */
    callMs?: number;
  },
): Launcher {
  const within = <T>(waitMs: number, call: () => Promise<T>): Promise<T> =>
    client.withDeadline(Date.now() + waitMs, call);
  const callMs = options.callMs ?? CALL_MS;
  const workflowIdOf = (run: number): string => `${options.workflowIdPrefix ?? ''}run/${run}`;
  return {
    async start({ run, plan, requester, planHash }) {
      const input: LaunchInput = { run, plan };
      const what = plan.check === true ? `check of ${plan.runbook.name}` : plan.runbook.name;
      const title = `run ${run} · ${what} → ${plan.environment} · requester ${requester}`;
      try {
        await within(callMs, () =>
          client.workflow.start('launch', {
            workflowId: workflowIdOf(run),
            taskQueue: options.taskQueue,
            args: [input],
            workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT_MS,
            workflowIdReusePolicy: 'ALLOW_DUPLICATE',
            staticSummary: title,
            memo: {
              runbook: plan.runbook.name,
              environment: plan.environment,
              plan: planHash,
              requester,
              // Which request asked for it; a run that the janitor starts has none.
              ...trace(),
            },
          }),
        );
      } catch (error) {
        if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      }
    },

    async isOpen(run) {
      try {
        const description = await within(callMs, () =>
          client.workflow.getHandle(workflowIdOf(run)).describe(),
        );
        return description.status.name === 'RUNNING' || description.status.name === 'PAUSED';
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return false;
        throw error;
      }
    },

    async decide(decision) {
      try {
        const answer = await within(options.updateWaitMs ?? UPDATE_WAIT_MS, () =>
          client.workflow.getHandle(workflowIdOf(decision.run)).executeUpdate(decisionUpdate, {
            updateId: `decision/${decision.id}`,
            args: [decision],
          }),
        );
        return { answer };
      } catch (error) {
        return answeredByError(error);
      }
    },

    async ready() {
      await within(callMs, () => client.connection.ensureConnected());
      await within(callMs, () => client.workflowService.getSystemInfo({}));
    },
  };
}

function answeredByError(error: unknown): Answered {
  if (error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure) {
    return { refused: error.cause.type ?? 'Internal', detail: error.cause.message };
  }
  if (error instanceof WorkflowNotFoundError) return { closed: true };
  return { unanswered: error };
}
