/** What must be true of a run of the fuzzer once it has ended: its histories, its journal, its decisions and its effects. */
import type { Plan } from '../../procedures/plan.ts';
import { TERMINAL, isTerminal } from '../../procedures/states.ts';
import { verifyChain } from '../../store/chain.ts';
import type { JournalRow, RunDetail } from '../../store/types.ts';
import type { Engine, EngineRun } from './engine.ts';
import { FAILED_ON_PURPOSE } from './shell-fuzz-interceptor.ts';
import { checkDecisions } from './shell-fuzz-decisions.ts';
import type { Said } from './shell-fuzz-people.ts';
import type { Execution, HistoryEvent } from './shell-fuzz-replay.ts';
import type { FuzzWorld } from './shell-fuzz-world.ts';

/** How long the workflow may take to close once its last row is recorded. */
const CLOSE_MS = 20_000;
const PAGE = 1_000;
const ROWS_MAX = 20_000;
/** Executions of one run: each continue-as-new makes one. */
const EXECUTIONS_MAX = 200;
/** WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND: something came while the workflow was closing. The server asks again. */
const UNHANDLED_COMMAND: number = 1;

export type Checked = {
  /** What is wrong, each as `KIND: DETAIL`. */
  faults: string[];
  /** One history an execution. */
  histories: Execution[];
  /** The journal of the run. */
  rows: JournalRow[];
  /** Workflow tasks that timed out or failed. */
  lostTasks: number;
  state: RunDetail['state'];
  /** What came of the decisions, for statistics. */
  said: string[];
};

export type Ended = {
  engine: Pick<Engine, 'store' | 'client'>;
  run: EngineRun;
  plan: Plan;
  world: FuzzWorld;
  said: readonly Said[];
};

/** Looks at everything that the run has left behind. */
export async function checkRun(ended: Ended): Promise<Checked> {
  const { engine, run } = ended;
  const detail = await run.detail();
  const faults: string[] = [];
  if (isTerminal(detail.state)) faults.push(...(await checkResult(ended, detail)));
  else faults.push(`not ended: ${lookOf(detail)}`);
  const histories = await historiesOf(engine, run);
  const events = histories.flatMap(({ history }) => history.events ?? []);
  faults.push(...checkEvents(events));
  const rows = await journalOf(engine, run.run);
  faults.push(...checkJournal(rows, detail), ...checkDecisions(ended, { rows, detail }));
  if (isTerminal(detail.state)) faults.push(...checkEffects(ended, { rows, detail }));
  const lostTasks = events.filter(isLostTask).length;
  const said = ended.said.map(({ decision, outcome }) => `${decision.kind} ${outcome?.end}`);
  return { faults, histories, rows, lostTasks, state: detail.state, said };
}

/** A run in one line. */
function lookOf({ state, because, phases, approvals }: RunDetail): string {
  const all = phases.map(
    (one) => `${one.phase} ${one.state}${one.summary === null ? '' : ` (${one.summary})`}`,
  );
  const asked = approvals.map((one) => `${one.step} ${one.state}`);
  return `it is ${state}, because ${because}; ${[...all, ...asked].join(', ')}`;
}

/** What the checks of a journal look at. */
export type Looked = { rows: readonly JournalRow[]; detail: RunDetail };

/** Whether the history shows already that the run cannot end. */
export async function isBroken({ engine, run }: Pick<Ended, 'engine' | 'run'>): Promise<boolean> {
  const histories = await historiesOf(engine, run);
  return checkEvents(histories.flatMap(({ history }) => history.events ?? [])).length > 0;
}

async function checkResult({ run }: Ended, detail: RunDetail): Promise<string[]> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), CLOSE_MS);
  try {
    const result = await Promise.race([run.handle.result(), late]);
    if (result === undefined) return [`not closed: its workflow is open although the run is ${detail.state}`];
    return result.state === detail.state && result.run === run.run
      ? []
      : [
          `result differs: the workflow returned ${JSON.stringify(result)}, the read model is ${detail.state}`,
        ];
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : '';
    return [`workflow failed: ${String(error)} ${cause}`];
  } finally {
    clearTimeout(timer);
  }
}

type Closing = HistoryEvent['workflowExecutionContinuedAsNewEventAttributes'];

