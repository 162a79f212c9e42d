/** The interpreter's own activities: rows that no phase activity writes. */
import { type Plan, isWait } from '../procedures/plan.ts';
import { closesAt, nextOpening } from '../procedures/windows.ts';
import { digest } from '../store/digest.ts';
import { JournalRefusal } from '../store/refusal.ts';
import { readableJson } from '../store/text.ts';
import type { RunRow, WorkerStore } from '../store/types.ts';
import type { RecordRow, Recorder } from '../workflows/messages.ts';
import { CLOSED } from '../workflows/state.ts';
import { assertLawful } from './lawful.ts';
import { fail } from './lib/fail.ts';
import { assertOwnWorkflow } from './own-workflow.ts';

function isPastNoReturn(plan: Plan, isDone: (phase: string) => boolean): boolean {
  return plan.phases.some(({ id, run }) => isWait(run) && run.wait === 'point-of-no-return' && isDone(id));
}

/** What the journal refuses it will always refuse: it is not tried again. */
async function told<T>(act: Promise<T>): Promise<T> {
  try {
    return await act;
  } catch (error) {
    if (error instanceof JournalRefusal) throw fail(error.name, error.message);
    throw error;
  }
}

/**
 * The workflow cannot tell a phase that never began from one whose answer was lost: it probes both. The journal can: without an
 * intent nothing was undone, and the phase is pending again.
 */
async function withoutUnbegun(
  store: WorkerStore,
  run: number,
  rows: readonly RecordRow[],
): Promise<RecordRow[]> {
  const asked = rows.flatMap(({ phase, body }) =>
    phase !== undefined && body['happened'] === false ? [phase] : [],
  );
  if (asked.length === 0) return [...rows];
  const { phases } = await store.facts(run, asked);
  return rows.map((row) => {
    if (row.body['happened'] !== false || phases[row.phase ?? '']?.begun !== false) return row;
    const { verdict: _, ...rest } = row;
    return { ...rest, state: 'pending', body: { ...row.body, summary: 'it never began' } };
  });
}

/**
 * An abort whose update was lost on its way counts with the next rows of its run, so that no run passes its point of no return
 * while a stored abort is sent again. What the journal refuses meanwhile is left to the update.
 */
async function countAbort(store: WorkerStore, { run, plan }: RunRow): Promise<void> {
  const id = await store.unheardAbort(run);
  if (id === undefined) return;
  const { phases } = await store.facts(run, []);
  if (isPastNoReturn(plan, (phase) => phases[phase]?.state === 'done')) return;
  try {
    await store.countDecision(run, id);
  } catch (error) {
    if (!(error instanceof JournalRefusal)) throw error;
  }
}

export function makeRecorder({
  store,
  workflowIdPrefix,
}: {
  store: WorkerStore;
  workflowIdPrefix?: string;
}): Recorder {
  const load = async (run: number): Promise<RunRow> => {
    assertOwnWorkflow(run, workflowIdPrefix);
    const row = await store.loadRun(run);
    if (row === undefined)
      throw fail('PlanUnknown', `The API stored no run ${run}. Start runs through the API.`);
    return row;
  };

  return {
    async begin({ run, plan, execution }) {
      const row = await load(run);
      if (digest(plan) !== row.planHash) {
        throw fail(
          'PlanUnknown',
          `The plan that run ${run} was started with is not the one that the API stored. Start runs through the API.`,
        );
      }
      const begun = await store.begun(run, execution);
      if (!begun.reopened) return begun;
      // From this row on the journal takes no row of the closed workflow. Above the point of no return it also refuses every
      // forward intent: nothing that was left over can begin what the unwinding would not see. Only then is the journal read.
      const done = new Set(begun.journal.flatMap(({ phase, state: now }) => (now === 'done' ? [phase] : [])));
      const state = isPastNoReturn(plan, (phase) => done.has(phase)) ? 'running' : 'unwinding';
      const body = { because: begun.reopenReason ?? CLOSED };
      const said: RecordRow = { key: `${execution}/reopen`, kind: 'run', state, body };
      await told(store.record(run, [said]));
      return { ...(await store.begun(run, execution)), counted: await store.counted(run, 0) };
    },

    async record({ run, rows, after }) {
      const row = await load(run);
      await assertLawful(store, row, rows);
      await told(store.record(run, await withoutUnbegun(store, run, rows)));
      await countAbort(store, row);
      return { counted: await store.counted(run, after) };
    },

    async openApproval({ run, key, plan, step, leading, round, opened, dueAt, from, about }) {
      assertOwnWorkflow(run, workflowIdPrefix);
      const binds = await store.binds(run, leading);
      const evidence = digest({ plan, step, binds, ...(about === undefined ? {} : { about }) });
      const openedAt = Date.now();
      const body = {
        step,
        evidence,
        round,
        opened,
        from,
        dueAt,
        openedAt,
        ...(about === undefined ? {} : { about }),
      };
      await told(store.record(run, [{ key, kind: 'approval', state: 'open', body }]));
      return { evidence, openedAt };
    },

    async lookAtWindow({ run, window: name }) {
      const window = (await load(run)).plan.windows?.[name];
      if (window === undefined)
        throw fail(
          'PlanUnknown',
          `The plan of run ${run} has no window '${name}'. Start runs through the API.`,
        );
      const opensAt = nextOpening(window, Date.now());
      return { opensAt, closesAt: closesAt(window, opensAt) ?? null };
    },

    async countDecision({ run, told: said }) {
      assertOwnWorkflow(run, workflowIdPrefix);
      const decision = await store.decision(run, said.id);
      if (decision === undefined || digest(decision) !== digest(readableJson(said))) {
        throw fail(
          'ApprovalMissing',
          `No interface wrote decision ${said.id} of run ${run} as it was sent. Decide through the API, Slack or the console.`,
        );
      }
      return { seq: await told(store.countDecision(run, decision.id)), decision };
    },
  };
}
