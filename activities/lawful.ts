/**
 * Law 16 for rows that only the workflow tells of: a workflow that somebody started past the API could say anything, so
 * what a row says must follow from rows that an activity or a door has written.
 */
import { type Phase, type Plan, fingerprintPhase, isWait } from '../procedures/plan.ts';
import type { Facts } from '../store/facts.ts';
import type { RunRow, WorkerStore } from '../store/types.ts';
import type { RecordRow } from '../workflows/messages.ts';
import { isOwed } from '../workflows/state.ts';
import { assertQuorum } from './approved.ts';
import { fail } from './lib/fail.ts';

/** Clocks of a workflow and of the database differ by less than this. */
const CLOCK_SLACK_MS = 2_000;

/** Throws ApprovalMissing where a row says what no person said, and PlanUnknown where it says what never happened. */
export async function assertLawful(
  store: WorkerStore,
  run: RunRow,
  rows: readonly RecordRow[],
): Promise<void> {
  if (!rows.some(isClaim)) return;
  const { plan } = run;
  const asked = rows.flatMap(({ phase }) => (phase === undefined ? [] : [phase]));
  const deciders = plan.phases.filter(({ decides = [] }) => decides.some((id) => asked.includes(id)));
  const facts = await store.facts(run.run, [...asked, ...deciders.map(({ id }) => id)]);
  for (const row of rows) {
    if (row.kind === 'approval' && row.state === 'granted') await assertGranted(store, run, row);
    if (row.kind === 'phase') await assertPhase(store, run, row, facts);
    if (row.kind === 'run') assertRun(plan, row, facts);
    follow(plan, row, facts);
  }
}

/** Later rows of the list build on earlier ones. */
function follow(plan: Plan, { kind, state, phase, body }: RecordRow, facts: Facts): void {
  const { step, dueAt } = body;
  if (kind === 'approval' && typeof step === 'string') facts.approvals[step] = state;
  const told = facts.phases[phase ?? ''];
  if (kind !== 'phase' || told === undefined) return;
  told.state = state as typeof told.state;
  const run = plan.phases.find(({ id }) => id === phase)?.run;
  if (typeof dueAt === 'number' && run !== undefined && isWait(run) && run.wait === 'timer')
    told.startedAtMs = dueAt - run.forMs;
}

/** Rows that close something; whatever else a workflow says only holds it up. */
function isClaim({ kind, state }: RecordRow): boolean {
  const closing = {
    approval: ['granted'],
    phase: ['done', 'skipped', 'undone'],
    run: ['succeeded', 'stopped', 'rolled-back'],
  };
  return closing[kind].includes(state);
}

async function assertGranted(store: WorkerStore, run: RunRow, { body }: RecordRow): Promise<void> {
  const { step } = body;
  if (typeof step !== 'string') throw fail('ApprovalMissing', 'The approval that is granted has no name.');
  await assertQuorum(store, run, step);
}

async function assertPhase(store: WorkerStore, run: RunRow, row: RecordRow, facts: Facts): Promise<void> {
  const phase = run.plan.phases.find(({ id }) => id === row.phase);
  if (phase === undefined) throw fail('PlanUnknown', `Plan of run ${run.run} has no phase '${row.phase}'.`);
  // A remark on what is known already, as that it waits for a person.
  const isKnown = facts.phases[phase.id]?.state === row.state;
  if (isKnown && row.verdict !== 'pass' && row.verdict !== 'warn') return;
  if (row.state === 'done') await assertDone(store, run, { phase, row, facts });
  if (row.state === 'skipped') assertSkipped(run.plan, phase, facts);
  if (row.state === 'undone' && !isAnswered(phase, 'no', facts) && !isDecided('resolve', phase.id, facts))
    throw neverHappened(run, `${phase.id} is undone`);
}

