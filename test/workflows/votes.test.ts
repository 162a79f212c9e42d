/**
 * Answers to an approval that come within the same ten milliseconds, early, twice, late, on what is no longer so, or from
 * people who may not give them: each has one result, and the end follows from the order of arrival alone.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arrivals, asks, replay } from '../support/votes.ts';

const SEEDS = process.env['COUNTDOWN_TEST_DEEP'] === '1' ? 20_000 : 1_000;
/** For all seeds of one test. */
const TEST_MS = 600_000;
/** Every result and every refusal that an answer may have here. */
const RESULTS = [
  'Counted',
  'AlreadyCounted',
  'NotAsked',
  'AlreadyDecided',
  'ApprovalExpired',
  'ApprovalVoided',
  'EvidenceDiffers',
  'RequesterCannotApprove',
  'OperatorCannotApprove',
  'NotInGroup',
  'DoorNotAllowed',
];
/** And those who pause and resume between them. */
const STEERING = ['Accepted', 'AlreadyPaused', 'NotPaused', 'AlreadyEnded'];

describe('answers to an approval, in any order', () => {
  it(`have one result each, and a quorum is met once (${SEEDS} seeds)`, { timeout: TEST_MS }, () => {
    const met: Record<string, number> = {};
    fc.assert(
      fc.property(asks, arrivals, (asked, all) => {
        const { core, book, results, expected } = replay(asked, all);
        expect(results).toEqual(expected);
        const voters = core.record?.votes.map(({ person }) => person) ?? [];
        expect(voters, 'nobody counts twice, and nobody is left out').toEqual([...book.votes.keys()]);
        expect(core.granted, 'the quorum is met once').toBe(book.stands === 'granted' ? 1 : 0);
        expect(book.stands === 'granted' && !book.isQuorum(voters)).toBe(false);
        for (const one of [...results, book.stands]) met[one] = (met[one] ?? 0) + 1;
      }),
      { numRuns: SEEDS, ...seedOption() },
    );
    // Answers that never meet these would prove nothing.
    for (const one of [...RESULTS, 'granted', 'rejected', 'expired', 'open'])
      expect(met[one] ?? 0, one).toBeGreaterThan(SEEDS / 200);
  });

  it(
    'follow from the order of arrival: the milliseconds between them are nothing',
    { timeout: TEST_MS },
    () => {
      fc.assert(
        fc.property(asks, arrivals, (asked, all) => {
          const apart = replay(asked, all);
          const atOnce = replay(
            asked,
            all.map((one) => (one.laterMs <= 3 ? { ...one, laterMs: 0 } : one)),
          );
          expect(atOnce.results).toEqual(apart.results);
          expect(atOnce.core.record?.state).toBe(apart.core.record?.state);
          expect(atOnce.core.record?.votes.map(({ id }) => id)).toEqual(
            apart.core.record?.votes.map(({ id }) => id),
          );
        }),
        { numRuns: SEEDS, ...seedOption() },
      );
    },
  );

  it(
    'keep their quorum and their one vote also where the shell takes several in one turn',
    { timeout: TEST_MS },
    () => {
      fc.assert(
        fc.property(asks, arrivals, (asked, all) => {
          const { core, book, results, said } = replay(asked, all, 'together');
          for (const result of results) expect([...RESULTS, ...STEERING]).toContain(result);
          const votes = core.record?.votes ?? [];
          expect(new Set(votes.map(({ person }) => person)).size).toBe(votes.length);
          const approved = said.filter(({ kind }) => kind === 'approve').map(({ id }) => id);
          for (const { id } of votes) expect(approved).toContain(id);
          const isGranted = core.record?.state === 'granted';
          expect(core.granted).toBe(isGranted ? 1 : 0);
          if (isGranted) expect(book.isQuorum(votes.map(({ person }) => person))).toBe(true);
        }),
        { numRuns: SEEDS, ...seedOption() },
      );
    },
  );
});

/** fast-check prints its own seed on failure; this one repeats it. */
function seedOption(): { seed?: number } {
  const seed = Number(process.env['COUNTDOWN_TEST_SEED']);
  return Number.isSafeInteger(seed) && process.env['COUNTDOWN_TEST_SEED'] !== undefined ? { seed } : {};
}
