/**
 * Who is who: an account of Slack as a person of an environment, and the members of groups that Slack keeps. The id in
 * the environment file goes first; a person without one is found by e-mail.
 */
import type { Logger } from 'pino';
import { type Environment, groupsOf } from '../procedures/environment.ts';
import type { Environments } from '../store/environment-files.ts';
import type { SlackClient } from './client.ts';
import type { Mentions } from './words.ts';

/** Members of a group and accounts of people are believed so long where nothing is decided by them. */
export const MEMBERS_MS = 60_000;
const ACCOUNT_MS = 600_000;
const ACCOUNTS_KEPT_MAX = 5_000;

export type Filled = {
  /** With the members of the groups that could be read. */
  environment: Environment;
  /** Groups that Slack keeps and that could not be read. */
  unread: string[];
};

export type Directory = {
  /** Undefined where no person of the environment has this account. Throws SlackTrouble where an e-mail cannot be read. */
  personOf(environment: Environment, user: string): Promise<string | undefined>;
  /** Everything read anew: what a decision goes by. Never throws. */
  readNow(environment: Environment): Promise<Filled>;
  /** What was read last, at once; reads again behind the caller's back where it is old. */
  known(environment: Environment): Environment;
  /** Ids to call people and groups by. Never throws: whoever cannot be found is called by name. */
  mentions(environment: Environment): Promise<Mentions>;
};

type Kept<T> = { at: number; value: T };

export function makeDirectory(options: { client: SlackClient; log: Logger; now: () => Date }): Directory {
  const { client, log } = options;
  const accounts = new Map<string, Kept<string | undefined>>();
  const members = new Map<string, Kept<string[]>>();
  const reading = new Map<string, Promise<unknown>>();
  const age = (kept: Kept<unknown> | undefined) =>
    kept === undefined ? Infinity : options.now().getTime() - kept.at;

  /** The account of a person who has no id in the file. */
  async function accountOf(email: string): Promise<string | undefined> {
    const key = email.toLowerCase();
    const kept = accounts.get(key);
    if (kept !== undefined && age(kept) < ACCOUNT_MS) return kept.value;
    const user = await client.userByEmail(email);
    const value = user?.isMember === true ? user.id : undefined;
    accounts.delete(key);
    accounts.set(key, { at: options.now().getTime(), value });
    const [oldest] = accounts.keys();
    if (accounts.size > ACCOUNTS_KEPT_MAX && oldest !== undefined) accounts.delete(oldest);
    return value;
  }

  async function idsOf(environment: Environment): Promise<Record<string, string>> {
    const ids: Record<string, string> = {};
    for (const [person, { slack, email }] of Object.entries(environment.people)) {
      const id = slack ?? (email === undefined ? undefined : await accountOf(email));
      if (id !== undefined) ids[person] = id;
    }
    return ids;
  }

  async function readNow(environment: Environment): Promise<Filled> {
    const groups = { ...environment.groups };
    const unread: string[] = [];
    const kept = Object.entries(environment.slackGroups ?? {});
    if (kept.length === 0) return { environment, unread };
    const accountsNow = idsOf(environment);
    accountsNow.catch(() => undefined);
    await Promise.all(
      kept.map(async ([name, id]) => {
        try {
          const [ids, people] = await Promise.all([client.groupMembers(id), accountsNow]);
          groups[name] = Object.keys(people).filter((person) => ids.includes(people[person] ?? ''));
          members.set(keyOf(environment, name), { at: options.now().getTime(), value: groups[name] });
        } catch (error) {
          log.warn(
            { err: error, group: name, environment: environment.environment },
            'slack: group cannot be read',
          );
          unread.push(name);
        }
      }),
    );
    return { environment: { ...environment, groups }, unread };
  }

  return {
    async personOf(environment, user) {
      const people = Object.entries(environment.people);
      const named = people.find(([, { slack }]) => slack === user);
      if (named !== undefined) return named[0];
      if (!people.some(([, { slack, email }]) => slack === undefined && email !== undefined))
        return undefined;
      const account = await client.user(user);
      const email = account?.isMember === true ? account.email?.toLowerCase() : undefined;
      if (email === undefined) return undefined;
      // Who has an account in the file has that one alone; and an e-mail of two people is nobody's.
      const found = people.filter(([, one]) => one.slack === undefined && one.email?.toLowerCase() === email);
      return found.length === 1 ? found[0]?.[0] : undefined;
    },

    readNow,

    known(environment) {
      const names = Object.keys(environment.slackGroups ?? {});
      if (names.length === 0) return environment;
      const kept = names.map((name) => [name, members.get(keyOf(environment, name))] as const);
      if (kept.some(([, one]) => age(one) >= MEMBERS_MS) && !reading.has(environment.environment)) {
        const again = readNow(environment).finally(() => reading.delete(environment.environment));
        reading.set(environment.environment, again);
      }
      const groups = Object.fromEntries(
        kept.flatMap(([name, one]) =>
          one === undefined
            ? []
            : // People whom the file no longer names are nobody.
              [[name, one.value.filter((person) => Object.hasOwn(environment.people, person))] as const],
        ),
      );
      return { ...environment, groups: { ...environment.groups, ...groups } };
    },

    async mentions(environment) {
      const people: Record<string, string> = {};
      let isOut = false;
      for (const [person, { slack, email }] of Object.entries(environment.people)) {
        const id =
          slack ??
          (email === undefined || isOut
            ? undefined
            : await accountOf(email).catch(() => {
                isOut = true;
                return undefined;
              }));
        if (id !== undefined) people[person] = id;
      }
      return { people, groups: environment.slackGroups ?? {} };
    },
  };
}

function keyOf({ environment }: Environment, group: string): string {
  return `${environment}/${group}`;
}

/** The environments with the members of Slack's groups as they were read last. */
export function withSlackGroups(
  environments: Environments,
  directory: Pick<Directory, 'known'>,
): Environments {
  return {
    async current() {
      const all = await environments.current();
      return new Map([...all].map(([name, environment]) => [name, directory.known(environment)]));
    },
  };
}

/** The person's groups at this moment, and those that nobody can tell of now. */
export async function groupsNow(
  directory: Pick<Directory, 'readNow'>,
  environment: Environment,
  person: string,
): Promise<{ groups: string[]; unread: string[] }> {
  const { environment: now, unread } = await directory.readNow(environment);
  // What was known before is no answer where it cannot be read anew.
  const groups = groupsOf(now, person).filter((group) => !unread.includes(group));
  return { groups, unread };
}
