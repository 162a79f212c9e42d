/** The API's side of Temporal: starts runs, delivers decisions, looks at a run's workflow and closes one that is broken. */
import {
  type Client,
  WorkflowExecutionAlreadyStartedError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import { ActivityFailure, ApplicationFailure, WorkflowNotFoundError } from '@temporalio/common';
import { SECOND_MS, UPDATE_WAIT_MS, WORKFLOW_TASK_TIMEOUT_MS } from '../procedures/limits.ts';
import type { Plan } from '../procedures/plan.ts';
import {
  type Decision,
  type DecisionAnswer,
  type LaunchInput,
  decisionUpdate,
} from '../workflows/messages.ts';
import {
  type FailingLimits,
  type Unexplained,
  WORKFLOW_TASK_ATTEMPTS_MAX,
  WORKFLOW_TASK_FAILING_MS,
  type WorkflowLook,
  askWorkflow,
  lookAtWorkflow,
} from './look.ts';
import { type RefusalCode, isRefusal } from './refusals.ts';
import { trace } from './trace.ts';

const CALL_MS = 3 * SECOND_MS;
/** Updates of one decision that may end without an answer of the run; the last id is then sent again and again. */
const UPDATES_A_DECISION_MAX = 100;
/** Decisions of which the launcher remembers how many of their updates ended so. */
const DECISIONS_KEPT_MAX = 1_000;

export type Answered =
  | { answer: DecisionAnswer }
  /** The run refused it: a code of the workflow, and its sentence. */
  | { refused: RefusalCode; detail: string }
  /** There is no open workflow of this run. */
  | { closed: true }
  /** The update failed with a code that is not the run's: the run has not answered. */
  | { unanswered: unknown; failed: string }
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
  /** What Temporal knows of the run's workflow. Throws if Temporal cannot be reached. */
  look(run: number): Promise<WorkflowLook>;
  /** Makes the worker report why the workflow task fails, once for each of its ends. A closed execution is left alone. */
  ask(run: number, about: Unexplained): Promise<void>;
  /** Terminates this execution and no later one. A closed one is left alone. Throws if Temporal cannot be reached. */
  close(run: number, execution: string, reason: string): Promise<void>;
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
    /** When a workflow task counts as failing; default 5 attempts and 30 s. */
    failing?: Partial<FailingLimits>;
  },
): Launcher {
  const within = <T>(waitMs: number, call: () => Promise<T>): Promise<T> =>
    client.withDeadline(Date.now() + waitMs, call);
  const callMs = options.callMs ?? CALL_MS;
  const workflowIdOf = (run: number): string => `${options.workflowIdPrefix ?? ''}run/${run}`;
  const limits = {
    attemptsMax: WORKFLOW_TASK_ATTEMPTS_MAX,
    failingMs: WORKFLOW_TASK_FAILING_MS,
    ...options.failing,
  };
  const updates = makeUpdateIds();
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

    look: (run) => within(callMs, () => lookAtWorkflow(client, workflowIdOf(run), limits)),

    ask: (run, about) => within(callMs, () => askWorkflow(client, workflowIdOf(run), about)),

    async close(run, execution, reason) {
      const handle = client.workflow.getHandle(workflowIdOf(run), execution);
      try {
        await within(callMs, () => handle.terminate(reason));
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error;
      }
    },

    async decide(decision) {
      try {
        const answer = await within(options.updateWaitMs ?? UPDATE_WAIT_MS, () =>
          client.workflow.getHandle(workflowIdOf(decision.run)).executeUpdate(decisionUpdate, {
            updateId: updates.idOf(decision.id),
            args: [decision],
          }),
        );
        return { answer };
      } catch (error) {
        const answered = answeredByError(error);
        if ('failed' in answered) updates.spend(decision.id);
        return answered;
      }
    },

    async ready() {
      await within(callMs, () => client.connection.ensureConnected());
      await within(callMs, () => client.workflowService.getSystemInfo({}));
    },
  };
}

function answeredByError(error: unknown): Answered {
  if (error instanceof WorkflowUpdateFailedError) {
    const failure = applicationFailureIn(error.cause);
    if (isRefusal(failure?.type)) return { refused: failure.type, detail: failure.message };
    return { unanswered: error, failed: failure?.type ?? error.cause?.name ?? error.name };
  }
  if (error instanceof WorkflowNotFoundError) return { closed: true };
  return { unanswered: error };
}

/** What the code of the workflow, or of an activity that it called, failed with. */
function applicationFailureIn(cause: unknown): ApplicationFailure | undefined {
  const found = cause instanceof ActivityFailure ? cause.cause : cause;
  return found instanceof ApplicationFailure ? found : undefined;
}

/**
 * Names of updates. A decision keeps one name, under which Temporal gives the same answer however often it is asked. If the
 * update under a name failed without an answer of the run, that failure is all it will ever give, so the next one gets
 * another name. The run counts a decision once, whatever the name.
 */
function makeUpdateIds(): { idOf(decision: string): string; spend(decision: string): void } {
  const spent = new Map<string, number>();
  return {
    idOf(decision) {
      const times = spent.get(decision);
      return `decision/${decision}${times === undefined ? '' : `/${times}`}`;
    },
    spend(decision) {
      const times = Math.min(UPDATES_A_DECISION_MAX, (spent.get(decision) ?? 0) + 1);
      spent.delete(decision);
      spent.set(decision, times);
      const [oldest] = spent.keys();
      if (spent.size > DECISIONS_KEPT_MAX && oldest !== undefined) spent.delete(oldest);
    },
  };
}
