/** What people see of a run and of its approvals: from what the store and the plan know to the blocks of messages. Pure. */
import { rollbackNow } from '../api/rollback.ts';
import type { Environment } from '../procedures/environment.ts';
import type { Approval, Phase, Plan } from '../procedures/plan.ts';
import { type RunState, isTerminal } from '../procedures/states.ts';
import { count } from '../procedures/votes.ts';
import type { RunDetail } from '../store/types.ts';
import type { SlackBody, WantedMessage } from '../store/slack.ts';
import { type Block, type Button, actions, context, cut, fields, header, section } from './blocks.ts';
import { type Line, type Round, roundKey } from './story.ts';
import { type Mentions, atGroup, atPeople, atPerson, clock, duration, plural, safe, span } from './words.ts';

/** All that messages are made of. The groups of the environment hold the members that Slack keeps, as far as they are known. */
export type Scene = {
  run: RunDetail;
  plan: Plan;
  rounds: readonly Round[];
  environment: Environment;
  mentions: Mentions;
};

const MARK: Record<RunState, string> = {
  planned: '·',
  waiting: '◷',
  running: '▸',
  paused: '‖',
  succeeded: '✓',
  stopped: '■',
  unwinding: '↶',
  'rolled-back': '↺',
  stuck: '✗',
};

const name = (text: string): string => safe(text, 60);

function bodyOf(place: SlackBody['place'], text: string, blocks: Block[]): SlackBody {
  return { text: cut(text, 300), blocks, place };
}

/** `rolled-back (verified)`: the state as it is said. */
export function stateWords(run: Pick<RunDetail, 'state' | 'verified' | 'notVerified'>): string {
  if (run.state !== 'rolled-back') return run.state;
  if (run.verified === true) return 'rolled-back (verified)';
  return `rolled-back (not verified${run.notVerified.length === 0 ? '' : `: ${run.notVerified.join(', ')}`})`;
}

/** The one message of a run in the channel. */
export function runMessage(scene: Scene): WantedMessage {
  const { run, plan, mentions } = scene;
  const state = safe(stateWords(run), 60);
  const title = `run ${run.run} · ${name(run.runbook)} → ${name(run.environment)} · ${MARK[run.state]} ${state}`;
  const back = rollbackNow(run, plan);
  const rows = [
    ['Requester', atPerson(mentions, run.requester)],
    ['Plan', run.plan.slice(0, 12)],
    ['Rollback objective', span(plan.rollback.withinMs)],
  ] as [string, string][];
  if (!isTerminal(run.state) && run.unwindingAt === null)
    rows.splice(2, 0, [
      'Abort now',
      back.phases === 0
        ? 'undoes nothing'
        : `undoes ${plural(back.phases, 'phase')}, ${duration(back.undoMs)}`,
    ]);
  const buttons = runButtons(run);
  return {
    key: 'run',
    about: { run: run.run, plan: run.plan },
    body: bodyOf('channel', title, [
      header(title),
      section(whereItIs(scene), 1_500),
      fields(rows),
      actions(buttons),
    ]),
  };
}

function runButtons(run: RunDetail): Button[] {
  const view: Button = { action: 'view', label: 'View' };
  if (isTerminal(run.state) || run.state === 'unwinding' || run.state === 'stuck') return [view];
  const pause: Button =
    run.state === 'paused' ? { action: 'resume', label: 'Go on' } : { action: 'pause', label: 'Pause' };
  const isBegun = run.state !== 'planned';
  return [view, ...(isBegun ? [pause] : []), { action: 'abort', label: 'Abort…', style: 'danger' }];
}

/** One sentence: where the run stands, and whom it waits for. */
function whereItIs({ run, plan, rounds, environment }: Scene): string {
  if (isTerminal(run.state)) {
    const tookMs = Date.parse(run.endedAt ?? run.createdAt) - Date.parse(run.startedAt ?? run.createdAt);
    const verdict = run.verdict === null ? '' : ` Verdict ${run.verdict}.`;
    return `Took ${duration(tookMs)}.${verdict}${run.because === null ? '' : ` ${safe(run.because)}`}`;
  }
  const open = rounds.filter(({ state }) => state === 'open');
  const because = run.because === null ? '' : ` ${safe(run.because)}`;
  if (open.length > 0)
    return `${open
      .slice(0, 5)
      .map(
        (round) => `${safe(round.step, 100)} waits for an approval: ${neededText(round, environment, run)}.`,
      )
      .join(' ')}${because}`;
  const index = plan.steps.findIndex(({ id }) => id === run.step);
  const at =
    index < 0
      ? 'It has not begun.'
      : `Step ${index + 1} of ${plan.steps.length}, ${safe(run.step ?? '', 100)}.`;
  return `${at}${because}`;
}

/** `owner 1 (olu)`; the names without mentions. */
function neededText(round: Round, environment: Environment, run: RunDetail): string {
  const missing = Object.entries(count(round.from, round.votes).missing);
  if (missing.length === 0) return 'all votes are there';
  return `needs ${missing
    .slice(0, 8)
    .map(([group, needed]) => {
      const people = votersOf(round, group, environment, run);
      return `${name(group)} ${needed}${people.length === 0 ? '' : ` (${people.slice(0, 8).map(name).join(', ')})`}`;
    })
    .join(', ')}`;
}

