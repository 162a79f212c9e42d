/** What people are told to type, whom a run waits for, and what does not answer; and that nothing of it is cut. */
import { describe, expect, test } from 'vitest';
import { commandOf } from '../../cli/context.ts';
import { eventLine } from '../../cli/view/event.ts';
import { hintLines, hintsOf } from '../../cli/view/hints.ts';
import { planLines } from '../../cli/view/plan.ts';
import { runLines } from '../../cli/view/run.ts';
import { runsLines } from '../../cli/view/runs.ts';
import { type Style, retyped, widthOf } from '../../cli/view/style.ts';
import { unionMs } from '../../cli/view/times.ts';
import { silencesOf, waitsOf } from '../../cli/view/waits.ts';
import type { RunDetailWire } from '../../cli/wire.ts';
import { at, copying, makeRun, paused, plan, rolledBack, stuck, succeeded, waiting } from './stories.ts';

const terminal: Style = { ascii: false, colour: false };
const file: Style = { ...terminal, isWhole: true };
const view = (run: RunDetailWire, style: Style, hasHints = true) =>
  runLines(run, style, { now: new Date(run.at), isWatching: false, hasHints });
const typedAt = (run: RunDetailWire, style = terminal) => hintLines(hintsOf(run, style));

/** What is said of a silence. */
const texts = (run: RunDetailWire) => silencesOf(run, new Date(run.at)).map(({ text }) => text);
const silent = (seconds: number, story: object) =>
  texts(makeRun({ 'database/copy': { from: 542, newsAt: at(542), ...story } }, { at: at(542 + seconds) }));
const runLine = (state: string, verdict: string) =>
  eventLine({ id: '1', event: 'run', data: { state, verdict } }, terminal);

const long = `database/verify: ${'table songs has 3 rows that differ and '.repeat(6)}nothing else does.`;

describe('where there is no terminal', () => {
  test('nothing of a run, of the table of runs or of a line of an event is cut', () => {
    const bad = makeRun(
      { ready: { from: 0, to: 1, summary: long }, 'database/inspect': { from: 1, summary: long } },
      { state: 'unwinding', because: long, verdict: 'error' },
    );
    const ended = { ...rolledBack, because: long };
    const going = { ...bad, state: 'running' as const };
    for (const lines of [view(bad, file), view(ended, file), view(going, file), runsLines([ended], file)]) {
      const text = lines.join('\n');
      expect(text).toContain(long);
      expect(text).not.toContain('…');
    }
    const event = { id: '1', event: 'phase', data: { phase: 'ready', state: 'done', summary: long } };
    expect(eventLine(event, file)).toContain(long);
    expect(eventLine(event, terminal)).toMatch(/…$/);
  });

  test('the leases of a plan are named with all their holders, on one line', () => {
    const held = {
      runbook: 'index-migration',
      requester: 'ben',
      waits: false,
      leftMs: 60_000,
      waitsFor: null,
    };
    const leases = ['app-postgres', 'app-sqlite', 'edge'].map((target, index) => ({
      ...held,
      target,
      run: index + 30,
    }));
    const lines = planLines({ ...plan, now: { ...plan.now, leases } }, file);
    expect(lines.find((line) => line.startsWith('Leases'))).toBe(
      'Leases      1 of 4 free · app-postgres is held by run 30 (index-migration, requester ben), about 1m left · app-sqlite is held by run 31 (index-migration, requester ben), about 1m left · edge is held by run 32 (index-migration, requester ben), about 1m left',
    );
    const narrow = planLines({ ...plan, now: { ...plan.now, leases } }, terminal);
    expect(narrow.join('')).not.toContain('…');
    expect(Math.max(...narrow.map(widthOf))).toBeLessThanOrEqual(105);
  });

  test('an abort names the number that confirms it, since nobody can be asked', () => {
    expect(typedAt(copying, file)).toEqual([
      "Pause  countdown pause 41     Abort  countdown abort 41 'reason' --confirm 41",
    ]);
  });
});

