/** Runs for tests of the store: a plan of two phases with an effect, one that waits, and one target. */
import { digest } from '../../store/digest.ts';
import { type Outcomes, outputsIn } from '../../store/journal.ts';
import type { Intent, IntentRow, NewRun, OutcomeRow } from '../../store/types.ts';
import type { Plan } from '../../procedures/plan.ts';
import { approval, makePlan } from '../support/plans.ts';
import type { StoreDatabase } from '../support/store.ts';

export const SAMPLE: Plan = makePlan([
  {
    id: 'move',
    phases: [
      { name: 'inspect' },
      { name: 'hold', effect: 'reversible', approval: approval({ sre: 1 }) },
      { name: 'copy', effect: 'reversible' },
    ],
  },
  { id: 'keep', phases: [{ name: 'keep', wait: 'point-of-no-return' }] },
]);

/** The same plan over another target, so that two runs can be open at once. */
export function planOver(target: string, how: 'exclusive' | 'shared' = 'exclusive'): Plan {
  return { ...SAMPLE, leases: { [target]: how }, params: { target } };
}

export async function newRun(
  { api }: Pick<StoreDatabase, 'api'>,
  plan: Plan = SAMPLE,
  over: Partial<NewRun> = {},
): Promise<number> {
  const hash = digest(plan);
  await api.savePlan({ hash, plan, person: 'dana' });
  const made = await api.createRun({
    plan: hash,
    requester: 'dana',
    groups: { sre: ['ana', 'ben'] },
    failAt: null,
    idempotency: null,
    ...over,
  });
  if ('refused' in made) throw new Error(made.refused);
  return made.run;
}

export const intentRow = (run: number, over: Partial<IntentRow> = {}): IntentRow => ({
  run,
  phase: 'move/inspect',
  direction: 'run',
  try: 1,
  attempt: 1,
  ...over,
});

export const outcomeRow = (intent: IntentRow, seq: number, over: Partial<OutcomeRow> = {}): OutcomeRow => ({
  ...intent,
  intent: seq,
  result: 'ok',
  verdict: 'pass',
  summary: 'well',
  state: intent.direction === 'run' ? 'done' : intent.direction === 'undo' ? 'undone' : null,
  ...over,
});

/** The seq of an intent that was written; throws for any other answer. */
export function seqOf(intent: Intent): number {
  if ('seq' in intent) return intent.seq;
  throw new Error(JSON.stringify(intent));
}

/** Writes intent and outcome of one attempt and gives back the outcome's seq. */
export async function perform(
  { worker }: Pick<StoreDatabase, 'worker'>,
  intent: IntentRow,
  over: Partial<OutcomeRow> = {},
): Promise<number> {
  const seq = seqOf(await worker.intent(intent));
  const written = await worker.outcome(outcomeRow(intent, seq, over));
  if ('refused' in written) throw new Error(written.detail);
  return written.seq;
}

/** What an intent would be told of the phases before it. */
export async function outputsOf(store: StoreDatabase, run: number): Promise<Record<string, unknown>> {
  const { rows } = await store.owner.query<{ outputs: Outcomes | null }>(
    'select countdown.outputs_of($1) as outputs',
    [run],
  );
  return outputsIn(rows[0]?.outputs ?? null);
}
