import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { undoSheet } from '../../procedures/undo-sheet.ts';
import { digest } from '../../store/digest.ts';
import { makeStoreDatabase, type StoreDatabase } from '../support/store.ts';
import { SAMPLE, intentRow, newRun, perform, planOver, seqOf } from './support.ts';

let store: StoreDatabase;
beforeAll(async () => {
  store = await makeStoreDatabase();
});
afterAll(() => store[Symbol.asyncDispose]());

const all = { after: 0, limit: 1_000 };
const stop = (run: number) =>
  store.worker.record(run, [{ key: 'stop', kind: 'run', state: 'stopped', body: { because: 'enough' } }]);

describe('a plan', () => {
  test('is found by its hash and by its first 12 digits', async () => {
    const plan = planOver('by prefix');
    const hash = digest(plan);
    await store.api.savePlan({ hash, plan, person: 'dana' });
    await store.api.savePlan({ hash, plan, person: 'ana' });
    expect(await store.api.plan(hash)).toEqual(plan);
    expect(await store.api.planByPrefix(hash.slice(0, 12))).toEqual({ hash, plan });
    expect(await store.api.planByPrefix(hash.slice(0, 11))).toBeUndefined();
    expect(await store.api.planByPrefix('0'.repeat(12))).toBeUndefined();
    expect(await store.api.planByPrefix(`${hash.slice(0, 12)}%`)).toBeUndefined();
    expect(await store.api.plan('0'.repeat(64))).toBeUndefined();
  });

  test('is refused under a name that is not its hash', async () => {
    const row = { hash: '1'.repeat(64), plan: SAMPLE, person: 'dana' };
    await expect(store.api.savePlan(row)).rejects.toThrow('plans_check');
  });
});

describe('a run', () => {
  test('is made with its leases, its phases and row 1', async () => {
    const plan = planOver('whole');
    const run = await newRun(store, plan, { failAt: 'move/copy' });
    const detail = await store.api.run(run);
    expect(detail).toMatchObject({
      run,
      runbook: 'test',
      environment: 'test',
      plan: digest(plan),
      requester: 'dana',
      state: 'planned',
      verdict: null,
      because: null,
      verified: null,
      notVerified: [],
      step: null,
      failAt: 'move/copy',
      startedAt: null,
      endedAt: null,
      head: { seq: 1 },
      approvals: [],
      decisions: [],
      targets: [{ target: 'thing', before: null, after: null, equal: null }],
    });
    expect(
      detail?.phases.map(({ phase, step, title, effect, state }) => [phase, step, title, effect, state]),
    ).toEqual([
      ['move/inspect', 'move', 'inspect', 'none', 'pending'],
      ['move/hold', 'move', 'hold', 'reversible', 'pending'],
      ['move/copy', 'move', 'copy', 'reversible', 'pending'],
      ['keep', 'keep', 'keep', 'irreversible', 'pending'],
    ]);
    expect(await store.worker.loadRun(run)).toMatchObject({
      run,
      plan,
      planHash: digest(plan),
      failAt: 'move/copy',
    });
    expect(await store.worker.loadRun(999_999)).toBeUndefined();
    expect(await store.api.run(999_999)).toBeUndefined();
  });

  test('of an unknown plan is refused', async () => {
    const row = { plan: 'f'.repeat(64), requester: 'dana', groups: {}, failAt: null, idempotency: null };
    expect(await store.api.createRun(row)).toEqual({ refused: 'PlanUnknown' });
  });

  test('of a plan with NUL in its texts is made all the same', async () => {
    const plan = { ...planOver('nul'), params: { text: 'a\u0000b' } };
    const run = await newRun(store, plan);
    expect((await store.worker.loadRun(run))?.plan).toEqual(plan);
  });

  test('is listed newest first, a page at a time, and as open until it ends', async () => {
    const first = await newRun(store, planOver('list 1'));
    const second = await newRun(store, planOver('list 2'));
    const page = await store.api.runs({ limit: 2 });
    expect(page.map(({ run }) => run)).toEqual([second, first]);
    expect((await store.api.runs({ limit: 1, before: second })).map(({ run }) => run)).toEqual([first]);
    await stop(first);
    const open = (await store.api.openRuns()).map(({ run }) => run);
    expect(open).toContain(second);
    expect(open).not.toContain(first);
  });
});

const asked = async (target: string, bodyHash: string, over = {}) => {
  const plan = planOver(target);
  await store.api.savePlan({ hash: digest(plan), plan, person: 'dana' });
  return store.api.createRun({
    plan: digest(plan),
    requester: 'dana',
    groups: {},
    failAt: null,
    idempotency: { key: `key of ${target}`, person: 'dana', bodyHash, ...over },
  });
};

describe('one key', () => {
  test('with one body is one run, however often and at once it is sent', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => asked('same', 'x')));
    const runs = answers.map((answer) => ('run' in answer ? answer.run : null));
    expect(new Set(runs).size).toBe(1);
    expect(answers.filter((answer) => 'created' in answer && answer.created)).toHaveLength(1);
  });

  test('with another body is refused', async () => {
    await asked('other', 'x');
    expect(await asked('other', 'y')).toEqual({ refused: 'KeyReused' });
  });

  test('of another person is another key', async () => {
    const mine = await asked('person', 'x');
    expect(await asked('person', 'x', { person: 'ana' })).toMatchObject({
      refused: 'TargetLeased',
      blocker: { run: 'run' in mine ? mine.run : 0 },
    });
  });
});