test('on a terminal the reason of a run that went back is wrapped, and a word without end is broken', () => {
  for (const because of [long, 'x'.repeat(300)]) {
    for (const run of [
      { ...rolledBack, because },
      { ...stuck, because },
    ]) {
      const lines = view(run, terminal);
      const first = lines.findIndex((line) => line.startsWith('Because'));
      const last = lines.findIndex((line, index) => index > first && !line.startsWith('         '));
      const text = lines.slice(first, last).map((line) => line.slice(run.endedAt === null ? 9 : 11));
      expect(text.length).toBeGreaterThan(2);
      expect(text.join(' ').replaceAll(' ', '')).toBe(because.replaceAll(' ', ''));
      expect(Math.max(...lines.map(widthOf))).toBeLessThanOrEqual(105);
    }
  }
});

describe('a hint', () => {
  test('is typed as the command was called, and is never cut', () => {
    expect(commandOf({ npm_command: 'exec', npm_lifecycle_event: 'npx' })).toBe('npx countdown');
    const byNpm = commandOf({ npm_command: 'run', npm_lifecycle_event: 'countdown' });
    expect(byNpm).toBe('npm run -s countdown --');
    expect(commandOf({ npm_command: 'run', npm_lifecycle_event: 'demo' })).toBeUndefined();
    expect(commandOf({})).toBeUndefined();
    const style = { ...terminal, command: byNpm ?? '' };
    expect(typedAt(waiting, style)).toEqual([
      'Approve  npm run -s countdown -- approve 41 database',
      "Reject  npm run -s countdown -- reject 41 database 'reason'",
    ]);
    expect(view(succeeded, style).find((line) => line.startsWith('Evidence'))).toContain(
      'npm run -s countdown -- evidence 41 -o run-41',
    );
  });

  test('of the server is put in the words of this place, and nothing else of its sentence', () => {
    const npx = { command: 'npx countdown' };
    expect(
      retyped(npx, 'do    wait for it: countdown run 7f3a --wait 1h      look at it: countdown show 38'),
    ).toBe('do    wait for it: npx countdown run 7f3a --wait 1h      look at it: npx countdown show 38');
    expect(retyped(npx, 'error X  the countdown to Friday')).toBe('error X  the countdown to Friday');
    expect(retyped({}, 'wait for it: countdown run 1')).toBe('wait for it: countdown run 1');
  });

  test('names what a person answers who is waited for: retry, skip, done, resume', () => {
    const held = makeRun({
      ready: { from: 0, state: 'maybe', waitingFor: 'a person: retry, skip or abort' },
    });
    expect(typedAt(held)).toEqual([
      "Retry  countdown retry 41 ready     Skip  countdown skip 41 ready 'reason'",
      "Abort  countdown abort 41 'reason'",
    ]);
    const toDo = makeRun({ ready: { from: 0, wait: 'person', waitingFor: 'a person: done' } });
    expect(typedAt(toDo)).toEqual([
      "Done  countdown done 41 ready --evidence 'text'     Skip  countdown skip 41 ready 'reason'",
      "Abort  countdown abort 41 'reason'",
    ]);
    expect(typedAt(paused)).toEqual(["Resume  countdown resume 41     Abort  countdown abort 41 'reason'"]);
    const timer = makeRun({ ready: { from: 0, wait: 'timer', waitingFor: 'time' } });
    expect(typedAt(timer)).toEqual(["Pause  countdown pause 41     Abort  countdown abort 41 'reason'"]);
    expect(typedAt(succeeded)).toEqual([]);
  });

  test('is left out where nothing can be typed, the evidence too', () => {
    expect(view(succeeded, terminal, false).join('\n')).not.toContain('countdown ');
    expect(view(copying, terminal, false).join('\n')).not.toContain('countdown ');
  });
});

const failed = (from: number) => ({ from, state: 'undo-failed' as const });

