import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GENESIS, verifyChain } from '../../store/chain.ts';
import { makeStoreDatabase, type StoreDatabase } from '../support/store.ts';
import { SAMPLE, intentRow, newRun, outcomeRow, perform, planOver, seqOf, outputsOf } from './support.ts';

let store: StoreDatabase;
beforeAll(async () => {
  store = await makeStoreDatabase();
});
afterAll(() => store[Symbol.asyncDispose]());

const all = { after: 0, limit: 1_000 };
/** Each test has a run of its own, over a target of its own. */
const run = (name: string): Promise<number> => newRun(store, planOver(name));

const shellRow = (key: string, state = 'pending') => ({
  key,
  kind: 'phase' as const,
  phase: 'move/inspect',
  state,
  body: {},
});

describe('a workflow that was closed and opened again', () => {
  test('speaks alone: rows of the closed one that were on their way are refused', async () => {
    const { worker, api } = store;
    const id = await run('reopened');
    await worker.record(id, [shellRow('first/row/1')]);
    const reopen = { key: 'second/reopen', kind: 'run' as const, state: 'unwinding', body: {} };
    await worker.record(id, [reopen]);
    const before = await api.journal(id, all);
    await expect(worker.record(id, [shellRow('first/row/2')])).rejects.toMatchObject({
      name: 'FenceLost',
      refused: 'Superseded',
    });
    // Not even what it had recorded already is confirmed to it.
    await expect(worker.record(id, [shellRow('first/row/1')])).rejects.toMatchObject({
      refused: 'Superseded',
    });
    expect(await api.journal(id, all)).toEqual(before);
    await worker.record(id, [shellRow('second/row/1')]);
    // A third one takes over from the second.
    await worker.record(id, [{ ...reopen, key: 'third/reopen' }]);
    await expect(worker.record(id, [shellRow('second/row/2')])).rejects.toMatchObject({
      refused: 'Superseded',
    });
    await worker.record(id, [shellRow('third/row/1')]);
    expect(verifyChain(await api.journal(id, all))).toMatchObject({ intact: true });
  });
});

