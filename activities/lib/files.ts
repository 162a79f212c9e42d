/** Files that need not be there. "Not there" is an answer of the file system; any other error is none. */
import { stat } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { fail, messageOf } from './fail.ts';

/** Whether an error says that a file is not there, or that its path leads through something that is not a folder. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

/**
 * What `look` gives, or undefined if the file is not there.
 *
 * @param name of the target, for the message
 * @throws PreconditionFailed if the file cannot be looked at
 */
export async function ifThere<T>(name: string, look: Promise<T>): Promise<T | undefined> {
  try {
    return await look;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw fail(
      'PreconditionFailed',
      `The file of '${name}' cannot be looked at (${messageOf(error)}); let this worker read it and the files beside it, then try again.`,
      error,
    );
  }
}

/** The file at `path`, or undefined if there is none. Throws as `ifThere`. */
export function statOf(name: string, path: string): Promise<Stats | undefined> {
  return ifThere(name, stat(path));
}
