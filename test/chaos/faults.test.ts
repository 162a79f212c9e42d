/**
 * Every fault that a launch can meet, at moments that a seed picks: parts killed and frozen, wires cut and held, and people
 * who decide meanwhile. A run may take longer for it; it never ends otherwise, loses a word or a write, or says what is not so.
 *
 *   COUNTDOWN_CHAOS_SEEDS=12,13   these cases and no others
 *   COUNTDOWN_CHAOS_KEEP=FOLDER   the journal and the logs of each case, for a closer look
 */
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCase, runUndisturbed } from '../support/chaos-driver.ts';
import type { ChaosResult } from '../support/chaos-driver.ts';
import { FAULTS, caseOf, sentenceOf } from '../support/chaos-faults.ts';
import type { ChaosCase, Course } from '../support/chaos-faults.ts';
import { makeChaosWorld } from '../support/chaos-world.ts';
import type { ChaosWorld } from '../support/chaos-world.ts';

/** Cases of one `npm test`, their longest fault, and cases of `npm run test:deep`: each fault as often as the others. */
const SLICE = 3;
const SLICE_LENGTH_MS = 3_000;
const DEEP_ROUNDS = 4;
/** Has no common factor with the number of faults, so that a slice is spread over all of them. */
const STRIDE = 23;
/** Undisturbed runs of each course, for the time lost. */
const UNDISTURBED = 3;
/** A world's servers grow with each run. */
const RUNS_A_WORLD = 25;
const CASE_MS = 240_000;

const seed = Number(process.env['COUNTDOWN_TEST_SEED'] ?? 1);
const isDeep = process.env['COUNTDOWN_TEST_DEEP'] === '1';
const chosen = process.env['COUNTDOWN_CHAOS_SEEDS'];
const keep = process.env['COUNTDOWN_CHAOS_KEEP'];
const cases = casesOf();
const isMeasured = isDeep || chosen !== undefined;
say(`chaos: ${cases.length} cases over ${FAULTS.length} faults, seed ${seed}`);

function casesOf(): ChaosCase[] {
  if (chosen !== undefined) return chosen.split(',').map((one) => caseOf(Number(one)));
  if (isDeep)
    return Array.from({ length: FAULTS.length * DEEP_ROUNDS }, (_none, index) => caseOf(seed + index));
  return Array.from({ length: SLICE }, (_none, index) => caseOf(seed + index * STRIDE, SLICE_LENGTH_MS));
}

type Line = { at: ChaosCase; result: ChaosResult; lostMs: number | null };

test(
  'A fault costs a launch time and nothing else.',
  async () => {
    const undisturbed = new Map<Course, number>();
    const lines: Line[] = [];
    const broken: string[] = [];
    let world: ChaosWorld | undefined;
    let runs = 0;
    try {
      for (const at of cases) {
        if (world === undefined) {
          world = await makeChaosWorld();
          runs = 0;
        }
        if (isMeasured && undisturbed.size === 0) await measure(world, undisturbed, broken);
        const failure = await oneCase({ world, at, undisturbed, lines, broken });
        runs += 1;
        if (!failure && runs < RUNS_A_WORLD) continue;
        await world[Symbol.asyncDispose]();
        world = undefined;
      }
    } finally {
      await world?.[Symbol.asyncDispose]();
    }
    if (isMeasured) say(tableOf(lines));
    expect(broken).toEqual([]);
  },
  CASE_MS * (cases.length + UNDISTURBED * 2),
);

/** The median of some runs of each course. They must break nothing either. */
async function measure(world: ChaosWorld, undisturbed: Map<Course, number>, broken: string[]): Promise<void> {
  for (const course of ['launch', 'rollback'] as const) {
    const took: number[] = [];
    for (let turn = 0; turn < UNDISTURBED; turn += 1) {
      const result = await runUndisturbed(world, course);
      took.push(result.tookMs);
      const text = `undisturbed ${course}: ${result.state} after ${seconds(result.tookMs)}`;
      say(`chaos: ${text}`);
      if (result.findings.length > 0) broken.push(`${text} ${codesOf(result)}`);
      for (const { code, detail } of result.findings) say(`  ${code}: ${detail}`);
    }
    undisturbed.set(course, median(took));
  }
}

