/** The judge of the chaos driver sees what it must see: sound journals pass, and each way to break a law has its finding. */
import { describe, expect, test } from 'vitest';
import type { RunDetailWire } from '../../cli/wire.ts';
import type { Entry } from '../../examples/piano-keys/ledger.ts';
import { decisionFindings } from '../support/chaos-decisions.ts';
import type { RawDecision } from '../support/chaos-decisions.ts';
import { FAULTS, caseOf } from '../support/chaos-faults.ts';
import { hashOf, journalFindings } from '../support/chaos-journal.ts';
import type { RawRow } from '../support/chaos-journal.ts';
import { storedFindings, viewFindings } from '../support/chaos-looks.ts';
import type { Said } from '../support/chaos-people.ts';

type Draft = Partial<RawRow> & Pick<RawRow, 'kind'>;

/** Rows of run 7 with their chain. */
function journal(drafts: readonly Draft[]): RawRow[] {
  const rows: RawRow[] = [];
  for (const draft of drafts) {
    const row: RawRow = {
      run: 7,
      seq: rows.length + 1,
      at: `2026-11-29T10:07:${String(rows.length).padStart(2, '0')}.000000Z`,
      phase: null,
      direction: null,
      try: null,
      attempt: null,
      actor: 'worker',
      key: null,
      body: '{}',
      prev: rows.at(-1)?.hash ?? '0'.repeat(64),
      hash: '',
      ...draft,
    };
    rows.push({ ...row, hash: hashOf(row) });
  }
  return rows;
}

const asked: Draft = { kind: 'asked', actor: 'dana' };
const run = (state: string, more: object = {}): Draft => ({
  kind: 'run',
  body: JSON.stringify({ state, ...more }),
});
const intent = (phase: string, direction: string, turn: number): Draft => ({
  kind: 'intent',
  phase,
  direction,
  try: turn,
  attempt: 1,
});
const outcome = (phase: string, direction: string, turn: number, of: number, state: string): Draft => ({
  ...intent(phase, direction, turn),
  kind: 'outcome',
  body: JSON.stringify({ intent: of, result: 'ok', state }),
});
const decision = (id: string): Draft => ({ kind: 'decision', key: `decision/${id}` });

const LAUNCH: Draft[] = [
  asked,
  run('running'),
  intent('database/copy', 'run', 1),
  outcome('database/copy', 'run', 1, 3, 'done'),
  run('succeeded', { verdict: 'pass' }),
];
const ROLLBACK: Draft[] = [
  ...LAUNCH.slice(0, 4),
  run('unwinding', { because: 'smoke: it failed' }),
  intent('database/copy', 'undo', 2),
  outcome('database/copy', 'undo', 2, 6, 'undone'),
  run('rolled-back', { because: 'smoke: it failed', verified: true, notVerified: [] }),
];

function codes(rows: readonly RawRow[]): string[] {
  const last = rows.at(-1);
  return journalFindings(rows, last && { seq: last.seq, hash: last.hash }).map(({ code }) => code);
}

