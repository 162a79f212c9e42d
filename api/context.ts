/** What every route gets, and what a request carries. */
import type { Context } from 'hono';
import type { Logger } from 'pino';
import type { Environment } from '../procedures/environment.ts';
import type { ApiStore, RunDetail } from '../store/types.ts';
import type { Environments } from '../store/environment-files.ts';
import type { EventHub } from './events.ts';
import type { Identity } from './oidc.ts';
import type { Metrics } from './metrics.ts';
import type { IsProxy } from './address.ts';
import type { Launcher } from './launcher.ts';
import type { Limits } from './limits.ts';
import type { Permission, Role } from './permissions.ts';
import { GRANTED, mayDo, rolesIn } from './permissions.ts';
import { ApiProblem } from './problems.ts';

export type ApiDeps = {
  store: ApiStore;
  environments: Environments;
  /** The folder of runbooks. */
  runbooks: string;
  launcher: Launcher;
  events: EventHub;
  log: Logger;
  now: () => Date;
  /** Whom tokens of identity providers stand for; left out none is taken. */
  identity?: Identity;
  /** Hears what each request took. */
  metrics?: Pick<Metrics, 'answered'>;
  limits: Limits;
  /** Whose word on where a request comes from is taken; default nobody's. */
  isProxy?: IsProxy;
  /** Whether the process is told to end: what comes still is answered, and told to come by another connection. */
  isEnding?: () => boolean;
  /** Reads anew who is in the groups that Slack keeps; left out where no Slack is connected. */
  groupsNow?: (environment: Environment, person: string) => Promise<{ groups: string[]; unread: string[] }>;
  /** Takes signed requests of Slack; left out where none are taken. */
  slack?: (request: Request) => Promise<Response>;
};

export type Variables = {
  requestId: string;
  /** What a limit counts by. */
  credential: string;
  /** Empty on a public route. */
  person: string;
  tokenExpiresAt: string;
  permission: Permission;
  /** Set by `grant`; an answer without it does not leave. */
  granted: boolean;
};

export type ApiEnv = { Variables: Variables };
export type ApiContext = Context<ApiEnv>;

/** The door of a signed-in client: the command line says so itself; both doors have the same rights. */
export function doorOf(c: ApiContext): 'cli' | 'api' {
  return c.req.header('user-agent')?.startsWith('countdown-cli/') === true ? 'cli' : 'api';
}

/** Throws EnvironmentUnknown. */
export async function environmentNamed(deps: ApiDeps, name: string): Promise<Environment> {
  const all = await deps.environments.current();
  const environment = all.get(name);
  if (environment !== undefined) return environment;
  const known = [...all.keys()].sort().join(', ');
  throw new ApiProblem(
    'EnvironmentUnknown',
    `There is no environment '${name}': use one of ${known === '' ? 'those that the operator adds' : known}.`,
  );
}

/** Gives the route's right in this environment, or throws NotAllowed and journals the attempt. */
export async function grant(
  c: ApiContext,
  deps: ApiDeps,
  environment: Environment,
  run?: Pick<RunDetail, 'run' | 'requester'>,
): Promise<Role[]> {
  const person = c.get('person');
  const permission = c.get('permission');
  const roles = rolesIn(environment, person);
  if (mayDo(permission, roles, { isRequester: run?.requester === person })) {
    c.set('granted', true);
    return roles;
  }
  const detail = denial(person, permission, environment.environment, roles);
  // Only attempts to change something are journalled: reading cannot fill the chain.
  if (c.req.method !== 'GET' && c.req.method !== 'HEAD') {
    await deps.store.refused({
      environment: environment.environment,
      person,
      door: doorOf(c),
      run: run?.run ?? null,
      code: 'NotAllowed',
      detail,
    });
  }
  throw new ApiProblem('NotAllowed', detail);
}

const VERBS: Record<keyof typeof GRANTED, string> = {
  read: 'read runs',
  plan: 'plan',
  start: 'start a run',
  steer: 'steer a run',
  decide: 'decide on an approval',
  abort: 'abort a run',
  resolve: 'empty the desk',
  evidence: 'read evidence',
  audit: 'read what was refused',
  tokens: 'give and take tokens',
};

export function denial(
  person: string,
  permission: Permission,
  environment: string,
  roles: readonly Role[],
): string {
  if (permission === 'public' || permission === 'signed-in') return 'Not allowed.';
  if (roles.length === 0) {
    return `${person} is not named in environment ${environment}: ask its owner to be added.`;
  }
  return `${person} is ${roles.join(', ')} in ${environment}; to ${VERBS[permission]} takes ${GRANTED[permission].join(' or ')}.`;
}

/** Throws RunUnknown for anything that is no number of a run. */
export async function runById(deps: ApiDeps, id: string): Promise<RunDetail> {
  const run = /^[1-9]\d{0,8}$/.test(id) ? await deps.store.run(Number(id)) : undefined;
  if (run === undefined) {
    throw new ApiProblem('RunUnknown', `There is no run '${id.slice(0, 20)}': look at GET /v1/runs.`);
  }
  return run;
}