describe('the chain', () => {
  test('begins with the row that says who asked for what', async () => {
    const id = await run('begin');
    const [row] = await store.api.journal(id, all);
    expect(row).toMatchObject({
      run: id,
      seq: 1,
      kind: 'asked',
      phase: null,
      actor: 'dana',
      prev: GENESIS,
      body: { state: 'planned', requester: 'dana', failAt: null, groups: { sre: ['ana', 'ben'] } },
    });
    expect(row?.at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  });

  test('verifies in TypeScript for any body, the odd ones too', async () => {
    const { api } = store;
    const id = await run('odd');
    const output = {
      z: 1e21,
      a: -0,
      ä: 'naïve 🎹 \u2028 "quoted" \\ \u0000 end',
      '\u{1f3b9}': [null, true, 0.1, { b: 1, a: 2 }],
      lone: '\ud800x',
      long: 'é'.repeat(10_000),
    };
    await perform(store, intentRow(id), { output, summary: 'tab\t, NUL \u0000, line\nbreak' });
    const rows = await api.journal(id, all);
    expect(verifyChain(rows)).toEqual({ intact: true, head: { seq: 3, hash: rows[2]?.hash } });
    expect((await api.run(id))?.head).toEqual({ seq: 3, hash: rows[2]?.hash });
    expect((await outputsOf(store, id))['move/inspect']).toEqual({ ...output, a: 0, lone: '\ufffdx' });
    expect((await api.run(id))?.phases[0]?.summary).toBe('tab\t, NUL \u2400, line\nbreak');
  });

  test('has no gap and verifies after 100 appends at once', async () => {
    const { worker, api } = store;
    const id = await run('crowd');
    const rows = Array.from({ length: 50 }, (_, n) => ({
      key: `row/${n}`,
      kind: 'phase' as const,
      phase: 'move/inspect',
      state: 'pending',
      body: { n },
    }));
    const prints = Array.from({ length: 50 }, () =>
      intentRow(id, { phase: '@thing', direction: 'before', try: 1, attempt: 1 }),
    );
    await Promise.all([
      ...rows.map((row) => worker.record(id, [row])),
      ...prints.map((row) => worker.intent(row)),
    ]);
    const written = await api.journal(id, all);
    // Each fingerprint but the first also writes the end of the one before it.
    expect(written.map(({ seq }) => seq)).toEqual(Array.from({ length: 150 }, (_, n) => n + 1));
    expect(verifyChain(written)).toMatchObject({ intact: true, head: { seq: 150 } });
  });

  test.each([
    ['body', `body = '{"result":"ok"}'`, 3, 'Row 3 was changed'],
    ['actor', `actor = 'mallory'`, 3, 'Row 3 was changed'],
    ['time', `at = at + interval '1 microsecond'`, 3, 'Row 3 was changed'],
    ['hash', `hash = repeat('a', 64)`, 3, 'Row 3 was changed'],
    ['hash before', `prev = repeat('a', 64)`, 3, 'Row 3 follows hash aaaaaaaaaaaa'],
  ])('names the row whose %s was changed behind its back', async (what, change, seq, problem) => {
    const id = await run(`tamper ${what}`);
    await perform(store, intentRow(id));
    await behindTheTrigger(`update countdown.journal set ${change} where run = ${id} and seq = ${seq}`);
    const verdict = verifyChain(await store.api.journal(id, all));
    expect(verdict).toMatchObject({ intact: false, seq });
    expect(verdict).toHaveProperty('problem', expect.stringContaining(problem));
  });

  test('names a row that was taken out', async () => {
    const id = await run('gap');
    await perform(store, intentRow(id));
    await behindTheTrigger(`delete from countdown.journal where run = ${id} and seq = 2`);
    expect(verifyChain(await store.api.journal(id, all))).toEqual({
      intact: false,
      seq: 2,
      problem: 'Row 2 is missing: row 3 stands in its place.',
    });
  });

  test('takes refused attempts into a chain of each environment', async () => {
    const { api, owner } = store;
    const { refusedRows } = await import('../../store/journal.ts');
    const attempt = {
      person: 'eva',
      door: 'api',
      run: null,
      code: 'NotInGroup',
      detail: 'You are in neither.',
    };
    await Promise.all(Array.from({ length: 20 }, () => api.refused({ ...attempt, environment: 'demo' })));
    await api.refused({ ...attempt, environment: 'staging', person: null });
    const demo = await refusedRows(owner, 'demo', all);
    expect(demo).toHaveLength(20);
    expect(verifyChain(demo)).toMatchObject({ intact: true, head: { seq: 20 } });
    expect(demo[0]).toMatchObject({
      run: 0,
      kind: 'refused',
      actor: 'eva',
      body: { ...attempt, environment: 'demo' },
    });
    expect(await refusedRows(owner, 'staging', all)).toMatchObject([
      { seq: 1, actor: 'unknown', prev: GENESIS },
    ]);
    expect(await api.journal(0, all)).toEqual([]);
  });
});

describe('an intent', () => {
  test('is answered with its seq and the epoch of the lease', async () => {
    const id = await run('fence');
    const { epoch } = (await store.worker.loadRun(id)) ?? {};
    expect(epoch).toBeGreaterThan(0);
    expect(await store.worker.intent(intentRow(id))).toEqual({ seq: 2, epoch, outputs: {} });
    // Row 3 is the end of the first attempt.
    expect(await store.worker.intent(intentRow(id, { attempt: 2 }))).toEqual({ seq: 4, epoch, outputs: {} });
  });

  test('of a try that ended is answered with the stored outcome, and no row is written', async () => {
    const id = await run('lost answer');
    const output = { rows: 7, text: 'a\u0000b' };
    const seq = await perform(store, intentRow(id), { output, binds: { schema: 'x' } });
    expect(await store.worker.intent(intentRow(id, { attempt: 2 }))).toEqual({
      stored: { seq, result: 'ok', verdict: 'pass', summary: 'well', output, binds: { schema: 'x' } },
    });
    expect((await store.api.run(id))?.head.seq).toBe(seq);
  });

  test('of a try that failed is answered with the stored failure', async () => {
    const id = await run('lost failure');
    const error = { type: 'PhaseFailed', message: 'no' };
    await perform(store, intentRow(id), {
      result: 'failed',
      verdict: 'error',
      summary: 'no',
      error,
      state: null,
    });
    expect(await store.worker.intent(intentRow(id))).toMatchObject({ stored: { result: 'failed', error } });
  });

  test.each([
    ['a lower try', { direction: 'run', try: 1 }, { direction: 'probe', try: 2 }],
    ['the same try in another direction', { direction: 'run', try: 2 }, { direction: 'probe', try: 2 }],
  ] as const)('of %s than has begun is refused', async (name, late, begun) => {
    const id = await run(`superseded ${name}`);
    seqOf(await store.worker.intent(intentRow(id, begun)));
    expect(await store.worker.intent(intentRow(id, late))).toEqual({
      refused: 'Superseded',
      detail: `run/${late.try} of move/inspect came late: probe/2 has begun.`,
    });
  });

  test('forwards is refused until every earlier phase is done or skipped', async () => {
    const id = await run('order');
    const hold = intentRow(id, { phase: 'move/hold' });
    expect(await store.worker.intent(hold)).toEqual({
      refused: 'OutOfOrder',
      detail:
        'move/hold cannot start yet: move/inspect is pending, and earlier phases must be done or skipped.',
    });
    await perform(store, intentRow(id));
    await perform(store, hold);
    const skip = { key: 'skip', kind: 'phase' as const, phase: 'move/copy', state: 'skipped', body: {} };
    await store.worker.record(id, [skip]);
    seqOf(await store.worker.intent(intentRow(id, { phase: 'keep' })));
  });

  test('backwards asks for no order', async () => {
    const id = await run('back');
    seqOf(await store.worker.intent(intentRow(id, { phase: 'move/copy', direction: 'probe' })));
    seqOf(await store.worker.intent(intentRow(id, { phase: 'move/copy', direction: 'undo', try: 2 })));
  });

  test('forwards is refused once the run unwinds, so that nothing late can start', async () => {
    const id = await run('unwinding');
    await store.worker.record(id, [{ key: 'u', kind: 'run', state: 'unwinding', body: { because: 'x' } }]);
    expect(await store.worker.intent(intentRow(id))).toEqual({
      refused: 'OutOfOrder',
      detail: `Run ${id} unwinds, so move/inspect cannot start.`,
    });
    seqOf(await store.worker.intent(intentRow(id, { direction: 'undo' })));
  });

  test('is refused where a lease is gone or was granted anew', async () => {
    const id = await run('lease');
    await store.owner.query('update countdown.leases set epoch = epoch + 1000 where run = $1', [id]);
    expect(await store.worker.intent(intentRow(id))).toMatchObject({ refused: 'LeaseLost' });
    await store.owner.query('delete from countdown.leases where run = $1', [id]);
    expect(await store.worker.intent(intentRow(id, { direction: 'undo' }))).toMatchObject({
      refused: 'LeaseLost',
    });
  });

  test('is refused where run, phase or fingerprint is in no plan', async () => {
    const id = await run('unknown');
    for (const row of [
      intentRow(999_999),
      intentRow(0),
      intentRow(id, { phase: 'move/nothing' }),
      intentRow(id, { phase: '@nothing', direction: 'before' }),
      intentRow(id, { phase: '@thing', direction: 'run' }),
      intentRow(id, { phase: 'move/inspect', direction: 'before' }),
    ]) {
      expect(await store.worker.intent(row)).toMatchObject({ refused: 'PlanUnknown' });
    }
    expect((await store.api.run(id))?.head.seq).toBe(1);
  });
});

describe('an outcome', () => {
  test('said twice is one row', async () => {
    const id = await run('twice');
    const row = intentRow(id);
    const seq = seqOf(await store.worker.intent(row));
    const outcome = outcomeRow(row, seq);
    const written = await Promise.all([store.worker.outcome(outcome), store.worker.outcome(outcome)]);
    expect(written).toEqual([{ seq: seq + 1 }, { seq: seq + 1 }]);
  });

  test('is refused once a later attempt of the phase has begun, in any direction', async () => {
    const id = await run('zombie');
    const first = intentRow(id);
    const seq = seqOf(await store.worker.intent(first));
    expect(await store.worker.isCurrent({ run: id, phase: first.phase, seq })).toBe(true);
    const probe = seqOf(await store.worker.intent({ ...first, direction: 'probe', try: 2 }));
    expect(await store.worker.isCurrent({ run: id, phase: first.phase, seq })).toBe(false);
    expect(await store.worker.outcome(outcomeRow(first, seq))).toEqual({
      refused: 'Superseded',
      detail: `The outcome of run/1 of move/inspect came late: row ${probe} has taken over.`,
    });
  });

  test('may wait while its run is paused, which the worker is told', async () => {
    const id = await run('paused');
    expect(await store.worker.isPaused(id)).toBe(false);
    await store.worker.record(id, [{ key: 'hold', kind: 'run', state: 'paused', body: {} }]);
    expect(await store.worker.isPaused(id)).toBe(true);
    await store.worker.record(id, [{ key: 'go', kind: 'run', state: 'running', body: {} }]);
    expect(await store.worker.isPaused(id)).toBe(false);
  });

  test('of an earlier attempt of the same try is refused', async () => {
    const id = await run('attempts');
    const seq = seqOf(await store.worker.intent(intentRow(id)));
    seqOf(await store.worker.intent(intentRow(id, { attempt: 2 })));
    expect(await store.worker.outcome(outcomeRow(intentRow(id), seq))).toMatchObject({
      refused: 'Superseded',
    });
  });

  test('is refused once the shell has spoken of the phase: it counts as lost already', async () => {
    const id = await run('told');
    const seq = seqOf(await store.worker.intent(intentRow(id)));
    const lost = { key: 'lost', kind: 'phase' as const, phase: 'move/inspect', state: 'maybe', body: {} };
    await store.worker.record(id, [lost]);
    expect(await store.worker.outcome(outcomeRow(intentRow(id), seq))).toMatchObject({
      refused: 'Superseded',
    });
    expect(await store.worker.isCurrent({ run: id, phase: 'move/inspect', seq })).toBe(false);
  });

  test.each([
    ['no intent', {}, 999],
    ['a row that is no intent', {}, 1],
    ['an intent of another direction', { direction: 'undo' as const }, 2],
  ])('that answers %s is refused', async (name, over, intent) => {
    const id = await run(`answers ${name}`);
    seqOf(await store.worker.intent(intentRow(id)));
    expect(await store.worker.outcome(outcomeRow(intentRow(id, over), intent))).toMatchObject({
      refused: 'Superseded',
    });
  });
});

describe('a closed run', () => {
  test.each(['succeeded', 'stopped', 'rolled-back'])(
    'that is %s takes no row and holds no lease',
    async (state) => {
      const id = await run(`closed ${state}`);
      const { worker } = store;
      const seq = seqOf(await worker.intent(intentRow(id)));
      const last = { key: 'last', kind: 'run' as const, state, body: {} };
      await worker.record(id, [last]);
      await worker.record(id, [last]);
      expect(await worker.intent(intentRow(id, { try: 2 }))).toMatchObject({ refused: 'RunClosed' });
      expect(await worker.outcome(outcomeRow(intentRow(id), seq))).toEqual({
        refused: 'RunClosed',
        detail: `Run ${id} is ${state} and takes no more rows.`,
      });
      expect(await worker.isCurrent({ run: id, phase: 'move/inspect', seq })).toBe(false);
      await expect(worker.record(id, [{ ...last, key: 'more' }])).rejects.toMatchObject({
        name: 'FenceLost',
        refused: 'RunClosed',
      });
      const leases = await store.owner.query('select from countdown.leases where run = $1', [id]);
      expect(leases.rowCount).toBe(0);
      expect(verifyChain(await store.api.journal(id, all))).toMatchObject({ intact: true, head: { seq: 3 } });
    },
  );

  test('that is stuck is open and keeps its leases', async () => {
    const id = await run('stuck');
    await store.worker.record(id, [{ key: 's', kind: 'run', state: 'stuck', body: {} }]);
    seqOf(await store.worker.intent(intentRow(id, { direction: 'undo' })));
    const leases = await store.owner.query('select from countdown.leases where run = $1', [id]);
    expect(leases.rowCount).toBe(1);
  });
});

describe('rows of the shell', () => {
  test('are written once, all or none', async () => {
    const id = await run('list');
    const { worker, api } = store;
    const good = { key: 'a', kind: 'run' as const, state: 'running', body: {} };
    await worker.record(id, [good]);
    await worker.record(id, [good, { ...good, key: 'b', state: 'waiting' }]);
    await expect(
      worker.record(id, [
        { ...good, key: 'c' },
        { key: 'd', kind: 'phase', phase: 'nothing', state: 'done', body: {} },
      ]),
    ).rejects.toMatchObject({
      name: 'PlanUnknown',
      message: expect.stringContaining('nothing is not in plan'),
    });
    expect((await api.journal(id, all)).map(({ body }) => body['state'])).toEqual([
      'planned',
      'running',
      'waiting',
    ]);
    await worker.record(id, []);
  });

  test('cannot speak of a state that does not exist', async () => {
    const id = await run('state');
    await expect(
      store.worker.record(id, [{ key: 'a', kind: 'run', state: 'failed', body: {} }]),
    ).rejects.toThrow('runs_state_check');
  });
});

test('an append takes milliseconds', async () => {
  const id = await newRun(store, { ...SAMPLE, leases: {}, params: { bench: true } });
  const started = performance.now();
  const pairs = 200;
  for (let n = 1; n <= pairs; n += 1) await perform(store, intentRow(id, { try: n }));
  const eachMs = (performance.now() - started) / (2 * pairs);
  expect(eachMs).toBeLessThan(25);
  if (process.env['COUNTDOWN_TEST_TIMES']) process.stdout.write(`append: ${eachMs.toFixed(2)} ms\n`);
});

async function behindTheTrigger(sql: string): Promise<void> {
  await store.owner.query(
    `alter table countdown.journal disable trigger keep_rows; ${sql}; alter table countdown.journal enable always trigger keep_rows`,
  );
}
