/** Whether what people said to a run came true: each answer of the API, each journalled decision, and what `show` says of it. */
import type { RunDetailWire } from '../../cli/wire.ts';
import { bodyOf, stateIn } from './chaos-journal.ts';
import type { Finding, RawRow } from './chaos-journal.ts';
import type { Said } from './chaos-people.ts';

/** A decision as it lies in the table. */
export type RawDecision = {
  id: string;
  kind: string;
  subject: string | null;
  person: string;
  reason: string | null;
  evidence: string | null;
  seq: number | null;
  refused: string | null;
};

export const DECISIONS_SQL = `
  select id, kind, subject, person, body ->> 'reason' as reason, body ->> 'evidence' as evidence, seq, refused
  from countdown.decisions where run = $1 order by at, id`;

const LEAVING = ['unwinding', 'stopped', 'rolled-back'];

export type Decided = {
  rows: readonly RawRow[];
  decisions: readonly RawDecision[];
  said: readonly Said[];
  view: RunDetailWire;
};

export function decisionFindings(part: Decided): Finding[] {
  return [
    ...answerFindings(part),
    ...abortFindings(part),
    ...voteFindings(part),
    ...pauseFindings(part),
    ...shownFindings(part),
  ];
}

/** An answer 200 means a journalled row; a refusal none; 503 a row that is journalled, refused, or shown as not delivered. */
function answerFindings({ rows, decisions, said, view }: Decided): Finding[] {
  return said.flatMap(({ tag, kind, person, status, code, result }): Finding[] => {
    const decision = decisions.find(({ reason }) => reason === tag);
    const words = `${kind} of ${person} (${tag}, answered ${status} ${code ?? result ?? ''})`;
    const isJournalled = rows.some((row) => row.key === `decision/${decision?.id}`);
    if (status === 200 && !isJournalled)
      return [{ code: 'accepted-not-journalled', detail: `${words} has no journal row` }];
    if (status >= 400 && status < 500 && isJournalled)
      return [{ code: 'refused-but-journalled', detail: `${words} is journalled` }];
    if (code === 'NoWorker' && decision === undefined)
      return [{ code: 'stored-not-there', detail: `${words} is not stored, and the API said that it is` }];
    if (decision === undefined || isJournalled || decision.refused !== null) return [];
    const shown = view.decisions.find((one) => one.reason === tag);
    if (shown?.counted === false) return [];
    return [
      {
        code: 'shown-as-counted',
        detail: `${words} is neither journalled nor refused; show says ${JSON.stringify(shown)}`,
      },
    ];
  });
}

/** An abort that was counted was heard: the run did not go on to its end. */
function abortFindings({ rows, decisions, view }: Decided): Finding[] {
  const aborts = counted(decisions).filter(({ kind }) => kind === 'abort');
  if (aborts.length === 0) return [];
  const found: Finding[] = [];
  if (view.state === 'succeeded')
    found.push({
      code: 'abort-lost',
      detail: `the abort in row ${aborts[0]?.seq} is journalled, and the run succeeded`,
    });
  const first = Math.min(...aborts.map(({ seq }) => seq));
  const leaving = rows.find((row) => row.kind === 'run' && ['unwinding', 'stopped'].includes(stateIn(row)));
  if (leaving !== undefined && leaving.seq > first && !/aborted/.test(view.because ?? ''))
    found.push({
      code: 'because-untrue',
      detail: `an abort in row ${first} ended the run, and because says '${view.because}'`,
    });
  return found;
}

/** A granted approval names one vote for each person whose vote was journalled before it, and no person counts twice. */
function voteFindings({ rows, decisions, said, view }: Decided): Finding[] {
  const found: Finding[] = [];
  const votes = counted(decisions).filter(({ kind }) => kind === 'approve');
  for (const row of rows) {
    if (row.kind !== 'approval' || stateIn(row) !== 'granted') continue;
    const { step, evidence, votes: ids } = bodyOf(row) as { step: string; evidence: string; votes: string[] };
    const people = ids.map((id) => votes.find((vote) => vote.id === id)?.person);
    if (people.includes(undefined) || new Set(people).size !== people.length)
      found.push({ code: 'vote-twice', detail: `row ${row.seq} grants ${step} by ${people.join(', ')}` });
    const given = votes.filter(
      (vote) => vote.subject === step && vote.evidence === evidence && vote.seq < row.seq,
    );
    for (const { person, seq } of given)
      if (!people.includes(person))
        found.push({
          code: 'vote-lost',
          detail: `the vote of ${person} in row ${seq} is not in row ${row.seq}`,
        });
  }
  for (const vote of votes) {
    const same = said.filter(
      ({ tag, result }) =>
        result === 'Counted' &&
        votes.some(
          (one) =>
            one.reason === tag &&
            one.person === vote.person &&
            one.subject === vote.subject &&
            one.evidence === vote.evidence,
        ),
    );
    if (same.length > 1 && same[0]?.tag === vote.reason)
      found.push({
        code: 'vote-twice',
        detail: `${vote.person} was told twice that a vote on ${vote.subject} counts`,
      });
  }
  return [...found, ...unheardFindings(votes, view)];
}

