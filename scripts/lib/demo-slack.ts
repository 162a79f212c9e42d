/**
 * Slack in the demo: a server on this machine that answers as Slack does. Its messages are shown in the terminal, and its
 * people click there; the clicks come back over the socket that the API opens, as they would from the real one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunDetailWire } from '../../cli/wire.ts';
import {
  type FakeMessage,
  type FakeSlack,
  slackVariables,
  startFakeSlack,
} from '../../test/support/fake-slack.ts';
import { type Vote, askForVote, votesFor } from './demo-approvals.ts';

const CHANNEL = 'C0LAUNCH';
const WAIT_MS = 15_000;
const LOOK_EVERY_MS = 50;

export type DemoSlack = {
  /** For the API's process. */
  variables: Record<string, string>;
  /** More entries for the demo environment. */
  environment: (readonly [path: string[], value: unknown])[];
  /** Called with each reading of the run: shows what is new in the channel, and clicks what can be clicked. */
  makeClicker(part: {
    tokens: Record<string, string>;
    yes: boolean;
    signal: AbortSignal;
  }): (run: RunDetailWire) => Promise<void>;
  /** Waits until the channel says how the run ended, and shows what came since. */
  showEnd(run: number, signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
};

/** `people` are those of the demo environment: each gets an account. */
export async function startDemoSlack(people: readonly string[]): Promise<DemoSlack> {
  const users = people.map((person) => ({
    id: idOf(person),
    name: person,
    email: `${person}@piano.example`,
  }));
  const fake = await startFakeSlack({ users, channels: [CHANNEL], isRateLimited: true });
  const screen = makeScreen(fake);
  return {
    variables: slackVariables(fake),
    environment: [
      [['slack'], { channel: CHANNEL }],
      ...people.map((person): [string[], string] => [['people', person, 'slack'], idOf(person)]),
    ],
    async showEnd(run, signal) {
      const end = new RegExp(`^. run ${run} (succeeded|stopped|rolled-back|stuck)`);
      const own = new RegExp(`^run ${run} .* · . (succeeded|stopped|rolled-back|stuck)`);
      await until(signal, () => (isTold(fake, end) && isTold(fake, own) ? true : undefined));
      screen();
    },
    makeClicker({ tokens, yes, signal }) {
      return async (run) => {
        screen();
        for (const approval of run.approvals) {
          if (approval.state !== 'open') continue;
          for (const vote of votesFor(approval, tokens)) {
            if (signal.aborted) return;
            const isOver = await clickVote(fake, screen, { run, vote, yes, signal });
            if (isOver) return;
          }
        }
      };
    },
    stop: () => fake[Symbol.asyncDispose](),
  };
}

function isTold(fake: FakeSlack, words: RegExp): boolean {
  return fake.messages(CHANNEL).some(({ text }) => words.test(text));
}

const idOf = (person: string): string => `U0${person.toUpperCase().replaceAll('-', '')}`;

type Click = { run: RunDetailWire; vote: Vote; yes: boolean; signal: AbortSignal };

/** True where the step was rejected, or is not asked any more. */
async function clickVote(
  fake: FakeSlack,
  screen: () => void,
  { run, vote, yes, signal }: Click,
): Promise<boolean> {
  const { person, approval } = vote;
  const message = await until(signal, () =>
    fake
      .messages(CHANNEL)
      .findLast(
        ({ text, blocks }) =>
          text.startsWith(`Approve ${approval.step}? · run ${run.run} `) && hasButton(blocks),
      ),
  );
  if (message === undefined) return true;
  screen();
  const answer = yes ? { decision: 'approve' as const } : await askForVote(signal, vote, 'Click as');
  const heard = fake.ephemerals(idOf(person)).length;
  process.stdout.write(`slack  ${person} clicks ${answer.decision === 'approve' ? 'Approve' : 'Reject…'}\n`);
  if (answer.decision === 'approve') await fake.click(idOf(person), message, 'approve');
  else {
    const opened = fake.state.views.length;
    await fake.click(idOf(person), message, 'reject');
    const view = await until(signal, () => fake.state.views[opened]);
    if (view !== undefined) await fake.submit(idOf(person), view, { reason: answer.reason });
  }
  const whisper = await until(signal, () => fake.ephemerals(idOf(person))[heard]);
  if (whisper !== undefined)
    process.stdout.write(`slack  only ${person} sees: ${plain(fake, whisper.text)}\n`);
  return answer.decision === 'reject';
}

const hasButton = (blocks: FakeMessage['blocks']): boolean => blocks.some(({ type }) => type === 'actions');

/** Undefined where it does not come in time, or everything ends. */
async function until<T>(signal: AbortSignal, look: () => T | undefined): Promise<T | undefined> {
  const deadline = Date.now() + WAIT_MS;
  while (!signal.aborted && Date.now() < deadline) {
    const found = look();
    if (found !== undefined) return found;
    await sleep(LOOK_EVERY_MS);
  }
  return undefined;
}

/** Writes each message once, and again where its first line has changed: not each edit of a number. */
function makeScreen(fake: FakeSlack): () => void {
  const shown = new Map<string, string>();
  return () => {
    for (const message of fake.messages(CHANNEL)) {
      const before = shown.get(message.ts);
      if (before === message.text) continue;
      shown.set(message.ts, message.text);
      process.stdout.write(`${messageLines(fake, message, before !== undefined).join('\n')}\n`);
    }
  };
}

function messageLines(fake: FakeSlack, message: FakeMessage, isEdited: boolean): string[] {
  const where =
    message.thread_ts === undefined ? '#launch' : message.broadcast ? '#launch, in the thread too' : 'thread';
  const lines = message.blocks.flatMap((block) => blockLines(fake, block));
  return [`slack  ${where}${isEdited ? ', edited' : ''}`, ...lines.map((line) => `       | ${line}`)];
}

type Shown = { text?: string; type?: string };

function blockLines(fake: FakeSlack, block: FakeMessage['blocks'][number]): string[] {
  const { text, fields, elements } = block as {
    text?: Shown;
    fields?: Shown[];
    elements?: (Shown & { text?: unknown })[];
  };
  if (block.type === 'actions')
    return [(elements ?? []).map(({ text: label }) => `[${(label as Shown).text ?? ''}]`).join(' ')];
  if (block.type === 'context')
    return (elements ?? []).flatMap((element) =>
      typeof element.text === 'string' ? [plain(fake, element.text)] : [],
    );
  return [
    ...(text?.text === undefined ? [] : text.text.split('\n').map((line) => plain(fake, line))),
    ...(fields ?? []).map((field) => plain(fake, (field.text ?? '').replace('\n', ' '))),
  ];
}

/** Names for ids, and letters for escapes: as Slack shows it. */
function plain(fake: FakeSlack, text: string): string {
  return text
    .replaceAll(/<@(\w+)>/g, (_, id: string) => `@${fake.state.users.get(id)?.name ?? id}`)
    .replaceAll(/^\*([^*]+)\*/g, '$1')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&');
}
