/** From journal rows to what is told of a run: each round of each approval, and the lines of the thread. Pure. */
import type { Json } from '../procedures/plan.ts';
import { type RunState, isTerminal } from '../procedures/states.ts';
import type { JournalRow } from '../store/types.ts';
import { type Mentions, atPerson, clock, safe } from './words.ts';

export type RoundState = 'open' | 'granted' | 'rejected' | 'expired' | 'voided';

/** One asking of one approval: another evidence is another round. */
export type Round = {
  step: string;
  round: number;
  evidence: string;
  from: Record<string, number>;
  /** Epoch milliseconds. */
  dueAt: number;
  state: RoundState;
  /** When it was closed, as the journal has it; null while it is open. */
  closedAt: string | null;
  brokeGlass: string[];
  /** Why a phase is to be skipped, where that is what is asked. */
  about: { person: string; reason: string } | null;
  votes: { person: string; groups: string[]; door: string; at: string }[];
  rejection: { person: string; reason: string | null; at: string } | null;
};

const text = (value: Json | undefined): string => (typeof value === 'string' ? value : '');

export const roundKey = ({ step, round }: { step: string; round: number }): string =>
  `approval/${step}/${round}`;

/** `rows`: those of kind approval and decision, in order. */
export function roundsOf(rows: readonly JournalRow[]): Round[] {
  const rounds = new Map<string, Round>();
  for (const row of rows) {
    if (row.kind === 'approval') moveRound(rounds, row);
    else if (row.kind === 'decision') voteOn(rounds, row);
  }
  return [...rounds.values()];
}

function moveRound(rounds: Map<string, Round>, { body, at }: JournalRow): void {
  const [step, round] = [text(body['step']), Number(body['round'] ?? 1)];
  const key = roundKey({ step, round });
  const known = rounds.get(key);
  const from = body['from'];
  if (typeof from === 'object' && from !== null && !Array.isArray(from)) {
    // What was asked with other evidence is not asked any more.
    for (const other of rounds.values())
      if (other.step === step && other !== known && other.state === 'open')
        Object.assign(other, { state: 'voided', closedAt: at });
    rounds.set(key, {
      votes: [],
      rejection: null,
      brokeGlass: [],
      ...known,
      step,
      round,
      evidence: text(body['evidence']),
      from: from as Record<string, number>,
      dueAt: Number(body['dueAt']),
      state: 'open',
      closedAt: null,
      about: skippingOf(body['about']) ?? known?.about ?? null,
    });
    return;
  }
  const state = text(body['state']) as RoundState;
  if (known === undefined || state === 'open') return;
  known.state = state;
  known.closedAt = at;
  const glass = body['brokeGlass'];
  if (Array.isArray(glass)) known.brokeGlass = glass.map(String);
}

function skippingOf(about: Json | undefined): Round['about'] {
  if (typeof about !== 'object' || about === null || Array.isArray(about)) return null;
  return { person: text(about['person']), reason: text(about['reason']) };
}

function voteOn(rounds: Map<string, Round>, { body, at }: JournalRow): void {
  const person = text(body['person']);
  const kind = text(body['kind']);
  const asked = [...rounds.values()].findLast(
    ({ step, evidence }) => step === body['subject'] && evidence === body['evidence'],
  );
  if (asked !== undefined && kind === 'reject')
    asked.rejection = { person, reason: typeof body['reason'] === 'string' ? body['reason'] : null, at };
  if (asked === undefined || kind !== 'approve' || asked.votes.some((vote) => vote.person === person)) return;
  const groups = Array.isArray(body['groups']) ? body['groups'].map(String) : [];
  asked.votes.push({ person, groups, door: text(body['door']), at });
}

/** What nobody can answer any more, since the run has left its way, is asked no longer. */
export function closedBy(rounds: readonly Round[], { state, unwindingAt, endedAt }: RunEnd): Round[] {
  const hasLeft = isTerminal(state) || state === 'unwinding' || state === 'stuck';
  if (!hasLeft) return [...rounds];
  return rounds.map((round) =>
    round.state === 'open' ? { ...round, state: 'voided', closedAt: unwindingAt ?? endedAt } : round,
  );
}

type RunEnd = { state: RunState; unwindingAt: string | null; endedAt: string | null };

/** Something that happened, in the thread. */
export type Line = {
  seq: number;
  /** In Slack's markup, escaped. */
  text: string;
  /** `both`: in the channel too. It is a message of its own then. */
  place: 'thread' | 'both';
  /** Somebody is called: it is a message of its own. */
  call?: { step: string; group: string | null };
  /** The run is stuck: whoever can do something about it hears it himself, too. */
  isStuck?: true;
};

const STEERING: Record<string, string> = {
  abort: 'aborted the run',
  pause: 'paused the run',
  resume: 'let the run go on',
  retry: 'tries again',
  skip: 'skips',
  done: 'says done:',
  resolve: 'resolves',
};

/** What of the rows is told, in their order. */
export function linesOf(rows: readonly JournalRow[], run: number, mentions: Mentions): Line[] {
  return rows.flatMap((row) => {
    const line = lineOf(row, run, mentions);
    return line === undefined ? [] : [{ seq: row.seq, ...line }];
  });
}

function lineOf(row: JournalRow, run: number, mentions: Mentions): Omit<Line, 'seq'> | undefined {
  switch (row.kind) {
    case 'decision':
      return decisionLine(row, mentions);
    case 'approval':
      return callLine(row);
    case 'run':
      return readyLine(row, mentions) ?? runLine(row, run);
    case 'outcome':
      return outcomeLine(row);
    case 'phase':
      return phaseLine(row);
    case 'asked':
    case 'intent':
    case 'refused':
    case 'token':
      return undefined;
  }
}