/** `show` says who has voted; an approval that everybody has given is not open. */
function unheardFindings(votes: readonly Counted[], view: RunDetailWire): Finding[] {
  const open = view.approvals.filter(
    ({ state, needed }) => state === 'open' && Object.keys(needed).length === 0,
  );
  return open.map(({ step }) => ({
    code: 'vote-lost',
    detail: `${step} is open, and show counts every vote: ${votes.map(({ person, seq }) => `${person} (row ${seq})`).join(', ')}`,
  }));
}

/**
 * After a counted pause the run says that it is paused, and after a counted resume that it goes on; unless it leaves its way
 * instead. What it says may come after the next decision, since rows are recorded behind it.
 */
function pauseFindings({ rows, decisions }: Decided): Finding[] {
  const steering = counted(decisions).filter(({ kind }) => kind === 'pause' || kind === 'resume');
  const found = steering.flatMap(({ kind, seq }): Finding[] => {
    const nextPause = steering.find((one) => one.kind === 'pause' && one.seq > seq)?.seq ?? Infinity;
    const states = rows
      .filter((row) => row.kind === 'run' && row.seq > seq && row.seq < nextPause)
      .map((row) => stateIn(row));
    if (states.some((state) => LEAVING.includes(state))) return [];
    const isMeant =
      kind === 'pause'
        ? states.includes('paused')
        : ['running', 'waiting', 'succeeded'].includes(states.at(-1) ?? '');
    if (isMeant) return [];
    const then = states.join(', ') || 'nothing';
    return [
      { code: `${kind}-lost`, detail: `the ${kind} in row ${seq} is journalled; then the run says ${then}` },
    ];
  });
  return [...found, ...startedWhilePaused(rows)];
}

/**
 * What had been handed out when the pause was counted may still begin. What follows on an end that came during the pause may
 * not.
 */
function startedWhilePaused(rows: readonly RawRow[]): Finding[] {
  const found: Finding[] = [];
  const begun = new Set<string>();
  let paused: RawRow | undefined;
  let ended: RawRow | undefined;
  for (const row of rows) {
    if (row.kind === 'run') {
      paused = stateIn(row) === 'paused' ? (paused ?? row) : undefined;
      if (paused === undefined) ended = undefined;
    }
    if (paused !== undefined && row.kind === 'outcome') ended ??= row;
    if (row.kind !== 'intent' || row.direction !== 'run') continue;
    const act = `${row.phase}/${row.try}`;
    if (ended !== undefined && !begun.has(act))
      found.push({
        code: 'started-while-paused',
        detail: `row ${row.seq} starts ${row.phase} after row ${ended.seq} had ended, paused in row ${paused?.seq}`,
      });
    begun.add(act);
  }
  return found;
}

/** What `show` calls counted is journalled, and what is journalled it does not call refused. */
function shownFindings({ rows, decisions, view }: Decided): Finding[] {
  return view.decisions.flatMap((shown): Finding[] => {
    const decision = decisions.find(({ reason }) => reason !== null && reason === shown.reason);
    const isJournalled = rows.some((row) => row.key === `decision/${decision?.id}`);
    if (shown.counted && !isJournalled)
      return [
        {
          code: 'shown-as-counted',
          detail: `show counts ${shown.kind} of ${shown.person} (${shown.reason}), which has no journal row`,
        },
      ];
    return [];
  });
}

type Counted = RawDecision & { seq: number };

/** Journalled, and not refused afterwards. */
function counted(decisions: readonly RawDecision[]): Counted[] {
  return decisions.flatMap((one) =>
    one.seq === null || one.refused !== null ? [] : [{ ...one, seq: one.seq }],
  );
}
