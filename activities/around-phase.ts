/**
 * What stands around every phase, in one place, so that no procedure can forget it:
 *
 *   plan by the run row's hash · target digests · approvals recounted · intent row (lease, order, fence)
 *     └─ the activity itself, with heartbeats, outputs filled in and faults injected
 *   outcome row, also of an attempt that Temporal will try again
 *
 * An activity implementation therefore is `(params, context) => result`, and Temporal hears a summary only. An attempt that
 * is cancelled has no outcome row: a row of its phase, or the next attempt, says how it ended.
 */
import { type Context, activityInfo, heartbeat } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type {
  ActivityExecuteInput,
  ActivityInboundCallsInterceptor,
  ActivityInterceptorsFactory,
  Next,
} from '@temporalio/worker';
import type { Logger } from 'pino';
import { HEARTBEAT_MS, SUMMARY_BYTES_MAX } from '../procedures/limits.ts';
import type { Call, Direction, Json, Plan } from '../procedures/plan.ts';
import { closesAt, isOpen, nextOpening } from '../procedures/windows.ts';
import { digest } from '../store/digest.ts';
import { wellFormed } from '../store/text.ts';
import type { OutcomeRow, RunRow, StoredOutcome, WorkerStore } from '../store/types.ts';
import type { Envelope, PhaseAnswer } from '../workflows/messages.ts';
import { assertApproved } from './approved.ts';
import { asFailure, failedOutcome, failureOf, lostType } from './attempt-end.ts';
import { assertOwnWorkflow } from './own-workflow.ts';
import { type ContextDeps, makeContext } from './context.ts';
import { fill } from './fill.ts';
import { fail, failureType } from './lib/fail.ts';
import { type Journal, makeJournal } from './journal.ts';
import type { Fence, FingerprintResult, PhaseResult, ProbeResult } from './phase.ts';

export type AroundDeps = ContextDeps & {
  store: WorkerStore;
  log: Logger;
  /** Milliseconds for which the worker retries its own rows; `JOURNAL_WAIT_MS` by default. */
  journalWaitMs: number;
  /** What stands before `run/N` in the workflow ids that the API gives; undefined trusts any workflow. */
  workflowIdPrefix?: string;
};

/** How often an attempt beats at the least, and how many beats its heartbeat timeout has room for. */
const BEAT_MS = 200;
const BEATS = 5;

/** Phase activities have a `/` in their name; local activities of the recorder have none. */
export function makeAroundPhase(deps: AroundDeps): ActivityInterceptorsFactory {
  return (context) => ({ inbound: new AroundPhase(deps, context) });
}

type Planned = { call: Call; targets: string[] };
type Result = PhaseResult | ProbeResult | FingerprintResult;

class AroundPhase implements ActivityInboundCallsInterceptor {
  private readonly deps: AroundDeps;
  private readonly context: Context;

  constructor(deps: AroundDeps, context: Context) {
    this.deps = deps;
    this.context = context;
  }

  async execute(
    input: ActivityExecuteInput,
    next: Next<ActivityInboundCallsInterceptor, 'execute'>,
  ): Promise<unknown> {
    if (!activityInfo().activityType.includes('/')) return next(input);
    const envelope = readEnvelope(input.args[0]);
    const limitMs = activityInfo().heartbeatTimeoutMs ?? HEARTBEAT_MS;
    const beating = setInterval(() => heartbeat(), Math.min(BEAT_MS, limitMs / BEATS));
    // What still waits for the database when the attempt ends, as the watch of a command, waits no longer.
    const over = new AbortController();
    const signal = AbortSignal.any([this.context.cancellationSignal, over.signal]);
    const journal = makeJournal({ ...this.deps, signal, lost: lostType(envelope.direction) });
    try {
      return await this.around(envelope, journal, input, next);
    } catch (error) {
      throw error instanceof CancelledFailure ? error : asFailure(error, this.deps.scrubber);
    } finally {
      clearInterval(beating);
      over.abort(new CancelledFailure('The attempt has ended.'));
    }
  }

  private async around(
    envelope: Envelope,
    journal: Journal,
    input: ActivityExecuteInput,
    next: Next<ActivityInboundCallsInterceptor, 'execute'>,
  ): Promise<PhaseAnswer> {
    const { deps } = this;
    assertOwnWorkflow(envelope.run, deps.workflowIdPrefix);
    const run = await journal.before(() => deps.store.loadRun(envelope.run));
    if (run === undefined)
      throw fail('PlanUnknown', `The API stored no run ${envelope.run}. Start runs through the API.`);
    const planned = plannedCall(run, envelope);
    const environment = assertTargets(deps, run, planned);
    await journal.before(() => assertApproved(deps.store, run, envelope));
    const isUndo = envelope.direction === 'undo';
    const undoing = isUndo
      ? await journal.before(() => deps.store.undoing(run.run, envelope.phase))
      : undefined;

    const row = { ...envelope, attempt: activityInfo().attempt, ...windowLeft(run.plan, envelope) };
    const intent = await journal.before(() => deps.store.intent(row));
    if ('stored' in intent) return answerStored(intent.stored, envelope.direction);
    if ('refused' in intent) throw refusal(intent.refused, intent.detail);

    const { outputs } = intent;
    const fence: Fence = { epoch: intent.epoch, seq: intent.seq };
    return await this.perform(input, next, {
      run,
      planned: withParams(planned, undoing?.params ?? null),
      ...(undoing?.error == null ? {} : { error: undoing.error }),
      envelope,
      fence,
      outputs,
      environment,
      journal,
    });
  }

