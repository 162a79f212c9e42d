/** Whatever a run is like, Slack takes the messages that tell of it, and nothing in them calls or links by itself. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BLOCKS_MAX, LETTERS_MAX, withIds } from '../../slack/blocks.ts';
import { reasonModal, runModal } from '../../slack/modals.ts';
import { linesOf, roundsOf } from '../../slack/story.ts';
import { wantedMessages } from '../../slack/view.ts';
import { safe } from '../../slack/words.ts';
import type { JournalRow } from '../../store/types.ts';
import { blockProblems, lettersOf, viewProblems } from '../support/block-kit.ts';
import { AT, evil, lines, scenes } from './scenes.ts';

/** Every string that Slack would read as text of the message. */
function textsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(textsOf);
  if (typeof value !== 'object' || value === null) return [];
  const own = 'text' in value && typeof value.text === 'string' ? [value.text] : [];
  return [...own, ...Object.values(value).flatMap(textsOf)];
}

/** All that Slack reads in angle brackets. */
const marksOf = (text: string): string[] => [...text.matchAll(/<[^>]*>?/g)].map(([mark]) => mark);

describe('messages', () => {
  test('are within every limit of Slack whatever the size of the plan, and within ours', () => {
    fc.assert(
      fc.property(scenes, lines, (scene, told) => {
        const messages = wantedMessages(scene, told);
        for (const { text } of told)
          expect(
            messages.some(({ body }) =>
              JSON.stringify(body.blocks).includes(JSON.stringify(text).slice(1, -1)),
            ),
          ).toBe(true);
        for (const { body } of messages) {
          const blocks = withIds(body.blocks, 'f47ac10b-58cc-4372-a567-0e02b2c3d479');
          expect(blockProblems(blocks, 'message')).toEqual([]);
          expect(blocks.length).toBeLessThanOrEqual(BLOCKS_MAX);
          expect(lettersOf(blocks)).toBeLessThanOrEqual(LETTERS_MAX);
          expect(body.text.length).toBeLessThanOrEqual(300);
          expect(body.text.length).toBeGreaterThan(0);
        }
        expect(new Set(messages.map(({ key }) => key)).size).toBe(messages.length);
      }),
      { numRuns: 150 },
    );
  }, 60_000);

  test('S17: call nobody but people and groups of the environment, and link to nothing', () => {
    fc.assert(
      fc.property(scenes, lines, (scene, told) => {
        for (const { body } of wantedMessages(scene, told)) {
          for (const text of [body.text, ...textsOf(body.blocks)])
            for (const mark of marksOf(text)) expect(mark).toMatch(/^<@U0P\d+>$/);
        }
      }),
      { numRuns: 100 },
    );
  }, 60_000);

  test('have windows that Slack takes', () => {
    fc.assert(
      fc.property(scenes, fc.constantFrom('reject', 'approve', 'abort', 'pause'), (scene, kind) => {
        const { run, plan } = scene;
        const message = 'f47ac10b-58cc-4372-a567-0e02b2c3d479';
        expect(viewProblems(reasonModal({ kind, message, run, plan, step: 'step-0' }))).toEqual([]);
        const view = runModal(run, plan);
        expect(viewProblems(view)).toEqual([]);
        for (const text of textsOf(view)) expect(marksOf(text)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});

describe('text of others', () => {
  test.each([
    ['<!channel> & <@U1>', '&lt;!channel&gt; &amp; &lt;@U1&gt;'],
    ['a\r\n> b', 'a &gt; b'],
    ['*a* _b_ ~c~ `d`', '∗a∗ ˍbˍ ∼c∼ ˋdˋ'],
    ['app_postgres', 'app_postgres'],
    ['\u202Ea\u0000b', 'a b'],
    ['', ''],
  ])('%j is shown as %j', (text, expected) => {
    expect(safe(text)).toBe(expected);
  });

  test('is cut between letters, and never inside an escape', () => {
    expect(safe('&&&', 12)).toBe('&amp;&amp;…');
    fc.assert(
      fc.property(evil, fc.integer({ min: 1, max: 80 }), (text, max) => {
        const cut = safe(text, max);
        expect(cut.length).toBeLessThanOrEqual(max);
        expect(cut.isWellFormed()).toBe(true);
        expect(cut.replaceAll(/&(amp|lt|gt);/g, '')).not.toMatch(/[&<>]/);
      }),
    );
  });
});

const row = (
  seq: number,
  kind: JournalRow['kind'],
  body: JournalRow['body'],
  over: Partial<JournalRow> = {},
): JournalRow => ({
  run: 41,
  seq,
  at: AT,
  kind,
  phase: null,
  direction: null,
  try: null,
  attempt: null,
  actor: 'countdown',
  body,
  prev: '',
  hash: '',
  ...over,
});

const ask = (seq: number, evidence: string, round: number) =>
  row(seq, 'approval', {
    state: 'open',
    step: 'one',
    evidence,
    round,
    from: { sre: 2 },
    dueAt: 5,
    openedAt: 1,
  });
const vote = (seq: number, person: string, evidence: string) =>
  row(seq, 'decision', {
    kind: 'approve',
    subject: 'one',
    person,
    evidence,
    groups: ['sre'],
    door: 'slack',
  });

describe('a story', () => {
  test('has a round for each evidence, with the votes that were given for it, each person once', () => {
    const rounds = roundsOf([
      ask(1, 'first', 1),
      vote(2, 'ana', 'first'),
      ask(3, 'second', 2),
      vote(4, 'ana', 'second'),
      vote(5, 'ana', 'second'),
      vote(6, 'ben', 'second'),
      row(7, 'approval', { state: 'granted', step: 'one', evidence: 'second', round: 2, votes: [] }),
    ]);
    expect(
      rounds.map(({ round, state, votes }) => [round, state, votes.map(({ person }) => person)]),
    ).toEqual([
      [1, 'voided', ['ana']],
      [2, 'granted', ['ana', 'ben']],
    ]);
  });

  test('goes on with the votes and a later end when a pause is over', () => {
    const later = row(3, 'approval', { ...ask(3, 'first', 1).body, dueAt: 9 });
    expect(roundsOf([ask(1, 'first', 1), vote(2, 'ana', 'first'), later])).toMatchObject([
      { round: 1, state: 'open', dueAt: 9, votes: [{ person: 'ana' }] },
    ]);
  });

  test('tells what people must know, and leaves out what only machines look at', () => {
    const outcome = (seq: number, direction: 'run' | 'undo' | 'probe' | 'before', body: JournalRow['body']) =>
      row(seq, 'outcome', body, { phase: 'one/a', direction, try: 1, attempt: 1 });
    const told = linesOf(
      [
        row(1, 'asked', { state: 'planned' }),
        row(2, 'run', { state: 'running' }),
        outcome(3, 'run', { result: 'ok', verdict: 'pass', summary: '6 of 6 checks' }),
        outcome(4, 'probe', { result: 'ok', verdict: 'pass', summary: 'looked', answer: 'yes' }),
        outcome(5, 'before', { result: 'ok', verdict: 'pass', summary: 'printed' }),
        outcome(6, 'run', {
          result: 'failed',
          verdict: 'error',
          summary: '',
          error: { type: 'X', message: 'it <broke>' },
        }),
        ...[1, 2].map((attempt) =>
          row(
            6,
            'outcome',
            {
              result: 'failed',
              verdict: 'error',
              summary: `Attempt ${attempt} of 3 failed and is tried again: refused`,
              error: { type: 'Unreachable', message: 'refused' },
              again: true,
            },
            { phase: 'one/b', direction: 'undo', try: 2, attempt },
          ),
        ),
        row(7, 'decision', {
          kind: 'pause',
          person: 'dana',
          reason: 'checking disk',
          door: 'cli',
          subject: null,
        }),
        row(8, 'run', { state: 'unwinding', because: 'one/a broke' }),
        outcome(9, 'undo', { result: 'ok', verdict: 'pass', summary: '' }),
        row(10, 'run', { state: 'rolled-back', verified: false, notVerified: ['edge'] }),
      ],
      41,
      { people: { dana: 'U0DANA' }, groups: {} },
    );
    expect(told.map(({ text, place }) => [text, place])).toEqual([
      ['✓ one/a done pass: 6 of 6 checks', 'thread'],
      ['? one/a broke off error: it &lt;broke&gt;', 'thread'],
      // Of many attempts people are told the first.
      ['↻ undo of one/b: Attempt 1 of 3 failed and is tried again: refused', 'thread'],
      ['<@U0DANA> paused the run (cli, 01:05 UTC): "checking disk"', 'thread'],
      ['↶ run 41 unwinding. one/a broke', 'both'],
      ['↺ one/a undone', 'thread'],
      ['↺ run 41 rolled-back (not verified: edge)', 'both'],
    ]);
  });
});
