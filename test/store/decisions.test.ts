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

/** Makes decisions older than any wait of the API, in the given order. */
async function age(run: number, named: string[]): Promise<void> {
  for (const [index, id] of named.entries()) {
    await store.owner.query(
      `update countdown.decisions set at = clock_timestamp() - $3 * interval '1 second' where run = $1 and id = $2`,
      [run, id, 100 - index],
    );
  }
}

const unanswered = async (runs: number[], olderMs = 0): Promise<string[]> =>
  ids((await store.api.unanswered(olderMs, 100)).filter(({ run }) => runs.includes(run)));

describe('unanswered decisions', () => {
  test('are neither answered nor refused, of open runs, and old enough', async () => {
    const run = await newRun(store, planOver('unanswered'));
    for (const id of ['waits', 'answered', 'no']) await store.api.insertDecision(decision(run, id));
    await store.worker.countDecision(run, 'answered');
    await store.api.answerDecision({ run, id: 'answered' });
    await store.api.refuseDecision({ run, id: 'no', code: 'NotAsked' });
    expect(await unanswered([run])).toEqual(['waits']);
    expect(await unanswered([run], 60_000)).toEqual([]);
    await store.worker.record(run, [{ key: 'end', kind: 'run', state: 'stopped', body: {} }]);
    expect(await unanswered([run])).toEqual([]);
  });

  test('include one that is journalled until the run has answered it', async () => {
    const run = await newRun(store, planOver('unheard'));
    await store.api.insertDecision(decision(run, 'unheard', { kind: 'abort', subject: null }));
    await store.worker.countDecision(run, 'unheard');
    expect(await unanswered([run])).toEqual(['unheard']);
    await store.api.answerDecision({ run, id: 'unheard' });
    expect(await unanswered([run])).toEqual([]);
  });

  test('are listed aborts first, then oldest first, of one run or without some', async () => {
    const one = await newRun(store, planOver('order 1'));
    const two = await newRun(store, planOver('order 2'));
    const given = [
      decision(one, 'o1', { kind: 'pause', subject: null }),
      decision(two, 'o2', { kind: 'pause', subject: null }),
      decision(one, 'o3 abort', { kind: 'abort', subject: null }),
      decision(two, 'o4 abort', { kind: 'abort', subject: null }),
      decision(one, 'o5'),
    ];
    for (const row of given) await store.api.insertDecision(row);
    await age(one, ids(given));
    await age(two, ids(given));
    expect(await unanswered([one, two])).toEqual(['o3 abort', 'o4 abort', 'o1', 'o2', 'o5']);
    const rest = await store.api.unanswered(0, 100, { without: [one] });
    expect(ids(rest.filter(({ run }) => run === two))).toEqual(['o4 abort', 'o2']);
    expect(rest.filter(({ run }) => run === one)).toEqual([]);
    expect(ids(await store.api.unanswered(0, 2, { of: one }))).toEqual(['o3 abort', 'o1']);
  });
});

describe('a refusal', () => {
  test('is stored once, and says whether this call stored it', async () => {
    const run = await newRun(store, planOver('refuse once'));
    await store.api.insertDecision(decision(run, 'late'));
    const refused = { run, id: 'late', code: 'NotAsked' };
    expect(await store.api.refuseDecision(refused)).toBe('refused');
    expect(await store.api.refuseDecision({ ...refused, code: 'NotInGroup' })).toBe('settled');
    expect((await store.api.run(run))?.decisions).toMatchObject([
      { id: 'late', counted: false, refused: 'NotAsked', delivery: 'refused' },
    ]);
  });

  test('of a journalled decision does not take it back: it was counted, and is answered', async () => {
    const run = await newRun(store, planOver('refuse counted'));
    await store.api.insertDecision(decision(run, 'was counted'));
    await store.worker.countDecision(run, 'was counted');
    expect(await store.api.refuseDecision({ run, id: 'was counted', code: 'ApprovalVoided' })).toBe(
      'counted',
    );
    expect((await store.api.run(run))?.decisions).toMatchObject([
      { id: 'was counted', counted: true, refused: null, delivery: 'confirmed' },
    ]);
    expect(await unanswered([run])).toEqual([]);
  });

  test('waits for the worker that is journalling the decision at the same moment', async () => {
    const run = await newRun(store, planOver('refuse race'));
    await store.api.insertDecision(decision(run, 'raced'));
    const client = await store.owner.connect();
    try {
      await client.query('begin');
      await client.query(
        `select countdown.append($1, 'decision', null, null, null, null, 'decision/raced', null, null)`,
        [run],
      );
      const refused = store.api.refuseDecision({ run, id: 'raced', code: 'NotAsked' });
      await untilBlocked();
      await client.query('commit');
      expect(await refused).toBe('counted');
    } finally {
      client.release();
    }
  });
});

/** Waits until a session of this database waits for a lock. */
async function untilBlocked(): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const { rowCount } = await store.owner.query(
      `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    if (rowCount !== 0) return;
    if (Date.now() > deadline) throw new Error('No session waits for a lock.');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const delivery = async (run: number, id: string) =>
  (await store.api.run(run))?.decisions.find((one) => one.id === id)?.delivery;

describe('the delivery of a decision', () => {
  test('is stored, journalled and confirmed while the run is open', async () => {
    const run = await newRun(store, planOver('delivery'));
    await store.api.insertDecision(decision(run, 'told'));
    expect(await delivery(run, 'told')).toBe('stored');
    await store.worker.countDecision(run, 'told');
    expect(await delivery(run, 'told')).toBe('journalled');
    await store.api.answerDecision({ run, id: 'told' });
    expect(await delivery(run, 'told')).toBe('confirmed');
  });

  test('of an ended run is confirmed for a journalled decision, and too late for any other', async () => {
    const run = await newRun(store, planOver('delivery ended'));
    for (const id of ['in time', 'late 1']) await store.api.insertDecision(decision(run, id));
    await store.worker.countDecision(run, 'in time');
    await store.worker.record(run, [{ key: 'end', kind: 'run', state: 'stopped', body: {} }]);
    expect([await delivery(run, 'in time'), await delivery(run, 'late 1')]).toEqual([
      'confirmed',
      'too-late',
    ]);
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
    // Earlier releases could refuse a journalled decision.
    await store.owner.query(
      `update countdown.decisions set refused = 'No' where run = $1 and id in ('v7 refused', 'v8 refused')`,
      [run],
    );
    const votes = await store.worker.votes(run, 'move');
    expect({ ...votes, approvals: ids(votes.approvals) }).toEqual({
      evidence: 'e',
      approvals: ['v1', 'v2'],
      steered: ['eli'],
    });
  });
});
