/** The API with Slack: its real store, a fake Slack, and with an engine a real Temporal too. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makePool } from '../../store/pool.ts';
import { type SlackStore, makeSlackStore } from '../../store/slack.ts';
import type { JournalRow } from '../../store/types.ts';
import { refusedRows } from '../../store/journal.ts';
import { type Slack, makeSlack } from '../../slack/index.ts';
import { makeTestApi } from '../api/support.ts';
import type { Engine } from '../support/engine.ts';
import {
  type Delivered,
  type FakeMessage,
  type FakeSlack,
  type SignedRequest,
  startFakeSlack,
} from '../support/fake-slack.ts';
import { makeStoreDatabase } from '../support/store.ts';

export const CHANNEL = 'C0LAUNCH';

/** Ben and pia have no id in the file; mallory is nobody; product is kept by Slack. */
export const ENVIRONMENT = `environment: test
protected: false
slack: { channel: ${CHANNEL} }
targets: { thing: { kind: switch, url: 'http://127.0.0.1:9', values: ['off', 'on'] } }
people:
  ana: { email: ana@piano.example, slack: U0ANA }
  ben: { email: ben@piano.example }
  dana: { slack: U0DANA }
  olu: { slack: U0OLU }
  pia: { email: pia@piano.example }
  zoe: {}
roles: { operator: [dana], admin: [zoe], auditor: [] }
groups: { sre: [ana, ben], owner: [olu], product: { slackGroup: S0PRODUCT } }
`;

export const USERS = [
  { id: 'U0ANA', name: 'ana', email: 'ana@piano.example' },
  { id: 'U0ANA2', name: 'ana at home', email: 'ana@piano.example' },
  { id: 'U0BEN', name: 'ben', email: 'Ben@piano.example' },
  { id: 'U0DANA', name: 'dana', email: 'dana@piano.example' },
  { id: 'U0OLU', name: 'olu', email: 'olu@piano.example' },
  { id: 'U0PIA', name: 'pia', email: 'pia@piano.example' },
  { id: 'U0BOT', name: 'robot', email: 'pia@piano.example', is_bot: true },
  { id: 'U0GUEST', name: 'guest', email: 'ben@piano.example', is_restricted: true },
  { id: 'U0MALLORY', name: 'mallory', email: 'mallory@evil.example' },
  { id: 'U0STRANGER', name: 'stranger', email: 'ana@piano.example', team: 'T0OTHER' },
];

export type SlackWorld = Awaited<ReturnType<typeof makeSlackWorld>>;

export async function makeSlackWorld(
  options: {
    engine?: Engine;
    isRateLimited?: boolean;
    /** Clicks come over a socket instead of as signed requests. */
    bySocket?: boolean;
    environment?: string;
    /** Nothing is told until the test calls `tell`. */
    isQuiet?: boolean;
    pace?: { postEveryMs: number; editEveryMs: number };
  } = {},
) {
  const fake = await startFakeSlack({
    users: USERS,
    channels: [CHANNEL],
    ...(options.isRateLimited === true ? { isRateLimited: true } : {}),
  });
  fake.state.userGroups.set('S0PRODUCT', ['U0PIA']);
  const own = options.engine === undefined ? await makeStoreDatabase() : undefined;
  const pool = makePool(options.engine?.store.apiUrl ?? own?.apiUrl ?? '', { name: 'test-slack' });
  const slackStore: SlackStore = makeSlackStore(pool);
  const config = {
    url: fake.url,
    botToken: fake.botToken,
    appToken: options.bySocket === true ? fake.appToken : undefined,
    signingSecret: options.bySocket === true ? undefined : fake.signingSecret,
    team: fake.state.team,
    app: fake.state.app,
  };
  const pace = options.pace ?? { postEveryMs: 0, editEveryMs: 0 };
  let slack: Slack | undefined;
  const api = await makeTestApi({
    ...(options.engine === undefined ? {} : { engine: options.engine }),
    ...(own === undefined ? {} : { database: own }),
    parts: (made) => {
      slack = makeSlack(config, { ...made, slack: slackStore, pace });
      return {
        environments: slack.environments,
        groupsNow: slack.groupsNow,
        ...(slack.receive === undefined ? {} : { slack: slack.receive }),
      };
    },
  });
  await writeFile(join(api.environmentFolder, 'test.yaml'), options.environment ?? ENVIRONMENT);
  const send = async ({ headers, body }: SignedRequest): Promise<Delivered> => {
    const response = await api.app.request('/v1/slack', { method: 'POST', headers, body });
    return { status: response.status, body: await response.text() };
  };
  fake.deliverTo(send);
  const ending = new AbortController();
  let running = options.isQuiet === true ? undefined : slack?.run(ending.signal);

  return {
    api,
    fake,
    slackStore,
    pool,
    /** A request as it is, signed or not. */
    send,
    /** Starts telling, where the world was made quiet. */
    tell: () => {
      running ??= slack?.run(ending.signal);
    },
    /** Another process that tells of the same runs, as far as one process can be two. */
    another: () => {
      const signal = new AbortController();
      const { store, environments, launcher, log, now } = api;
      const part = makeSlack(config, { store, environments, launcher, log, now, slack: slackStore, pace });
      const done = part.run(signal.signal);
      return {
        stop: async () => {
          signal.abort();
          await done;
        },
      };
    },
    /** Refused attempts in the environment's chain, the oldest first. */
    refused: async (): Promise<JournalRow[]> => refusedRows(api.owner, 'test', { after: 0, limit: 500 }),
    async [Symbol.asyncDispose]() {
      ending.abort();
      await running;
      await api[Symbol.asyncDispose]();
      await own?.[Symbol.asyncDispose]();
      await pool.end();
      await fake[Symbol.asyncDispose]();
    },
  };
}

const WAIT_MS = 15_000;

/** Waits for what is looked for; fails with the sentence after 15 s. */
export async function until<T>(
  what: string | (() => string),
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline)
      throw new Error(`${typeof what === 'string' ? what : what()} did not come within ${WAIT_MS} ms.`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Everything that a message shows, as one text. */
export function shownBy(message: FakeMessage): string {
  return JSON.stringify(message.blocks);
}

export const textOf = ({ blocks }: FakeMessage): string =>
  blocks
    .flatMap((block) => {
      const { text, fields, elements } = block as {
        text?: unknown;
        fields?: unknown[];
        elements?: unknown[];
      };
      return [text, ...(fields ?? []), ...(elements ?? [])];
    })
    .flatMap((one) => {
      const { text } = (one ?? {}) as { text?: unknown };
      return typeof text === 'string' ? [text] : [];
    })
    .join('\n');

export const buttonsOf = (message: FakeMessage): string[] =>
  message.blocks.flatMap((block) =>
    ((block['elements'] as { type: string; action_id: string }[] | undefined) ?? [])
      .filter(({ type }) => type === 'button')
      .map((button) => button.action_id),
  );

/** The last message of the channel whose first line begins so. */
export function told(fake: FakeSlack, start: string): FakeMessage | undefined {
  return fake.messages(CHANNEL).findLast(({ text }) => text.startsWith(start));
}
