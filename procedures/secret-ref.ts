/** A reference to a secret, as an environment file writes it. */
import { z } from 'zod';
import type { SecretRef } from './environment.ts';

/** Names of environment variables. */
export const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;

const REFERENCE_HINT = 'write  { env: NAME }  or  { file: /path }';

/** A reference to a secret. What stands here instead may be the secret itself, so no message shows it. */
export const secretSchema = z.unknown().transform((value, context): SecretRef => {
  const read = readReference(value);
  if ('problem' in read) {
    context.addIssue({ code: 'custom', message: read.problem, params: { hint: REFERENCE_HINT } });
    return z.NEVER;
  }
  return read;
});

/** The reference, or the sentence that says why this is none. */
export function readReference(value: unknown): SecretRef | { problem: string } {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    return { problem: 'A secret cannot stand here itself, expected a reference to it.' };
  }
  const [[key, place] = ['', ''], ...more] = Object.entries(value);
  if (more.length > 0) return { problem: 'A secret is read from one place, expected either env or file.' };
  if (key === 'env' && typeof place === 'string' && ENV_NAME.test(place)) return { env: place };
  if (key === 'file' && typeof place === 'string' && /^\/\S{1,1000}$/.test(place)) return { file: place };
  return {
    problem:
      'This is no reference to a secret, expected env with the name of a variable, or file with an absolute path.',
  };
}
