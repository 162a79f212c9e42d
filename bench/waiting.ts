/** A thousand runs that wait for people: what each costs the worker while it waits, and whether all of them end once approved. */
import { approval, makePlan } from '../test/support/plans.ts';
import type { Line } from './engine.ts';
import type { Bench } from './sides.ts';

const RUNS = 1_000;
/** Requests on their way at once. */
const AT_ONCE = 25;

export async function benchWaiting(bench: Bench): Promise<Line[]> {
  const { hash, plan } = await bench.savePlan(
    makePlan([
      { id: 'a', phases: [{ name: 'a' }] },
      {
        id: 'b',
        phases: [
          {
            name: 'a',
            effect: 'reversible',
            approval: approval({ sre: 1 }, { expiresMs: 3_600_000, remindEveryMs: 3_600_000 }),
          },
        ],
      },
    ]),
  );
  const before = await bench.memory();
  const runs: number[] = [];
  for (let index = 0; index < RUNS; index += 1) runs.push(await bench.ask(hash));
  const ends: (() => Promise<unknown>)[] = [];
  const evidence = new Map<number, unknown>();
  await inTurns(runs, async (run) => {
    ends.push(await bench.start(run, plan));
    const { body } = await bench.row(run, (row) => row.kind === 'approval' && row.body['state'] === 'open');
    evidence.set(run, body['evidence']);
  });
  const after = await bench.memory();
  const from = performance.now();
  await inTurns(runs, (run) =>
    bench.post('ana', `/v1/runs/${run}/decisions`, {
      step: 'b',
      decision: 'approve',
      plan: hash,
      evidence: evidence.get(run),
    }),
  );
  await Promise.all(ends.map((ended) => ended()));
  const seconds = (performance.now() - from) / 1_000;
  let succeeded = 0;
  for (const run of runs) if ((await bench.store.run(run))?.state === 'succeeded') succeeded += 1;
  const perRun = (after.rssBytes - before.rssBytes) / RUNS / 1_024;
  return [
    {
      what: `${RUNS} runs waiting for approval, worker memory a run`,
      measured: `${perRun.toFixed(0)} KiB (${Math.min(after.cachedMax, RUNS)} of them kept in memory)`,
      aim: '',
    },
    {
      what: 'all approved and finished',
      measured: `${succeeded} succeeded in ${seconds.toFixed(0)} s`,
      aim: String(RUNS),
    },
  ];
}

/** The runs in their order, so many of them at once. */
async function inTurns(runs: readonly number[], act: (run: number) => Promise<unknown>): Promise<void> {
  const left = runs.values();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const run of left) await act(run);
    }),
  );
}