  private async perform(
    input: ActivityExecuteInput,
    next: Next<ActivityInboundCallsInterceptor, 'execute'>,
    at: {
      run: RunRow;
      planned: Planned;
      envelope: Envelope;
      fence: Fence;
      outputs: Record<string, Record<string, Json>>;
      environment: ReturnType<typeof assertTargets>;
      journal: Journal;
      error?: { type: string; message: string };
    },
  ): Promise<PhaseAnswer> {
    const { deps } = this;
    const { run, planned, envelope, fence, outputs, journal } = at;
    const base = { ...envelope, attempt: activityInfo().attempt, intent: fence.seq };
    let outcome: Omit<StoredOutcome, 'seq'>;
    try {
      const context = makeContext({ ...deps, ...at, signal: this.context.cancellationSignal });
      const params = fill(planned.call.params, outputs);
      const said = wellFormed(await next({ ...input, args: [params, context] })) as Json;
      const result = deps.scrubber.json(said) as unknown as Result;
      outcome = outcomeOf(result, envelope.direction);
      if (envelope.direction === 'run' && run.failAt === envelope.phase) {
        throw fail('InjectedFault', 'a fault was injected after the effect, as asked for with the run');
      }
    } catch (error) {
      if (this.context.cancellationSignal.aborted) throw this.cutShort(envelope);
      const failure = asFailure(error, deps.scrubber, planned.targets);
      deps.log.warn({ ...base, err: error }, 'phase: failed');
      await this.writeFailure(journal, base, failure);
      throw failure;
    }
    const state = nextState(envelope.direction, outcome);
    const seq = await this.write(journal, { ...base, ...outcome, state });
    return answerOf({ ...outcome, seq });
  }

  /** Without this row of an attempt that is tried again, the next attempt says that its outcome is not known. */
  private async writeFailure(
    journal: Journal,
    base: Pick<OutcomeRow, 'run' | 'phase' | 'direction' | 'try' | 'attempt' | 'intent'>,
    failure: ApplicationFailure,
  ): Promise<void> {
    const said = failedOutcome(failure, activityInfo(), Date.now());
    try {
      await this.write(journal, { ...base, ...said, state: null });
    } catch (error) {
      if (said.again !== true || failureType(error) === 'FenceLost') throw error;
      this.deps.log.warn({ ...base, err: error }, 'phase: the outcome of an attempt is not recorded');
    }
  }

  private async write(journal: Journal, row: OutcomeRow): Promise<number> {
    const written = await journal.after(() => this.deps.store.outcome(row));
    if ('refused' in written) throw refusal(written.refused, written.detail);
    return written.seq;
  }

  /**
   * The attempt was ended from outside: what it threw is not how its work ended. A worker that is stopped has not failed;
   * the probe looks for the phase, or another worker tries again.
   */
  private cutShort({ phase, direction }: Envelope): Error {
    if (this.context.cancellationDetails?.workerShutdown === true)
      return failureOf(
        lostType(direction),
        `The worker was stopped before ${direction} of ${phase} had ended.`,
      );
    const { reason } = this.context.cancellationSignal;
    return reason instanceof CancelledFailure ? reason : new CancelledFailure('The phase was cancelled.');
  }
}

/** Forwards the window of the phase must be open. Until it closes the phase and its way back must have ended. */
function windowLeft(plan: Plan, { phase, direction }: Envelope): { until?: Date } {
  if (direction !== 'run') return {};
  const planned = plan.phases.find(({ id }) => id === phase);
  const gate = plan.windows?.[planned?.waitsFor?.window ?? ''];
  const now = Date.now();
  if (gate !== undefined && !isOpen(gate, now)) {
    throw fail(
      'WindowClosed',
      `Window '${planned?.waitsFor?.window}' is not open, so ${phase} does not start: it opens ${new Date(nextOpening(gate, now)).toISOString()}.`,
    );
  }
  const step = plan.steps.find(({ id }) => id === planned?.step);
  const own = plan.windows?.[step?.window?.name ?? ''];
  // Where the step may finish after its window, the end of the window bounds nothing but its beginning.
  const closes =
    gate === undefined && step?.window?.midRun === 'finish' ? undefined : own && closesAt(own, now);
  return closes === undefined ? {} : { until: new Date(closes) };
}

