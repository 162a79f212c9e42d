import { describe, expect, test } from 'vitest';
import { GENESIS, verifyChain } from '../../store/chain.ts';
import type { JournalRow } from '../../store/types.ts';

/** Two rows with hashes taken by another program: the format of the chain is for ever. */
const ROWS: JournalRow[] = [
  {
    run: 41,
    seq: 1,
    at: '2026-11-22T01:02:17.000123Z',
    kind: 'asked',
    phase: null,
    direction: null,
    try: null,
    attempt: null,
    actor: 'dana',
    body: { text: 'é', plan: '7f3a' },
    prev: GENESIS,
    hash: 'ec78156367777b8892cce8476515d9dc883a744da9a9bf31d425c3a6899cb04e',
  },
  {
    run: 41,
    seq: 2,
    at: '2026-11-22T01:02:18.000000Z',
    kind: 'intent',
    phase: 'database/copy',
    direction: 'run',
    try: 1,
    attempt: 1,
    actor: 'worker',
    body: {},
    prev: 'ec78156367777b8892cce8476515d9dc883a744da9a9bf31d425c3a6899cb04e',
    hash: '14dd6bc016aa6da01d643f272ecaebefab3ee58537dbedfe7741f5a560ee964c',
  },
];
const changed = (index: number, change: Partial<JournalRow>): JournalRow[] =>
  ROWS.map((row, at) => (at === index ? { ...row, ...change } : row));

describe('verifyChain', () => {
  test('finds an untouched chain intact and names its head', () => {
    expect(verifyChain(ROWS)).toEqual({ intact: true, head: { seq: 2, hash: ROWS[1]?.hash } });
    expect(verifyChain([])).toEqual({ intact: true, head: { seq: 0, hash: GENESIS } });
  });

  test.each([
    ['at', { at: '2026-11-22T01:02:18.000001Z' }],
    ['kind', { kind: 'outcome' }],
    ['phase', { phase: 'database/verify' }],
    ['direction', { direction: 'undo' }],
    ['try', { try: 2 }],
    ['attempt', { attempt: 2 }],
    ['actor', { actor: 'dana' }],
    ['body', { body: { x: 1 } }],
  ] satisfies [string, Partial<JournalRow>][])('names a row whose %s was changed', (_, change) => {
    const [, row] = ROWS;
    expect(verifyChain(changed(1, change))).toEqual({
      intact: false,
      seq: 2,
      problem: `Row 2 was changed: its content has another hash than ${row?.hash.slice(0, 12)}.`,
    });
  });

  test('names a row that is missing, of another run, or bound to another row before', () => {
    expect(verifyChain(ROWS.slice(1))).toMatchObject({
      intact: false,
      seq: 1,
      problem: expect.stringContaining('Row 1 is missing'),
    });
    expect(verifyChain(changed(1, { run: 42 }))).toMatchObject({
      seq: 2,
      problem: expect.stringContaining('belongs to run 42'),
    });
    expect(verifyChain(changed(0, { prev: 'a'.repeat(64) }))).toMatchObject({ intact: false, seq: 1 });
  });
});
