/**
 * The shell under random disturbance, on a real Temporal server: whatever is lost, slow or repeated, each run ends, each history
 * replays wherever it is cut, and each accepted decision counts once.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Runtime } from '@temporalio/worker';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { makeFolder } from '../../scripts/lib/processes.ts';
import { makeEngine } from '../support/engine.ts';
import { makePlan } from '../support/plans.ts';
import { type Tally, fuzzShell, inWords, interleavings } from '../support/shell-fuzz-campaign.ts';
import { jsonOf, replayJson } from '../support/shell-fuzz-replay.ts';

const DEEP = process.env['COUNTDOWN_TEST_DEEP'] === '1';
const seed = Number(process.env['COUNTDOWN_TEST_SEED'] ?? 1);
const INTERLEAVINGS = 10_000;
const DISTURBED = 500;
const SLICE_CELLS = 4;
const SLICE_CUTS = 60;
const DEEP_MS = 60 * 60_000;
/** What the last cell may take, beyond the time in which cells begin. */
const LAST_MS = 10 * 60_000;

function quiet(): void {}

/** Workers that lose their connection write thousands of lines. */
beforeAll(() => {
  Runtime.install({
    logger: { log: quiet, trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet },
    telemetryOptions: { logging: { filter: 'OFF', forward: {} } },
  });
});

const isDeepEnough = (tally: Tally): boolean =>
  interleavings(tally) >= INTERLEAVINGS && tally.disturbed >= DISTURBED;

describe('the shell', () => {
  it(
    'ends, replays and keeps each accepted decision whatever its workflow tasks meet',
    { timeout: (DEEP ? DEEP_MS : 0) + LAST_MS },
    async () => {
      const tally = await fuzzShell({
        seed,
        isEnough: DEEP ? isDeepEnough : ({ cells }) => cells >= SLICE_CELLS,
        cutsMax: DEEP ? Infinity : SLICE_CUTS,
        withinMs: DEEP ? DEEP_MS : LAST_MS,
      });
      process.stdout.write(`shell-fuzz: seed ${seed}, ${inWords(tally)}\n`);
      expect(tally.faults).toEqual([]);
      // Without disturbance the test would prove nothing.
      expect(tally.disturbed).toBeGreaterThan(tally.runs / 3);
      expect(tally.continued).toBeGreaterThan(0);
      if (!DEEP) return;
      expect(isDeepEnough(tally), 'enough interleavings within the time').toBe(true);
      expect(Object.keys(tally.states).toSorted()).toEqual(['rolled-back', 'stopped', 'succeeded']);
    },
  );
});

describe('a history that is kept as JSON', () => {
  it('replays as it was recorded, and fails with the order of two acts changed', async () => {
    await using engine = await makeEngine();
    const run = await engine.start(
      makePlan([{ id: 'move', phases: [{ name: 'a' }, { name: 'b', effect: 'reversible' }] }]),
    );
    await run.ended();
    await run.handle.result();
    const json = jsonOf(await run.handle.fetchHistory());
    const folder = await makeFolder('countdown-history-');
    onTestFinished(() => folder.discard());
    const file = join(folder.path, 'history.json');
    await writeFile(file, json);
    expect(await replayJson(file)).toBeUndefined();
    expect(json).toContain('"test/a/run"');
    await writeFile(file, json.replaceAll('"test/a/run"', '"test/c/run"'));
    expect(await replayJson(file)).toContain('Nondeterminism error');
  });
});
