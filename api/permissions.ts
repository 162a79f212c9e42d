/**
 * The table of routes: what each needs, who has it, and against which budget it counts. A route that is not in the table is refused when the API is composed; a
 * handler that answers without having asked for the right is stopped before its answer leaves.
 */
import type { Environment } from '../procedures/environment.ts';
import { groupsOf, rolesOf } from '../procedures/environment.ts';
import type { Budget } from './limits.ts';

/**
 *   public     nobody is asked for a token
 *   signed-in  any valid token; the answer holds only what this person may read
 *   read       everybody whom the environment names
 *   evidence   auditor, admin, operator, and the requester of that run
 *   audit      auditor and admin
 *   decide     members of any group; the requester is told why he is none
 *   tokens     admin in every environment that names the person of the token
 *   abort      operator, approver, admin and the requester
 */
export type Permission =
  | 'public'
  | 'signed-in'
  | 'read'
  | 'plan'
  | 'start'
  | 'steer'
  | 'decide'
  | 'abort'
  | 'resolve'
  | 'evidence'
  | 'audit'
  | 'tokens';

export type Route = {
  method: 'GET' | 'POST' | 'DELETE';
  /** As hono has it. */
  path: string;
  permission: Permission;
  /** Which budget a request counts against. */
  limit: Budget;
};

/** Every route that there is. What is not in here is not answered, and not composed. */
export const ROUTES: readonly Route[] = [
  { method: 'GET', path: '/health/live', permission: 'public', limit: 'free' },
  { method: 'GET', path: '/health/ready', permission: 'public', limit: 'free' },
  { method: 'GET', path: '/openapi.json', permission: 'public', limit: 'free' },
  { method: 'GET', path: '/docs/errors', permission: 'public', limit: 'free' },
  // Signed by Slack; who clicked is asked for his rights in slack/door.ts.
  { method: 'POST', path: '/v1/slack', permission: 'public', limit: 'free' },
  { method: 'GET', path: '/docs/api', permission: 'public', limit: 'free' },
  { method: 'GET', path: '/v1/me', permission: 'signed-in', limit: 'read' },
  { method: 'GET', path: '/v1/runbooks', permission: 'signed-in', limit: 'read' },
  { method: 'GET', path: '/v1/runbooks/:name', permission: 'signed-in', limit: 'read' },
  { method: 'GET', path: '/v1/schemas/:name', permission: 'public', limit: 'free' },
  { method: 'POST', path: '/v1/lint', permission: 'read', limit: 'write' },
  { method: 'GET', path: '/v1/runs', permission: 'signed-in', limit: 'read' },
  { method: 'GET', path: '/v1/leases', permission: 'signed-in', limit: 'read' },
  { method: 'GET', path: '/v1/tokens', permission: 'tokens', limit: 'read' },
  { method: 'POST', path: '/v1/tokens', permission: 'tokens', limit: 'write' },
  { method: 'DELETE', path: '/v1/tokens/:id', permission: 'tokens', limit: 'write' },
  { method: 'POST', path: '/v1/plans', permission: 'plan', limit: 'write' },
  { method: 'POST', path: '/v1/checks', permission: 'start', limit: 'write' },
  { method: 'GET', path: '/v1/plans/:plan', permission: 'read', limit: 'read' },
  { method: 'GET', path: '/v1/plans/:plan/undo-sheet', permission: 'read', limit: 'read' },
  { method: 'POST', path: '/v1/runs', permission: 'start', limit: 'write' },
  { method: 'GET', path: '/v1/runs/:id', permission: 'read', limit: 'read' },
  { method: 'GET', path: '/v1/runs/:id/events', permission: 'read', limit: 'read' },
  { method: 'GET', path: '/v1/runs/:id/evidence', permission: 'evidence', limit: 'read' },
  { method: 'GET', path: '/v1/refused', permission: 'audit', limit: 'read' },
  { method: 'POST', path: '/v1/runs/:id/decisions', permission: 'decide', limit: 'decide' },
  { method: 'POST', path: '/v1/runs/:id/ready', permission: 'decide', limit: 'decide' },
  { method: 'POST', path: '/v1/runs/:id/abort', permission: 'abort', limit: 'abort' },
  { method: 'POST', path: '/v1/runs/:id/retry', permission: 'steer', limit: 'decide' },
  { method: 'POST', path: '/v1/runs/:id/skip', permission: 'steer', limit: 'decide' },
  { method: 'POST', path: '/v1/runs/:id/done', permission: 'steer', limit: 'decide' },
  { method: 'POST', path: '/v1/runs/:id/pause', permission: 'steer', limit: 'decide' },
  { method: 'POST', path: '/v1/runs/:id/resume', permission: 'steer', limit: 'decide' },
  { method: 'POST', path: '/v1/runs/:id/resolve', permission: 'resolve', limit: 'decide' },
];

const BY_NAME = new Map(ROUTES.map((route) => [`${route.method} ${route.path}`, route]));

/** The row of `METHOD PATH`; undefined where there is none. */
export function routeNamed(name: string): Route | undefined {
  return BY_NAME.get(name);
}

export type Role = 'viewer' | 'operator' | 'approver' | 'admin' | 'auditor';

/** The person's roles in this environment; none where the file does not name the person. */
export function rolesIn(environment: Environment, person: string): Role[] {
  const groups = groupsOf(environment, person);
  const named = rolesOf(environment, person);
  const known = groups.length > 0 || named.length > 0 || Object.hasOwn(environment.people, person);
  if (!known) return [];
  const roles = new Set<Role>(['viewer', ...named]);
  if (groups.length > 0) roles.add('approver');
  return [...roles];
}

/** Which roles give a right; the requester of a run has `evidence`, `abort` and `decide` besides. */
export const GRANTED: Record<Exclude<Permission, 'public' | 'signed-in'>, readonly Role[]> = {
  read: ['viewer'],
  plan: ['operator'],
  start: ['operator'],
  steer: ['operator'],
  decide: ['approver'],
  abort: ['operator', 'approver', 'admin'],
  resolve: ['admin'],
  evidence: ['auditor', 'admin', 'operator'],
  audit: ['auditor', 'admin'],
  tokens: ['admin'],
};

const REQUESTER: readonly Permission[] = ['evidence', 'abort'];

export function mayDo(
  permission: Permission,
  roles: readonly Role[],
  more: { isRequester?: boolean } = {},
): boolean {
  if (permission === 'public' || permission === 'signed-in') return true;
  // Who is no longer named in the environment has no right there, asked for or not.
  if (roles.length === 0) return false;
  if (more.isRequester === true && REQUESTER.includes(permission)) return true;
  return GRANTED[permission].some((role) => roles.includes(role));
}
