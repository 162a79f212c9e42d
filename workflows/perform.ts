/** How the shell performs an act: one activity, and what its end means to the core. */
import {
  ActivityFailure,
  ApplicationFailure,
  CancelledFailure,
  TimeoutFailure,
  proxyActivities,
  scheduleActivity,
  workflowInfo,
} from '@temporalio/workflow';
import { NON_RETRYABLE } from '../procedures/errors.ts';
import { PROBE_ATTEMPTS, PROBE_TIMEOUT_MS, RECORD_TIMEOUT_MS } from '../procedures/limits.ts';
import { type Call, type Limits, type Plan, fingerprintPhase } from '../procedures/plan.ts';
import type { Act, Event, Outcome } from './core.ts';
import type { Envelope, LaunchInput, PhaseAnswer, Recorder } from './messages.ts';
import { phaseOf } from './state.ts';

/**
 * Rows that no phase activity writes. They are ordinary activities on purpose: the history holds the order in which they ended, so
 * a replay starts the same acts in the same order, and a workflow task that is lost has recorded nothing. A local activity has
 * neither property. They are tried until the database answers.
 */
export const recorder = proxyActivities<Recorder>({
  startToCloseTimeout: RECORD_TIMEOUT_MS,
  retry: {
    initialInterval: '100ms',
    backoffCoefficient: 2,
    maximumInterval: '5s',
    nonRetryableErrorTypes: [...NON_RETRYABLE],
  },
});

export function makePerform({ run, plan }: LaunchInput): (act: Act) => Promise<Event> {
  return async (act) => {
    // A retried activity must find its own rows, also after continue-as-new; a reopened workflow must not. The whole id: its
    // first digits are the time.
    const prefix = workflowInfo().firstExecutionRunId;
    switch (act.kind) {
      case 'begin': {
        return { kind: 'begun', begun: await recorder.begin({ run, plan, execution: prefix }) };
      }
      case 'record':
        return {
          kind: 'recorded',
          ...(await recorder.record({
            run,
            rows: act.rows.map((row) => ({ ...row, key: `${prefix}/${row.key}` })),
            after: act.after,
          })),
        };
      case 'open': {
        const key = `${prefix}/${act.key}`;
        const { evidence, openedAt } = await recorder.openApproval({ ...act.input, run, key });
        return { kind: 'opened', step: act.input.step, evidence, openedAt };
      }
      case 'window': {
        const { phase, window } = act;
        return { kind: 'window', phase, ...(await recorder.lookAtWindow({ run, window })) };
      }
      case 'phase': {
        const { phase, direction, try: tried } = act;
        const outcome = await attempt(...phaseCall(plan, phase, direction), {
          run,
          phase,
          direction,
          try: tried,
        });
        return { kind: 'phase', phase, direction, try: tried, outcome };
      }
      case 'print': {
        const { target, direction, try: tried } = act;
        const envelope: Envelope = { run, phase: fingerprintPhase(target), direction, try: tried };
        const outcome = await attempt(...printCall(plan, target), envelope);
        return { kind: 'print', target, direction, try: tried, outcome };
      }
    }
  };
}

type Options = { summary: string; pool: string; limits: Limits; attempts: number };

function phaseCall(plan: Plan, id: string, direction: 'run' | 'probe' | 'undo'): [Call, Options] {
  const phase = phaseOf(plan, id);
  const call = phase[direction];
  if (call === undefined || 'wait' in call) throw new Error(`${id} has nothing to ${direction}.`);
  const { limits, pool } = phase;
  if (direction === 'run') return [call, { summary: phase.title, pool, limits, attempts: limits.attempts }];
  const summary = direction === 'undo' ? (phase.undoTitle ?? `undo: ${phase.title}`) : `look: ${phase.title}`;
  const attempts = direction === 'undo' ? limits.undoAttempts : PROBE_ATTEMPTS;
  const timeoutMs = direction === 'undo' ? limits.timeoutMs : Math.min(limits.timeoutMs, PROBE_TIMEOUT_MS);
  return [call, { summary, pool, limits: { ...limits, timeoutMs }, attempts }];
}

function printCall(plan: Plan, target: string): [Call, Options] {
  const found = plan.fingerprints.find((one) => one.target === target);
  if (found === undefined) throw new Error(`The plan takes no fingerprint of '${target}'.`);
  const { call, pool, limits } = found;
  return [call, { summary: `fingerprint of ${target}`, pool, limits, attempts: limits.attempts }];
}

async function attempt(call: Call, options: Options, envelope: Envelope): Promise<Outcome> {
  const { limits, attempts, pool, summary } = options;
  try {
    const answer = await scheduleActivity<PhaseAnswer>(call.activity, [envelope], {
      taskQueue: `${workflowInfo().taskQueue}-${pool}`,
      activityId: `${envelope.phase}/${envelope.direction}/${envelope.try}`,
      startToCloseTimeout: limits.timeoutMs,
      heartbeatTimeout: limits.heartbeatMs,
      // The default lets an undo start while the effect still runs.
      cancellationType: 'WAIT_CANCELLATION_COMPLETED',
      summary,
      retry: {
        maximumAttempts: attempts,
        initialInterval: '200ms',
        backoffCoefficient: 2,
        maximumInterval: '10s',
        nonRetryableErrorTypes: [...NON_RETRYABLE],
      },
    });
    return { end: 'ok', answer };
  } catch (error) {
    return outcomeOf(error);
  }
}

/** What a recorder's refusal says, without Temporal's wrapping: its code is what the API and the janitor read. */
export function refusalIn(error: unknown): unknown {
  return error instanceof ActivityFailure && error.cause instanceof ApplicationFailure ? error.cause : error;
}

/** An ApplicationFailure means that the code itself said no; a timeout or a cancellation means that nobody knows. */
function outcomeOf(error: unknown): Outcome {
  if (error instanceof CancelledFailure) return { end: 'maybe', message: 'it was cancelled' };
  if (!(error instanceof ActivityFailure)) throw error;
  const { cause } = error;
  if (cause instanceof TimeoutFailure) {
    return {
      end: 'maybe',
      message: `no answer came: ${(cause.timeoutType ?? 'timeout').toLowerCase().replaceAll('_', ' ')}`,
    };
  }
  if (cause instanceof CancelledFailure) return { end: 'maybe', message: 'it was cancelled' };
  if (cause instanceof ApplicationFailure) {
    return { end: 'failed', type: cause.type ?? 'PhaseFailed', message: cause.message };
  }
  return { end: 'maybe', message: cause?.message ?? error.message };
}
