/** The methods of the Web API that Countdown calls, as Slack answers them. State in memory; no clock but the one handed in. */
import { type Block, blockProblems, isTooLong, viewProblems } from './block-kit.ts';

export type FakeUser = {
  id: string;
  name: string;
  email?: string;
  team?: string;
  is_bot?: boolean;
  deleted?: boolean;
  is_restricted?: boolean;
};

export type FakeMessage = {
  ts: string;
  channel: string;
  thread_ts?: string;
  text: string;
  blocks: Block[];
  metadata?: { event_type: string; event_payload: Record<string, unknown> };
  broadcast: boolean;
  /** How often it was edited. */
  edits: number;
};

export type FakeEphemeral = { channel: string; user: string; thread_ts?: string; text: string };
export type FakeView = { id: string; hash: string; user: string; view: Record<string, unknown> };

export type FakeState = {
  team: string;
  app: string;
  bot: string;
  /** Scopes of the bot token. */
  scopes: Set<string>;
  /** Channels that the bot is a member of. */
  channels: Set<string>;
  users: Map<string, FakeUser>;
  userGroups: Map<string, string[]>;
  messages: FakeMessage[];
  ephemerals: FakeEphemeral[];
  views: FakeView[];
  /** Trigger ids: when they end, and whether they were used. */
  triggers: Map<string, { until: number; user: string; used: boolean }>;
  /** User groups exist on paid plans alone. */
  isFreePlan: boolean;
  serial: number;
  now: () => number;
};

export type Args = Record<string, string>;
export type Answer = { ok: boolean; error?: string; [member: string]: unknown };

const no = (error: string, more: object = {}): Answer => ({ ok: false, error, ...more });
const METADATA_BYTES_MAX = 16_000;
/** A message that answers a click with `response_url` lives as long as that. */
const TEXT_MAX = 40_000;
const UPDATE_TEXT_MAX = 4_000;

/** What each method needs. */
const SCOPES: Record<string, string> = {
  'chat.postMessage': 'chat:write',
  'chat.update': 'chat:write',
  'chat.postEphemeral': 'chat:write',
  'conversations.history': 'channels:history',
  'conversations.replies': 'channels:history',
  'users.info': 'users:read',
  'users.lookupByEmail': 'users:read.email',
  'usergroups.users.list': 'usergroups:read',
};

export function callMethod(state: FakeState, method: string, args: Args): Answer {
  const needed = SCOPES[method];
  if (needed !== undefined && !state.scopes.has(needed))
    return no('missing_scope', { needed, provided: [...state.scopes].join(',') });
  const handler = Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
  return handler === undefined ? no('unknown_method', { req_method: method }) : handler(state, args);
}

const METHODS: Record<string, (state: FakeState, args: Args) => Answer> = {
  'auth.test': ({ team, bot }) => ({
    ok: true,
    url: 'https://piano.slack.com/',
    team: 'Piano',
    user: 'countdown',
    team_id: team,
    user_id: bot,
    bot_id: 'B0COUNTDOWN',
  }),
  'chat.postMessage': postMessage,
  'chat.update': updateMessage,
  'chat.postEphemeral': postEphemeral,
  'chat.getPermalink': ({ messages }, { channel, message_ts: ts }) =>
    messages.some((one) => one.channel === channel && one.ts === ts)
      ? {
          ok: true,
          channel,
          permalink: `https://piano.slack.com/archives/${channel}/p${(ts ?? '').replace('.', '')}`,
        }
      : no('message_not_found'),
  'conversations.history': (state, args) =>
    listMessages(state, args, (one) => one.thread_ts === undefined || one.broadcast),
  'conversations.replies': (state, args) =>
    state.messages.some((one) => one.channel === args['channel'] && one.ts === args['ts'])
      ? listMessages(state, args, (one) => one.ts === args['ts'] || one.thread_ts === args['ts'])
      : no('thread_not_found'),
  'users.info': (state, { user }) => {
    const found = state.users.get(user ?? '');
    return found === undefined ? no('user_not_found') : { ok: true, user: shown(state, found) };
  },
  'users.lookupByEmail': (state, { email }) => {
    const found = [...state.users.values()].find(
      (one) => one.email?.toLowerCase() === email?.toLowerCase() && one.deleted !== true,
    );
    return found === undefined ? no('users_not_found') : { ok: true, user: shown(state, found) };
  },
  'usergroups.users.list': (state, { usergroup }) => {
    if (state.isFreePlan) return no('plan_upgrade_required');
    const users = state.userGroups.get(usergroup ?? '');
    return users === undefined ? no('no_such_subteam') : { ok: true, users };
  },
  'views.open': openView,
};

function shown({ team, scopes }: FakeState, user: FakeUser): object {
  return {
    id: user.id,
    team_id: user.team ?? team,
    name: user.name,
    deleted: user.deleted ?? false,
    is_bot: user.is_bot ?? false,
    is_restricted: user.is_restricted ?? false,
    is_ultra_restricted: false,
    profile: {
      real_name: user.name,
      ...(user.email !== undefined && scopes.has('users:read.email') ? { email: user.email } : {}),
    },
  };
}

