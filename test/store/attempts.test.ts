/** Attempts of one try: each has its end in the journal, and only the last of them ends the try. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyChain } from '../../store/chain.ts';
import { rebuild } from '../../store/rebuild.ts';
import type { IntentRow, OutcomeRow } from '../../store/types.ts';
import { makeStoreDatabase, type StoreDatabase } from '../support/store.ts';
import { intentRow, newRun, outcomeRow, perform, planOver, seqOf } from './support.ts';

let store: StoreDatabase;
beforeAll(async () => {
  store = await makeStoreDatabase();
});
afterAll(() => store[Symbol.asyncDispose]());

const error = { type: 'Unreachable', message: 'connection refused' };
const AGAIN: Partial<OutcomeRow> = {
  result: 'failed',
  verdict: 'error',
  summary: 'Attempt 1 of 3 failed and is tried again: connection refused',
  error,
  again: true,
  state: null,
};

const hold = (run: number, over: Partial<IntentRow> = {}) => intentRow(run, { phase: 'move/hold', ...over });

async function begun(target: string): Promise<number> {
  const run = await newRun(store, planOver(target));
  await perform(store, intentRow(run));
  return run;
}

const journal = (run: number) => store.api.journal(run, { after: 0, limit: 100 });
const phaseOf = async (run: number, phase: string) =>
  (await store.api.run(run))?.phases.find((one) => one.phase === phase);

describe('an attempt that failed and is tried again', () => {
  test('does not end its try: the next attempt begins, and its outcome is the one of the try', async () => {
    const run = await begun('again');
    await perform(store, hold(run), AGAIN);
    const second = hold(run, { attempt: 2 });
    const seq = seqOf(await store.worker.intent(second));
    const written = await store.worker.outcome(outcomeRow(second, seq, { summary: 'held' }));
    expect(written).toEqual({ seq: seq + 1 });
    expect(await store.worker.intent(hold(run, { attempt: 3 }))).toEqual({
      stored: { seq: seq + 1, result: 'ok', verdict: 'pass', summary: 'held' },
    });
    const rows = await journal(run);
    expect(verifyChain(rows)).toMatchObject({ intact: true });
    expect(rows.slice(3).map(({ kind, attempt, body }) => [kind, attempt, body['again'] ?? false])).toEqual([
      ['intent', 1, false],
      ['outcome', 1, true],
      ['intent', 2, false],
      ['outcome', 2, false],
    ]);
  });

  test('is shown until the next attempt begins, and is never the end of the phase', async () => {
    const run = await begun('shown');
    await perform(store, hold(run), AGAIN);
    expect(await phaseOf(run, 'move/hold')).toMatchObject({
      state: 'running',
      verdict: null,
      summary: AGAIN.summary,
      error,
      endedAt: null,
    });
    await perform(store, hold(run, { attempt: 2 }), { summary: 'held' });
    expect(await phaseOf(run, 'move/hold')).toMatchObject({ state: 'done', summary: 'held', error: null });
    const undo = hold(run, { direction: 'undo', try: 2 });
    await perform(store, undo, AGAIN);
    expect(await phaseOf(run, 'move/hold')).toMatchObject({ state: 'undoing', verdict: 'pass', error });
    seqOf(await store.worker.intent({ ...undo, attempt: 2 }));
    expect(await phaseOf(run, 'move/hold')).toMatchObject({ state: 'undoing', error: null });
  });

  test('is no duration, and moves the read model the same way when it is rebuilt', async () => {
    const run = await begun('duration');
    await perform(store, hold(run), AGAIN);
    const durations = `select phase from countdown.durations where run = ${run} order by seq`;
    expect((await store.owner.query(durations)).rows).toEqual([{ phase: 'move/inspect' }]);
    const before = await phaseOf(run, 'move/hold');
    await rebuild(store.owner, run);
    expect(await phaseOf(run, 'move/hold')).toEqual(before);
  });

  test('leaves what a probe and a fingerprint found as it was', async () => {
    const run = await begun('others');
    await perform(store, hold(run), { output: { heldAt: 'now' } });
    const before = await phaseOf(run, 'move/hold');
    await perform(store, hold(run, { direction: 'probe', try: 2 }), AGAIN);
    expect(await phaseOf(run, 'move/hold')).toEqual({
      ...before,
      try: 2,
      actAt: expect.any(String),
      newsAt: expect.any(String),
    });
    const print = { phase: '@thing', direction: 'before', try: 1 } as const;
    await perform(store, intentRow(run, print), AGAIN);
    expect((await store.api.run(run))?.targets).toMatchObject([{ target: 'thing', before: null }]);
  });

  test('is neither a fact that a row may build on, nor what an undo is told that its phase failed with', async () => {
    const run = await begun('facts');
    await perform(store, hold(run), { ...AGAIN, output: { text: 'NUL \u0000' } });
    expect((await store.worker.facts(run, ['move/hold'])).outcomes).toEqual([]);
    expect(await store.worker.undoing(run, 'move/hold')).toEqual({ error: null, params: null });
    const failed = { type: 'PhaseFailed', message: 'no room' };
    await perform(store, hold(run, { attempt: 2 }), {
      result: 'failed',
      verdict: 'error',
      summary: 'no room',
      error: failed,
      state: null,
    });
    expect(await store.worker.undoing(run, 'move/hold')).toEqual({ error: failed, params: null });
    expect((await store.worker.facts(run, ['move/hold'])).outcomes).toHaveLength(1);
  });

  test('neither broke a run that people ended, nor ended the undo', async () => {
    const run = await begun('recovery');
    await perform(store, hold(run), AGAIN);
    await perform(store, hold(run, { attempt: 2 }));
    const tell = (key: string, state: string) =>
      store.worker.record(run, [{ key, kind: 'run', state, body: { because: 'ana aborted the run' } }]);
    await tell('left', 'unwinding');
    await perform(store, hold(run, { direction: 'undo', try: 2 }));
    await perform(store, hold(run, { direction: 'undo', try: 3 }), AGAIN);
    await tell('end', 'rolled-back');
    const split = await store.api.recovery(run);
    expect(split).toMatchObject({ detectMs: 0, decideMs: 0 });
    const rows = await journal(run);
    const at = (which: (row: (typeof rows)[number]) => boolean) => Date.parse(rows.find(which)?.at ?? '');
    const undone = at(({ kind, direction }) => kind === 'outcome' && direction === 'undo');
    const ended = at(({ body }) => body['state'] === 'rolled-back');
    expect(Math.abs((split?.verifyMs ?? NaN) - (ended - undone))).toBeLessThan(3);
  });
});

describe('an attempt of which nothing was written', () => {
  const message = 'Attempt 1 of undo/2 ended without an outcome: it was cut off, or its worker was lost.';

  test('has its end before the intent of the next attempt, in an intact chain', async () => {
    const run = await begun('lost');
    const undo = hold(run, { direction: 'undo', try: 2 });
    const seq = seqOf(await store.worker.intent(undo));
    expect(await store.worker.intent({ ...undo, attempt: 2 })).toMatchObject({ seq: seq + 2 });
    const rows = await journal(run);
    expect(verifyChain(rows)).toMatchObject({ intact: true });
    expect(rows[seq]).toMatchObject({
      kind: 'outcome',
      phase: 'move/hold',
      direction: 'undo',
      try: 2,
      attempt: 1,
      actor: 'worker',
      body: {
        intent: seq,
        result: 'failed',
        verdict: 'error',
        summary: message,
        error: { type: 'OutcomeLost', message },
        again: true,
      },
    });
  });

  test('has it before the next try too, and once', async () => {
    const run = await begun('next try');
    const probe = hold(run, { direction: 'probe', try: 2 });
    const seq = seqOf(await store.worker.intent(probe));
    expect(await store.worker.intent({ ...probe, try: 3 })).toMatchObject({ seq: seq + 2 });
    await perform(store, { ...probe, try: 4 });
    const ends = (await journal(run)).filter(
      ({ kind, direction }) => kind === 'outcome' && direction === 'probe',
    );
    expect(ends.map(({ body }) => [body['intent'], body['again'] ?? false])).toEqual([
      [seq, true],
      [seq + 2, true],
      [seq + 4, false],
    ]);
  });

  test('has none where a row of its phase has spoken already', async () => {
    const run = await begun('spoken');
    seqOf(await store.worker.intent(hold(run)));
    const lost = { key: 'lost', kind: 'phase' as const, phase: 'move/hold', state: 'maybe', body: {} };
    await store.worker.record(run, [lost]);
    seqOf(await store.worker.intent(hold(run, { direction: 'probe', try: 2 })));
    expect((await journal(run)).filter(({ kind }) => kind === 'outcome')).toHaveLength(1);
  });

  test('can write nothing any more once the next attempt has begun', async () => {
    const run = await begun('zombie');
    const undo = hold(run, { direction: 'undo', try: 2 });
    const seq = seqOf(await store.worker.intent(undo));
    seqOf(await store.worker.intent({ ...undo, attempt: 2 }));
    expect(await store.worker.outcome(outcomeRow(undo, seq))).toMatchObject({ refused: 'Superseded' });
  });
});

test('an attempt that comes later than the next one is refused, and says nothing of it', async () => {
  const run = await begun('late');
  const undo = hold(run, { direction: 'undo', try: 2, attempt: 2 });
  const seq = seqOf(await store.worker.intent(undo));
  expect(await store.worker.intent({ ...undo, attempt: 1 })).toEqual({
    refused: 'Superseded',
    detail: 'Attempt 1 of undo/2 of move/hold came late: attempt 2 has begun.',
  });
  expect(await store.worker.intent({ ...undo, direction: 'run', try: 1 })).toMatchObject({
    refused: 'Superseded',
  });
  expect(await store.worker.outcome(outcomeRow(undo, seq))).toEqual({ seq: seq + 1 });
});
