/** The patience of a worker with Countdown's own database, against a PostgreSQL that really goes away. */
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { type Logger, pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeContext } from '../../activities/context.ts';
import { type JournalDeps, makeJournal } from '../../activities/journal.ts';
import { JournalRefusal } from '../../store/refusal.ts';
import { makeScrubber } from '../../store/scrub.ts';
import { eventually } from '../support/launch-world.ts';
import { cutDatabase } from '../support/launch-world-journal.ts';
import { failureOf } from '../support/phase-context.ts';
import { makeStoreDatabase, type StoreDatabase } from '../support/store.ts';
import { intentRow, newRun, planOver, seqOf } from '../store/support.ts';

let store: StoreDatabase;
beforeAll(async () => {
  store = await makeStoreDatabase();
});
afterAll(() => store[Symbol.asyncDispose]());

/** Counts the lines that say that the database is missed. */
function watchedLog(): { log: Logger; missed: () => number } {
  let missed = 0;
  const write = (line: string): void => {
    if (line.includes('journal: unreachable')) missed += 1;
  };
  return { log: pino({ level: 'warn' }, { write }), missed: () => missed };
}

function journalOf(over: Partial<JournalDeps> = {}) {
  const { log, missed } = watchedLog();
  const { signal } = new AbortController();
  return { journal: makeJournal({ journalWaitMs: 10_000, log, signal, ...over }), missed };
}

const look = () => store.owner.query('select 1 as one').then(({ rows }) => rows[0] as unknown);

describe('an access', () => {
  test.each(['before', 'during', 'after'] as const)(
    'that finds the database away is tried until it is back: %s',
    async (when) => {
      const { journal, missed } = journalOf();
      const cut = await cutDatabase(store.ownerUrl);
      const looking = journal[when](look);
      looking.catch(() => undefined);
      try {
        await eventually(() => missed() > 2, 'the database was missed');
      } finally {
        await cut.mend();
      }
      expect(await looking).toEqual({ one: 1 });
    },
  );

  test.each([
    ['before', undefined, 'NotStarted', 'nothing was started'],
    ['during', undefined, 'OutcomeLost', 'cannot tell whether it is still the current one'],
    ['during', 'Unreachable', 'Unreachable', 'cannot tell whether it is still the current one'],
    ['after', undefined, 'OutcomeLost', 'the outcome of this attempt was not recorded'],
    ['after', 'Unreachable', 'Unreachable', 'the outcome of this attempt was not recorded'],
  ] as const)(
    "that gets no answer in time names Countdown's own database: %s, lost %s",
    async (when, lost, type, part) => {
      const { journal } = journalOf({ journalWaitMs: 1_000, ...(lost === undefined ? {} : { lost }) });
      const cut = await cutDatabase(store.ownerUrl);
      try {
        const failure = await failureOf(journal[when](look));
        expect(failure.type).toBe(type);
        expect(failure.message).toMatch(/^Countdown's own database could not be used for 1 s \(.+\), so /);
        expect(failure.message).toContain(part);
      } finally {
        await cut.mend();
      }
    },
  );

  test.each([
    ['before', 'NotStarted'],
    ['after', 'OutcomeLost'],
  ] as const)('that waits ends its wait when the phase is cancelled: %s', async (when, type) => {
    const controller = new AbortController();
    const { journal, missed } = journalOf({ journalWaitMs: 60_000, signal: controller.signal });
    const cut = await cutDatabase(store.ownerUrl);
    try {
      const ended = failureOf(journal[when](look));
      await eventually(() => missed() > 0, 'the database was missed');
      controller.abort(new CancelledFailure('CANCELLED'));
      expect((await ended).type).toBe(type);
    } finally {
      await cut.mend();
    }
  });

  test('that reads leaves a database that hangs behind when the phase is cancelled', async () => {
    const controller = new AbortController();
    const { journal } = journalOf({ signal: controller.signal });
    const reading = journal.during(() => store.owner.query('select pg_sleep(30)'));
    const reason = new CancelledFailure('CANCELLED');
    controller.abort(reason);
    await expect(reading).rejects.toBe(reason);
    await store.owner.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(30)'`,
    );
  });

  test.each([
    ['a refusal', new JournalRefusal('Superseded', 'row 7 has taken over')],
    ['a failure of the phase', ApplicationFailure.create({ type: 'ApprovalMissing', message: 'no' })],
  ])('that is answered with %s is not tried again', async (_, answer) => {
    const { journal, missed } = journalOf();
    await expect(
      journal.before(async () => {
        throw answer;
      }),
    ).rejects.toBe(answer);
    expect(missed()).toBe(0);
  });
});

/** The context of an attempt that has begun, on the real store. */
async function begun(target: string, over: Partial<JournalDeps> = {}) {
  const run = await newRun(store, planOver(target));
  const seq = seqOf(await store.worker.intent(intentRow(run)));
  const row = await store.worker.loadRun(run);
  if (row === undefined) throw new Error('There is no run.');
  const { journal, missed } = journalOf(over);
  const context = makeContext({
    store: store.worker,
    log: pino({ level: 'silent' }),
    environments: new Map(),
    stateFolder: '/nonexistent',
    scrubber: makeScrubber(),
    env: {},
    run: row,
    envelope: { run, phase: 'move/inspect', direction: 'run', try: 1 },
    fence: { epoch: row.epoch, seq },
    environment: {
      environment: 'test',
      protected: false,
      targets: {},
      people: {},
      roles: { operator: [], admin: [], auditor: [] },
      groups: {},
      approvals: { least: {} },
    },
    outputs: {},
    signal: new AbortController().signal,
    journal,
  });
  return { run, context, missed };
}

describe('a phase at work', () => {
  test('waits for the database to say that it is still the current attempt, and that its run is paused', async () => {
    const { run, context, missed } = await begun('waits');
    await store.worker.record(run, [{ key: 'p', kind: 'run', state: 'paused', body: {} }]);
    const cut = await cutDatabase(store.ownerUrl);
    const asked = Promise.all([context.assertCurrent(), context.isPaused()]);
    asked.catch(() => undefined);
    try {
      await eventually(() => missed() > 3, 'the database was missed');
    } finally {
      await cut.mend();
    }
    expect(await asked).toEqual([undefined, true]);
    seqOf(await store.worker.intent(intentRow(run, { attempt: 2 })));
    expect((await failureOf(context.assertCurrent())).type).toBe('FenceLost');
  });

  test('is not paused by a database that stays away', async () => {
    const { context } = await begun('stays away', { journalWaitMs: 300 });
    const cut = await cutDatabase(store.ownerUrl);
    try {
      expect(await context.isPaused()).toBe(false);
    } finally {
      await cut.mend();
    }
  });
});
