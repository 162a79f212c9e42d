/**
 * What each route needs, and who has it. A route that is not in the table is refused when the API is composed; a
 * handler that answers without having asked for the right is stopped before its answer leaves.
 */
import type { Environment } from '../procedures/environment.ts';
import { groupsOf, rolesOf } from '../procedures/environment.ts';

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

/** Method and path, as hono has them. */
export const PERMISSIONS: Record<string, Permission> = {
  'GET /health/live': 'public',
  'GET /health/ready': 'public',
  'GET /openapi.json': 'public',
  'GET /docs/errors': 'public',
  'GET /v1/me': 'signed-in',
  'GET /v1/runbooks': 'signed-in',
  'GET /v1/runs': 'signed-in',
  'GET /v1/leases': 'signed-in',
  'GET /v1/tokens': 'tokens',
  'POST /v1/tokens': 'tokens',
  'DELETE /v1/tokens/:id': 'tokens',
  'POST /v1/plans': 'plan',
  'POST /v1/checks': 'start',
  'GET /v1/plans/:plan': 'read',
  'GET /v1/plans/:plan/undo-sheet': 'read',
  'POST /v1/runs': 'start',
  'GET /v1/runs/:id': 'read',
  'GET /v1/runs/:id/events': 'read',
  'GET /v1/runs/:id/evidence': 'evidence',
  'GET /v1/refused': 'audit',
  'POST /v1/runs/:id/decisions': 'decide',
  'POST /v1/runs/:id/ready': 'decide',
  'POST /v1/runs/:id/abort': 'abort',
  'POST /v1/runs/:id/retry': 'steer',
  'POST /v1/runs/:id/skip': 'steer',
  'POST /v1/runs/:id/done': 'steer',
  'POST /v1/runs/:id/pause': 'steer',
  'POST /v1/runs/:id/resume': 'steer',
  'POST /v1/runs/:id/resolve': 'resolve',
};

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