/** Who can still vote for a group. */
function votersOf(round: Round, group: string, environment: Environment, run: RunDetail): string[] {
  const voted = round.votes.map(({ person }) => person);
  return (environment.groups[group] ?? []).filter(
    (person) => person !== run.requester && !voted.includes(person),
  );
}

/** The groups that are still needed, called: those that Slack keeps as such, others by their members, each person once. */
function calls({ environment, mentions, run }: Scene, round: Round, groups: readonly string[]): string {
  const kept = groups.filter((group) => Object.hasOwn(mentions.groups, group));
  const people = new Set(
    groups
      .filter((group) => !kept.includes(group))
      .flatMap((group) => votersOf(round, group, environment, run)),
  );
  return [...kept.map((group) => atGroup(mentions, group, [])), atPeople(mentions, [...people])]
    .filter((text) => text !== '')
    .join(' ');
}

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

/** What will happen, in the words of the phases. */
function inWords({ about, step }: Round, phases: readonly Phase[]): string {
  if (about !== null)
    return `${safe(about.person, 60)} wants to leave out ${safe(step, 100)}: "${safe(about.reason)}". The verdict is at best warn then.`;
  if (phases.length === 0) return 'Nothing is changed; the run waits for leave to go on.';
  const titles = phases.slice(0, TITLES_MAX).map(({ title }) => safe(title, 120));
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
  const undo =
    effect === 'irreversible' ? 'nothing takes it back' : effect === 'none' ? 'not needed' : duration(undoMs);
  const votes = round.votes.map(({ person, at }) => `${name(person)} ${clock(at)}`);
  return [
    ['Changes', listed(targetsOf(phases))],
    ['Effect', effect],
    ['Undo takes', undo],
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

/** A line that calls people: a reminder, the next group of an escalation. Undefined where it is decided meanwhile. */
function callBody(scene: Scene, line: Line): SlackBody | undefined {
  const { call, place } = line;
  const round = scene.rounds.findLast(({ step }) => step === call?.step);
  if (call === undefined || round === undefined || round.state !== 'open') return undefined;
  const step = safe(round.step, 100);
  const until = `expires ${clock(round.dueAt)} UTC`;
  const missing = Object.keys(count(round.from, round.votes).missing);
  const needed = neededText(round, scene.environment, scene.run);
  const text =
    call.group === null
      ? `${step} still ${needed}, ${until}. ${calls(scene, round, missing)}`
      : `${step} still waits, ${until}. Calling ${name(call.group)}: ${atGroup(
          scene.mentions,
          call.group,
          scene.environment.groups[call.group] ?? [],
        )}. Only ${Object.keys(round.from).map(name).join(' and ')} can approve.`;
  return bodyOf(place, text, [section(text, 2_500), actions([{ action: 'view', label: 'View' }])]);
}

/** Who was asked in vain is told so. */
function expiryBody(scene: Scene, round: Round): SlackBody {
  const text = `The approval of ${safe(round.step, 100)} expired at ${clock(round.dueAt)} UTC; nothing was approved. ${calls(
    scene,
    round,
    Object.keys(count(round.from, round.votes).missing),
  )} ${atPerson(scene.mentions, scene.run.requester)}`;
  return bodyOf('thread', text, [section(text, 2_500)]);
}

const LINES_A_MESSAGE_MAX = 20;
const LINES_LETTERS_MAX = 2_800;

/** The lines as messages: what comes at once in the thread comes in one. */
export function lineMessages(scene: Scene, lines: readonly Line[]): WantedMessage[] {
  const about = { run: scene.run.run, plan: scene.run.plan };
  const messages: WantedMessage[] = [];
  let gathered: { seq: number; texts: string[]; letters: number } | undefined;
  const flush = () => {
    if (gathered === undefined) return;
    const body = bodyOf('thread', gathered.texts[0] ?? '', [section(gathered.texts.join('\n'))]);
    messages.push({ key: `lines/${gathered.seq}`, about, body });
    gathered = undefined;
  };
  for (const line of lines) {
    if (line.place === 'both' || line.call !== undefined) {
      flush();
      const body =
        line.call === undefined ? bodyOf(line.place, line.text, [section(line.text)]) : callBody(scene, line);
      if (body !== undefined) messages.push({ key: `lines/${line.seq}`, about, body });
      continue;
    }
    const isFull =
      gathered !== undefined &&
      (gathered.texts.length === LINES_A_MESSAGE_MAX ||
        gathered.letters + line.text.length > LINES_LETTERS_MAX);
    if (isFull) flush();
    gathered ??= { seq: line.seq, texts: [], letters: 0 };
    const text = cut(line.text, LINES_LETTERS_MAX);
    gathered.texts.push(text);
    gathered.letters += text.length + 1;
  }
  flush();
  return messages;
}

/** Every message of the run as it is to look now: its own, its approvals, and what the new lines say. */
export function wantedMessages(scene: Scene, lines: readonly Line[]): WantedMessage[] {
  const about = { run: scene.run.run, plan: scene.run.plan };
  return [
    runMessage(scene),
    ...scene.rounds.map((round) => approvalMessage(scene, round)),
    ...scene.rounds
      .filter(({ state }) => state === 'expired')
      .map((round) => ({
        key: `expired/${round.step}/${round.round}`,
        about,
        body: expiryBody(scene, round),
      })),
    ...lineMessages(scene, lines),
  ];
}
