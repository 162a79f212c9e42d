/**
 * What Countdown calls of Slack's Web API: methods by their literal names, one attempt each within five seconds. Whether
 * and when something is tried again is for the caller to say, who has it written down.
 */
import {
  LogLevel,
  type Logger as SlackLogger,
  WebAPIHTTPError,
  WebAPIPlatformError,
  WebAPIRateLimitedError,
  WebClient,
} from '@slack/web-api';
import type { Logger } from 'pino';
import type { Json } from '../procedures/plan.ts';

export const CALL_MS = 5_000;
const CALLS_AT_ONCE_MAX = 10;
/** Pages of a conversation that are looked through for a message. */
const PAGES_MAX = 5;
const PAGE = 200;
/** Clocks of Slack and ours may differ by so much. */
const CLOCKS_DIFFER_SECONDS = 120;
const EVENT_TYPE = 'countdown_message';

/** Why a call came to nothing. */
export class SlackTrouble extends Error {
  override readonly name = 'SlackTrouble';
  /** `unknown`: it may have been done. `busy`: not done, later. `refused`: not done, and Slack says why in `code`. */
  readonly kind: 'unknown' | 'busy' | 'refused';
  readonly code: string;
  /** How long Slack wants us to wait; 0 where it says nothing. */
  readonly afterMs: number;
  constructor(kind: SlackTrouble['kind'], code: string, cause: unknown, afterMs = 0) {
    super(`Slack ${kind === 'refused' ? 'refuses' : 'does not answer'}: ${code}`, { cause });
    this.kind = kind;
    this.code = code;
    this.afterMs = afterMs;
  }
}

export type SlackUser = {
  id: string;
  email: string | undefined;
  /** A person of this workspace with an account of its own: no bot, no guest, nobody who has left. */
  isMember: boolean;
};

type Where = { channel: string; thread: string | undefined };
type Shown = { text: string; blocks: readonly Json[] };

export type SlackClient = {
  /** Who we are. */
  whoAmI(): Promise<{ team: string; user: string }>;
  /** Gives the name of the message. `id` stands in its metadata. */
  post(row: Where & Shown & { id: string; isBroadcast: boolean }): Promise<string>;
  update(row: Shown & { channel: string; ts: string }): Promise<void>;
  /** The name of the message with this id that was sent after `since`; undefined where there is none. */
  find(row: Where & { id: string; since: Date }): Promise<string | undefined>;
  /** Only this person sees it. */
  whisper(row: Where & { user: string; text: string }): Promise<void>;
  openModal(trigger: string, view: Json): Promise<void>;
  user(id: string): Promise<SlackUser | undefined>;
  userByEmail(email: string): Promise<SlackUser | undefined>;
  groupMembers(group: string): Promise<string[]>;
  permalink(row: { channel: string; ts: string }): Promise<string | undefined>;
};

