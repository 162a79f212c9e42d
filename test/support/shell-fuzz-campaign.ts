/** Many cells of the fuzzer, two at a time, and the replays of what they leave behind. */
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeChance } from './hostile-sqlite.ts';
import { type FuzzedRun, fuzzCell } from './shell-fuzz.ts';
import { type Execution, cutAtTasks, jsonOf, replayAll } from './shell-fuzz-replay.ts';

const CELLS_AT_ONCE = 2;
/** Runs with faults after which the campaign ends: a broken shell breaks nearly every cell. */
const FAULTY_MAX = 10;
/** Cells after which the output says how far the campaign is. */
const TELL_EVERY = 10;
/** Cells have seeds of their own: those of one campaign follow each other. */
const CELLS_MAX = 10_000;

export type Tally = {
  cells: number;
  runs: number;
  /** Runs that lost at least one workflow task. */
  disturbed: number;
  lostTasks: number;
  /** Runs that were continued as new. */
  continued: number;
  /** The longest time that a run took to end after its storm, in milliseconds. */
  calmMsMax: number;
  /** Histories that were replayed, whole and cut. */
  replays: number;
  /** By the state in which runs ended. */
  states: Record<string, number>;
  /** Each as `seed S run N: KIND: DETAIL`. */
  faults: string[];
  faulty: number;
};

export type Campaign = {
  seed: number;
  /** Whether no further cell is needed. */
  isEnough: (tally: Tally) => boolean;
  /** Cut histories that are replayed for each cell, besides every whole one. */
  cutsMax: number;
  /** No cell begins later than this many milliseconds after the start. */
  withinMs: number;
};

export async function fuzzShell({ seed, isEnough, cutsMax, withinMs }: Campaign): Promise<Tally> {
  const tally: Tally = {
    cells: 0,
    runs: 0,
    disturbed: 0,
    lostTasks: 0,
    continued: 0,
    calmMsMax: 0,
    replays: 0,
    states: {},
    faults: [],
    faulty: 0,
  };
  const first = (seed * CELLS_MAX) % 2 ** 31;
  const until = Date.now() + withinMs;
  const mayGoOn = () =>
    Date.now() < until && tally.faulty < FAULTY_MAX && tally.cells < CELLS_MAX && !isEnough(tally);
  const lane = async (): Promise<void> => {
    while (mayGoOn()) {
      const own = first + tally.cells;
      tally.cells += 1;
      const runs = await fuzzCell(own);
      count(tally, runs);
      await keepFaulty(runs);
      await replay(tally, { runs, cutsMax, seed: own });
      if (tally.cells % TELL_EVERY === 0) process.stdout.write(`shell-fuzz: ${inWords(tally)}\n`);
    }
  };
  await Promise.all(Array.from({ length: CELLS_AT_ONCE }, lane));
  return tally;
}

/** Runs and replays: each is one order of events that the shell went through. */
export function interleavings({ runs, replays }: Tally): number {
  return runs + replays;
}

/** The tally in one line. */
export function inWords(tally: Tally): string {
  const { cells, runs, disturbed, lostTasks, continued, replays, states, calmMsMax, faulty } = tally;
  const ends = Object.entries(states).map(([state, number]) => `${number} ${state}`);
  return (
    `${cells} cells, ${runs} runs (${ends.join(', ')}; ${disturbed} disturbed, ${lostTasks} lost workflow tasks, ` +
    `${continued} continued as new, at most ${calmMsMax} ms after the storm), ${replays} replays, ` +
    `${interleavings(tally)} interleavings, ${faulty} faulty runs`
  );
}

function count(tally: Tally, runs: readonly FuzzedRun[]): void {
  for (const { seed, index, faults, lostTasks, state, histories, calmMs } of runs) {
    tally.runs += 1;
    tally.lostTasks += lostTasks;
    if (lostTasks > 0) tally.disturbed += 1;
    if (histories.length > 1) tally.continued += 1;
    tally.calmMsMax = Math.max(tally.calmMsMax, calmMs);
    tally.states[state] = (tally.states[state] ?? 0) + 1;
    if (faults.length > 0) tally.faulty += 1;
    tally.faults.push(...faults.map((fault) => `seed ${seed} run ${index}: ${fault}`));
  }
}

/** Histories and journals of faulty runs stay in a folder, and the output names it. */
export async function keepFaulty(runs: readonly FuzzedRun[]): Promise<void> {
  for (const { seed, index, faults, histories, rows } of runs) {
    if (faults.length === 0) continue;
    const folder = join(tmpdir(), 'countdown-shell-fuzz', `seed-${seed}-run-${index}`);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'faults.txt'), faults.join('\n'));
    await writeFile(join(folder, 'journal.json'), JSON.stringify(rows, null, 1));
    for (const [at, { history }] of histories.entries())
      await writeFile(join(folder, `history-${at + 1}.json`), jsonOf(history));
    process.stdout.write(`shell-fuzz: a faulty run, its histories and its journal are in ${folder}\n`);
  }
}

async function replay(
  tally: Tally,
  { runs, cutsMax, seed }: { runs: readonly FuzzedRun[]; cutsMax: number; seed: number },
): Promise<void> {
  const named = ({ histories, index }: FuzzedRun): Execution[] =>
    histories.map(({ history }) => ({ workflowId: `seed ${seed} run ${index}`, history }));
  const whole = runs.flatMap(named);
  // What is wrong with a faulty run is known without its parts.
  const cuts = runs
    .filter(({ faults }) => faults.length === 0)
    .flatMap(named)
    .flatMap((execution) => cutAtTasks(execution).slice(0, -1));
  const { count: replays, broken } = await replayAll([...whole, ...some(cuts, cutsMax, seed)]);
  tally.replays += replays;
  const known = new Set(
    runs.filter(({ faults }) => faults.length > 0).map(({ index }) => `seed ${seed} run ${index}`),
  );
  tally.faulty += new Set(broken.map(({ workflowId }) => workflowId)).difference(known).size;
  tally.faults.push(
    ...broken.map(
      ({ workflowId, events, error }) => `${workflowId}: not replayed to event ${events}: ${error}`,
    ),
  );
}

/** As many of them as wanted, picked by the seed. */
function some(cuts: readonly Execution[], most: number, seed: number): Execution[] {
  const chance = makeChance(seed);
  const left = [...cuts];
  while (left.length > most) left.splice(chance.below(left.length), 1);
  return left;
}
