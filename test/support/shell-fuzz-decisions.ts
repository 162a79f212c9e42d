/** What must be true of the decisions of one run: an accepted one is journalled once and in effect, a refused one is not journalled. */
import { isTerminal } from '../../procedures/states.ts';
import type { JournalRow } from '../../store/types.ts';
import type { Ended, Looked } from './shell-fuzz-check.ts';
import type { Said } from './shell-fuzz-people.ts';

/** Each fault as `KIND: DETAIL`. */
export function checkDecisions(ended: Pick<Ended, 'said' | 'plan'>, looked: Looked): string[] {
  const { said } = ended;
  const { rows } = looked;
  return [
    ...checkAnswers(ended, looked),
    ...said.flatMap((one) => [
      ...checkJournalled(one, rows),
      ...checkEffect(one, { rows, plan: ended.plan }),
    ]),
    ...checkEndings(ended, looked),
    ...checkResumes(said, rows),
    ...rows.flatMap(({ body, seq }) =>
      body['unheard'] === undefined ? [] : [`unheard: row ${seq} ${JSON.stringify(body['unheard'])}`],
    ),
  ];
}

function checkAnswers({ said }: Pick<Ended, 'said'>, { detail }: Looked): string[] {
  const unanswered = said.filter(
    ({ outcome }) => outcome === undefined || (outcome.end === 'unanswered' && !isTerminal(detail.state)),
  );
  const [first] = unanswered;
  return first === undefined
    ? []
    : [`decisions unanswered: ${unanswered.length}, the first ${JSON.stringify(first.outcome)}`];
}

/** How often the decision is in the journal. */
function timesOf({ decision }: Said, rows: readonly JournalRow[]): number {
  return rows.filter(({ kind, body }) => kind === 'decision' && body['id'] === decision.id).length;
}

function nameOf({ decision: { kind, subject }, outcome }: Said): string {
  return `${kind} ${subject ?? ''} (${outcome?.end ?? 'no outcome'})`;
}

function checkJournalled(one: Said, rows: readonly JournalRow[]): string[] {
  const times = timesOf(one, rows);
  const { decision, outcome, sends } = one;
  if (times > 1) return [`decision journalled ${times} times: ${nameOf(one)}`];
  if (outcome?.end === 'answered' && times === 0) return [`decision not journalled: ${nameOf(one)}`];
  // A vote that was sent twice may be refused the second time, because it counted the first time.
  const mayCount = sends > 1 && (decision.kind === 'approve' || decision.kind === 'reject');
  if (outcome?.end === 'refused' && times > 0 && !mayCount)
    return [`decision refused with ${outcome.code} and journalled: ${nameOf(one)}`];
  return [];
}

/** Rows that tell of a decision quote its reason, which holds its id. */
function checkEffect(one: Said, { rows, plan }: Pick<Ended, 'plan'> & Pick<Looked, 'rows'>): string[] {
  if (timesOf(one, rows) === 0) return [];
  const { kind, id, subject } = one.decision;
  const needsLeave = plan.approvals[subject ?? '']?.skip === true;
  const state = kind === 'pause' ? 'paused' : kind === 'skip' && !needsLeave ? 'skipped' : undefined;
  if (state === undefined) return [];
  const quoting = rows.filter(
    (row) => row.kind !== 'decision' && row.body['state'] === state && JSON.stringify(row.body).includes(id),
  );
  return quoting.length === 1 ? [] : [`not in effect: ${nameOf(one)} has ${quoting.length} rows`];
}

/** A run that a person has ended does not succeed, and says who ended it. */
function checkEndings({ said, plan }: Pick<Ended, 'said' | 'plan'>, { rows, detail }: Looked): string[] {
  const endings = said.filter((one) => {
    const { kind, subject } = one.decision;
    const isReject = kind === 'reject' && plan.approvals[subject ?? '']?.skip !== true;
    return (kind === 'abort' || isReject) && timesOf(one, rows) > 0;
  });
  if (endings.length === 0 || !isTerminal(detail.state)) return [];
  const faults: string[] = [];
  if (detail.state === 'succeeded') faults.push('not in effect: a person ended the run, and it succeeded');
  if (!endings.some(({ decision }) => detail.because?.includes(decision.id) === true))
    faults.push(`not in effect: a person ended the run, and its reason is ${detail.because}`);
  return faults;
}

function checkResumes(said: readonly Said[], rows: readonly JournalRow[]): string[] {
  const wanted = said.filter((one) => one.decision.kind === 'resume' && timesOf(one, rows) > 0).length;
  const states = rows.flatMap(({ kind, body }) => (kind === 'run' ? [body['state']] : []));
  const found = states.filter((state, at) => state === 'running' && states[at - 1] === 'paused').length;
  return wanted === found ? [] : [`not in effect: ${wanted} decisions to resume, resumed ${found} times`];
}