/** A person on the desk may change what an undo is told, and never what it reaches. */
function withParams(planned: Planned, params: Record<string, Json> | null): Planned {
  const own = planned.call.params;
  if (params === null || own === null || typeof own !== 'object' || Array.isArray(own)) return planned;
  return { ...planned, call: { ...planned.call, params: { ...own, ...params } } };
}

function readEnvelope(value: unknown): Envelope {
  const { run, phase, direction, try: tried } = (value ?? {}) as Partial<Envelope>;
  const directions = ['run', 'probe', 'undo', 'before', 'after'];
  if (
    !Number.isSafeInteger(run) ||
    typeof phase !== 'string' ||
    !Number.isSafeInteger(tried) ||
    !directions.includes(String(direction))
  ) {
    throw fail(
      'PlanUnknown',
      'A phase is told { run, phase, direction, try } and no more. Start runs through the API.',
    );
  }
  return { run, phase, direction, try: tried } as Envelope;
}

/** What the stored plan says is to be called. The activity that Temporal asked for must be that one. */
function plannedCall(run: RunRow, envelope: Envelope): Planned {
  const planned = lookUp(run.plan, envelope);
  const asked = activityInfo().activityType;
  if (planned === undefined || planned.call.activity !== asked) {
    const expected = planned === undefined ? 'nothing' : `'${planned.call.activity}'`;
    throw fail(
      'PlanUnknown',
      `Plan ${run.planHash.slice(0, 12)} calls ${expected} for ${envelope.phase}/${envelope.direction}, not '${asked}'.`,
    );
  }
  return planned;
}

function lookUp(plan: Plan, { phase, direction }: Envelope): Planned | undefined {
  if (direction === 'before' || direction === 'after') {
    const print = plan.fingerprints.find(({ target }) => `@${target}` === phase);
    return print && { call: print.call, targets: [print.target] };
  }
  const found = plan.phases.find(({ id }) => id === phase);
  const call = found?.[direction];
  if (found === undefined || call === undefined || 'wait' in call) return undefined;
  return { call, targets: found.targets };
}

/** The worker's own copy of the environment must say the same of each target as the copy that was planned with. */
function assertTargets(deps: AroundDeps, run: RunRow, planned: Planned) {
  const environment = deps.environments.get(run.environment);
  if (environment === undefined) {
    throw fail(
      'TargetDiffers',
      `This worker has no environment '${run.environment}'. Give it the file that the API plans with.`,
    );
  }
  for (const name of planned.targets) {
    const target = environment.targets[name];
    const expected = run.plan.targets[name]?.digest;
    if (target === undefined || digest(target) !== expected) {
      throw fail(
        'TargetDiffers',
        `Target '${name}' in this worker's copy of environment '${run.environment}' is not the one that was planned with. Make the copies equal, then plan again.`,
      );
    }
  }
  return environment;
}

function refusal(reason: string, detail: string): ApplicationFailure {
  if (reason === 'Superseded' || reason === 'RunClosed') return fail('FenceLost', detail);
  if (reason === 'LeaseLost' || reason === 'OutOfOrder' || reason === 'ObjectiveExceeded') {
    return fail(reason, detail);
  }
  return fail('PlanUnknown', detail);
}

function outcomeOf(result: Result, direction: Direction): Omit<StoredOutcome, 'seq'> {
  const summary = result.summary.slice(0, SUMMARY_BYTES_MAX / 4);
  if ('state' in result) {
    return { result: 'ok', verdict: 'pass', summary, print: { state: result.state, data: result.data } };
  }
  const output = result.output === undefined ? {} : { output: result.output };
  if ('answer' in result) return { result: 'ok', verdict: 'pass', summary, answer: result.answer, ...output };
  const binds = result.binds === undefined || direction !== 'run' ? {} : { binds: result.binds };
  const leaveOut = result.leaveOut === undefined || direction !== 'run' ? {} : { leaveOut: result.leaveOut };
  return { result: 'ok', verdict: result.verdict, summary, ...output, ...binds, ...leaveOut };
}

function nextState(direction: Direction, outcome: Omit<StoredOutcome, 'seq'>): OutcomeRow['state'] {
  if (direction === 'run' && outcome.result === 'ok') return 'done';
  if (direction === 'undo' && outcome.result === 'ok') return 'undone';
  return null;
}

function answerOf(stored: StoredOutcome): PhaseAnswer {
  const { verdict, summary, seq, output, binds, print, answer, leaveOut } = stored;
  const said = print ?? { output: output ?? null, binds: binds ?? null };
  return {
    verdict,
    summary,
    seq,
    digest: digest(said),
    ...(answer === undefined ? {} : { answer }),
    ...(leaveOut === undefined ? {} : { leaveOut }),
  };
}

/** This try ended already and its answer was lost on the way: the same answer again, and no second effect. */
function answerStored(stored: StoredOutcome, direction: Direction): PhaseAnswer {
  if (stored.result === 'ok') return answerOf(stored);
  throw ApplicationFailure.create({
    type: stored.error?.type ?? 'PhaseFailed',
    message: stored.error?.message ?? `${direction} had failed`,
    nonRetryable: true,
  });
}
