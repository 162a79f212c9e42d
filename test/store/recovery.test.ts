import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type TimedRow, recoveryOf } from '../../store/recovery.ts';
import { makeStoreDatabase, type StoreDatabase } from '../support/store.ts';
import { intentRow, newRun, perform, planOver } from './support.ts';

type Told = Partial<TimedRow> & Pick<TimedRow, 'at' | 'kind'>;

/** Rows in order, times in seconds. */
const rows = (...told: Told[]): TimedRow[] =>
  told.map((row, index) => ({
    seq: index + 1,
    phase: null,
    direction: null,
    state: null,
    isBad: false,
    decision: null,
    ...row,
    at: row.at * 1_000,
  }));

const intent = (at: number, direction: 'run' | 'undo' = 'run', phase = 'a'): Told => ({
  at,
  kind: 'intent',
  phase,
  direction,
});
const outcome = (at: number, direction: 'run' | 'undo' = 'run', isBad = false, phase = 'a'): Told => ({
  at,
  kind: 'outcome',
  phase,
  direction,
  isBad,
});
const runIs = (at: number, state: string): Told => ({ at, kind: 'run', state });
const said = (at: number, decision: string): Told => ({ at, kind: 'decision', decision });

const back = [runIs(40, 'unwinding'), intent(41, 'undo'), outcome(300, 'undo'), runIs(331, 'rolled-back')];

describe('the time of a rollback', () => {
  test('is detected in the phase that broke, decided until the unwinding, executed and verified', () => {
    expect(recoveryOf(rows(intent(10), outcome(40, 'run', true), ...back))).toEqual({
      detectMs: 30_000,
      decideMs: 0,
      executeMs: 260_000,
      verifyMs: 31_000,
    });
  });

  test('counts what people took while the phase was held, whether they aborted or nobody answered', () => {
    const held = [intent(10), outcome(20, 'run', true)];
    const split = { detectMs: 10_000, decideMs: 20_000, executeMs: 260_000, verifyMs: 31_000 };
    expect(recoveryOf(rows(...held, said(39, 'abort'), ...back))).toEqual(split);
    expect(recoveryOf(rows(...held, ...back))).toEqual(split);
  });

  test('is detected at once where a person aborts a run that is well', () => {
    const well = [intent(10), outcome(20), intent(21, 'run', 'b'), said(38, 'abort')];
    expect(recoveryOf(rows(...well, ...back))).toMatchObject({ detectMs: 0, decideMs: 2_000 });
    // A failure that was mended by another try is not what the run went back for.
    const mended = [intent(5), outcome(8, 'run', true), ...well];
    expect(recoveryOf(rows(...mended, ...back))).toMatchObject({ detectMs: 0, decideMs: 2_000 });
  });

  test('knows a phase that got lost from the row that says so', () => {
    const lost: Told = { at: 35, kind: 'phase', phase: 'a', state: 'maybe' };
    expect(recoveryOf(rows(intent(10), lost, ...back))).toMatchObject({ detectMs: 25_000, decideMs: 5_000 });
  });

  test('has nothing executed where nothing had to be undone', () => {
    const none = rows(intent(10), outcome(20, 'run', true), runIs(21, 'unwinding'), runIs(25, 'rolled-back'));
    expect(recoveryOf(none)).toEqual({ detectMs: 10_000, decideMs: 1_000, executeMs: 0, verifyMs: 4_000 });
  });

  test('is unknown before the run is rolled back', () => {
    expect(recoveryOf(rows(intent(10), outcome(20)))).toBeUndefined();
    expect(recoveryOf(rows(intent(10), runIs(20, 'unwinding'), runIs(30, 'stuck')))).toBeUndefined();
  });
});

describe('in the store', () => {
  let store: StoreDatabase;
  beforeAll(async () => {
    store = await makeStoreDatabase();
  });
  afterAll(() => store[Symbol.asyncDispose]());

  test('it is read from the journal as it was written, whatever a phase has put out', async () => {
    const run = await newRun(store, planOver('recovery'));
    await perform(store, intentRow(run), { output: { text: 'NUL \u0000' } });
    await perform(store, intentRow(run, { phase: 'move/hold' }), {
      result: 'failed',
      verdict: 'error',
      summary: 'no',
      error: { type: 'PhaseFailed', message: 'no' },
      state: null,
    });
    expect(await store.api.recovery(run)).toBeUndefined();
    const tell = (key: string, state: string) =>
      store.worker.record(run, [{ key, kind: 'run', state, body: { because: 'no' } }]);
    await tell('left', 'unwinding');
    await perform(store, intentRow(run, { phase: 'move/hold', direction: 'undo', try: 2 }));
    await tell('end', 'rolled-back');
    const split = await store.api.recovery(run);
    const { rows: times } = await store.owner.query<{ ms: number }>(
      'select (extract(epoch from max(at) - min(at)) * 1000)::float8 as ms from countdown.journal where run = $1 and seq >= 4',
      [run],
    );
    const { detectMs = NaN, decideMs = NaN, executeMs = NaN, verifyMs = NaN } = split ?? {};
    expect(Math.abs(detectMs + decideMs + executeMs + verifyMs - (times[0]?.ms ?? 0))).toBeLessThan(3);
    expect(executeMs).toBeGreaterThan(0);
  });
});
