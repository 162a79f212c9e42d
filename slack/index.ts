/** Slack as one part: who is who, the door, the sender, and the socket. The API composes it where its settings name Slack. */
import type { Logger } from 'pino';
import type { ApiDeps } from '../api/context.ts';
import type { Launcher } from '../api/launcher.ts';
import type { Environments } from '../store/environment-files.ts';
import type { SlackStore } from '../store/slack.ts';
import type { ApiStore } from '../store/types.ts';
import { makeSlackClient } from './client.ts';
import { groupsNow, makeDirectory, withSlackGroups } from './directory.ts';
import { makeDoor } from './door.ts';
import { makeReceiver } from './receive.ts';
import { makeRefusals } from './refusals.ts';
import { runSender } from './telling.ts';
import { runSocket } from './socket.ts';

export type SlackConfig = {
  /** Ends in `/api/`. */
  url: string;
  botToken: string;
  /** For Socket Mode; undefined where clicks come as signed requests. */
  appToken: string | undefined;
  /** For signed requests; undefined where they come by Socket Mode. */
  signingSecret: string | undefined;
  /** Ids of the workspace and of the app: clicks of others are refused. */
  team: string;
  app: string;
};

export type Slack = {
  /** The environments with the members of the groups that Slack keeps. */
  environments: Environments;
  groupsNow: NonNullable<ApiDeps['groupsNow']>;
  receive: NonNullable<ApiDeps['slack']> | undefined;
  /** Tells, and takes clicks, until the signal aborts; resolves when everything in hand is done. */
  run(signal: AbortSignal): Promise<void>;
};

export function makeSlack(
  config: SlackConfig,
  deps: {
    store: ApiStore;
    slack: SlackStore;
    launcher: Launcher;
    environments: Environments;
    log: Logger;
    now: () => Date;
    /** For tests: milliseconds between two new messages of a channel, and between two edits of one. */
    pace?: { postEveryMs: number; editEveryMs: number };
  },
): Slack {
  const { log, now, store, slack } = deps;
  const client = makeSlackClient({ token: config.botToken, url: config.url, team: config.team, log });
  const directory = makeDirectory({ client, log, now });
  const environments = withSlackGroups(deps.environments, directory);
  const refusals = makeRefusals({ store, environments, now });
  const read: Slack['groupsNow'] = (environment, person) => groupsNow(directory, environment, person);
  const door = makeDoor({
    store,
    slack,
    client,
    directory,
    refusals,
    environments,
    launcher: deps.launcher,
    log,
    now,
    groupsNow: read,
    team: config.team,
    app: config.app,
  });
  const { appToken, signingSecret } = config;
  return {
    environments,
    groupsNow: read,
    receive: signingSecret === undefined ? undefined : makeReceiver({ door, refusals, signingSecret, now }),
    async run(signal) {
      await Promise.all([
        runSender({ store, slack, client, directory, environments, log, ...deps.pace }, signal),
        ...(appToken === undefined ? [] : [runSocket({ appToken, url: config.url, door, log }, signal)]),
      ]);
      await door.settled();
    },
  };
}
