/**
 * What the interpreter, the interceptor and the journal cost, beside a bare workflow on the same server and worker, the
 * sides interleaved and taking turns at going first; and how long people wait for it.
 */
import type { Plan } from '../procedures/plan.ts';
import { makePlan } from '../test/support/plans.ts';
import { benchAnswers } from './answers.ts';
import { benchHistory } from './history.ts';
import { type Bench, withBench } from './sides.ts';
import { median, table } from './table.ts';
import { benchWaiting } from './waiting.ts';

type Size = { runs: number; phases: number; aim: number };
const SIZES: Record<string, Size> = {
  serial: { runs: 1, phases: 100, aim: 1.3 },
  parallel: { runs: 50, phases: 20, aim: 1.5 },
};

/** One line of the second table. */
export type Line = { what: string; measured: string; aim: string };
const LINES: Record<string, (bench: Bench) => Promise<Line[]>> = {
  answers: benchAnswers,
  history: benchHistory,
  waiting: benchWaiting,
};

/** `only` names the parts to be run: keys of both tables; all by default. Throws where there is no such part. */
export async function benchEngine({
  repeats,
  only,
}: {
  repeats: number;
  only: readonly string[];
}): Promise<Record<string, number>> {
  const parts = [...Object.keys(SIZES), ...Object.keys(LINES)];
  const unknown = only.find((part) => !parts.includes(part));
  if (unknown !== undefined)
    throw new Error(`The bench has no part '${unknown}', expected one of ${parts.join(', ')}.`);
  const isWanted = ([part]: [string, unknown]): boolean => only.length === 0 || only.includes(part);
  return withBench(async (bench) => {
    const ratios: Record<string, number> = {};
    for (const [key, size] of Object.entries(SIZES).filter(isWanted))
      ratios[key] = await compare(bench, size, repeats);
    const rows = [['what', 'measured', 'aim']];
    for (const [, measure] of Object.entries(LINES).filter(isWanted)) {
      for (const { what, measured, aim } of await measure(bench)) rows.push([what, measured, aim]);
    }
    if (rows.length > 1) process.stdout.write(`${table(rows)}\n`);
    return ratios;
  });
}

async function compare(bench: Bench, size: Size, repeats: number): Promise<number> {
  const { runs, phases, aim } = size;
  const saved = await bench.savePlan(nothingPlan(phases));
  const countdown = (): Promise<number> => ours(bench, saved, runs);
  const bare = (): Promise<number> => timed(() => atOnce(runs, () => bench.bare(phases)));
  await countdown();
  await bare();
  const rows: string[][] = [['repeat', 'countdown ms/phase', 'bare ms/activity', 'ratio']];
  const ratios: number[] = [];
  for (let repeat = 1; repeat <= repeats; repeat += 1) {
    // Whoever goes second finds a warmer machine: the sides take turns.
    const first = repeat % 2 === 0 ? await countdown() : undefined;
    const theirs = await bare();
    const mine = first ?? (await countdown());
    ratios.push(mine / theirs);
    const each = (ms: number): string => (ms / runs / phases).toFixed(1);
    rows.push([String(repeat), each(mine), each(theirs), (mine / theirs).toFixed(2)]);
  }
  const ratio = Number(median(ratios).toFixed(2));
  rows.push(['median', '', '', ratio.toFixed(2)]);
  const title = runs === 1 ? `${phases} phases in a row` : `${runs} runs of ${phases} phases at once`;
  process.stdout.write(`${title}, the journal included; aim at most ${aim.toFixed(2)}\n${table(rows)}\n\n`);
  return ratio;
}

/** From the start of the first workflow to the end of the last; the rows of the runs are there before. */
async function ours(
  bench: Bench,
  { hash, plan }: { hash: string; plan: Plan },
  runs: number,
): Promise<number> {
  const asked: number[] = [];
  for (let index = 0; index < runs; index += 1) asked.push(await bench.ask(hash));
  return timed(() => Promise.all(asked.map(async (run) => (await bench.start(run, plan))())));
}

function atOnce(count: number, act: () => Promise<unknown>): Promise<unknown> {
  return Promise.all(Array.from({ length: count }, act));
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await act();
  return performance.now() - from;
}

/** Steps of ten phases, as in a long runbook, and none of them with an effect. */
function nothingPlan(count: number): Plan {
  const each = 10;
  const plan = makePlan(
    Array.from({ length: count / each }, (_, step) => ({ id: `s${step}`, phases: [{ name: 'a' }] })),
  );
  const phases = plan.phases.flatMap((phase) =>
    Array.from({ length: each }, (_, at) => ({ ...phase, id: `${phase.id}/p${at}` })),
  );
  // One after the other.
  for (const [index, phase] of phases.entries()) {
    const before = phases[index - 1];
    phase.after = before === undefined ? [] : [before.id];
  }
  const steps = plan.steps.map((step) => ({
    ...step,
    phases: phases.filter((phase) => phase.step === step.id).map((phase) => phase.id),
  }));
  return { ...plan, steps, phases };
}
