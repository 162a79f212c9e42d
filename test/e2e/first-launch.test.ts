/** The shipped runbook from end to end: every part a process of its own, failed at each phase in turn. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { ApiError } from '../../cli/errors.ts';
import type { RunDetailWire } from '../../cli/wire.ts';
import { eventually, hasEnded, makeLaunchWorld } from '../support/launch-world.ts';
import type { LaunchWorld, Said } from '../support/launch-world.ts';
import {
  askTarget,
  checkWrites,
  intactEvidence,
  rowCounts,
  servedDigest,
  sourceDigest,
  stateOf,
} from '../support/launch-world-looks.ts';
import { cutJournal } from '../support/launch-world-journal.ts';

/** Every phase that can be made to fail, and how the run must end. */
const FAULTS = {
  ready: 'stopped',
  'database/inspect': 'stopped',
  'database/backup': 'stopped',
  'database/hold-writes': 'rolled-back',
  'database/copy': 'rolled-back',
  'database/verify': 'rolled-back',
  'database/switch': 'rolled-back',
  'database/release-writes': 'rolled-back',
  smoke: 'rolled-back',
  watch: 'rolled-back',
} as const;

const ALL_DONE = [
  'ready done',
  'database/inspect done',
  'database/backup done',
  'database/hold-writes done',
  'database/copy done',
  'database/verify done',
  'database/switch done',
  'database/release-writes done',
  'smoke done',
  'watch done',
  'keep/pass done',
  'keep/end-capture done',
];

const TEST_MS = 120_000;

let world: LaunchWorld | undefined;
let isClean = false;

/** One world for all; a test that did not leave it as it was costs the next one a new world, not its result. */
beforeEach(async () => {
  if (world !== undefined && isClean) return;
  await world?.[Symbol.asyncDispose]();
  world = await makeLaunchWorld();
}, TEST_MS);
afterAll(async () => world?.[Symbol.asyncDispose]());

/** Runs the test against the world, and holds it against the world of before, which it must have come back to. */
async function withWorld(work: (own: LaunchWorld) => Promise<void>): Promise<void> {
  if (world === undefined) throw new Error('There is no world.');
  isClean = false;
  const { stack } = world;
  const before = {
    state: await stateOf(stack),
    source: sourceDigest(stack),
    served: await servedDigest(stack),
  };
  expect(before.state).toMatchObject({ mode: 'sqlite', target: [] });
  await work(world);
  await world.written();
  expect(await stateOf(stack)).toEqual(before.state);
  expect(sourceDigest(stack)).toBe(before.source);
  expect(await servedDigest(stack)).toBe(before.served);
  await expectWrites(world);
  isClean = true;
}

/** The traffic ends for the check, since a row may change between its ledger line and its look, and then goes on. */
async function expectWrites(own: LaunchWorld): Promise<void> {
  await own.quietly(async () => {
    const check = await checkWrites(own);
    expect(check.missing).toEqual([]);
    expect(check.present).toBe(check.acknowledged);
    expect(check.acknowledged).toBeGreaterThan(0);
  });
}

function shown({ state, verified, notVerified }: RunDetailWire) {
  return { state, verified, notVerified };
}

const ROLLED_BACK = { state: 'rolled-back', verified: true, notVerified: [] };

/** Starts `run --watch` as dana, and finds the number of its run. */
async function watching(own: LaunchWorld, args: string[] = []): Promise<Said & { run: number }> {
  const before = (await own.client().runs({ limit: 1 })).items[0]?.run ?? 0;
  const plan = await own.plan(args.includes('--slow') ? { chunkRows: 1 } : {});
  const said = await own.cli('dana', ['run', plan, '--watch', ...args.filter((arg) => arg !== '--slow')]);
  const run = before + 1;
  await eventually(
    async () => (await own.client().runs({ limit: 1 })).items[0]?.run === run,
    `run ${run} is there`,
  );
  return { ...said, run };
}

