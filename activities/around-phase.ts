/**
 * What stands around every phase, in one place, so that no procedure can forget it:
 *
 *   plan by the run row's hash · target digests · approvals recounted · intent row (lease, order, fence)
 *     └─ the activity itself, with heartbeats, outputs filled in and faults injected
 *   outcome row
 *
 * An activity implementation therefore is `(params, context) => result`, and Temporal hears a summary only.
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
import { SUMMARY_BYTES_MAX } from '../procedures/limits.ts';
import type { Call, Direction, Json, Limits, Plan } from '../procedures/plan.ts';
import { closesAt, isOpen, nextOpening } from '../procedures/windows.ts';
import { digest } from '../store/digest.ts';
import { wellFormed } from '../store/text.ts';
import type { OutcomeRow, RunRow, StoredOutcome, WorkerStore } from '../store/types.ts';
import type { Envelope, PhaseAnswer } from '../workflows/messages.ts';
import { assertApproved } from './approved.ts';
import { assertOwnWorkflow } from './own-workflow.ts';
import { type ContextDeps, makeContext } from './context.ts';
import { fill } from './fill.ts';
import { fail } from './lib/fail.ts';
import type { Scrubber } from '../store/scrub.ts';
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

/** Phase activities have a `/` in their name; local activities of the recorder have none. */
export function makeAroundPhase(deps: AroundDeps): ActivityInterceptorsFactory {
  return (context) => ({ inbound: new AroundPhase(deps, context) });
}

type Planned = { call: Call; limits: Limits; targets: string[]; attempts: number };
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
    const { deps } = this;
    const envelope = readEnvelope(input.args[0]);
    assertOwnWorkflow(envelope.run, deps.workflowIdPrefix);
    const limitsMs = activityInfo().heartbeatTimeoutMs ?? 2_000;
    const beating = setInterval(() => heartbeat(), Math.min(200, limitsMs / 5));
    try {
      const journal = makeJournal({ ...deps, signal: this.context.cancellationSignal });
      const run = await journal.before(() => deps.store.loadRun(envelope.run));
      if (run === undefined)
        throw fail('PlanUnknown', `The API stored no run ${envelope.run}. Start runs through the API.`);
      const planned = plannedCall(run, envelope);
      const environment = assertTargets(deps, run, planned);
      await journal.before(() => assertApproved(deps.store, run, envelope));

      const row = { ...envelope, attempt: activityInfo().attempt, ...windowLeft(run.plan, envelope) };
      const intent = await journal.before(() => deps.store.intent(row));
      if ('stored' in intent) return answerStored(intent.stored, envelope.direction);
      if ('refused' in intent) throw refusal(intent.refused, intent.detail);

      const { outputs } = intent;
      const fence: Fence = { epoch: intent.epoch, seq: intent.seq };
      const isUndo = envelope.direction === 'undo';
      const undoing = isUndo
        ? await journal.before(() => deps.store.undoing(run.run, envelope.phase))
        : undefined;
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
    } finally {
      clearInterval(beating);
    }
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
    const { attempt } = activityInfo();
    const base = { ...envelope, attempt, intent: fence.seq };
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
      if (error instanceof CancelledFailure || this.context.cancellationSignal.aborted) throw error;
      const failure = asFailure(error, deps.scrubber);
      deps.log.warn({ ...envelope, attempt, err: error }, 'phase: failed');
      const last = failure.nonRetryable === true || attempt >= planned.attempts;
      // A failure that Temporal will retry is no outcome yet; a fenced attempt has none to write.
      if (last && failure.type !== 'FenceLost') {
        await this.write(journal, { ...base, ...failedOutcome(failure), state: null });
      }
      throw failure;
    }
    const state = nextState(envelope.direction, outcome);
    const seq = await this.write(journal, { ...base, ...outcome, state });
    return answerOf({ ...outcome, seq });
  }

  private async write(journal: Journal, row: OutcomeRow): Promise<number> {
    const written = await journal.after(() => this.deps.store.outcome(row));
    if ('refused' in written) throw refusal(written.refused, written.detail);
    return written.seq;
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
    return (
      print && {
        call: print.call,
        limits: print.limits,
        targets: [print.target],
        attempts: print.limits.attempts,
      }
    );
  }
  const found = plan.phases.find(({ id }) => id === phase);
  const call = found?.[direction];
  if (found === undefined || call === undefined || 'wait' in call) return undefined;
  const { limits, targets } = found;
  const attempts = { run: limits.attempts, probe: limits.undoAttempts, undo: limits.undoAttempts }[direction];
  return { call, limits, targets, attempts };
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

function failedOutcome(failure: ApplicationFailure): Omit<StoredOutcome, 'seq'> {
  const message = failure.message.slice(0, SUMMARY_BYTES_MAX / 4);
  return {
    result: 'failed',
    verdict: 'error',
    summary: message,
    error: { type: failure.type ?? 'PhaseFailed', message },
  };
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

/**
 * Only ApplicationFailure leaves an activity, and of it only type and message: causes and traces, which may quote anything, are
 * for the log. What nobody foresaw may be tried again within the phase's attempts.
 */
function asFailure(error: unknown, scrubber: Scrubber): ApplicationFailure {
  const message = scrubber.text(error instanceof Error ? error.message : String(error));
  if (!(error instanceof ApplicationFailure))
    return ApplicationFailure.create({ type: 'PhaseFailed', message, nonRetryable: false });
  const { type, nonRetryable } = error;
  return ApplicationFailure.create({
    type: type ?? 'PhaseFailed',
    message,
    nonRetryable: nonRetryable === true,
  });
}