async function historiesOf({ client }: Ended['engine'], run: EngineRun): Promise<Execution[]> {
  const { workflowId, firstExecutionRunId } = run.handle;
  const histories: Execution[] = [];
  let next: string | undefined = firstExecutionRunId;
  while (next !== undefined && histories.length < EXECUTIONS_MAX) {
    const history: Execution['history'] = await client.workflow.getHandle(workflowId, next).fetchHistory();
    histories.push({ workflowId, history });
    const last: Closing = history.events?.at(-1)?.workflowExecutionContinuedAsNewEventAttributes;
    next = last?.newExecutionRunId ?? undefined;
  }
  return histories;
}

function isLostTask(event: HistoryEvent): boolean {
  return event.workflowTaskTimedOutEventAttributes != null || event.workflowTaskFailedEventAttributes != null;
}

function checkEvents(events: readonly HistoryEvent[]): string[] {
  return events.flatMap((event) => {
    const failed = event.workflowTaskFailedEventAttributes;
    const message = failed?.failure?.message ?? '';
    if (failed != null && Number(failed.cause) !== UNHANDLED_COMMAND && !message.includes(FAILED_ON_PURPOSE))
      return [`task failed: ${message} (cause ${failed.cause})`];
    const closed = event.workflowExecutionFailedEventAttributes;
    if (closed != null) {
      const type = closed.failure?.applicationFailureInfo?.type;
      return [`execution failed: ${type} ${closed.failure?.message}`];
    }
    return [];
  });
}

async function journalOf({ store }: Ended['engine'], run: number): Promise<JournalRow[]> {
  const rows: JournalRow[] = [];
  while (rows.length < ROWS_MAX) {
    const page = await store.api.journal(run, { after: rows.length, limit: PAGE });
    rows.push(...page);
    if (page.length < PAGE) break;
  }
  return rows;
}

function checkJournal(rows: readonly JournalRow[], detail: RunDetail): string[] {
  const faults: string[] = [];
  const chain = verifyChain(rows);
  if (!chain.intact) faults.push(`chain: ${chain.problem}`);
  const ends = rows.filter(
    ({ kind, body }) => kind === 'run' && TERMINAL.some((state) => state === body['state']),
  );
  if (ends.length > 1) faults.push(`ended twice: rows ${ends.map(({ seq }) => seq).join(', ')}`);
  const last = rows.at(-1);
  if (ends[0] !== undefined && ends[0] !== last)
    faults.push(`rows after the end: row ${ends[0].seq} is followed by ${last?.kind} in row ${last?.seq}`);
  if (isTerminal(detail.state) && ends[0]?.body['state'] !== detail.state)
    faults.push(
      `read model: it is ${detail.state}, the journal says ${JSON.stringify(ends[0]?.body['state'])}`,
    );
  return faults;
}

/** The world must be what the state says of it. */
function checkEffects({ plan, world }: Ended, { rows, detail }: Looked): string[] {
  const faults: string[] = [];
  const twice = world.twice.filter((one) => !isWanted(rows, one));
  if (twice.length > 0) faults.push(`effect twice: ${twice.map(({ phase }) => phase).join(', ')}`);
  if (detail.state === 'stopped' && world.effects.size > 0)
    faults.push(`effects left: stopped, with ${[...world.effects.keys()].join(', ')}`);
  if (detail.state === 'rolled-back' && detail.verified === true && world.standing().length > 0)
    faults.push(`effects left: rolled back and verified, with ${world.standing().join(', ')}`);
  if (detail.state === 'succeeded') {
    const missing = plan.phases.filter(
      ({ id, effect, run }) =>
        effect !== 'none' &&
        !('wait' in run) &&
        detail.phases.find(({ phase }) => phase === id)?.state === 'done' &&
        world.effects.get(id) !== 'whole',
    );
    if (missing.length > 0) faults.push(`effects missing: ${missing.map(({ id }) => id).join(', ')}`);
  }
  return faults;
}

/** A person asked for this try since the try before, and the phase was not probed after that: then the person has looked. */
function isWanted(rows: readonly JournalRow[], twice: { phase: string; try: number }): boolean {
  const own = rows.filter(({ phase, body }) => phase === twice.phase || body['subject'] === twice.phase);
  const at = own.findIndex(
    (row) => row.kind === 'intent' && row.direction === 'run' && row.try === twice.try,
  );
  const since = own.slice(0, at).findLastIndex((row) => row.kind === 'intent' && row.direction === 'run');
  const between = own.slice(since + 1, at);
  const asked = between.findLastIndex(({ kind, body }) => kind === 'decision' && body['kind'] === 'retry');
  return asked !== -1 && !between.slice(asked).some(({ direction }) => direction === 'probe');
}
