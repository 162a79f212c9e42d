import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Decision } from '../../workflows/messages.ts';
import { makeStoreDatabase, type StoreDatabase } from '../support/store.ts';
import { newRun, planOver } from './support.ts';

let store: StoreDatabase;
beforeAll(async () => {
  store = await makeStoreDatabase();
});
afterAll(() => store[Symbol.asyncDispose]());

const decision = (run: number, id: string, over: Partial<Decision> = {}): Decision => ({
  id,
  run,
  kind: 'approve',
  subject: 'move',
  person: 'ana',
  groups: ['sre'],
  door: 'api',
  plan: 'p',
  evidence: 'e',
  reason: null,
  resolution: null,
  ...over,
});
const ids = (rows: Decision[]): string[] => rows.map(({ id }) => id);

test('a decision is read back as the door wrote it, NUL shown as its symbol', async () => {
  const run = await newRun(store, planOver('read'));
  const row = decision(run, 'read', { reason: 'a\u0000b', resolution: { done: true, evidence: 'ticket' } });
  await store.api.insertDecision(row);
  expect(await store.worker.decision(run, 'read')).toEqual({ ...row, reason: 'a\u2400b' });
  expect(await store.worker.decision(run + 1, 'read')).toBeUndefined();
  expect((await store.api.run(run))?.decisions).toMatchObject([{ id: 'read', counted: false }]);
});

test('a decision is journalled once, with the words of the door and not of the worker', async () => {
  const run = await newRun(store, planOver('once'));
  const row = decision(run, 'once');
  await store.api.insertDecision(row);
  await Promise.all([store.worker.countDecision(run, 'once'), store.worker.countDecision(run, 'once')]);
  const rows = await store.api.journal(run, { after: 1, limit: 10 });
  expect(rows).toMatchObject([{ kind: 'decision', actor: 'ana', body: { ...row } }]);
});

test('a decision that no door wrote for this run, or that was refused, is not journalled', async () => {
  const run = await newRun(store, planOver('forged'));
  const other = await newRun(store, planOver('forged 2'));
  await store.api.insertDecision(decision(other, 'theirs'));
  await store.api.insertDecision(decision(run, 'refused'));
  await store.api.refuseDecision({ run, id: 'refused', code: 'NotInGroup' });
  for (const id of ['nobody', 'theirs', 'refused']) {
    await expect(store.worker.countDecision(run, id)).rejects.toMatchObject({ name: 'ApprovalMissing' });
  }
  expect((await store.api.run(run))?.head.seq).toBe(1);
});

test('a decision for a run that there is not is refused by the database', async () => {
  await expect(store.api.insertDecision(decision(999_999, 'lost'))).rejects.toThrow('decisions_run_fkey');
});

describe('unanswered decisions', () => {
  test('are neither journalled nor refused, of open runs, and old enough', async () => {
    const run = await newRun(store, planOver('unanswered'));
    for (const id of ['waits', 'counted', 'no']) await store.api.insertDecision(decision(run, id));
    await store.worker.countDecision(run, 'counted');
    await store.api.refuseDecision({ run, id: 'no', code: 'NotAsked' });
    const mine = async (olderMs: number): Promise<string[]> =>
      ids((await store.api.unanswered(olderMs, 100)).filter((one) => one.run === run));
    expect(await mine(0)).toEqual(['waits']);
    expect(await mine(60_000)).toEqual([]);
    await store.worker.record(run, [{ key: 'end', kind: 'run', state: 'stopped', body: {} }]);
    expect(await mine(0)).toEqual([]);
  });
});

describe('votes', () => {
  test('are journalled approvals of the step, beside everybody who had steered', async () => {
    const run = await newRun(store, planOver('votes'));
    expect(await store.worker.votes(run, 'move')).toEqual({
      evidence: null,
      approvals: [],
      steered: [],
    });
    const body = { step: 'move', evidence: 'e', round: 1, from: { sre: 1 }, dueAt: 2, openedAt: 1 };
    await store.worker.record(run, [{ key: 'o', kind: 'approval', state: 'open', body }]);
    const given: Decision[] = [
      decision(run, 'v1'),
      decision(run, 'v5 retry', { kind: 'retry', subject: 'move/hold', person: 'eli' }),
      decision(run, 'v2', { person: 'ben' }),
      decision(run, 'v3 other step', { subject: 'keep', person: 'cleo' }),
      decision(run, 'v4 reject', { kind: 'reject', person: 'dora' }),
      // Later than the last vote: it takes nothing away from what had been approved.
      decision(run, 'v6 pause', { kind: 'pause', subject: null, person: 'ben' }),
      decision(run, 'v7 refused', { kind: 'abort', subject: null, person: 'fay' }),
      decision(run, 'v8 refused', { person: 'gil' }),
    ];
    for (const one of given) {
      await store.api.insertDecision(one);
      await store.worker.countDecision(run, one.id);
    }
    await store.api.insertDecision(decision(run, 'v9 not journalled', { person: 'hal' }));
    for (const id of ['v7 refused', 'v8 refused']) await store.api.refuseDecision({ run, id, code: 'No' });
    const votes = await store.worker.votes(run, 'move');
    expect({ ...votes, approvals: ids(votes.approvals) }).toEqual({
      evidence: 'e',
      approvals: ['v1', 'v2'],
      steered: ['eli'],
    });
  });
});