/** The blocks, or why Slack does not take the message. */
function contentOf(args: Args, textMax: number): { blocks: Block[] } | Answer {
  const text = args['text'] ?? '';
  if (text === '' && args['blocks'] === undefined) return no('no_text');
  if (text.length > textMax) return no('msg_too_long');
  if (args['blocks'] === undefined) return { blocks: [] };
  let blocks: unknown;
  try {
    blocks = JSON.parse(args['blocks']);
  } catch {
    return no('invalid_blocks_format');
  }
  const problems = blockProblems(blocks, 'message');
  if (problems.length > 0)
    return no('invalid_blocks', { errors: problems, response_metadata: { messages: problems } });
  if (isTooLong(blocks)) return no('msg_blocks_too_long');
  return { blocks: blocks as Block[] };
}

function postMessage(state: FakeState, args: Args): Answer {
  const { channel = '', thread_ts: thread } = args;
  const target = state.users.has(channel) ? `D${channel.slice(1)}` : channel;
  if (target === channel && !/^[CDG][A-Z0-9]+$/.test(channel)) return no('channel_not_found');
  if (target === channel && !state.channels.has(channel)) return no('not_in_channel');
  const content = contentOf(args, TEXT_MAX);
  if ('ok' in content) return content;
  if (thread !== undefined && !state.messages.some(({ ts }) => ts === thread)) return no('thread_not_found');
  let metadata: FakeMessage['metadata'];
  if (args['metadata'] !== undefined) {
    if (args['metadata'].length > METADATA_BYTES_MAX) return no('metadata_too_large');
    metadata = JSON.parse(args['metadata']) as NonNullable<FakeMessage['metadata']>;
    if (typeof metadata.event_type !== 'string' || typeof metadata.event_payload !== 'object')
      return no('invalid_metadata_format');
  }
  state.serial += 1;
  const ts = `${Math.floor(state.now() / 1_000)}.${String(state.serial).padStart(6, '0')}`;
  state.messages.push({
    ts,
    channel: target,
    ...(thread === undefined ? {} : { thread_ts: thread }),
    text: args['text'] ?? '',
    blocks: content.blocks,
    ...(metadata === undefined ? {} : { metadata }),
    broadcast: args['reply_broadcast'] === 'true',
    edits: 0,
  });
  return { ok: true, channel: target, ts, message: { ts, text: args['text'] ?? '' } };
}

function updateMessage(state: FakeState, args: Args): Answer {
  const message = state.messages.find((one) => one.channel === args['channel'] && one.ts === args['ts']);
  if (message === undefined) return no('message_not_found');
  const content = contentOf(args, UPDATE_TEXT_MAX);
  if ('ok' in content) return content;
  message.text = args['text'] ?? '';
  message.blocks = content.blocks;
  message.edits += 1;
  return { ok: true, channel: message.channel, ts: message.ts, text: message.text };
}

function postEphemeral(state: FakeState, args: Args): Answer {
  const { channel = '', user = '', text = '', thread_ts: thread } = args;
  if (!state.channels.has(channel)) return no('channel_not_found');
  if (!state.users.has(user)) return no('user_not_in_channel');
  if (text === '') return no('no_text');
  state.ephemerals.push({ channel, user, text, ...(thread === undefined ? {} : { thread_ts: thread }) });
  state.serial += 1;
  return { ok: true, message_ts: `${Math.floor(state.now() / 1_000)}.${state.serial}` };
}

function listMessages(state: FakeState, args: Args, isShown: (message: FakeMessage) => boolean): Answer {
  if (!state.channels.has(args['channel'] ?? '')) return no('channel_not_found');
  const oldest = Number(args['oldest'] ?? 0);
  const all = state.messages
    .filter((one) => one.channel === args['channel'] && isShown(one) && Number(one.ts) >= oldest)
    .toReversed();
  const from = Number(args['cursor'] ?? 0);
  const limit = Math.min(Number(args['limit'] ?? 100), 999);
  const withMetadata = args['include_all_metadata'] === 'true';
  const page = all.slice(from, from + limit).map(({ ts, text, thread_ts, metadata }) => ({
    type: 'message',
    ts,
    text,
    ...(thread_ts === undefined ? {} : { thread_ts }),
    ...(withMetadata && metadata !== undefined ? { metadata } : {}),
  }));
  const hasMore = from + limit < all.length;
  return {
    ok: true,
    messages: page,
    has_more: hasMore,
    response_metadata: { next_cursor: hasMore ? String(from + limit) : '' },
  };
}

function openView(state: FakeState, args: Args): Answer {
  const trigger = state.triggers.get(args['trigger_id'] ?? '');
  if (trigger === undefined) return no('invalid_trigger_id');
  if (trigger.until < state.now()) return no('expired_trigger_id');
  if (trigger.used) return no('exchanged_trigger_id');
  let view: unknown;
  try {
    view = JSON.parse(args['view'] ?? '');
  } catch {
    return no('invalid_arguments');
  }
  const problems = viewProblems(view);
  if (problems.length > 0) return no('invalid_arguments', { response_metadata: { messages: problems } });
  trigger.used = true;
  state.serial += 1;
  const opened: FakeView = {
    id: `V${state.serial}`,
    hash: `${state.now()}.h${state.serial}`,
    user: trigger.user,
    view: view as Record<string, unknown>,
  };
  state.views.push(opened);
  return { ok: true, view: { id: opened.id, hash: opened.hash } };
}