describe('the journal', () => {
  test('has the hash that its description gives', () => {
    const row: RawRow = {
      ...journal([asked])[0]!,
      at: '2026-11-29T10:07:36.502000Z',
      body: '{"song":"♪"}',
    };
    expect(hashOf(row)).toBe('7e690916b51cad133dd45386d4d42231ef8483fbcd3914ad1324da89ca8a3fc5');
  });

  test('of a launch and of a rollback breaks nothing', () => {
    expect(codes(journal(LAUNCH))).toEqual([]);
    expect(codes(journal(ROLLBACK))).toEqual([]);
  });

  test('with a changed body has a broken chain', () => {
    const rows = journal(LAUNCH).map((row) => (row.seq === 4 ? { ...row, body: '{"intent":3}' } : row));
    expect(codes(rows)).toEqual(['chain']);
  });

  test('without a row has a gap in each later place', () => {
    expect(codes(journal(LAUNCH).filter(({ seq }) => seq !== 2))).toEqual(['gap', 'chain', 'gap', 'gap']);
  });

  test('whose head is another row has a broken chain', () => {
    const rows = journal(LAUNCH);
    expect(journalFindings(rows, { seq: 6, hash: rows[4]!.hash }).map(({ code }) => code)).toEqual(['chain']);
  });

  const broken: [what: string, rows: Draft[], code: string][] = [
    ['goes on after its terminal row', [...LAUNCH, run('running')], 'after-end'],
    [
      'starts a phase after the unwinding began',
      [...ROLLBACK.slice(0, 5), intent('smoke', 'run', 1), run('rolled-back')],
      'forward-after-unwinding',
    ],
    [
      'has an outcome of an earlier try',
      [
        ...LAUNCH.slice(0, 3),
        intent('database/copy', 'run', 2),
        outcome('database/copy', 'run', 1, 3, 'done'),
      ],
      'outcome-of-other-intent',
    ],
    [
      'has an outcome after the shell had spoken of its phase',
      [
        ...LAUNCH.slice(0, 3),
        { kind: 'phase', phase: 'database/copy', body: '{"state":"maybe"}' },
        outcome('database/copy', 'run', 1, 3, 'done'),
      ],
      'outcome-of-other-intent',
    ],
    [
      'has an effect twice',
      [
        ...LAUNCH.slice(0, 4),
        intent('database/copy', 'run', 2),
        outcome('database/copy', 'run', 2, 5, 'done'),
      ],
      'effect-twice',
    ],
    [
      'undoes a phase that never began',
      [asked, run('unwinding'), { kind: 'phase', phase: 'database/copy', body: '{"state":"undone"}' }],
      'undone-without-run',
    ],
  ];
  test.each(broken)('that %s is found', (_what, rows, code) => {
    expect(codes(journal(rows))).toEqual([code]);
  });

  test('with an effect before and after an undo breaks nothing', () => {
    const rows = [
      ...LAUNCH.slice(0, 4),
      intent('database/copy', 'undo', 2),
      outcome('database/copy', 'undo', 2, 5, 'undone'),
      intent('database/copy', 'run', 3),
      outcome('database/copy', 'run', 3, 7, 'done'),
    ];
    expect(codes(journal(rows))).toEqual([]);
  });
});

function viewOf(state: string, more: object = {}): RunDetailWire {
  const view = {
    state,
    because: null,
    verified: null,
    notVerified: [],
    approvals: [],
    decisions: [],
    phases: [{ phase: 'database/copy', state: 'done' }],
    ...more,
  };
  return view as unknown as RunDetailWire;
}

function headOf(rows: readonly RawRow[]): { head: object } {
  const last = rows.at(-1);
  return { head: { seq: last?.seq, hash: last?.hash } };
}

describe('what show says', () => {
  test('is held against the journal', () => {
    const rows = journal(ROLLBACK);
    const phases = [{ phase: 'database/copy', state: 'undone' }];
    const shown = { verified: true, because: 'smoke: it failed', phases, ...headOf(rows) };
    expect(viewFindings({ rows, view: viewOf('rolled-back', shown) })).toEqual([]);
    const untrue = { ...shown, verified: false, phases: [{ phase: 'database/copy', state: 'done' }] };
    expect(viewFindings({ rows, view: viewOf('rolled-back', untrue) }).map(({ detail }) => detail)).toEqual([
      'verified: show says false, the journal true',
      'database/copy: show says "done", the journal "undone"',
    ]);
  });

  test('must not blame what did not happen', () => {
    const rows = journal([
      asked,
      run('unwinding', { because: 'The workflow of the run was closed from outside' }),
    ]);
    const found = viewFindings({ rows, view: viewOf('unwinding', { phases: [], ...headOf(rows) }) });
    expect(found.map(({ code }) => code)).toEqual(['word-untrue']);
  });
});

