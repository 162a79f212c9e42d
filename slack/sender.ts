/**
 * Tells Slack of runs. The journal is the outbox: what there is to tell follows from it, what was told stands in
 * PostgreSQL, and a pass brings the two together. A run waits for nothing here, and a sender may end anywhere:
 *
 *   claim the run ─▶ write what is to be shown, and how far the journal was read (one transaction)
 *     ─▶ for each message that Slack does not show: note the attempt ─▶ post, or edit ─▶ note its name and what it shows
 *
 * An attempt without an answer may have arrived: before it is made again the message is looked for by its metadata.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { MINUTE_MS, SECOND_MS } from '../procedures/limits.ts';
import type { Environments } from '../store/environment-files.ts';
import type { SlackClaim, SlackMessage, SlackStore } from '../store/slack.ts';
import type { ApiStore, JournalRow } from '../store/types.ts';
import { section, withIds } from './blocks.ts';
import { type SlackClient, SlackTrouble } from './client.ts';
import type { Directory } from './directory.ts';
import { closedBy, linesOf, roundsOf } from './story.ts';
import type { Scene } from './scene.ts';
import { wantedMessages } from './view.ts';

/** Slack takes about one new message a second and channel. */
const POST_EVERY_MS = SECOND_MS;
/** One message is edited no more often than this; the last state is always sent. */
const EDIT_EVERY_MS = 2 * SECOND_MS;
/** Few, so that no run keeps the others waiting: a channel takes a message a second. */
const SENDS_A_PASS = 4;
/** Longer than one message can take with its look-up; renewed for each. */
const CLAIM_MS = MINUTE_MS;
const ROWS_A_PASS = 500;
const BACKOFF_MS_MAX = MINUTE_MS;

export type SenderDeps = {
  store: Pick<ApiStore, 'run' | 'plan' | 'journal' | 'listen'>;
  slack: SlackStore;
  client: SlackClient;
  directory: Directory;
  environments: Environments;
  log: Logger;
  /** Milliseconds between two new messages of a channel; default 1,000. */
  postEveryMs?: number;
  /** Milliseconds between two edits of a message; default 2,000. */
  editEveryMs?: number;
};

/** Stands for every channel. */
export const ALL = '*';

/** What one process keeps to; what is to be sent does not hang on it. Times in epoch milliseconds. */
export type Pace = {
  /** When each channel takes its next message. */
  posts: Map<string, number>;
  /** Until when a channel, or all of Slack, is left alone. */
  quiet: Map<string, number>;
};

export const makePace = (): Pace => ({ posts: new Map(), quiet: new Map() });

export function quietUntil({ quiet }: Pace, channel: string): number {
  return Math.max(quiet.get(channel) ?? 0, quiet.get(ALL) ?? 0);
}

/** Brings Slack to what the journal says of one run. Gives the milliseconds until there is more to tell; Infinity for nothing. */
export async function tellRun(
  deps: SenderDeps,
  pace: Pace,
  row: { run: number; channel: string },
): Promise<number> {
  const held: SlackClaim = { run: row.run, claim: randomUUID() };
  const claimed = await deps.slack.claim(held, { channel: row.channel, forMs: CLAIM_MS });
  if (claimed === undefined) return Infinity;
  // A run stays in the channel in which it was first told.
  const { channel, failures } = claimed;
  try {
    const isAll = await writeDown(deps, held, claimed.seq);
    const { isBehind, dueInMs } = await sendAll(deps, pace, held, channel);
    const afterMs = isAll ? dueInMs : 0;
    await deps.slack.release(held, {
      isBehind: isBehind || !isAll,
      dueInMs: afterMs,
      failures: 0,
      problem: null,
    });
    return isBehind || !isAll ? afterMs : Infinity;
  } catch (error) {
    const afterMs = error instanceof SlackTrouble ? error.afterMs : 0;
    const waitMs = Math.max(afterMs, Math.min(BACKOFF_MS_MAX, SECOND_MS * 2 ** Math.min(failures, 10)));
    // What Slack does not take of one run it may take of another; what it does not answer it answers nobody.
    const kind = error instanceof SlackTrouble ? error.kind : 'unknown';
    if (kind !== 'refused') pace.quiet.set(kind === 'busy' ? channel : ALL, Date.now() + waitMs);
    const problem = error instanceof Error ? error.message.slice(0, 500) : String(error);
    deps.log.warn({ err: error, run: row.run, failures: failures + 1, waitMs }, 'slack: run not told');
    await deps.slack.release(held, { isBehind: true, dueInMs: waitMs, failures: failures + 1, problem });
    return waitMs;
  }
}

