/**
 * The workflow of a run: a thin shell around the core. It starts what is wanted, cancels what no longer is, and feeds
 * the core with what happened.
 *
 *   loop:  apply the inbox · settle · start wanted − flying · cancel flying − wanted · over? · full? · wait
 *
 * Everything runs in a scope that cannot be cancelled, so that nothing from outside cuts an unwinding short.
 */
import {
  ApplicationFailure,
  CancellationScope,
  allHandlersFinished,
  condition,
  continueAsNew,
  setHandler,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import { HISTORY_EVENTS_MAX } from '../procedures/limits.ts';
import type { RunState } from '../procedures/states.ts';
import {
  type Act,
  type CoreState,
  type Event,
  apply,
  initial,
  isOver,
  nextDue,
  settle,
  wanted,
} from './core.ts';
import { decide } from './decide.ts';
import { judge } from './judge.ts';
import { type Decision, type LaunchInput, decisionUpdate } from './messages.ts';
import { makePerform, recorder } from './perform.ts';

export type LaunchResult = { run: number; state: RunState };

export async function launch(input: LaunchInput): Promise<LaunchResult> {
  const { run, plan } = input;
  // Whoever starts a workflow may claim any state; only what this workflow handed to itself is taken.
  const isContinued = workflowInfo().continuedFromExecutionRunId !== undefined;
  const state: CoreState = (isContinued ? input.state : undefined) ?? initial(plan);
  const inbox: Event[] = [];
  const flying = new Map<string, { act: Act; scope: CancellationScope }>();
  const perform = makePerform(input);
  let touched = false;
  // A decision is looked at and journalled while nothing else moves: what is refused is never in the run's journal as counted.
  // Looked at and taken in one go: between an awaited promise and what comes after it others have their turn.
  const turn = { isTaken: false };
  let refused: ApplicationFailure | undefined;

  const check = (decision: Decision, now: number): void => {
    const no = judge(plan, state, decision, now);
    if (no !== undefined)
      throw ApplicationFailure.create({ type: no.code, message: no.detail, nonRetryable: true });
  };

  setHandler(
    decisionUpdate,
    async (told) => {
      // Only the row that a door wrote counts; what the update itself says is a hint for the validator.
      const decision = await recorder.readDecision({ run, id: told.id });
      await condition(() => state.planHash !== null);
      while (turn.isTaken) await condition(() => !turn.isTaken);
      turn.isTaken = true;
      try {
        const now = Date.now();
        check(decision, now);
        await recorder.countDecision({ run, id: decision.id });
        touched = true;
        return decide(plan, state, decision, now);
      } finally {
        turn.isTaken = false;
      }
    },
    { validator: (told) => check(assertDecision(told), Date.now()) },
  );

  const start = (act: Act): void => {
    const scope = new CancellationScope();
    flying.set(act.key, { act, scope });
    void scope
      .run(() => perform(act))
      .then(
        (event) => inbox.push(event),
        (error: unknown) => {
          // Only the local activity that begins a run may refuse it; anything else is a bug and fails the task.
          refused = error instanceof ApplicationFailure ? error : ApplicationFailure.fromError(error);
        },
      )
      .then(() => flying.delete(act.key));
  };

  // One timer a due time, never cancelled: a timer that is cancelled in the workflow task of a local activity breaks
  // the replay, and an early wake-up costs nothing.
  const clocks = new Set<number>();
  const watchClock = (due: number | null): void => {
    if (due === null || clocks.has(due)) return;
    clocks.add(due);
    void sleep(Math.max(1, due - Date.now())).then(() => {
      touched = true;
      clocks.delete(due);
    });
  };

  // A cancellation from Temporal itself is an abort without a person: the run takes itself back.
  void CancellationScope.current().cancelRequested.catch(() => {
    if (state.noReturn || state.cause !== null) return;
    state.cause = { kind: 'closed', text: 'A cancellation was asked of Temporal itself' };
    touched = true;
  });

  return CancellationScope.nonCancellable(async () => {
    for (;;) {
      while (turn.isTaken) await condition(() => !turn.isTaken);
      touched = false;
      const draining = isFull(input.historyEventsMax ?? HISTORY_EVENTS_MAX);
      for (const event of inbox.splice(0)) apply(plan, state, event, Date.now());
      settle(plan, state, Date.now(), draining);

      const acts = wanted(plan, state);
      const keys = new Set(acts.map((act) => act.key));
      for (const act of acts) if (!flying.has(act.key)) start(act);
      for (const { act, scope } of flying.values()) {
        if (act.kind === 'phase' && !keys.has(act.key)) scope.cancel();
      }

      const quiet = flying.size === 0 && inbox.length === 0;
      if (isOver(state) && quiet) {
        await condition(allHandlersFinished);
        return { run, state: state.run };
      }
      if (draining && quiet && state.outbox.length === 0) {
        await condition(allHandlersFinished);
        if (!touched) await continueAsNew<typeof launch>({ ...input, state });
        continue;
      }
      watchClock(nextDue(state));
      await condition(() => inbox.length > 0 || touched || refused !== undefined);
      if (refused !== undefined) throw refused;
    }
  });
}

/** Anybody who reaches Temporal can send anything. */
function assertDecision(told: unknown): Decision {
  if (
    told !== null &&
    typeof told === 'object' &&
    'id' in told &&
    typeof told.id === 'string' &&
    'kind' in told
  )
    return told as Decision;
  throw ApplicationFailure.create({
    type: 'ApprovalMissing',
    message: 'A decision is told as its door wrote it. Decide through the API, Slack or the console.',
    nonRetryable: true,
  });
}

function isFull(eventsMax: number): boolean {
  const { historyLength, continueAsNewSuggested } = workflowInfo();
  return continueAsNewSuggested || historyLength > eventsMax;
}