const raw = (id: string, kind: string, seq: number | null, more: Partial<RawDecision> = {}): RawDecision => ({
  id,
  kind,
  seq,
  subject: null,
  person: 'dana',
  reason: id,
  evidence: null,
  refused: null,
  ...more,
});
const word = (tag: string, kind: string, more: Partial<Said> = {}): Said => ({
  tag,
  kind,
  person: 'dana',
  subject: null,
  at: 0,
  status: 200,
  code: null,
  result: 'Accepted',
  ...more,
});

type Case = { rows: Draft[]; decisions: RawDecision[]; said: Said[]; view?: RunDetailWire };

function decided({ rows, decisions, said, view = viewOf('succeeded') }: Case): string[] {
  return decisionFindings({ rows: journal(rows), decisions, said, view }).map(({ code }) => code);
}

const shownAs = (counted: boolean) =>
  viewOf('succeeded', { decisions: [{ reason: 'a', counted, kind: 'abort' }] });
const endedBecause = (because: string) => viewOf('stopped', { because });

const vote = { subject: 'database', evidence: 'e' };
const granted = (votes: string[]): Draft => ({
  kind: 'approval',
  body: JSON.stringify({ step: 'database', evidence: 'e', state: 'granted', votes }),
});

describe('a decision', () => {
  test('that was accepted must be journalled', () => {
    expect(
      decided({ rows: LAUNCH, decisions: [raw('a', 'retry', null)], said: [word('a', 'retry')] }),
    ).toEqual(['accepted-not-journalled']);
  });

  test('that was refused must not be journalled', () => {
    const said = [word('a', 'retry', { status: 409, code: 'NotHeld' })];
    expect(decided({ rows: [...LAUNCH, decision('a')], decisions: [raw('a', 'retry', 6)], said })).toEqual([
      'refused-but-journalled',
    ]);
  });

  const said = [word('a', 'abort', { status: 503, code: 'NoWorker', result: null })];
  test('that the API called stored must be there', () => {
    expect(decided({ rows: LAUNCH, decisions: [], said })).toEqual(['stored-not-there']);
  });

  test('that was neither journalled nor refused must be shown as not delivered', () => {
    const decisions = [raw('a', 'abort', null)];
    expect(decided({ rows: LAUNCH, decisions, said, view: shownAs(false) })).toEqual([]);
    expect(decided({ rows: LAUNCH, decisions, said, view: shownAs(true) })).toEqual([
      'shown-as-counted',
      'shown-as-counted',
    ]);
    expect(
      decided({ rows: LAUNCH, decisions: [raw('a', 'abort', null, { refused: 'AlreadyEnded' })], said }),
    ).toEqual([]);
  });

  test('to abort must be taken, whether the API answered or not', () => {
    const rows = [...LAUNCH.slice(0, 4), decision('a'), run('succeeded')];
    expect(decided({ rows, decisions: [raw('a', 'abort', 5)], said })).toEqual(['abort-lost']);
  });

  test('to abort is the reason of what follows', () => {
    const rows = [asked, run('running'), decision('a'), run('stopped')];
    const decisions = [raw('a', 'abort', 3)];
    expect(decided({ rows, decisions, said, view: endedBecause('dana aborted the run: now') })).toEqual([]);
    expect(decided({ rows, decisions, said, view: endedBecause('smoke: it failed') })).toEqual([
      'because-untrue',
    ]);
  });

  const votes = [
    raw('a', 'approve', 2, { ...vote, person: 'ana' }),
    raw('b', 'approve', 3, { ...vote, person: 'olu' }),
  ];

  test('to approve must be among the votes', () => {
    const rows = [asked, decision('a'), decision('b')];
    expect(decided({ rows: [...rows, granted(['a', 'b'])], decisions: votes, said: [] })).toEqual([]);
    expect(decided({ rows: [...rows, granted(['b'])], decisions: votes, said: [] })).toEqual(['vote-lost']);
  });

  test('to approve counts once for a person', () => {
    const again = [...votes, raw('c', 'approve', 4, { ...vote, person: 'ana' })];
    const rows = [asked, decision('a'), decision('b'), decision('c')];
    expect(decided({ rows: [...rows, granted(['a', 'c'])], decisions: again, said: [] })).toEqual([
      'vote-twice',
      'vote-lost',
    ]);
    const twice = ['a', 'c'].map((tag) => word(tag, 'approve', { person: 'ana', result: 'Counted' }));
    expect(decided({ rows: [...rows, granted(['a', 'b'])], decisions: again, said: twice })).toEqual([
      'vote-twice',
    ]);
  });

  test('to approve that everybody gave leaves no approval open', () => {
    const view = viewOf('waiting', { approvals: [{ step: 'database', state: 'open', needed: {} }] });
    expect(decided({ rows: [asked, decision('a')], decisions: votes.slice(0, 1), said: [], view })).toEqual([
      'vote-lost',
    ]);
  });

  test('to pause and to resume must show in the run', () => {
    const decisions = [raw('p', 'pause', 3), raw('r', 'resume', 5)];
    const rows = [asked, run('running'), decision('p'), run('paused'), decision('r'), run('running')];
    expect(decided({ rows, decisions, said: [] })).toEqual([]);
    const behind = [
      asked,
      run('running'),
      decision('p'),
      run('running'),
      decision('r'),
      run('paused'),
      run('running'),
    ];
    expect(decided({ rows: behind, decisions, said: [] })).toEqual([]);
    const unheard = [asked, run('running'), decision('p'), intent('smoke', 'run', 1), run('succeeded')];
    expect(decided({ rows: unheard, decisions: decisions.slice(0, 1), said: [] })).toEqual(['pause-lost']);
    expect(decided({ rows: rows.slice(0, 5), decisions, said: [] })).toEqual(['resume-lost']);
  });

  test('to pause lets what runs end and nothing begin', () => {
    const decisions = [raw('p', 'pause', 4)];
    const rows = [asked, run('running'), intent('smoke', 'run', 1), decision('p'), run('paused')];
    expect(decided({ rows: [...rows, intent('smoke', 'run', 1)], decisions, said: [] })).toEqual([]);
    // It was on its way when the pause was counted.
    expect(decided({ rows: [...rows, intent('watch', 'run', 1)], decisions, said: [] })).toEqual([]);
    const after = [...rows, outcome('smoke', 'run', 1, 3, 'done'), intent('watch', 'run', 1)];
    expect(decided({ rows: after, decisions, said: [] })).toEqual(['started-while-paused']);
  });
});