describe('the desk of a stuck run', () => {
  test('has two ways out, each a command of its own; what a person undoes has one', () => {
    expect(typedAt(stuck)).toEqual([
      'Resolve  countdown resolve 41 database/copy --retry',
      "By hand  countdown resolve 41 database/copy --done --evidence 'text'",
    ]);
    const byHand = { from: 542, state: 'undoing' as const, waitingFor: 'a person: resolve' };
    expect(typedAt(makeRun({ 'database/copy': byHand }, { state: 'stuck' }))).toEqual([
      "Resolve  countdown resolve 41 database/copy --done --evidence 'text'",
    ]);
  });

  test('with several undos names the one that is undone first, and one command that retries all of them', () => {
    const run = makeRun(
      { 'database/hold-writes': failed(541), 'database/copy': failed(542), 'database/switch': failed(560) },
      { state: 'stuck' },
    );
    expect(typedAt(run)).toEqual([
      'Retry all  countdown resolve 41 --retry',
      "By hand  countdown resolve 41 database/switch --done --evidence 'text'",
    ]);
  });
});

/** A phase that reported five seconds after its begin, this long after it. */
const timed = (seconds: number) => {
  const progress = { done: 5_005, total: 90_000, unit: 'ms', detail: '6 readings, 0 bad' };
  const story = { from: 542, newsAt: at(547), progress };
  const run = makeRun({ 'database/copy': story }, { at: at(542 + seconds) });
  return view(run, terminal).filter((line) => /copy|readings/.test(line));
};

describe('progress', () => {
  test('that is time reads as time, and says what is left of it', () => {
    expect(timed(6)).toEqual([
      '  ▸ copy         running  █░░░░░░░░░░░░░░░░░░░░░░░░ 5 %  1m 25s left',
      '                 5s of 1m 30s · 6 readings, 0 bad',
    ]);
  });

  test('of what no longer reports says nothing of what is left', () => {
    expect(timed(60)).toEqual([
      'no news of database/copy for 55s',
      '  ▸ copy         running  █░░░░░░░░░░░░░░░░░░░░░░░░ 5 %',
      '                 5s of 1m 30s · 6 readings, 0 bad',
    ]);
  });
});

describe('a wait', () => {
  test('says who may approve, and is another one once somebody has', () => {
    const [wait] = waitsOf(waiting, terminal);
    expect(wait?.text).toBe(
      'database waits for an approval · still needed: owner 1 (olu) · expires 05:00 UTC',
    );
    expect(waitsOf(waiting, terminal)[0]?.key).toBe(wait?.key);
    const approvals = waiting.approvals.map((one) => ({ ...one, needed: { sre: 1, owner: 1 } }));
    expect(waitsOf({ ...waiting, approvals }, terminal)[0]?.key).not.toBe(wait?.key);
    const given = waiting.approvals.map((one) => ({ ...one, needed: {} }));
    expect(waitsOf({ ...waiting, approvals: given }, terminal)).toEqual([]);
  });

  test('says who paused the run and why, and what a phase waits for', () => {
    expect(waitsOf(paused, terminal).map(({ text }) => text)).toEqual([
      'run 41 is paused by dana: checking the disk of db-1',
    ]);
    const error = { type: 'PhaseFailed', message: 'app answered 503' };
    const held = makeRun({
      ready: { from: 0, state: 'maybe', waitingFor: 'a person: retry, skip or abort', error },
    });
    expect(waitsOf(held, terminal).map(({ text }) => text)).toEqual([
      'ready waits for a person: retry, skip or abort: app answered 503',
    ]);
    expect(waitsOf(succeeded, terminal)).toEqual([]);
  });
});