export function makeSlackClient(options: {
  token: string;
  url: string;
  team: string;
  log: Logger;
}): SlackClient {
  const web = new WebClient(options.token, {
    slackApiUrl: options.url,
    timeout: CALL_MS,
    // Who calls tries again, and knows how often he did.
    retryConfig: { retries: 0 },
    rejectRateLimitedCalls: true,
    allowAbsoluteUrls: false,
    maxRequestConcurrency: CALLS_AT_ONCE_MAX,
    logger: slackLogger(options.log),
  });
  const userOf = (user: RawUser | undefined): SlackUser | undefined =>
    user?.id === undefined
      ? undefined
      : {
          id: user.id,
          email: user.profile?.email,
          isMember:
            user.deleted !== true &&
            user.is_bot !== true &&
            user.is_restricted !== true &&
            user.is_ultra_restricted !== true &&
            user.team_id === options.team,
        };
  return {
    async whoAmI() {
      const { team_id: team, user_id: user } = await calling(web.auth.test());
      return { team: team ?? '', user: user ?? '' };
    },

    async post({ channel, thread, text, blocks, id, isBroadcast }) {
      const message = {
        channel,
        text,
        blocks: blocks as never,
        unfurl_links: false,
        unfurl_media: false,
        metadata: { event_type: EVENT_TYPE, event_payload: { id } },
      };
      const answering = thread === undefined ? {} : { thread_ts: thread };
      const said =
        isBroadcast && thread !== undefined ? { thread_ts: thread, reply_broadcast: true } : answering;
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- Slack's method, not that of a window
      const answer = await calling(web.chat.postMessage({ ...message, ...said }));
      if (answer.ts === undefined)
        throw new SlackTrouble('unknown', 'the answer names no message', undefined);
      return answer.ts;
    },

    async update({ channel, ts, text, blocks }) {
      await calling(web.chat.update({ channel, ts, text, blocks: blocks as never }));
    },

    async find({ channel, thread, id, since }) {
      const oldest = String(since.getTime() / 1_000 - CLOCKS_DIFFER_SECONDS);
      let cursor: string | undefined;
      for (let page = 0; page < PAGES_MAX; page += 1) {
        const asked = {
          channel,
          oldest,
          limit: PAGE,
          include_all_metadata: true,
          ...(cursor === undefined ? {} : { cursor }),
        };
        const { messages = [], response_metadata: more } = await calling<History>(
          thread === undefined
            ? web.conversations.history(asked)
            : web.conversations.replies({ ...asked, ts: thread }),
        );
        const found = messages.find(({ metadata }) => metadata?.event_payload?.['id'] === id);
        if (found?.ts !== undefined) return found.ts;
        cursor = more?.next_cursor;
        if (cursor === undefined || cursor === '') return undefined;
      }
      return undefined;
    },

    async whisper({ channel, thread, user, text }) {
      await calling(
        web.chat.postEphemeral({
          channel,
          user,
          text,
          ...(thread === undefined ? {} : { thread_ts: thread }),
        }),
      );
    },

    async openModal(trigger, view) {
      await calling(web.views.open({ trigger_id: trigger, view: view as never }));
    },

    user: (id) =>
      unlessMissing(calling(web.users.info({ user: id })).then(({ user }) => userOf(user as RawUser))),
    userByEmail: (email) =>
      unlessMissing(calling(web.users.lookupByEmail({ email })).then(({ user }) => userOf(user as RawUser))),

    async groupMembers(group) {
      const { users = [] } = await calling(web.usergroups.users.list({ usergroup: group }));
      return users;
    },

    permalink: ({ channel, ts }) =>
      unlessMissing(
        calling(web.chat.getPermalink({ channel, message_ts: ts })).then(({ permalink }) => permalink),
      ),
  };
}

type RawUser = {
  id?: string;
  team_id?: string;
  deleted?: boolean;
  is_bot?: boolean;
  is_restricted?: boolean;
  is_ultra_restricted?: boolean;
  profile?: { email?: string };
};

type History = {
  messages?: { ts?: string; metadata?: { event_payload?: Record<string, unknown> } }[];
  response_metadata?: { next_cursor?: string };
};

async function calling<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw troubleOf(error);
  }
}

function troubleOf(error: unknown): SlackTrouble {
  if (error instanceof WebAPIRateLimitedError)
    return new SlackTrouble('busy', 'ratelimited', error, error.retryAfter * 1_000);
  if (error instanceof WebAPIPlatformError) {
    const { error: code } = error.data;
    const isOurFault = !['internal_error', 'fatal_error', 'service_unavailable', 'request_timeout'].includes(
      code,
    );
    return new SlackTrouble(isOurFault ? 'refused' : 'unknown', code, error);
  }
  if (error instanceof WebAPIHTTPError)
    return new SlackTrouble('unknown', `status ${error.statusCode}`, error);
  return new SlackTrouble('unknown', error instanceof Error ? error.message : String(error), error);
}

const MISSING = ['user_not_found', 'users_not_found', 'message_not_found', 'user_not_visible'];

async function unlessMissing<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof SlackTrouble && error.kind === 'refused' && MISSING.includes(error.code))
      return undefined;
    throw error;
  }
}

/** The library's own log, into ours: what it calls an error is told by us, with its cause, where it is handled. */
export function slackLogger(log: Logger): SlackLogger {
  const tell = (...said: unknown[]) => log.debug({ said: said.map(String) }, 'slack: library');
  return {
    debug: () => undefined,
    info: tell,
    warn: tell,
    error: tell,
    setLevel: () => undefined,
    getLevel: () => LogLevel.INFO,
    setName: () => undefined,
  };
}
