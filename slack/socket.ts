/**
 * Socket Mode: Slack's clicks over a websocket that we open, so nothing of ours needs to be reached from outside. Each
 * connection is one client of the library; when it ends, for whatever reason, another takes its place.
 */
import { SocketModeClient } from '@slack/socket-mode';
import type { Logger } from 'pino';
import { MINUTE_MS, SECOND_MS } from '../procedures/limits.ts';
import { CALL_MS, slackLogger } from './client.ts';
import type { Ack, Door } from './door.ts';
import { commandOf, deedOf } from './payload.ts';

const PAUSE_MS_FIRST = SECOND_MS;
const PAUSE_MS_MAX = MINUTE_MS;
/** A connection that held so long was a good one: the next is opened at once. */
const HELD_MS = 10 * SECOND_MS;
/** How long Slack may take to say goodbye. */
const LEAVE_MS = 2 * SECOND_MS;
/** Until Slack says hello. */
const HELLO_MS = 15 * SECOND_MS;

type Envelope = {
  ack: (response?: Record<string, unknown>) => Promise<void>;
  type: string;
  body: unknown;
};

export type SocketOptions = { appToken: string; url: string; door: Pick<Door, 'take'>; log: Logger };

/** Runs until the signal aborts. Nothing that goes wrong here ends it: without a socket every other door works. */
export async function runSocket(options: SocketOptions, signal: AbortSignal): Promise<void> {
  let pauseMs = PAUSE_MS_FIRST;
  while (!signal.aborted) {
    const began = Date.now();
    try {
      await connectOnce(options, signal);
    } catch (error) {
      options.log.warn({ err: error }, 'slack: socket not opened');
    }
    if (signal.aborted) return;
    const hasHeld = Date.now() - began >= HELD_MS;
    pauseMs = hasHeld ? PAUSE_MS_FIRST : Math.min(pauseMs * 2, PAUSE_MS_MAX);
    await pause(hasHeld ? 0 : pauseMs / 2, signal);
  }
}

/** Resolves when the connection has ended. */
async function connectOnce({ appToken, url, door, log }: SocketOptions, signal: AbortSignal): Promise<void> {
  const client = new SocketModeClient({
    appToken,
    // Its own way of trying again ends the process where Slack is out.
    autoReconnectEnabled: false,
    logger: slackLogger(log),
    clientOptions: {
      slackApiUrl: url,
      timeout: CALL_MS,
      retryConfig: { retries: 0 },
      rejectRateLimitedCalls: true,
      allowAbsoluteUrls: false,
    },
  });
  const ended = new Promise<void>((resolve) => {
    client.once('disconnected', () => resolve());
  });
  const end = () => {
    client.disconnect().catch(() => undefined);
  };
  client.on('slack_event', (envelope: Envelope) => {
    take(door, envelope).catch((error: unknown) =>
      log.error({ err: error }, 'slack: a click was not dealt with'),
    );
  });
  const leaving = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => setTimeout(resolve, LEAVE_MS));
  });
  // A handshake that never ends is one that failed.
  const hello = setTimeout(end, HELLO_MS);
  signal.addEventListener('abort', end);
  try {
    await client.start();
    clearTimeout(hello);
    // Told to end while it was being opened.
    if (signal.aborted) return await client.disconnect();
    log.info('slack: socket open');
    await Promise.race([ended, leaving]);
  } finally {
    clearTimeout(hello);
    signal.removeEventListener('abort', end);
  }
}

async function take(door: Pick<Door, 'take'>, { ack, type, body }: Envelope): Promise<void> {
  const deed =
    type === 'interactive' ? deedOf(body) : type === 'slash_commands' ? commandOf(body) : undefined;
  if (deed === undefined) return ack();
  const answer: Ack = await door.take(deed);
  await ack('refused' in answer ? undefined : answer.body);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