const entry = (id: number | null, operation: Entry['operation'], status: Entry['outcome']): Entry => ({
  at: '',
  table: 'songs',
  row: null,
  id,
  operation,
  outcome: status,
});

const found = (ids: number[], entries: Entry[]) =>
  storedFindings('songs', new Set(ids), entries).map(({ code }) => code);

describe('a row of the store', () => {
  const story = [
    entry(121, 'create', 'acknowledged'),
    entry(122, 'create', 'acknowledged'),
    entry(122, 'remove', 'acknowledged'),
  ];
  test('is there if it was acknowledged, and gone if its removal was', () => {
    expect(found([121], story)).toEqual([]);
    expect(found([], story)).toEqual(['write-lost']);
    expect(found([121, 122], story)).toEqual(['write-lost']);
  });

  test('may be one that got no answer, and no other', () => {
    expect(found([121, 123], [...story, entry(null, 'create', 'unknown')])).toEqual([]);
    expect(found([121, 123], story)).toEqual(['row-invented']);
    expect(found([121], [...story, entry(121, 'remove', 'unknown')])).toEqual([]);
    expect(found([], [...story, entry(121, 'remove', 'unknown')])).toEqual([]);
  });
});

describe('a seed', () => {
  test('is always the same case, and consecutive ones go through all faults', () => {
    expect(caseOf(17)).toEqual(caseOf(17));
    const names = FAULTS.map((_fault, index) => caseOf(1_000 + index).fault);
    expect(new Set(names).size).toBe(FAULTS.length);
  });
});
