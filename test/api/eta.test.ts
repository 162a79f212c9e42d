import { describe, expect, test } from 'vitest';
import { about, etaOf } from '../../api/eta.ts';
import type { PhaseView, RunDetail } from '../../store/types.ts';

const NOW = new Date('2026-11-22T01:00:00Z');
const ago = (seconds: number) => new Date(NOW.getTime() - seconds * 1_000).toISOString();

const phase = (over: Partial<PhaseView> = {}): PhaseView => ({
  phase: 'a',
  step: 'a',
  title: 'a',
  effect: 'reversible',
  state: 'pending',
  verdict: null,
  summary: null,
  error: null,
  try: 0,
  waitingFor: null,
  progress: null,
  startedAt: null,
  endedAt: null,
  actAt: null,
  newsAt: null,
  runMs: 60_000,
  undoMs: 30_000,
  isOwed: false,
  ...over,
});

const run = (phases: PhaseView[], over: Partial<RunDetail> = {}): RunDetail =>
  ({ state: 'running', approvals: [], phases, ...over }) as RunDetail;

const eta = (phases: PhaseView[], over: Partial<RunDetail> = {}) => {
  const { leftMs, waitsFor } = etaOf(run(phases, over), NOW);
  return leftMs ?? waitsFor;
};

describe('what is left of a run', () => {
  test('is what its phases to come are expected to take, less what the running one has used', () => {
    const done = phase({ state: 'done' });
    const running = phase({ state: 'running', startedAt: ago(20), actAt: ago(20) });
    expect(eta([done, phase({ state: 'skipped' }), running, phase()])).toBe(40_000 + 60_000);
  });

  test('is never less than nothing where a phase takes longer than expected', () => {
    expect(eta([phase({ state: 'running', actAt: ago(600) }), phase()])).toBe(60_000);
  });

  test('counts from the latest attempt', () => {
    expect(eta([phase({ state: 'running', startedAt: ago(50), actAt: ago(10) })])).toBe(50_000);
  });

  test('is what is owed while it unwinds', () => {
    const undoing = phase({ state: 'undoing', isOwed: true, actAt: ago(10) });
    const owed = phase({ state: 'done', isOwed: true });
    expect(eta([undoing, owed, phase({ state: 'undone' })], { state: 'unwinding' })).toBe(50_000);
  });

  test('is known where it only waits for time', () => {
    expect(eta([phase({ state: 'running', waitingFor: 'time', startedAt: ago(15) })])).toBe(45_000);
  });

  test('is unknown while it waits for people or a window, and says for which', () => {
    expect(eta([phase({ state: 'waiting', waitingFor: 'approval' })])).toBe('an approval');
    expect(eta([phase({ state: 'done', waitingFor: 'a person: retry, skip or abort' })])).toBe('a person');
    expect(eta([phase({ state: 'waiting', waitingFor: 'window night' })])).toBe('window night');
    expect(eta([phase()], { state: 'paused' })).toBe('its pause to end');
    expect(eta([phase()], { state: 'stuck' })).toBe('a person at its desk');
  });
});

test('an estimate is written as roughly as it is', () => {
  expect([1, 40_100, 59_999, 60_000, 61_000, 1_199_000, 3_599_000, 3_840_000].map(about)).toEqual([
    '1s',
    '41s',
    '60s',
    '1m',
    '2m',
    '20m',
    '1h 00m',
    '1h 04m',
  ]);
});