describe('first-launch', () => {
  test(
    'moves the application to PostgreSQL with every acknowledged write, and its watcher leaves with 0',
    () =>
      withWorld(async (own) => {
        const served = await servedDigest(own.stack);
        const { run, code, text } = await watching(own);
        const ended = await own.until(run, hasEnded);
        expect(ended).toMatchObject({ state: 'succeeded', verdict: 'pass', because: null });
        expect(ended.phases.map(({ phase, state }) => `${phase} ${state}`)).toEqual(ALL_DONE);
        expect(await code).toBe(0);
        expect(await text()).toMatch(/run {2}✓ succeeded {2}pass/);
        await own.written();
        expect((await stateOf(own.stack)).mode).toBe('postgres');
        expect(await servedDigest(own.stack)).toBe(served);
        await expectWrites(own);
        // What was written after the launch is in PostgreSQL only.
        const { sessions } = await rowCounts(own.stack);
        expect(sessions.target).toBeGreaterThan(sessions.source);

        const { rows } = await intactEvidence(own.client(), run);
        expect(rows[0]).toMatchObject({ kind: 'asked', seq: 1 });
        expect(rows.at(-1)).toMatchObject({ kind: 'run', body: { state: 'succeeded' } });
        await own.reset();
      }),
    TEST_MS,
  );

  test('lists every phase above the point of no return as one that can fail', () =>
    withWorld(async (own) => {
      const refused = await own.start({ failAt: 'nowhere' }).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(ApiError);
      expect(refused).toMatchObject({ status: 422, code: 'FaultRefused' });
      expect(String(refused)).toContain(`use one of ${Object.keys(FAULTS).join(', ')}.`);
      const below = own.start({ failAt: 'keep/end-capture' });
      await expect(below).rejects.toMatchObject({ status: 422, code: 'FaultRefused' });
    }));

  for (const [failAt, state] of Object.entries(FAULTS)) {
    test(
      `failed at ${failAt} is ${state}, and the application is on SQLite as it was, with every write`,
      () =>
        withWorld(async (own) => {
          const ended = await own.launch({ failAt, pace: { watchMs: 2_000 } });
          expect(ended.because).toContain('a fault was injected after the effect');
          expect(shown(ended)).toEqual(
            state === 'stopped' ? { state, verified: null, notVerified: [] } : ROLLED_BACK,
          );
          const { rows } = await intactEvidence(own.client(), ended.run);
          const undone = rows.filter(({ kind, direction }) => kind === 'outcome' && direction === 'undo');
          expect(undone.map(({ phase }) => phase)).toEqual(expectedUndos(failAt));
          const back = undone.find(({ phase }) => phase === 'database/release-writes');
          // While it was watched people wrote, and all of that came back.
          if (failAt === 'watch') expect(back?.body['summary']).toMatch(/^[1-9][\d,]* rows? carried back/);
          const left = undone.map(
            ({ body }) => (body['output'] as Record<string, unknown>)?.['returnedDigest'],
          );
          if (back !== undefined) {
            // Release, switch and copy agree on what came back; hold-writes needs it last, and clears the target.
            expect(left).toEqual([left[0], left[0], left[0], undefined]);
            expect(left[0]).toMatch(/^[0-9a-f]{64}$/);
            expect(await askTarget(own.stack, 'select kind, item from countdown.kept')).toEqual([]);
          }
        }),
      TEST_MS,
    );
  }

  test(
    'aborted from the command line in the middle of the copy is rolled back, and its watcher leaves with 3',
    () =>
      withWorld(async (own) => {
        const { run, code } = await watching(own, ['--slow']);
        await own.until(run, (now) => isRunning(now, 'database/copy'));
        await eventually(async () => (await rowCounts(own.stack)).users.target > 0, 'a row was copied');
        const abort = await own.cli('dana', [
          'abort',
          String(run),
          'the copy is too slow tonight',
          '--confirm',
          String(run),
        ]);
        expect(await abort.code, await abort.text()).toBe(0);
        expect(await code).toBe(3);
        expect(shown(await own.client().run(run))).toEqual(ROLLED_BACK);
        await intactEvidence(own.client(), run);
      }),
    TEST_MS,
  );

  test(
    'rejected before its first effect stops, changes nothing, and its watcher leaves with 6',
    () =>
      withWorld(async (own) => {
        const { run, code } = await watching(own);
        await own.until(run, asks('database'), { steps: [] });
        const reject = await own.cli('ana', [
          'reject',
          String(run),
          'database',
          'the night is too short for it',
        ]);
        expect(await reject.code, await reject.text()).toBe(0);
        expect(await code).toBe(6);
        expect(shown(await own.client().run(run))).toEqual({
          state: 'stopped',
          verified: null,
          notVerified: [],
        });
      }),
    TEST_MS,
  );

  test(
    'rejected at the point of no return is rolled back',
    () =>
      withWorld(async (own) => {
        const run = await own.start();
        const { code } = await own.cli('dana', ['watch', String(run)]);
        await own.until(run, asks('keep'), { steps: ['database'] });
        const reject = await own.cli('olu', ['reject', String(run), 'keep', 'the new store is too slow']);
        expect(await reject.code, await reject.text()).toBe(0);
        expect(await code).toBe(3);
        expect(shown(await own.until(run, hasEnded))).toEqual(ROLLED_BACK);
      }),
    TEST_MS,
  );

  test(
    'is refused while another run holds its targets, and starts once they are free',
    () =>
      withWorld(async (own) => {
        const first = await own.start();
        await own.until(first, asks('database'), { steps: [] });
        await expect(own.start()).rejects.toMatchObject({ status: 409, code: 'TargetLeased' });
        const reject = await own.cli('ana', [
          'reject',
          String(first),
          'database',
          'the other run goes first',
        ]);
        expect(await reject.code, await reject.text()).toBe(0);
        expect((await own.until(first, hasEnded)).state).toBe('stopped');
        expect((await own.launch({ failAt: 'database/inspect' })).state).toBe('stopped');
      }),
    TEST_MS,
  );

  test(
    'is stuck where an undo cannot be done, lets writes in all the same, and is rolled back once a person resolves it',
    () =>
      withWorld(async (own) => {
        const run = await own.start({ failAt: 'watch', pace: { watchMs: 2_000 } });
        await own.until(run, (now) => isRunning(now, 'watch'));
        await askTarget(own.stack, 'create view public.somebody_needs_it as select id from public.users');
        const stuck = await own.until(run, hasEnded);
        expect(stuck.state).toBe('stuck');
        const copy = stuck.phases.find(({ phase }) => phase === 'database/copy');
        expect(copy).toMatchObject({ state: 'undo-failed' });
        expect(copy?.summary).toContain('somebody_needs_it');
        // One failed undo does not stop the others.
        expect(stuck.phases.find(({ phase }) => phase === 'database/hold-writes')).toMatchObject({
          state: 'undone',
        });
        await own.written();
        const watcher = await own.cli('dana', ['watch', String(run)]);
        expect(await watcher.code).toBe(7);
        await expect(own.start()).rejects.toMatchObject({ status: 409, code: 'TargetLeased' });

        await askTarget(own.stack, 'drop view public.somebody_needs_it');
        const resolve = await own.cli('olu', ['resolve', String(run), 'database/copy', '--retry']);
        expect(await resolve.code, await resolve.text()).toBe(0);
        expect(shown(await own.until(run, (now) => now.state === 'rolled-back'))).toEqual(ROLLED_BACK);
        await intactEvidence(own.client(), run);
      }),
    TEST_MS,
  );

  test.each([
    ['watch', { watchMs: 2_000 }],
    ['database/copy', { chunkRows: 5 }],
  ])(
    "goes on as if nothing had happened after Countdown's own database was away for two seconds in %s",
    (name, pace) =>
      withWorld(async (own) => {
        const run = await own.start({ pace });
        await own.until(run, (now) => isRunning(now, name));
        // What the phase came to must be written down while nothing takes it.
        const journal = await cutJournal(own.stack, { leastMs: 2_000 });
        await journal.missed();
        await journal.mend();
        const ended = await own.until(run, hasEnded);
        expect(ended).toMatchObject({ state: 'succeeded', verdict: 'pass' });
        expect(ended.phases.map(({ phase, state }) => `${phase} ${state}`)).toEqual(ALL_DONE);
        const { rows } = await intactEvidence(own.client(), run);
        const outcomes = rows.filter(({ kind, phase }) => kind === 'outcome' && phase === name);
        expect(outcomes).toHaveLength(1);
        await expectWrites(own);
        await own.reset();
      }),
    TEST_MS,
  );
});

function expectedUndos(failAt: string): string[] {
  const order = Object.keys(FAULTS);
  return ['database/release-writes', 'database/switch', 'database/copy', 'database/hold-writes'].filter(
    (phase) => order.indexOf(phase) <= order.indexOf(failAt),
  );
}

function isRunning(run: RunDetailWire, name: string): boolean {
  return run.phases.some(({ phase, state }) => phase === name && state === 'running');
}

function asks(step: string): (run: RunDetailWire) => boolean {
  return (run) => run.approvals.some((one) => one.step === step && one.state === 'open');
}
