/**
 * What Temporal knows of a run's workflow: open, closed and how, or open with a workflow task that keeps failing.
 *
 * Temporal writes into the history how a workflow task ended only for its first attempt, and the SDK reports a failure only
 * for that attempt; later attempts run into their timeout. So a history can end with a timeout although the workflow cannot
 * be replayed, or with a failure although only a slow worker is left. Any new event makes the next attempt a first one:
 * `unexplained` says when such an event is needed to tell the two apart.
 */
import { type Client, type WorkflowExecutionDescription, isGrpcServiceError } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { SECOND_MS } from '../procedures/limits.ts';

/** Attempts of one workflow task before it counts as failing. */
export const WORKFLOW_TASK_ATTEMPTS_MAX = 5;
/** How long a workflow task must have failed, by the clock of Temporal. */
export const WORKFLOW_TASK_FAILING_MS = 30 * SECOND_MS;
/** A signal that no workflow handles. It makes the worker report why the next attempt fails. */
export const ASK_SIGNAL = 'countdown/why-does-the-task-fail';
/** Events that are read from the end of a history. */
const EVENTS_READ_MAX = 100;
const REASON_LENGTH_MAX = 300;

/** gRPC's code for what does not exist, or not any more. */
const NOT_FOUND = 5;
/** Values of Temporal's WorkflowTaskFailedCause: errors of the workflow's code, and no others. */
const UNHANDLED_FAILURE = 14;
const NON_DETERMINISTIC_ERROR = 24;

export type ClosedHow = 'terminated' | 'failed' | 'cancelled' | 'timed-out' | 'completed' | 'gone';

export type WorkflowLook =
  /** `unexplained`: its task does not end, and the history does not prove why. */
  | { state: 'open'; unexplained?: Unexplained }
  | { state: 'closed'; how: ClosedHow; reason?: string }
  /** `execution` is the one that fails, `since` an ISO time, `reason` what the worker reported. */
  | { state: 'failing'; execution: string; attempts: number; since: string; reason: string };

/** What to ask: the execution, and the event with which a workflow task ended last. */
export type Unexplained = { execution: string; event: string };

export type FailingLimits = { attemptsMax: number; failingMs: number };

type Reverse = Client['workflowService']['getWorkflowExecutionHistoryReverse'];
type History = NonNullable<Awaited<ReturnType<Reverse>>['history']>;
type WorkflowEvent = NonNullable<History['events']>[number];
type Failure = NonNullable<WorkflowEvent['workflowTaskFailedEventAttributes']>['failure'];

/** The parts of an event that say how a workflow task ended. */
export type TaskEvent = Pick<
  WorkflowEvent,
  | 'eventId'
  | 'eventTime'
  | 'workflowTaskCompletedEventAttributes'
  | 'workflowTaskFailedEventAttributes'
  | 'workflowTaskTimedOutEventAttributes'
  | 'workflowExecutionSignaledEventAttributes'
>;
export type PendingTask = Pick<
  NonNullable<WorkflowExecutionDescription['raw']['pendingWorkflowTask']>,
  'attempt' | 'scheduledTime'
>;

/** Looks at the latest execution of a workflow. Throws if Temporal cannot be reached. */
export async function lookAtWorkflow(
  client: Client,
  workflowId: string,
  limits: FailingLimits,
): Promise<WorkflowLook> {
  try {
    return await lookAtLatest(client, workflowId, limits);
  } catch (error) {
    if (isNotFound(error)) return { state: 'closed', how: 'gone' };
    throw error;
  }
}

function isNotFound(error: unknown): boolean {
  if (error instanceof WorkflowNotFoundError) return true;
  const code: number | undefined = isGrpcServiceError(error) ? error.code : undefined;
  return code === NOT_FOUND;
}

async function lookAtLatest(
  client: Client,
  workflowId: string,
  limits: FailingLimits,
): Promise<WorkflowLook> {
  const found = await client.workflow.getHandle(workflowId).describe();
  const execution = { workflowId, runId: found.runId };
  const how = CLOSED[found.status.name];
  if (how !== undefined) {
    const [last] = await newestEvents(client, execution, 1);
    const reason = closeReason(last);
    return { state: 'closed', how, ...(reason === undefined ? {} : { reason }) };
  }
  const pending = found.raw.pendingWorkflowTask;
  if (pending === null || pending === undefined || (pending.attempt ?? 0) < 2) return { state: 'open' };
  const looked = lookAtTask(pending, await newestEvents(client, execution, EVENTS_READ_MAX), limits);
  if (looked === 'works') return { state: 'open' };
  if ('event' in looked) return { state: 'open', unexplained: { execution: found.runId, ...looked } };
  return { state: 'failing', execution: found.runId, attempts: pending.attempt ?? 0, ...looked };
}

