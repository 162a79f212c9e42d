/** What happened and whom it calls, as messages of the thread. Pure. */
import { count } from '../procedures/votes.ts';
import type { SlackBody, WantedMessage } from '../store/slack.ts';
import { actions, cut, section } from './blocks.ts';
import { type Scene, bodyOf, calls, name, neededText } from './scene.ts';
import type { Line, Round } from './story.ts';
import { atGroup, atPerson, clock, safe } from './words.ts';

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