describe('where no worker answers', () => {
  const abort = {
    kind: 'abort',
    subject: null,
    person: 'ana',
    door: 'cli',
    reason: null,
    at: at(540),
    counted: false,
    result: null as string | null,
  };

  test('a decision that was not delivered says so, one that was refused or counted does not', () => {
    expect(texts({ ...copying, decisions: [abort] })).toEqual([
      'abort asked by ana 01:09, not delivered yet: it is sent again',
    ]);
    const others = ['NotInGroup', 'AlreadyCounted', 'Accepted'].map((result) => ({ ...abort, result }));
    expect(texts({ ...copying, decisions: others })).toEqual([]);
    expect(texts({ ...copying, decisions: [{ ...abort, at: at(550) }] })).toEqual([]);
    expect(view({ ...copying, decisions: [abort] }, terminal)[2]).toBe(
      'abort asked by ana 01:09, not delivered yet: it is sent again',
    );
  });

  test('a decision that is journalled says so until the run has confirmed it', () => {
    const journalled = { ...abort, counted: true, result: 'Accepted', delivery: 'journalled' as const };
    expect(texts({ ...copying, decisions: [journalled] })).toEqual([
      'abort asked by ana 01:09, counted, not confirmed by the run yet: it is sent again',
    ]);
    const confirmed = { ...journalled, delivery: 'confirmed' as const };
    expect(texts({ ...copying, decisions: [confirmed] })).toEqual([]);
  });

  test('a run with many decisions that it has not confirmed names those that are sent again first', () => {
    const many = Array.from({ length: 14 }, (_, n) => ({
      ...abort,
      kind: 'pause',
      person: `p${n}`,
      result: 'AlreadyPaused',
      delivery: 'refused' as const,
    }));
    const lines = view({ ...copying, decisions: [...many, { ...abort, delivery: 'stored' }] }, terminal);
    expect([lines[2], lines[3], lines[11], lines[12]]).toEqual([
      'abort asked by ana 01:09, not delivered yet: it is sent again',
      'pause asked by p5 01:09, refused: AlreadyPaused',
      'pause asked by p13 01:09, refused: AlreadyPaused',
      'and 5 decisions more that the run has not confirmed',
    ]);
  });

  test('a phase that reported and does so no more has no news; one that never reports is given its time', () => {
    const progress = { done: 1, total: 9 };
    expect(silent(30, { progress })).toEqual(['no news of database/copy for 30s']);
    expect(silent(29, { progress })).toEqual([]);
    expect(silent(119, { expectedMs: 60_000 })).toEqual([]);
    expect(silent(121, { expectedMs: 60_000 })).toEqual(['no news of database/copy for 2m 01s']);
    expect(silent(300, { wait: 'timer', waitingFor: 'time' })).toEqual([]);
    expect(silent(300, { waitingFor: 'a person: retry, skip or abort', state: 'maybe' })).toEqual([]);
  });

  test('a run that should have begun says since when, one that waits for its time does not', () => {
    const planned = makeRun({}, { state: 'planned', startedAt: null, step: null, at: at(60) });
    expect(texts(planned)).toEqual(['run 41 should have begun 1m 00s ago: no worker answers']);
    expect(texts({ ...planned, dueAt: at(3_600) })).toEqual([]);
    expect(texts({ ...planned, waitingFor: 'edge held by run 38' })).toEqual([]);
  });
});

describe('a phase', () => {
  test('that is done and found trouble has no check, green or not', () => {
    const look = (verdict: string) =>
      view(makeRun({ 'database/inspect': { from: 0, to: 1, state: 'done', verdict } }), {
        ...terminal,
        colour: true,
      });
    for (const verdict of ['fail', 'error', 'inconclusive']) {
      const line = look(verdict).find((one) => one.includes('inspect'));
      expect(line).toContain('\u001b[31m✗\u001b[39m inspect');
      expect(line).not.toContain('\u001b[32m');
    }
    expect(look('warn').find((one) => one.includes('inspect'))).toContain('\u001b[33m✓');
    const data = { phase: 'ready', state: 'done', verdict: 'error', summary: 'app answered 500' };
    expect(eventLine({ id: '1', event: 'phase', data }, terminal)).toMatch(/^✗ ready +done {2}error/);
  });
});

test('a run that people ended is not called a pass on its way back', () => {
  expect(runLine('unwinding', 'pass')).toBe('run  ↶ unwinding');
  expect(runLine('stopped', 'pass')).toBe('run  ■ stopped');
  expect(runLine('unwinding', 'error')).toBe('run  ↶ unwinding  error');
  expect(runLine('succeeded', 'pass')).toBe('run  ✓ succeeded  pass');
});

test('what overlaps is counted once', () => {
  expect(unionMs([])).toBe(0);
  expect(
    unionMs([
      { start: 10, end: 20 },
      { start: 0, end: 5 },
      { start: 3, end: 12 },
      { start: 14, end: 16 },
    ]),
  ).toBe(20);
});