/** Temporal's names of the states in which a workflow is closed. */
const CLOSED: Partial<Record<WorkflowExecutionDescription['status']['name'], ClosedHow>> = {
  COMPLETED: 'completed',
  FAILED: 'failed',
  CANCELLED: 'cancelled',
  TERMINATED: 'terminated',
  TIMED_OUT: 'timed-out',
};

/**
 * Whether the workflow task that is pending keeps failing, by the events at the end of the history, newest first. Timeouts
 * never count: a task whose last recorded end is one is unexplained. Pure.
 */
export function lookAtTask(
  pending: PendingTask,
  newest: readonly TaskEvent[],
  { attemptsMax, failingMs }: FailingLimits,
): 'works' | { event: string } | { since: string; reason: string } {
  const { ends, asked } = sinceCompleted(newest);
  const [last] = ends;
  const first = ends.at(-1);
  if (last === undefined || first === undefined) return 'works';
  const attempts = pending.attempt ?? 0;
  const triedAt = msOf(pending.scheduledTime);
  // Reported again for the same reason, or one that no repetition mends.
  const same = ends.findLast(({ reason }) => last.reason !== null && reason === last.reason);
  const isRepeated = same !== undefined && last.at - same.at >= failingMs;
  const isKnown = last.isReplay && attempts >= attemptsMax && triedAt - last.at >= failingMs;
  if (last.reason !== null && (isRepeated || isKnown)) {
    return { since: new Date(same?.at ?? last.at).toISOString(), reason: last.reason };
  }
  // Each question starts the attempts anew, so the next one waits for more of them.
  const isDue = attempts >= attemptsMax * (asked + 1) && triedAt - first.at >= failingMs;
  return isDue ? { event: last.event } : 'works';
}

type TaskEnd = { event: string; at: number; reason: string | null; isReplay: boolean };

/** How workflow tasks ended since the last one that completed, newest first, and how often the worker was asked. */
function sinceCompleted(newest: readonly TaskEvent[]): { ends: TaskEnd[]; asked: number } {
  const ends: TaskEnd[] = [];
  let asked = 0;
  for (const event of newest) {
    if (event.workflowTaskCompletedEventAttributes) break;
    if (event.workflowExecutionSignaledEventAttributes?.signalName === ASK_SIGNAL) asked += 1;
    const about = { event: String(event.eventId), at: msOf(event.eventTime) };
    const failed = event.workflowTaskFailedEventAttributes;
    if (failed) {
      const cause = Number(failed.cause);
      const isReplay = cause === NON_DETERMINISTIC_ERROR;
      const isOfCode = isReplay || cause === UNHANDLED_FAILURE;
      ends.push({ ...about, isReplay, reason: isOfCode ? reasonOf(failed.failure) : null });
    } else if (event.workflowTaskTimedOutEventAttributes)
      ends.push({ ...about, isReplay: false, reason: null });
  }
  return { ends, asked };
}

/**
 * Makes the worker report why the next attempt fails, once for each end of a workflow task. The signal is not in the history
 * before the attempt in hand ends, so Temporal itself keeps it from being sent twice. A closed execution is left alone.
 */
export async function askWorkflow(
  client: Client,
  workflowId: string,
  { execution, event }: Unexplained,
): Promise<void> {
  try {
    await client.workflowService.signalWorkflowExecution({
      namespace: client.options.namespace,
      workflowExecution: { workflowId, runId: execution },
      signalName: ASK_SIGNAL,
      requestId: `${execution}/${event}`,
      identity: client.options.identity,
    });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

async function newestEvents(
  client: Client,
  execution: { workflowId: string; runId: string },
  limit: number,
): Promise<WorkflowEvent[]> {
  const { history } = await client.workflowService.getWorkflowExecutionHistoryReverse({
    namespace: client.options.namespace,
    execution,
    maximumPageSize: limit,
  });
  return history?.events ?? [];
}

function closeReason(last: WorkflowEvent | undefined): string | undefined {
  const failure = last?.workflowExecutionFailedEventAttributes?.failure;
  if (failure) return reasonOf(failure);
  const reason = last?.workflowExecutionTerminatedEventAttributes?.reason;
  return reason === undefined || reason === null || reason === '' ? undefined : reason;
}

/** What went wrong; a failure of an activity only wraps it. */
function reasonOf(failure: Failure): string {
  let found = failure;
  while (found?.activityFailureInfo && found.cause) found = found.cause;
  const text = (found?.message ?? '').replace(/\s+/g, ' ').trim();
  return text === '' ? 'no reason given' : text.slice(0, REASON_LENGTH_MAX);
}

function msOf(time: WorkflowEvent['eventTime']): number {
  return Number(time?.seconds ?? 0) * SECOND_MS + Math.floor((time?.nanos ?? 0) / 1e6);
}