async function assertDone(
  store: WorkerStore,
  run: RunRow,
  { phase, row, facts }: { phase: Phase; row: RecordRow; facts: Facts },
): Promise<void> {
  const lie = (): never => neverHappened(run, `${phase.id} is done`);
  if (!isWait(phase.run)) {
    // An inspection that broke is done with an error; anything better its own outcome or its probe must say.
    if (row.verdict !== 'error' && !isAnswered(phase, 'yes', facts)) throw lie();
    return;
  }
  switch (phase.run.wait) {
    case 'approval':
    case 'point-of-no-return': {
      const step = phase.waitsFor?.approval;
      if (step === undefined) throw lie();
      if (facts.approvals[step] !== 'granted') await assertQuorum(store, run, step);
      return;
    }
    case 'timer': {
      const startedAtMs = facts.phases[phase.id]?.startedAtMs;
      const dueAtMs = (startedAtMs ?? Infinity) + phase.run.forMs;
      if (dueAtMs > Date.now() + CLOCK_SLACK_MS) throw lie();
      return;
    }
    case 'person':
      if (!isDecided('done', phase.id, facts)) throw lie();
  }
}

/** A person asked for it, with the leave that it needs; or a condition of its step left it out. */
function assertSkipped(plan: Plan, phase: Phase, facts: Facts): void {
  const deciders = plan.phases.filter(({ decides = [] }) => decides.includes(phase.id)).map(({ id }) => id);
  const isLeftOut = facts.outcomes.some(
    ({ phase: id, direction, body }) =>
      deciders.includes(id) && direction === 'run' && body['leaveOut'] === true,
  );
  if (isLeftOut) return;
  const needsLeave = plan.approvals[phase.id]?.skip === true;
  if (!isDecided('skip', phase.id, facts) || (needsLeave && facts.approvals[phase.id] !== 'granted'))
    throw fail(
      'ApprovalMissing',
      `No door wrote that ${phase.id} may be skipped. Skip through the API, Slack or the console.`,
    );
}

function assertRun(plan: Plan, { state, body }: RecordRow, facts: Facts): void {
  const lie = (why: string): never => fail('PlanUnknown', `The run cannot be ${state}: ${why}.`);
  const stateOf = ({ id }: Phase) => facts.phases[id]?.state ?? 'pending';
  if (state === 'succeeded') {
    const open = plan.phases.find((phase) => !['done', 'skipped'].includes(stateOf(phase)));
    if (open !== undefined) throw lie(`${open.id} is ${stateOf(open)}`);
  }
  if (state === 'stopped') {
    const begun = plan.phases.find(({ id, effect }) => effect !== 'none' && facts.phases[id]?.begun === true);
    if (begun !== undefined) throw lie(`${begun.id} has begun`);
  }
  if (state === 'rolled-back') {
    const standing = plan.phases.find(
      (phase) =>
        isOwed(phase) &&
        facts.phases[phase.id]?.begun === true &&
        !['undone', 'pending'].includes(stateOf(phase)),
    );
    if (standing !== undefined) throw lie(`${standing.id} is ${stateOf(standing)}`);
    const differs = facts.differing.find(
      (target) =>
        !isDecided('resolve', target, facts) && !isDecided('resolve', fingerprintPhase(target), facts),
    );
    if (differs !== undefined) throw lie(`${differs} is not as before, and nobody has accepted it`);
    if (body['verified'] === true && facts.differing.length > 0)
      throw lie(`${facts.differing[0]} is not as before`);
  }
}

function isAnswered({ id }: Phase, answer: 'yes' | 'no', { outcomes }: Facts): boolean {
  return outcomes.some(
    ({ phase, direction, body }) => phase === id && direction === 'probe' && body['answer'] === answer,
  );
}

function isDecided(kind: string, subject: string, { decisions }: Facts): boolean {
  return decisions.some((one) => one.kind === kind && one.subject === subject);
}

function neverHappened(run: RunRow, what: string): never {
  throw fail(
    'PlanUnknown',
    `The workflow of run ${run.run} says that ${what}, and nothing in the journal says so. Start runs through the API.`,
  );
}
