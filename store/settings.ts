/**
 * A process's settings from environment variables. Each may also come from a file, `NAME_FILE`. All that is wrong is said
 * at once, and never a value: some are secrets. A secret that everybody could guess or read is refused by its name.
 */
import { readFileSync, statSync } from 'node:fs';
import type { z } from 'zod';

/** Letters that a secret has at least. */
export const SECRET_LENGTH_MIN = 16;
/** A setting of a file is no larger, in bytes. */
const FILE_BYTES_MAX = 64 * 1024;
/** What examples and images come with. Compared without case, digits and signs. */
const DEFAULTS = [
  'password',
  'postgres',
  'countdown',
  'changeme',
  'secret',
  'admin',
  'default',
  'example',
  'test',
];

export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

export type Variables = Record<string, string | undefined>;

/** `part` is what of a setting is secret: all of it, or the password of a URL. */
export type Secrets<Name extends string> = { [K in Name]?: 'all' | 'url' };

/**
 * The settings that `schema` describes. `process` is who cannot start, for the message. Throws ConfigError with a sentence
 * for each variable that is missing or wrong.
 */
export function readSettings<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  variables: Variables,
  options: { process: string; secrets?: Secrets<Extract<keyof Shape, string>> },
): z.infer<z.ZodObject<Shape>> {
  const secrets: Record<string, 'all' | 'url' | undefined> = options.secrets ?? {};
  const given: Record<string, string> = {};
  const wrong: string[] = [];
  for (const name of Object.keys(schema.shape)) {
    const found = valueOf(variables, name, secrets[name] !== undefined);
    if ('problem' in found) wrong.push(found.problem);
    else if (found.value !== undefined) given[name] = found.value;
  }
  const unread = new Set(wrong.map((line) => /^\w+/.exec(line)?.[0].replace(/_FILE$/, '')));
  const result = schema.safeParse(given);
  for (const issue of result.error?.issues ?? []) {
    const name = String(issue.path[0]);
    if (unread.has(name)) continue;
    wrong.push(given[name] === undefined ? `${name} is not set` : `${name}: ${issue.message}`);
  }
  for (const [name, part] of Object.entries(secrets)) {
    const value = given[name];
    const weak = value === undefined || part === undefined ? undefined : weakness(secretIn(value, part));
    if (weak !== undefined) wrong.push(`${name}: ${part === 'url' ? 'its password' : 'it'} ${weak}`);
  }
  if (wrong.length > 0 || !result.success) {
    throw new ConfigError(`${options.process} cannot start: ${wrong.join('; ')}. Set them and start again.`);
  }
  return result.data;
}

/** What of the settings is secret, for whoever takes secrets out of texts. */
export function secretsOf(settings: Record<string, unknown>, secrets: Secrets<string>): string[] {
  return Object.entries(secrets).flatMap(([name, part]) => {
    const value = settings[name];
    const secret = typeof value === 'string' && part !== undefined ? secretIn(value, part) : '';
    return secret === '' ? [] : [secret];
  });
}

function valueOf(
  variables: Variables,
  name: string,
  isSecret: boolean,
): { value: string | undefined } | { problem: string } {
  const [value, file] = [variables[name] || undefined, variables[`${name}_FILE`] || undefined];
  if (file === undefined) return { value };
  if (value !== undefined) return { problem: `${name} and ${name}_FILE are both set, expected one of them` };
  try {
    const { mode, size } = statSync(file);
    if (isSecret && (mode & 0o004) !== 0) {
      return {
        problem: `${name}_FILE: ${file} can be read by everybody, expected its owner alone (chmod 600)`,
      };
    }
    if (size > FILE_BYTES_MAX) return { problem: `${name}_FILE: ${file} is larger than 64 KiB` };
    const text = readFileSync(file, 'utf8').trim();
    return text === '' ? { problem: `${name}_FILE: ${file} is empty` } : { value: text };
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? String(error.code) : 'error';
    return { problem: `${name}_FILE: ${file} cannot be read (${why})` };
  }
}

function secretIn(value: string, part: 'all' | 'url'): string {
  if (part === 'all') return value;
  return URL.canParse(value) ? decodeURIComponent(new URL(value).password) : '';
}

/** Why it is no secret; undefined where it may be one. A URL without a password is another way to sign in. */
function weakness(secret: string): string | undefined {
  if (secret === '') return undefined;
  const letters = secret.toLowerCase().replace(/[^a-z]/g, '');
  if (DEFAULTS.includes(letters) || new Set(secret).size < 4) {
    return 'is one that everybody knows, expected a long random one';
  }
  if (secret.length < SECRET_LENGTH_MIN) {
    return `is shorter than ${SECRET_LENGTH_MIN} characters, expected a long random one`;
  }
  return undefined;
}