/** What is to be shown, from the journal. False where there is more of it than one pass takes. */
async function writeDown(deps: SenderDeps, held: SlackClaim, seq: number): Promise<boolean> {
  const rows = await deps.store.journal(held.run, { after: seq, limit: ROWS_A_PASS });
  const scene = await sceneOf(deps, held.run);
  if (scene === undefined) return true;
  const lines = linesOf(rows, held.run, scene.mentions);
  const last: JournalRow | undefined = rows.at(-1);
  await deps.slack.write(held, { seq: last?.seq ?? seq, messages: wantedMessages(scene, lines) });
  return rows.length < ROWS_A_PASS;
}

/** Undefined where the run, its plan or its environment is not there. */
export async function sceneOf(
  deps: Pick<SenderDeps, 'store' | 'slack' | 'environments' | 'directory'>,
  number: number,
): Promise<Scene | undefined> {
  const run = await deps.store.run(number);
  if (run === undefined) return undefined;
  const plan = await deps.store.plan(run.plan);
  const environment = (await deps.environments.current()).get(run.environment);
  if (plan === undefined || environment === undefined) return undefined;
  const rounds = closedBy(roundsOf(await deps.slack.asked(number)), run);
  return { run, plan, rounds, environment, mentions: await deps.directory.mentions(environment) };
}

/** Approvals go before what is only told; the run's own message goes first, since the others hang on it. */
function inOrder(messages: readonly SlackMessage[]): SlackMessage[] {
  return messages.toSorted((one, other) => rankOf(one) - rankOf(other));
}

function rankOf({ key }: SlackMessage): number {
  if (key === 'run') return 0;
  return key.startsWith('approval/') ? 1 : 2;
}

async function sendAll(
  deps: SenderDeps,
  pace: Pace,
  held: SlackClaim,
  channel: string,
): Promise<{ isBehind: boolean; dueInMs: number }> {
  const messages = await deps.slack.messages(held.run);
  const parent = messages.find(({ key }) => key === 'run');
  let thread = parent?.ts ?? undefined;
  let sent = 0;
  let dueInMs = 0;
  let isBehind = false;
  for (const message of inOrder(messages)) {
    if (message.shown === message.digest) continue;
    const restMs = message.ts === null ? 0 : restOf(deps, message);
    if (restMs > 0 || sent === SENDS_A_PASS || quietUntil(pace, channel) > Date.now()) {
      isBehind = true;
      // The first that is due again says when; where the pass is full it goes on at once.
      dueInMs = sent === SENDS_A_PASS ? 0 : dueInMs === 0 ? restMs : Math.min(dueInMs, restMs);
      continue;
    }
    sent += 1;
    const sending = { message, channel: message.body.to ?? channel, thread };
    const ts = await send(deps, pace, held, sending).catch(async (error: unknown) => {
      // The run's own message was taken away: it comes anew, and the others hang on that one.
      if (error instanceof SlackTrouble && error.code === 'thread_not_found' && parent !== undefined)
        await deps.slack.gone(parent.id);
      throw error;
    });
    if (ts === undefined) return { isBehind: true, dueInMs: 0 };
    if (message === parent) thread = ts;
  }
  return { isBehind, dueInMs };
}

/** How long a message that was just painted is left as it is. */
function restOf(deps: SenderDeps, { shownAt, shown }: SlackMessage): number {
  if (shownAt === null || shown === null) return 0;
  return Math.max(0, shownAt.getTime() + (deps.editEveryMs ?? EDIT_EVERY_MS) - Date.now());
}

