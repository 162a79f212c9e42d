/** How an approval looks: while it is asked with its buttons, and afterwards with the names of who decided. Pure. */
import type { Approval, Phase, Plan } from '../procedures/plan.ts';
import { count } from '../procedures/votes.ts';
import type { WantedMessage } from '../store/slack.ts';
import { type Button, actions, context, fields, header, section } from './blocks.ts';
import { type Scene, bodyOf, calls, name, neededText } from './scene.ts';
import { type Round, roundKey } from './story.ts';
import { atPerson, clock, duration, plural, safe } from './words.ts';

/** The phases that an approval covers, those with an effect. */
function coveredBy(plan: Plan, approval: Approval | undefined, step: string): Phase[] {
  const covers = approval === undefined || approval.covers.length === 0 ? [step] : approval.covers;
  return plan.phases.filter(
    (phase) => (covers.includes(phase.step) || phase.id === step) && phase.effect !== 'none',
  );
}

const EFFECTS = ['none', 'reversible', 'costly', 'irreversible'] as const;

/** One round of an approval: asked, or what became of it. */
export function approvalMessage(scene: Scene, round: Round): WantedMessage {
  const { run, plan } = scene;
  const { step, evidence } = round;
  const title = `${titleOf(round)} · run ${run.run} · ${name(run.environment)}`;
  const asked = plan.approvals[step];
  const phases = coveredBy(plan, asked, step);
  const blocks =
    round.state === 'open'
      ? [
          header(title),
          section(`${calls(scene, round, Object.keys(round.from))} ${inWords(round, phases)}`.trim(), 2_500),
          fields(askedFields(scene, round, phases)),
          context(boundTo(scene, round)),
          ...(asked?.via === 'api' ? [section(signIn(run.run, step))] : []),
          actions(approvalButtons(scene, round, phases)),
        ]
      : [header(title), section(inWords(round, phases), 2_500), context(outcomeOf(scene, round))];
  return {
    key: roundKey(round),
    about: { run: run.run, step, evidence, plan: run.plan },
    body: bodyOf('both', title, blocks),
  };
}

function titleOf({ step, state, about }: Round): string {
  const what = `${about === null ? '' : 'skipping '}${safe(step, 60)}`;
  switch (state) {
    case 'open':
      return about === null ? `Approve ${what}?` : `Skip ${safe(step, 60)}?`;
    case 'granted':
      return `Approved: ${what}`;
    case 'rejected':
      return `Rejected: ${what}`;
    case 'expired':
      return `Expired: ${what}`;
    case 'voided':
      return `Voided: ${what}`;
  }
}

const TITLES_MAX = 12;

function wordsOf({ title, run }: Phase): string {
  if (!('wait' in run) || run.wait !== 'point-of-no-return') return safe(title, 120);
  return `Past this nothing is taken back: ${safe(run.because, 200).replace(/\.$/, '')}`;
}

/** What will happen, in the words of the phases. */
function inWords({ about, step }: Round, phases: readonly Phase[]): string {
  if (about !== null)
    return `${safe(about.person, 60)} wants to leave out ${safe(step, 100)}: "${safe(about.reason)}". The verdict is at best warn then.`;
  if (phases.length === 0) return 'Nothing is changed; the run waits for leave to go on.';
  const titles = phases.slice(0, TITLES_MAX).map(wordsOf);
  const more = phases.length > TITLES_MAX ? `; and ${plural(phases.length - TITLES_MAX, 'phase')} more` : '';
  return `${titles.join('; ')}${more}.`;
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 8).map(name).join(', ');
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}

function targetsOf(phases: readonly Phase[]): string[] {
  return [...new Set(phases.flatMap(({ targets }) => targets))];
}

function askedFields(scene: Scene, round: Round, phases: readonly Phase[]): [string, string][] {
  const { run, environment } = scene;
  const effect = EFFECTS[Math.max(0, ...phases.map((phase) => EFFECTS.indexOf(phase.effect)))] ?? 'none';
  const ids = new Set(phases.map(({ id }) => id));
  const undoMs = run.phases.reduce((sum, phase) => sum + (ids.has(phase.phase) ? (phase.undoMs ?? 0) : 0), 0);
  const undo: [string, string] =
    effect === 'irreversible'
      ? ['Undo', 'none: nothing takes it back']
      : effect === 'none'
        ? ['Undo', 'not needed']
        : ['Undo takes', duration(undoMs)];
  const votes = round.votes.map(({ person, at }) => `${name(person)} ${clock(at)}`);
  return [
    ['Changes', listed(targetsOf(phases))],
    ['Effect', effect],
    undo,
    ['Needs', neededText({ ...round, votes: [] }, environment, run).replace(/^needs /, '')],
    ['Votes', votes.length === 0 ? 'none yet' : votes.slice(0, 10).join(', ')],
    ['Expires', `${clock(round.dueAt)} UTC`],
  ];
}