describe('leases', () => {
  test('let one of many runs on one target through, and numbers have no gap', async () => {
    const before = Math.max(0, ...(await store.api.runs({ limit: 1 })).map(({ run }) => run));
    const plan = planOver('race');
    const hash = digest(plan);
    await store.api.savePlan({ hash, plan, person: 'dana' });
    const row = { plan: hash, requester: 'dana', groups: {}, failAt: null, idempotency: null };
    const answers = await Promise.all(Array.from({ length: 20 }, () => store.api.createRun(row)));
    const made = answers.filter((answer) => 'run' in answer);
    expect(made).toEqual([{ run: before + 1, created: true, isAdmitted: true }]);
    const refused = {
      refused: 'TargetLeased',
      blocker: { target: 'race', run: before + 1, waits: false },
    };
    expect(answers.filter((answer) => 'refused' in answer)).toEqual(
      Array.from({ length: 19 }, () => refused),
    );
    expect(await newRun(store, planOver('after the race'))).toBe(before + 2);
  });

  test('that are shared stand beside each other, and none beside an exclusive one', async () => {
    const shared = planOver('read', 'shared');
    const first = await newRun(store, shared);
    const second = await newRun(store, { ...shared, params: { second: true } });
    await expect(newRun(store, planOver('read'))).rejects.toThrow('TargetLeased');
    await stop(first);
    await expect(newRun(store, planOver('read'))).rejects.toThrow('TargetLeased');
    await stop(second);
    await newRun(store, planOver('read'));
    await expect(newRun(store, shared)).rejects.toThrow('TargetLeased');
  });

  test('hold a target of one environment only', async () => {
    await newRun(store, planOver('two places'));
    await newRun(store, { ...planOver('two places'), environment: 'elsewhere' });
  });

  test('are granted with an epoch that only grows', async () => {
    const epochs = [];
    for (let n = 0; n < 3; n += 1) {
      const run = await newRun(store, planOver('epoch'));
      epochs.push((await store.worker.loadRun(run))?.epoch ?? 0);
      await stop(run);
    }
    expect(epochs).toEqual([...new Set(epochs)].sort((a, b) => a - b));
  });
});

describe('what the journal knows', () => {
  test('names phases in order of their first start, then the others, and fingerprints by their digest', async () => {
    const run = await newRun(store, planOver('begun'));
    const { worker } = store;
    await perform(store, intentRow(run, { phase: '@thing', direction: 'before', try: 1 }), {
      print: { state: 's', data: null },
    });
    await perform(store, intentRow(run));
    seqOf(await worker.intent(intentRow(run, { phase: 'move/hold' })));
    await perform(store, intentRow(run, { phase: 'move/hold', direction: 'probe', try: 2 }), {
      answer: 'no',
    });
    await perform(store, intentRow(run, { try: 2 }));
    await worker.record(run, [{ key: 'k', kind: 'phase', phase: 'keep', state: 'waiting', body: {} }]);
    expect(await worker.begun(run, 'x')).toEqual({
      plan: digest(planOver('begun')),
      requester: 'dana',
      groups: { sre: ['ana', 'ben'] },
      reopened: true,
      reopenReason: null,
      journal: [
        { phase: 'move/inspect', state: 'done', verdict: 'pass', started: true, try: 2 },
        { phase: 'move/hold', state: 'running', verdict: null, started: true, try: 2 },
        { phase: 'keep', state: 'waiting', verdict: null, started: false, try: 0 },
      ],
      prints: { thing: { before: digest({ state: 's', data: null }), try: 1 } },
    });
  });

  test('includes the last stored reason why an open run was opened again, in at most 500 characters', async () => {
    const run = await newRun(store, planOver('reason'));
    await store.api.tellReopened(run, 'The workflow of the run was terminated from outside');
    await store.api.tellReopened(run, `The workflow of the run failed: \u0000${'x'.repeat(600)}`);
    const expected = `The workflow of the run failed: \u2400${'x'.repeat(467)}`;
    expect((await store.worker.begun(run, 'x')).reopenReason).toBe(expected);
    await store.worker.record(run, [{ key: 'end', kind: 'run', state: 'stopped', body: {} }]);
    await store.api.tellReopened(run, 'too late');
    expect((await store.worker.begun(run, 'x')).reopenReason).toBe(expected);
  });

  test('is nothing for a run that has not begun', async () => {
    const run = await newRun(store, planOver('fresh'));
    expect(await store.worker.begun(run, 'x')).toMatchObject({ reopened: false, journal: [], prints: {} });
    await expect(store.worker.begun(999_999, 'x')).rejects.toThrow('There is no run 999999');
  });
});

test('row 1 names plan, requester, fault, who may approve and the undo sheet', async () => {
  const plan = planOver('row 1');
  const run = await newRun(store, plan, { failAt: 'keep' });
  const [row] = await store.api.journal(run, all);
  expect(row?.body).toEqual({
    state: 'planned',
    plan: digest(plan),
    requester: 'dana',
    groups: { sre: ['ana', 'ben'] },
    failAt: 'keep',
    undoSheet: {
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      text: undoSheet(plan, digest(plan)),
    },
  });
});
