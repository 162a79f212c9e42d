import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { eventLine } from '../../cli/view/event.ts';
import { leasesLines } from '../../cli/view/leases.ts';
import { planLines } from '../../cli/view/plan.ts';
import { runLines } from '../../cli/view/run.ts';
import { runsLines } from '../../cli/view/runs.ts';
import { duration, safe, span, widthOf } from '../../cli/view/style.ts';
import {
  begins,
  copying,
  inLine,
  makeRun,
  paused,
  plan,
  retrying,
  rolledBack,
  stuck,
  succeeded,
  tooLate,
  undelivered,
  unwinding,
  waiting,
} from './stories.ts';

const words = { ascii: true, colour: false };
const symbols = { ascii: false, colour: false };
const colours = { ascii: false, colour: true };

const golden = new Map(
  readFileSync(new URL('golden.md', import.meta.url), 'utf8')
    .split(/^## /m)
    .slice(1)
    .map((part) => {
      const [name = '', ...lines] = part.split('\n');
      const text = lines.join('\n');
      return [name, text.slice(text.indexOf('```text\n') + 8, text.lastIndexOf('\n```'))];
    }),
);

/** The line of leases, with something else read now. */
const leasesLine = (more: object) =>
  planLines({ ...plan, now: { ...plan.now, ...more } }, symbols).find((line) => line.startsWith('Leases'));

/** The line of the rollback, with another past. */
const rollback = (undoBasis: typeof plan.now.undoBasis) =>
  planLines({ ...plan, now: { ...plan.now, undoBasis } }, symbols).find((line) =>
    line.startsWith('Rollback'),
  );

const approvalLines = (run: typeof waiting) =>
  runLines(run, symbols, { now: new Date(run.at), isWatching: false }).filter((line) =>
    /approv|expires/.test(line),
  );

describe('the golden views', () => {
  for (const [name, run] of Object.entries({
    begins,
    inLine,
    waiting,
    copying,
    paused,
    unwinding,
    retrying,
    rolledBack,
    succeeded,
    stuck,
    undelivered,
    tooLate,
  })) {
    test(`a run that is ${name} looks as agreed`, () => {
      const lines = runLines(run, symbols, { now: new Date(run.at), isWatching: name === 'waiting' });
      expect(lines.join('\n')).toBe(golden.get(name));
    });
  }

  test('a run in words alone has no symbol outside ASCII', () => {
    const lines = runLines(copying, words, { now: new Date(copying.at), isWatching: false });
    expect(lines.join('\n')).toBe(golden.get('copying in words alone'));
    expect(lines.join('')).toMatch(/^[\x20-\x7e]*$/);
  });

  test('a plan looks as agreed, with symbols and in words alone', () => {
    expect(planLines(plan, symbols).join('\n')).toBe(golden.get('plan'));
    expect(planLines(plan, words).join('\n')).toBe(golden.get('plan in words alone'));
  });

  test('a branch that waits shows the approval of its block', () => {
    const [first, ...rest] = waiting.steps.filter(({ id }) =>
      waiting.approvals.some(({ step }) => step === id),
    );
    expect([first?.id, rest]).toEqual(['database', []]);
    const approvals = waiting.approvals.map((one) => ({ ...one, step: 'data' }));
    const steps = waiting.steps.map((step) => (step.id === 'database' ? { ...step, block: 'data' } : step));
    const before = approvalLines(waiting);
    expect(before.length).toBeGreaterThan(0);
    expect(approvalLines({ ...waiting, steps, approvals })[0]).toBe(before[0]);
    expect(approvalLines({ ...waiting, approvals })[0]).not.toBe(before[0]);
  });

  test('parallel steps stand below their block, which asks once for all of them', () => {
    const [ready, database, ...rest] = plan.steps;
    if (ready === undefined || database === undefined) throw new Error('The story has steps.');
    const branches = ['uploads', 'surface'].map((id) => ({
      ...ready,
      id,
      block: 'data',
      window: 'low-traffic',
    }));
    const story = {
      ...plan,
      steps: [ready, ...branches, database, ...rest],
      blocks: [{ id: 'data', approval: { from: { sre: 1 }, via: 'api' } }],
    };
    expect(planLines(story, symbols).slice(2, 7)).toEqual([
      '1 ready      http.check       –                            none',
      '2 data       parallel                                                          low-traffic, sre 1 (via api)',
      '  ├ uploads  http.check       –                            none',
      '  └ surface  http.check       –                            none',
      '3 database   database.import  app-postgres, 1 more         reversible, 12s     sre 1, owner 1',
    ]);
    expect(planLines(story, words).join('')).toMatch(/^[\x20-\x7e]*$/);
  });

  test('a plan names what was left out of it, and why', () => {
    const because = "kind is 'quick', and it runs where kind is 'full'";
    const lines = planLines({ ...plan, leftOut: [{ id: 'look', kind: 'wait', because }] }, symbols);
    expect(lines[8]).toBe(`Left out    look  wait  ${because}`);
    expect(lines[9]).toBe('Read now, not part of the plan:');
  });

  test('a plan names the runs that follow it, and when they are due', () => {
    const hash = '0123456789abcdef';
    const followUps = [
      { id: 'cleanup', afterMs: 604_800_000, plan: hash },
      { id: 'look', afterMs: 129_600_000, plan: hash },
      { id: 'soon', afterMs: 90_000, plan: hash },
    ];
    const lines = planLines({ ...plan, followUps }, symbols);
    expect(lines.filter((line) => line.startsWith('Later'))).toEqual([
      'Later, a run of its own: cleanup after 7d, plan 0123456789ab',
      'Later, a run of its own: look after 1d 12h, plan 0123456789ab',
      'Later, a run of its own: soon after 1m 30s, plan 0123456789ab',
    ]);
  });

  test('a run that has succeeded names the runs that follow it, and they name it', () => {
    const one = { id: 'cleanup', afterMs: 604_800_000 };
    const laterLines = (state: string | null, dueAt: string | null) => {
      const followUps = [{ ...one, run: dueAt === null ? null : 47, state, dueAt }];
      const lines = runLines({ ...succeeded, followUps }, symbols, { now: new Date(), isWatching: false });
      return lines.filter((line) => line.startsWith('Later'));
    };
    expect(laterLines(null, null)).toEqual(['Later       cleanup after 7d']);
    expect(laterLines('planned', '2026-11-30T07:12:00Z')).toEqual([
      'Later       cleanup is due 30 Nov 07:12 UTC (run 47)',
    ]);
    expect(laterLines('stopped', '2026-11-30T07:12:00Z')).toEqual([
      'Later       cleanup is due 30 Nov 07:12 UTC (run 47, stopped)',
    ]);
    const follows = { run: 46, followUp: 'cleanup' };
    const watched = { now: new Date(copying.at), isWatching: true };
    expect(runLines({ ...copying, follows }, symbols, watched)[1]).toBe(
      'Follows run 46 as its follow-up cleanup',
    );
  });

  test('a broken glass is shown however the run stands, with who broke it and why', () => {
    const vote = { kind: 'approve', subject: 'database', door: 'cli', at: succeeded.at, counted: true };
    const decisions = [
      { ...vote, person: 'ana', reason: 'olu is on a plane', breakGlass: true },
      { ...vote, person: 'sam', reason: 'it is burning', breakGlass: true },
      { ...vote, person: 'ben', reason: null },
      { ...vote, person: 'eva', reason: 'too late', breakGlass: true, counted: false },
    ];
    for (const run of [succeeded, copying]) {
      const lines = runLines({ ...run, decisions }, words, { now: new Date(run.at), isWatching: false });
      expect(lines[1]).toBe('Glass broken at database by ana (olu is on a plane), sam (it is burning)');
    }
    const plain = runLines(succeeded, words, { now: new Date(), isWatching: false });
    expect(plain.join()).not.toContain('Glass');
  });

  test('a run that waits for a person says why', () => {
    const because = 'open: Target app is not the one that was planned with';
    const held = runLines({ ...waiting, because }, symbols, { now: new Date(waiting.at), isWatching: false });
    expect(held).toContain(`Because  ${because}`);
  });

  test('an emergency stands in the plan and in the run with its whole reason', () => {
    const reason = `The certificate of the shop ends tonight at ten, and ${'nobody can buy '.repeat(5)}then.`;
    const emergency = { freezes: ['sales', 'year-end'], reason };
    const lines = [
      'Emergency   may start inside sales, year-end: The certificate of the shop ends tonight at ten, and nobody',
      '            can buy nobody can buy nobody can buy nobody can buy nobody can buy then.',
    ];
    expect(planLines({ ...plan, emergency }, symbols)).toEqual(expect.arrayContaining(lines));
    const watched = { now: new Date(copying.at), isWatching: true };
    expect(runLines({ ...copying, emergency }, symbols, watched).slice(1, 3)).toEqual(lines);
  });

  test('a plan names the change freeze that holds, or the one that comes', () => {
    const next = { name: 'year-end', from: '2026-12-18T00:00:00.000Z' };
    const held = { names: ['year-end'], until: '2027-01-04T00:00:00.000Z' };
    expect(leasesLine({ nextChangeFreeze: next })).toBe(
      'Leases      4 of 4 free · no change freeze before 18 Dec (year-end)',
    );
    expect(leasesLine({ changeFreeze: held, nextChangeFreeze: next })).toBe(
      'Leases      4 of 4 free · change freeze until 4 Jan (year-end)',
    );
  });

  test('a plan says of how many past times its rollback is known, and nothing where the plan alone says it', () => {
    expect(rollback({ samples: 4, isP95: false })).toMatch(
      /^Rollback {4}at most 12s \(longest of 4\), objective 5m /,
    );
    expect(rollback(null)).toMatch(/^Rollback {4}at most 12s, objective 5m /);
  });

  test('the last safe abort on another day is named with its day', () => {
    const lastSafeAt = '2026-11-23T00:10:00.000Z';
    const later = { ...copying, rollback: { ...copying.rollback, lastSafeAt } };
    const lines = runLines(later, symbols, { now: new Date(copying.at), isWatching: false });
    expect(lines[1]).toBe(
      'plan 7f3a91c204de · abort now undoes 2 phases, about 8s of 5m · last safe abort 23 Nov 00:10 UTC',
    );
  });

  test('the table of leases looks as agreed', () => {
    const held = {
      environment: 'production',
      mode: 'exclusive' as const,
      run: 38,
      requester: 'ben',
      waits: false,
    };
    const lines = leasesLines(
      [
        { ...held, target: 'app-postgres', runbook: 'index-migration', leftMs: 1_199_000, waitsFor: null },
        {
          ...held,
          target: 'edge',
          runbook: 'index-migration',
          mode: 'shared',
          leftMs: 41_000,
          waitsFor: null,
        },
        {
          ...held,
          target: 'uploads-s3',
          run: 39,
          runbook: 'piano-keys',
          leftMs: null,
          waitsFor: 'an approval',
        },
      ],
      symbols,
    );
    expect(lines.join('\n')).toBe(golden.get('leases'));
    expect(leasesLines([], symbols)).toEqual(['No target is held.']);
  });

  test('the table of runs looks as agreed', () => {
    const runs = [begins, stuck, rolledBack, succeeded];
    expect(runsLines(runs, symbols).join('\n')).toBe(golden.get('runs'));
  });
});

describe('colours', () => {
  test('change no column and stand only where they were asked for', () => {
    const show = (style: typeof symbols) =>
      runLines(copying, style, { now: new Date(copying.at), isWatching: true });
    const coloured = show(colours);
    expect(coloured.join('')).toContain('\u001b[');
    expect(coloured.map(widthOf)).toEqual(show(symbols).map(widthOf));
    expect(show(symbols).join('')).not.toContain('\u001b');
  });
});

describe('text of others', () => {
  test('no view is wider than 105 columns or passes on control characters, whatever the texts are', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), fc.boolean(), (text, ascii) => {
        const style = { ascii, colour: false };
        const run = makeRun(
          {
            ready: { from: 0, to: 3, summary: text },
            'database/inspect': { from: 3, state: 'maybe', error: { type: 'PhaseFailed', message: text } },
          },
          { because: text, requester: text.slice(0, 20) },
        );
        for (const state of ['running', 'unwinding', 'stuck'] as const) {
          const lines = runLines({ ...run, state }, style, { now: new Date(run.at), isWatching: true });
          for (const line of lines) {
            expect(widthOf(line)).toBeLessThanOrEqual(105);
            expect(line).not.toMatch(/\p{Cc}/u);
          }
        }
        const line = eventLine(
          { id: '1', event: 'phase', data: { phase: 'ready', state: 'done', summary: text } },
          style,
        );
        expect(widthOf(line ?? '')).toBeLessThanOrEqual(105);
        expect(line).not.toMatch(/\p{Cc}/u);
      }),
      { numRuns: 200 },
    );
  });

  test('control characters and marks of direction become spaces', () => {
    expect(safe('a\u001b[2Jb\u202ec\nd')).toBe('a [2Jb c d');
  });
});