/** What the answer is given for. */
function boundTo({ run, plan, mentions }: Scene, { step, evidence }: Round): string {
  const leading = plan.approvals[step]?.leading ?? [];
  const found = run.phases
    .filter(({ phase, summary }) => leading.includes(phase) && summary !== null)
    .slice(0, 3)
    .map(({ summary }) => safe(summary ?? '', 200));
  const tail = found.length === 0 ? '' : `: ${found.join('; ')}`;
  return `Plan ${run.plan.slice(0, 12)} · evidence ${evidence.slice(0, 12)}${tail} · ${atPerson(mentions, run.requester)} asked for the run and cannot approve`;
}

const signIn = (run: number, step: string): string =>
  `It is not decided in Slack. Sign in to decide: countdown approve ${run} ${safe(step, 100)}`;

function approvalButtons({ run, plan }: Scene, round: Round, phases: readonly Phase[]): Button[] {
  const asked = plan.approvals[round.step];
  const view: Button = { action: 'view', label: 'View' };
  if (asked?.via === 'api') return [view];
  const changes =
    phases.length === 0 ? 'Changes nothing' : `Changes ${plural(targetsOf(phases).length, 'target')}`;
  const approve: Button = {
    action: 'approve',
    label: asked?.comment === 'required' ? 'Approve…' : 'Approve',
    style: 'primary',
    // Who must say why gets a window of its own, which asks once more by itself.
    ...(asked?.comment === 'required'
      ? {}
      : {
          confirm: {
            title: titleOf(round),
            text: `${changes} in ${name(run.environment)}. Plan ${run.plan.slice(0, 12)}, evidence ${round.evidence.slice(0, 12)}.`,
            yes: 'Approve',
          },
        }),
  };
  return [approve, { action: 'reject', label: 'Reject…', style: 'danger' }, view];
}

function outcomeOf({ run, plan, mentions }: Scene, round: Round): string {
  const bound = `plan ${run.plan.slice(0, 12)} · evidence ${round.evidence.slice(0, 12)}`;
  const at = round.closedAt === null ? '' : ` ${clock(round.closedAt)} UTC`;
  switch (round.state) {
    case 'granted': {
      const { counted } = count(round.from, round.votes);
      const by = round.votes.map(
        ({ person, at: votedAt }) =>
          `${atPerson(mentions, person)}${counted[person] === undefined ? '' : ` (${name(counted[person])})`} ${clock(votedAt)}`,
      );
      const glass = round.brokeGlass.length === 0 ? '' : ' by broken glass';
      return `Approved${glass} by ${by.slice(0, 20).join(', ')} UTC · ${bound}`;
    }
    case 'rejected': {
      const {
        person,
        reason,
        at: rejectedAt,
      } = round.rejection ?? { person: 'somebody', reason: null, at: round.closedAt ?? '' };
      const why = reason === null ? '' : `: "${safe(reason)}"`;
      const when = rejectedAt === '' ? '' : ` ${clock(rejectedAt)} UTC`;
      return `Rejected by ${atPerson(mentions, person)}${when}${why} · ${bound}`;
    }
    case 'expired':
      return `Expired${at}: ${calledForExpiry(round, plan)} did not decide in time. Nothing was approved. · ${bound}`;
    case 'voided':
      return `Voided${at}: what it was asked for has changed, or is not asked any more. Votes on it count for nothing. · ${bound}`;
    case 'open':
      return bound;
  }
}

function calledForExpiry(round: Round, plan: Plan): string {
  const missing = Object.keys(count(plan.approvals[round.step]?.from ?? round.from, round.votes).missing);
  return missing.length === 0 ? 'nobody' : missing.slice(0, 8).map(name).join(' and ');
}
