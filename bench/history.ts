/** What a run of twenty steps leaves in Temporal's history: it is read again whenever a worker takes the run over. */
import { approval, makePlan } from '../test/support/plans.ts';
import type { Line } from './engine.ts';
import type { Bench } from './sides.ts';

const STEPS = 20;

/** Steps with an effect, one after the other; the first of them asks. */
export async function benchHistory(bench: Bench): Promise<Line[]> {
  const asked = { name: 'a', effect: 'costly' as const, approval: approval({ sre: 1 }) };
  const { hash, plan } = await bench.savePlan(
    makePlan(
      Array.from({ length: STEPS }, (_, index) => ({
        id: `s${index}`,
        phases: [index === 0 ? asked : { name: 'a', effect: 'reversible' as const }],
      })),
    ),
  );
  const run = await bench.ask(hash);
  const ended = await bench.start(run, plan);
  const { body } = await bench.row(run, (row) => row.kind === 'approval' && row.body['state'] === 'open');
  const vote = { step: 's0', decision: 'approve', plan: hash, evidence: body['evidence'] };
  await bench.post('ana', `/v1/runs/${run}/decisions`, vote);
  await ended();
  const { historyLength, historySize } = await bench.client.workflow.getHandle(`run/${run}`).describe();
  return [
    { what: `history of a run of ${STEPS} steps`, measured: `${historyLength} events`, aim: '< 200' },
    { what: '', measured: `${((historySize ?? 0) / 1024).toFixed(0)} KiB`, aim: '< 256' },
  ];
}
