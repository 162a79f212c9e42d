/**
 * Slack on this machine, for the tests and the demo: the Web API over HTTP with its errors and limits, Socket Mode, and
 * people who click. Clicks go over a socket where one is connected, else as signed requests to whoever takes them.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import {
  type Args,
  type FakeEphemeral,
  type FakeMessage,
  type FakeState,
  type FakeUser,
  type FakeView,
  callMethod,
} from './fake-slack-methods.ts';
import { type FakeSocket, takeSocket } from './fake-socket.ts';

export type { FakeMessage, FakeUser, FakeView } from './fake-slack-methods.ts';

/** What a method does instead of answering, once each. */
export type Fault =
  /** The connection is closed before anything was done. */
  | 'refuse'
  /** It is done, and the connection is closed before the answer. */
  | 'lose'
  /** It is not done, and nobody answers. */
  | 'hang'
  | { status: number }
  | { retryAfter: number }
  | { error: string };

export type SignedRequest = { headers: Record<string, string>; body: string };
export type Delivered = { status: number; body: string };

const TRIGGER_MS = 3_000;
/** chat.postMessage: about one a second and channel, with a short burst. */
const BURST = 4;

export type FakeSlack = Awaited<ReturnType<typeof startFakeSlack>>;

export async function startFakeSlack(
  options: { users?: FakeUser[]; channels?: string[]; isRateLimited?: boolean } = {},
) {
  const state: FakeState = {
    team: 'T0PIANO',
    app: 'A0COUNTDOWN',
    bot: 'U0COUNTDOWN',
    scopes: new Set([
      'chat:write',
      'channels:history',
      'users:read',
      'users:read.email',
      'usergroups:read',
      'commands',
    ]),
    channels: new Set(options.channels ?? ['C0LAUNCH']),
    users: new Map((options.users ?? []).map((user) => [user.id, user])),
    userGroups: new Map(),
    messages: [],
    ephemerals: [],
    views: [],
    triggers: new Map(),
    isFreePlan: false,
    serial: 0,
    now: () => Date.now(),
  };
  const botToken = `xoxb-${randomBytes(16).toString('hex')}`;
  const appToken = `xapp-1-${randomBytes(16).toString('hex')}`;
  const signingSecret = randomBytes(16).toString('hex');
  const calls: { method: string; args: Args; error: string | null }[] = [];
  const faults = new Map<string, Fault[]>();
  const sockets = new Map<FakeSocket, Map<string, (payload: unknown) => void>>();
  const posted = new Map<string, number[]>();
  let isDown = false;
  let hanging = 0;
  let deliver: ((request: SignedRequest) => Promise<Delivered>) | undefined;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await textOf(request);
    if (isDown) return void request.socket.destroy();
    const path = request.url ?? '';
    const json = (value: object, status = 200, headers: Record<string, string> = {}) => {
      response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', ...headers });
      response.end(JSON.stringify(value));
    };
    if (path.startsWith('/respond/')) return respond(path, body, json);
    const method = path.replace('/api/', '');
    const args = Object.fromEntries(new URLSearchParams(body));
    const fault = faults.get(method)?.shift() ?? faults.get('*')?.shift();
    if (fault === 'refuse') return void request.socket.destroy();
    if (fault === 'hang') {
      hanging += 1;
      request.socket.once('close', () => (hanging -= 1));
      return;
    }
    if (typeof fault === 'object') {
      if ('status' in fault) return json({ ok: false }, fault.status);
      if ('retryAfter' in fault)
        return json({ ok: false, error: 'ratelimited' }, 429, { 'Retry-After': String(fault.retryAfter) });
      calls.push({ method, args, error: fault.error });
      return json({ ok: false, error: fault.error });
    }
    const wanted = method === 'apps.connections.open' ? appToken : botToken;
    const given = request.headers.authorization ?? `Bearer ${args['token'] ?? ''}`;
    if (given === 'Bearer ') return json({ ok: false, error: 'not_authed' });
    if (given !== `Bearer ${wanted}`) return json({ ok: false, error: 'invalid_auth' });
    if (method === 'apps.connections.open')
      return json({
        ok: true,
        url: `${url.replace('http:', 'ws:')}/socket/${randomBytes(8).toString('hex')}`,
      });
    if (method === 'chat.postMessage' && isTooFast(args['channel'] ?? ''))
      return json({ ok: false, error: 'ratelimited' }, 429, { 'Retry-After': '1' });
    const answered = callMethod(state, method, args);
    calls.push({ method, args, error: answered.error ?? null });
    if (fault === 'lose') return void request.socket.destroy();
    json(answered);
  }

  function isTooFast(channel: string): boolean {
    if (options.isRateLimited !== true) return false;
    const now = state.now();
    const recent = (posted.get(channel) ?? []).filter((at) => now - at < BURST * 1_000);
    if (recent.length < BURST) recent.push(now);
    else return true;
    posted.set(channel, recent);
    return false;
  }

  /** An answer to a click by its `response_url`: five, within half an hour. */
  const responses = new Map<string, { left: number; channel: string; user: string }>();
  function respond(path: string, body: string, json: (value: object, status?: number) => void): void {
    const found = responses.get(path);
    if (found === undefined || found.left === 0) return json({ ok: false, error: 'used_url' }, 404);
    found.left -= 1;
    const said: { text?: string } = JSON.parse(body);
    state.ephemerals.push({ channel: found.channel, user: found.user, text: said.text ?? '' });
    json({ ok: true });
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  server.on('upgrade', (request, stream) => {
    if (isDown) return void stream.destroy();
    const waiting = new Map<string, (payload: unknown) => void>();
    const socket = takeSocket(request, stream, {
      text: (text) => {
        const { envelope_id: id, payload }: { envelope_id: string; payload: unknown } = JSON.parse(text);
        waiting.get(id)?.(payload);
        waiting.delete(id);
      },
      end: () => sockets.delete(socket),
    });
    sockets.set(socket, waiting);
    socket.send(
      JSON.stringify({ type: 'hello', num_connections: 1, connection_info: { app_id: state.app } }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  function sign(body: string, over: { at?: number; secret?: string } = {}): SignedRequest {
    const at = String(over.at ?? Math.floor(state.now() / 1_000));
    const hash = createHmac('sha256', over.secret ?? signingSecret)
      .update(`v0:${at}:${body}`)
      .digest('hex');
    return {
      headers: {
        'Content-Type': 'application/x-www-form-urlencoded',
        'X-Slack-Request-Timestamp': at,
        'X-Slack-Signature': `v0=${hash}`,
      },
      body,
    };
  }

  /** Over a socket where there is one, else as a signed request. */
  async function send(
    type: 'interactive' | 'slash_commands',
    payload: Record<string, unknown>,
  ): Promise<Delivered> {
    const [connected] = [...sockets].toReversed();
    if (connected !== undefined) {
      const [socket, waiting] = connected;
      const id = randomBytes(8).toString('hex');
      const acked = new Promise<unknown>((resolve, reject) => {
        waiting.set(id, resolve);
        setTimeout(() => reject(new Error('Nobody acknowledged the click within 3 s.')), TRIGGER_MS).unref();
      });
      socket.send(JSON.stringify({ envelope_id: id, type, payload, accepts_response_payload: true }));
      return { status: 200, body: JSON.stringify((await acked) ?? '') };
    }
    if (deliver === undefined) throw new Error('Nobody takes clicks: connect a socket, or set deliverTo().');
    return deliver(sign(bodyOf(type, payload)));
  }

  function trigger(user: string): string {
    const id = `${state.serial}.${randomBytes(6).toString('hex')}`;
    state.triggers.set(id, { until: state.now() + TRIGGER_MS, user, used: false });
    return id;
  }

  function who(user: string): { id: string; team_id: string; username: string } {
    const found = state.users.get(user);
    return { id: user, team_id: found?.team ?? state.team, username: found?.name ?? user };
  }

  function responseUrl(channel: string, user: string): string {
    const path = `/respond/${randomBytes(8).toString('hex')}`;
    responses.set(path, { left: 5, channel, user });
    return `${url}${path}`;
  }

  const common = (user: string) => ({
    team: { id: state.team, domain: 'piano' },
    user: who(user),
    api_app_id: state.app,
    token: 'legacy-verification-token',
    trigger_id: trigger(user),
  });

  /** What Slack sends when somebody presses this button of the message. Throws where it has no such button. */
  function clickPayload(user: string, message: FakeMessage, actionId: string): Record<string, unknown> {
    const button = message.blocks
      .flatMap((block) => (block['elements'] as Record<string, unknown>[] | undefined) ?? [])
      .find((element) => element['action_id'] === actionId);
    if (button === undefined) throw new Error(`The message has no button ${actionId}: ${message.text}`);
    return {
      type: 'block_actions',
      ...common(user),
      container: { type: 'message', message_ts: message.ts, channel_id: message.channel },
      channel: { id: message.channel, name: 'launch' },
      message: { ts: message.ts, thread_ts: message.thread_ts, text: message.text },
      response_url: responseUrl(message.channel, user),
      actions: [
        {
          type: 'button',
          action_id: actionId,
          block_id: 'actions',
          value: button['value'],
          action_ts: String(state.now() / 1_000),
        },
      ],
    };
  }

  function submitPayload(user: string, opened: FakeView, values: Record<string, string>) {
    const blocks = opened.view['blocks'] as {
      type: string;
      block_id: string;
      element?: { action_id: string };
    }[];
    const inputs = blocks.filter(({ type }) => type === 'input');
    return {
      type: 'view_submission',
      ...common(user),
      view: {
        id: opened.id,
        hash: opened.hash,
        callback_id: opened.view['callback_id'],
        private_metadata: opened.view['private_metadata'],
        state: {
          values: Object.fromEntries(
            inputs.map(({ block_id: id, element }) => [
              id,
              { [element?.action_id ?? '']: { type: 'plain_text_input', value: values[id] ?? null } },
            ]),
          ),
        },
      },
      response_urls: [],
    };
  }

  return {
    state,
    url: `${url}/api/`,
    botToken,
    appToken,
    signingSecret,
    calls,
    sign,
    bodyOf,
    clickPayload,
    submitPayload,
    /** Messages of a channel in order; with a thread its answers alone. */
    messages: (channel: string, thread?: string): FakeMessage[] =>
      state.messages.filter(
        (one) => one.channel === channel && (thread === undefined || one.thread_ts === thread),
      ),
    ephemerals: (user: string): FakeEphemeral[] => state.ephemerals.filter((one) => one.user === user),
    lastView: (): FakeView | undefined => state.views.at(-1),
    /** The next calls of the method (`*` for any) do this instead. */
    fault(method: string, ...next: Fault[]): void {
      faults.set(method, [...(faults.get(method) ?? []), ...next]);
    },
    /** Nobody answers any more; sockets are cut. */
    down(): void {
      isDown = true;
      for (const socket of sockets.keys()) socket.cut();
    },
    up(): void {
      isDown = false;
    },
    /** Calls that hang now. */
    waiting: () => hanging,
    sockets: () => sockets.size,
    /** Asks the client to connect anew, as Slack does every few hours. */
    refreshSockets(): void {
      for (const socket of sockets.keys())
        socket.send(JSON.stringify({ type: 'disconnect', reason: 'refresh_requested' }));
    },
    /** Who takes signed requests. */
    deliverTo(take: (request: SignedRequest) => Promise<Delivered>): void {
      deliver = take;
    },
    send,
    click: (user: string, message: FakeMessage, actionId: string): Promise<Delivered> =>
      send('interactive', clickPayload(user, message, actionId)),
    submit: (user: string, opened: FakeView, values: Record<string, string>): Promise<Delivered> =>
      send('interactive', submitPayload(user, opened, values)),
    command: (user: string, text: string, channel = 'C0LAUNCH'): Promise<Delivered> =>
      send('slash_commands', {
        command: '/countdown',
        text,
        team_id: state.team,
        api_app_id: state.app,
        channel_id: channel,
        user_id: user,
        user_name: who(user).username,
        trigger_id: trigger(user),
        response_url: responseUrl(channel, user),
      }),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.keys()) socket.cut();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function bodyOf(type: 'interactive' | 'slash_commands', payload: Record<string, unknown>): string {
  return type === 'slash_commands'
    ? new URLSearchParams(payload as Record<string, string>).toString()
    : new URLSearchParams({ payload: JSON.stringify(payload) }).toString();
}

/** The settings of an API that is connected to it by Socket Mode. */
export function slackVariables(fake: FakeSlack): Record<string, string> {
  return {
    COUNTDOWN_SLACK_URL: fake.url,
    COUNTDOWN_SLACK_BOT_TOKEN: fake.botToken,
    COUNTDOWN_SLACK_APP_TOKEN: fake.appToken,
    COUNTDOWN_SLACK_TEAM: fake.state.team,
    COUNTDOWN_SLACK_APP: fake.state.app,
  };
}