type Sending = { message: SlackMessage; channel: string; thread: string | undefined };

function threadOf({ message: { body }, thread }: Sending): string | undefined {
  return body.place === 'channel' ? undefined : thread;
}

/** The message's name in Slack; undefined where the claim was lost. */
async function send(
  deps: SenderDeps,
  pace: Pace,
  held: SlackClaim,
  sending: Sending,
): Promise<string | undefined> {
  const { message, channel } = sending;
  if (!(await deps.slack.renew(held, CLAIM_MS))) return undefined;
  const ts = message.ts ?? (await findAgain(deps, sending));
  if (ts !== undefined && (await edit(deps, message, channel, ts))) return ts;
  await pacing(deps, pace, channel);
  if (!(await deps.slack.attempt(held, message.id))) return undefined;
  const posted = await posting(deps, {
    channel,
    thread: threadOf(sending),
    text: message.body.text,
    blocks: withIds(message.body.blocks, message.id),
    id: message.id,
    isBroadcast: message.body.place === 'both',
  });
  await deps.slack.shown(message.id, { ts: posted, digest: message.digest });
  return posted;
}

/** After an attempt without an answer: the message where it arrived after all. */
async function findAgain(deps: SenderDeps, sending: Sending): Promise<string | undefined> {
  const { message, channel } = sending;
  if (message.attemptedAt === null) return undefined;
  const where = { channel, thread: threadOf(sending) };
  try {
    const ts = await deps.client.find({ ...where, id: message.id, since: message.attemptedAt });
    if (ts !== undefined) await deps.slack.shown(message.id, { ts, digest: null });
    return ts;
  } catch (error) {
    if (!(error instanceof SlackTrouble && error.kind === 'refused')) throw error;
    // Without the right to read the channel a message may come twice; without it, it might never come.
    deps.log.warn({ err: error, run: message.run }, 'slack: an unanswered message cannot be looked for');
    return undefined;
  }
}

/** These say that the message is not there, or can no longer be edited: another one takes its place. */
const GONE = ['message_not_found', 'cant_update_message', 'edit_window_closed', 'block_mismatch'];

/** False where it must be posted anew. */
async function edit(deps: SenderDeps, message: SlackMessage, channel: string, ts: string): Promise<boolean> {
  const { text, blocks } = message.body;
  try {
    await deps.client.update({ channel, ts, text, blocks: withIds(blocks, message.id) });
  } catch (error) {
    if (error instanceof SlackTrouble && GONE.includes(error.code)) {
      await deps.slack.gone(message.id);
      return false;
    }
    if (!isTooMuch(error)) throw error;
    deps.log.error(
      { err: error, run: message.run, key: message.key },
      'slack: message refused, its text alone is sent',
    );
    await deps.client.update({ channel, ts, text, blocks: [section(text)] });
  }
  await deps.slack.shown(message.id, { ts, digest: message.digest });
  return true;
}

const isTooMuch = (error: unknown): boolean =>
  error instanceof SlackTrouble &&
  ['invalid_blocks', 'invalid_blocks_format', 'msg_blocks_too_long', 'msg_too_long'].includes(error.code);

async function posting(deps: SenderDeps, row: Parameters<SlackClient['post']>[0]): Promise<string> {
  try {
    return await deps.client.post(row);
  } catch (error) {
    if (error instanceof SlackTrouble && error.kind !== 'unknown') await deps.slack.gone(row.id);
    if (!isTooMuch(error)) throw error;
    deps.log.error({ err: error, message: row.id }, 'slack: message refused, its text alone is sent');
    return deps.client.post({ ...row, blocks: [section(row.text)] });
  }
}

/** Waits for the channel's turn, at most the time between two messages. */
async function pacing(deps: SenderDeps, pace: Pace, channel: string): Promise<void> {
  const everyMs = deps.postEveryMs ?? POST_EVERY_MS;
  const now = Date.now();
  const at = Math.min(Math.max(now, pace.posts.get(channel) ?? 0), now + everyMs);
  pace.posts.set(channel, at + everyMs);
  if (at > now) await new Promise((resolve) => setTimeout(resolve, at - now));
}