/** Whether the world is of no more use. */
async function oneCase(part: {
  world: ChaosWorld;
  at: ChaosCase;
  undisturbed: Map<Course, number>;
  lines: Line[];
  broken: string[];
}): Promise<boolean> {
  const { world, at, lines, broken } = part;
  let result: ChaosResult;
  try {
    result = await runCase(world, at);
  } catch (error) {
    broken.push(`${sentenceOf(at)}: the driver failed: ${String(error)}`);
    say(`chaos: ${broken.at(-1)}\n${error instanceof Error ? error.stack : ''}`);
    return true;
  }
  const isAborted = result.abortMs !== null;
  const base = part.undisturbed.get(at.course) ?? NaN;
  // A launch that a target's outage ended early has no time to compare.
  const isWhole = result.state === (at.course === 'launch' ? 'succeeded' : 'rolled-back');
  const lostMs = isAborted ? result.abortMs : isWhole && !Number.isNaN(base) ? result.tookMs - base : null;
  lines.push({ at, result, lostMs });
  const time = `${seconds(result.tookMs)}${lostMs === null ? '' : `, ${isAborted ? 'abort to end' : 'lost'} ${seconds(lostMs)}`}`;
  say(
    `chaos: ${sentenceOf(at)} → ${result.state}, ${time}${result.struck ? '' : ', not struck'} ${codesOf(result)}`,
  );
  if (keep !== undefined) await keepStory(keep, world, at, result);
  if (result.findings.length === 0) return false;
  broken.push(
    `${sentenceOf(at)} → ${result.state}: ${result.findings.map(({ code, detail }) => `${code}: ${detail}`).join(' | ')}`,
  );
  say([...result.findings.map(({ code, detail }) => `  ${code}: ${detail}`), result.story].join('\n'));
  return true;
}

async function keepStory(
  folder: string,
  world: ChaosWorld,
  at: ChaosCase,
  result: ChaosResult,
): Promise<void> {
  const own = join(folder, String(at.seed));
  await mkdir(own, { recursive: true });
  const findings = result.findings.map(({ code, detail }) => `${code}: ${detail}`);
  await writeFile(join(own, 'story.txt'), [sentenceOf(at), ...findings, result.story, ''].join('\n'));
  await cp(join(world.folder, 'logs'), join(own, 'logs'), { recursive: true });
}

function tableOf(lines: readonly Line[]): string {
  const rows = FAULTS.map(({ name }) => name).flatMap((name) => {
    const own = lines.filter(({ at }) => at.fault === name);
    if (own.length === 0) return [];
    const lost = own.flatMap(({ lostMs }) => lostMs ?? []);
    const ends = Object.entries(Object.groupBy(own, ({ result }) => result.state)).map(
      ([state, some]) => `${some?.length} ${state}`,
    );
    const bad = own.filter(({ result }) => result.findings.length > 0).length;
    const most = lost.length === 0 ? '-' : seconds(Math.max(...lost));
    return `| ${name} | ${own.length} | ${lost.length === 0 ? '-' : seconds(median(lost))} | ${most} | ${ends.join(', ')} | ${bad} |`;
  });
  return [
    '| Fault | Runs | Lost, median | Lost, most | Ended | Broke a law |',
    '|---|---|---|---|---|---|',
    ...rows,
    'Lost: against the median undisturbed run of the same end; after an abort, from the abort to the end.',
  ].join('\n');
}

function codesOf({ findings }: ChaosResult): string {
  return findings.length === 0 ? '' : `[${[...new Set(findings.map(({ code }) => code))].join(', ')}]`;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
