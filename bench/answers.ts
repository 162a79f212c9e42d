/** How long a person waits for what he said: from the request at the API to the journal row of what begins. */
import type { Plan } from '../procedures/plan.ts';
import type { JournalRow } from '../store/types.ts';
import { approval, makePlan } from '../test/support/plans.ts';
import type { Line } from './engine.ts';
import type { Bench } from './sides.ts';
import { median, percentile } from './table.ts';

const SAMPLES = 60;

export async function benchAnswers(bench: Bench): Promise<Line[]> {
  const decisions = await sample(bench, approving(), {
    ready: ({ kind, body }) => kind === 'approval' && body['state'] === 'open',
    say: async (run, { body }) => {
      const { plan = '' } = (await bench.store.run(run)) ?? {};
      return ['ana', 'decisions', { step: 'b', decision: 'approve', plan, evidence: body['evidence'] }];
    },
    begins: ({ kind, phase, direction }) => kind === 'intent' && phase === 'c' && direction === 'run',
  });
  const aborts = await sample(bench, holding(), {
    ready: ({ kind, phase }) => kind === 'intent' && phase === 'hold',
    say: async () => ['dana', 'abort', { reason: 'a bench says so' }],
    begins: ({ kind, direction }) => kind === 'intent' && direction === 'undo',
  });
  return [
    lineOf('decision → next phase starts', decisions, '250 ms'),
    lineOf('abort → first undo starts', aborts, '500 ms'),
  ];
}

const lineOf = (what: string, values: number[], aim: string): Line => ({
  what: `${what}, p95 of ${values.length}`,
  measured: `${percentile(values, 95).toFixed(0)} ms (median ${median(values).toFixed(0)})`,
  aim: `< ${aim}`,
});

/** The phase after the gate's own is what everybody waits for; here the gate is a step of its own. */
const approving = (): Plan =>
  makePlan([
    { id: 'a', phases: [{ name: 'a' }] },
    { id: 'b', phases: [{ name: 'b', wait: 'approval', approval: approval({ sre: 1 }) }] },
    { id: 'c', phases: [{ name: 'a' }] },
  ]);

/** The second phase runs until it is cancelled; both are owed an undo. */
const holding = (): Plan =>
  makePlan([
    { id: 'a', phases: [{ name: 'a', effect: 'reversible' }] },
    { id: 'hold', phases: [{ name: 'hold', effect: 'reversible' }] },
  ]);

type Story = {
  ready: (row: JournalRow) => boolean;
  /** Person, last part of the path, body. */
  say: (run: number, row: JournalRow) => Promise<[string, string, object]>;
  begins: (row: JournalRow) => boolean;
};

/** One run after the other: what many at once do to each other is another bench's. */
async function sample(bench: Bench, made: Plan, { ready, say, begins }: Story): Promise<number[]> {
  const { hash, plan } = await bench.savePlan(made);
  const values: number[] = [];
  for (let index = 0; index < SAMPLES; index += 1) {
    const run = await bench.ask(hash);
    const ended = await bench.start(run, plan);
    const [person, verb, body] = await say(run, await bench.row(run, ready));
    const sentAt = performance.timeOrigin + performance.now();
    await bench.post(person, `/v1/runs/${run}/${verb}`, body);
    values.push(Date.parse((await bench.row(run, begins)).at) - sentAt);
    await ended();
  }
  return values;
}