function quoted(reason: Json | undefined): string {
  return typeof reason === 'string' && reason.trim() !== '' ? `: "${safe(reason)}"` : '';
}

function decisionLine({ body, at }: JournalRow, mentions: Mentions): Omit<Line, 'seq'> {
  const person = atPerson(mentions, text(body['person']));
  const subject = safe(text(body['subject']), 100);
  const kind = text(body['kind']);
  const reason = quoted(body['reason']);
  const door = `${safe(text(body['door']), 20)}, ${clock(at)} UTC`;
  if (kind === 'approve')
    return { text: `${subject}: ${person} approved (${door})${reason}`, place: 'thread' };
  if (kind === 'reject')
    return { text: `${subject}: ${person} rejected (${door})${reason}`, place: 'thread' };
  const verb = STEERING[kind] ?? kind;
  const what = subject === '' ? '' : ` ${subject}`;
  return { text: `${person} ${verb}${what} (${door})${reason}`, place: 'thread' };
}

function callLine({ body }: JournalRow): Omit<Line, 'seq'> | undefined {
  const step = text(body['step']);
  const escalated = body['escalatedTo'];
  if (typeof escalated === 'string') return { text: '', place: 'both', call: { step, group: escalated } };
  if (typeof body['reminder'] === 'number') return { text: '', place: 'thread', call: { step, group: null } };
  return undefined;
}

const RUN_LINES: Record<string, string> = {
  unwinding: '↶ run RUN unwinding',
  'rolled-back': '↺ run RUN rolled-back',
  stuck: '✗ run RUN stuck',
  stopped: '■ run RUN stopped',
  succeeded: '✓ run RUN succeeded',
};

/** Somebody said that he is there. */
function readyLine({ body, at }: JournalRow, mentions: Mentions): Omit<Line, 'seq'> | undefined {
  if (typeof body['ready'] !== 'string') return undefined;
  const door = safe(text(body['door']), 20);
  return {
    text: `${atPerson(mentions, body['ready'])} is there (${door}, ${clock(at)} UTC)`,
    place: 'thread',
  };
}

function runLine({ body }: JournalRow, run: number): Omit<Line, 'seq'> | undefined {
  const state = text(body['state']);
  const words = RUN_LINES[state]?.replace('RUN', String(run));
  if (words === undefined) return undefined;
  const verdict = state === 'succeeded' ? ` ${text(body['verdict'])}` : '';
  const notVerified = Array.isArray(body['notVerified']) ? body['notVerified'].map(String) : [];
  const verified =
    state !== 'rolled-back'
      ? ''
      : body['verified'] === true
        ? ' (verified)'
        : ` (not verified${notVerified.length === 0 ? '' : `: ${safe(notVerified.join(', '), 300)}`})`;
  const because = typeof body['because'] === 'string' ? `. ${safe(body['because'])}` : '';
  const again = typeof body['reminder'] === 'number' ? ', still' : '';
  return {
    text: `${words}${again}${verdict}${verified}${because}${deskOf(body['desk'])}`,
    place: 'both',
    ...(state === 'stuck' ? { isStuck: true as const } : {}),
  };
}

function deskOf(desk: Json | undefined): string {
  if (!Array.isArray(desk) || desk.length === 0) return '';
  const subjects = desk.flatMap((one) =>
    typeof one === 'object' && one !== null && !Array.isArray(one) ? [text(one['subject'])] : [],
  );
  return `. On the desk: ${safe(subjects.join(', '), 600)}`;
}

/** Fingerprints and probes that went well say nothing to people, nor do attempts after the first that are tried again. */
function outcomeLine({ phase, direction, attempt, body }: JournalRow): Omit<Line, 'seq'> | undefined {
  const isGood = body['result'] === 'ok';
  if (phase === null || direction === null) return undefined;
  if (direction !== 'run' && direction !== 'undo' && isGood) return undefined;
  const name = safe(phase, 120);
  if (body['again'] === true) {
    const what = direction === 'run' ? name : `${direction} of ${name}`;
    return attempt === 1 ? { text: `↻ ${what}: ${safe(text(body['summary']))}`, place: 'thread' } : undefined;
  }
  const verdict = text(body['verdict']);
  const { error } = body;
  const broke =
    typeof error === 'object' && error !== null && !Array.isArray(error) ? text(error['message']) : '';
  const said = safe(broke === '' ? text(body['summary']) : broke);
  const tail = said === '' ? '' : `: ${said}`;
  if (direction === 'undo')
    return { text: isGood ? `↺ ${name} undone${tail}` : `✗ undo of ${name} failed${tail}`, place: 'thread' };
  const state = isGood ? 'done' : 'broke off';
  return { text: `${isGood ? '✓' : '?'} ${name} ${state} ${verdict}${tail}`, place: 'thread' };
}

function phaseLine({ phase, body }: JournalRow): Omit<Line, 'seq'> | undefined {
  const [state, waits] = [text(body['state']), text(body['waitingFor'])];
  const said = text(body['summary']) === '' ? '' : `: ${safe(text(body['summary']))}`;
  const name = safe(phase ?? '', 120);
  if (waits.startsWith('a person')) return { text: `◷ ${name} waits for a person${said}`, place: 'both' };
  if (waits.startsWith('window')) return { text: `◷ ${name} waits for ${safe(waits, 80)}`, place: 'thread' };
  if (state === 'skipped') return { text: `– ${name} skipped${said}`, place: 'thread' };
  return undefined;
}
