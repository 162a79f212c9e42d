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
import { answerAgain, decide } from './decide.ts';
import { judge } from './judge.ts';
import { type Decision, type DecisionAnswer, type LaunchInput, decisionUpdate } from './messages.ts';
import { makePerform, recorder, refusalIn } from './perform.ts';

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
  /** How often the loop has been round. */
  let passes = 0;
  // A decision is looked at and journalled while nothing else moves: what is refused is never in the run's journal as counted.
  // Looked at and taken in one go: between an awaited promise and what comes after it others have their turn.
  const turn = { isTaken: false };
  let refused: ApplicationFailure | undefined;

  const check = (decision: Decision, now: number): void => {
    const no = judge(plan, state, decision, now);
    if (no !== undefined)
      throw ApplicationFailure.create({ type: no.code, message: no.detail, nonRetryable: true });
  };

  // The approval's row is written a moment before this workflow hears of it: who answers in that moment waits for it.
  const isOpening = ({ kind, subject }: Decision): boolean =>
    (kind === 'approve' || kind === 'reject') && state.approvals[subject ?? '']?.state === 'opening';

  /** Looks at a decision and counts it in one go: nothing else moves meanwhile. */
  const take = async (told: Decision): Promise<DecisionAnswer> => {
    while (turn.isTaken) await condition(() => !turn.isTaken);
    turn.isTaken = true;
    try {
      const now = Date.now();
      check(told, now);
      // Only the row that an interface wrote counts: the recorder compares it with what the update says.
      const { seq, decision } = await CancellationScope.nonCancellable(() =>
        recorder.countDecision({ run, told }),
      );
      state.heardSeq = Math.max(state.heardSeq, seq);
      touched = true;
      return decide(plan, state, decision, now);
    } catch (error) {
      throw refusalIn(error);
    } finally {
      turn.isTaken = false;
    }
  };

  setHandler(
    decisionUpdate,
    async (told) => {
      await condition(() => state.planHash !== null && !isOpening(told));
      if (state.heard.includes(told.id)) return answerAgain(told);
      const answer = await take(told);
      // A person who has an answer finds what it changed in the journal.
      const before = passes;
      await condition(() => passes > before && state.outbox.length === 0);
      return answer;
    },
    {
      validator: (told) => {
        if (!isOpening(assertDecision(told))) check(told, Date.now());
      },
    },
  );

  const start = (act: Act): void => {
    const scope = new CancellationScope();
    flying.set(act.key, { act, scope });
    void scope
      .run(() => perform(act))
      .then(
        (event) => inbox.push(event),
        (error: unknown) => {
          // Only the activity that begins a run may refuse it; what the journal refuses later is a bug. Either ends the workflow.
          const found = refusalIn(error);
          refused = found instanceof ApplicationFailure ? found : ApplicationFailure.fromError(found);
        },
      )
      .then(() => flying.delete(act.key));
  };

  // One timer a due time, never cancelled: an early wake-up costs nothing.
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
      passes += 1;

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
        await condition(() => touched || allHandlersFinished());
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
