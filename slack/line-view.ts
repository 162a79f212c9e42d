/** What happened and whom it calls, as messages of the thread. Pure. */
import { count } from '../procedures/votes.ts';
import type { SlackBody, WantedMessage } from '../store/slack.ts';
import { type Block, actions, cut, fields, section } from './blocks.ts';
import { type Scene, bodyOf, calls, name, neededText } from './scene.ts';
import type { Line, Round } from './story.ts';
import { atGroup, atPeople, atPerson, clock, safe, span } from './words.ts';

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
export function expiryBody(scene: Scene, round: Round): SlackBody {
  const text = `The approval of ${safe(round.step, 100)} expired at ${clock(round.dueAt)} UTC; nothing was approved. ${calls(
    scene,
    round,
    Object.keys(count(round.from, round.votes).missing),
  )} ${atPerson(scene.mentions, scene.run.requester)}`;
  return bodyOf('thread', text, [section(text, 2_500)]);
}

const CALLED_MAX = 12;
const ON_DESK_MAX = 5;

/** Who asked for the run, who may empty the desk, and who would approve: in the channel, and each by himself. */
function stuckMessages(scene: Scene, line: Line): WantedMessage[] {
  const { run, plan, environment, mentions } = scene;
  const groups = Object.values(plan.approvals).flatMap(({ from }) => Object.keys(from));
  const people = [
    ...new Set([
      run.requester,
      ...environment.roles.admin,
      ...groups.flatMap((group) => environment.groups[group] ?? []),
    ]),
  ].slice(0, CALLED_MAX);
  const about = { run: run.run, plan: run.plan };
  const blocks = [section(line.text), ...deskBlocks(scene)];
  const calling = section(atPeople(mentions, people));
  return [
    { key: `lines/${line.seq}`, about, body: bodyOf('both', line.text, [...blocks, calling]) },
    ...people.flatMap((person): WantedMessage[] => {
      const to = mentions.people[person];
      if (to === undefined) return [];
      const body = { ...bodyOf('channel', line.text, blocks), to };
      return [{ key: `lines/${line.seq}/${person}`, about, body }];
    }),
  ];
}

/** What lies on the desk, with the commands that take it off. */
function deskBlocks({ run, plan }: Scene): Block[] {
  const failed = run.phases
    .filter(({ state }) => state === 'undo-failed' || state === 'undoing')
    .toReversed()
    .toSorted((one, two) => Date.parse(two.startedAt ?? '') - Date.parse(one.startedAt ?? '') || 0);
  const differ = run.targets.filter(({ equal }) => equal === false).map(({ target }) => target);
  const subjects = [...failed.map(({ phase }) => phase), ...differ].slice(0, ON_DESK_MAX);
  const commands = subjects.map(
    (subject) => `countdown resolve ${run.run} ${safe(subject, 120)} --retry, or --done --evidence 'text'`,
  );
  return [
    fields([
      [
        'Not yet as before',
        differ.length === 0 ? 'nothing that could be compared' : differ.slice(0, 8).map(name).join(', '),
      ],
      ['Rollback objective', span(plan.rollback.withinMs)],
      ['Leases', `stay with run ${run.run}`],
    ]),
    ...(commands.length === 0 ? [] : [section(commands.join('\n'))]),
  ];
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
      if (line.isStuck === true) {
        messages.push(...stuckMessages(scene, line));
        continue;
      }
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