describe('formats', () => {
  test('durations read as agreed', () => {
    const texts = [0, 400, 4100, 41_000, 59_600, 69_000, 180_000, 3_840_000, 92_640_000].map(duration);
    expect(texts).toEqual(['0s', '0.4s', '4.1s', '41s', '1m 00s', '1m 09s', '3m 00s', '1h 04m', '25h 44m']);
    expect([3_600_000, 300_000, 5_400_000, 30_000].map(span)).toEqual(['1h', '5m', '1h 30m', '30s']);
  });
});

const line = (event: string, data: Record<string, unknown>) =>
  eventLine({ id: '7', event, data: { at: '2026-11-22T01:16:40Z', ...data } }, symbols);

describe('a line an event', () => {
  test('a phase says time, state and what it found', () => {
    expect(line('phase', { phase: 'database/copy', state: 'done', verdict: 'pass', summary: '9 rows' })).toBe(
      '01:16:40  ✓ database/copy           done  pass  9 rows',
    );
    expect(line('phase', { phase: 'database/copy', state: 'running' })).toBe(
      '01:16:40  ▸ database/copy           running',
    );
  });

  test('a run says its state and why', () => {
    expect(line('run', { state: 'rolled-back', verified: true, because: 'a red check' })).toBe(
      '01:16:40  run  ↺ rolled-back (verified)  a red check',
    );
  });

  test('an approval and a decision say who and what', () => {
    expect(line('decision', { row: 'approval', step: 'database', state: 'open' })).toBe(
      '01:16:40  approval of database is open',
    );
    expect(line('decision', { row: 'approval', step: 'database', state: 'open', reminder: 2 })).toBe(
      '01:16:40  approval of database still waits',
    );
    expect(line('decision', { row: 'approval', step: 'database', state: 'open', escalatedTo: 'owner' })).toBe(
      '01:16:40  approval of database still waits: calling owner',
    );
    expect(
      line('decision', { row: 'approval', step: 'keep', state: 'granted', brokeGlass: ['ana', 'ben'] }),
    ).toBe('01:16:40  approval of keep is granted by broken glass');
    expect(line('decision', { row: 'decision', person: 'ana', kind: 'approve', subject: 'database' })).toBe(
      '01:16:40  ana says approve database',
    );
  });

  test('a fingerprint and an unknown event say nothing', () => {
    expect(line('phase', { phase: '@app-postgres', state: 'running' })).toBeNull();
    expect(line('weather', {})).toBeNull();
  });
});
