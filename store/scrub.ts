/**
 * Takes secrets out of what leaves a process: of a worker what phases say and give, what they fail with, progress and logs; of
 * the API its logs. Only what the process has read as a secret can be known as one; who writes secrets into runbooks or
 * targets by hand is not helped.
 */
import type { Json } from '../procedures/plan.ts';

export const SCRUBBED = '[secret]';
/** Shorter ones stand in ordinary words: scrubbing them would spoil the text and give the secret away. */
const SECRET_LENGTH_MIN = 6;
const LINE_LENGTH_MIN = 8;
/** Secrets that a worker can hold at once; the oldest are forgotten. */
const SECRETS_MAX = 1_000;

export type Scrubber = {
  /** From now on this secret is taken out, in each form in which it is usually written. */
  add(secret: string): void;
  text(text: string): string;
  /** The same value with every text in it scrubbed, keys too. */
  json<T extends Json | undefined>(value: T): T;
};

export function makeScrubber(secrets: Iterable<string> = []): Scrubber {
  const known = new Map<string, string[]>();
  let pattern: RegExp | undefined;
  const scrubber: Scrubber = {
    add(secret) {
      if (known.has(secret)) return;
      known.set(secret, formsOf(secret));
      const [oldest] = known.keys();
      if (known.size > SECRETS_MAX && oldest !== undefined) known.delete(oldest);
      pattern = patternOf([...known.values()].flat());
    },
    text: (text) => (pattern === undefined ? text : text.replaceAll(pattern, SCRUBBED)),
    json: (value) => scrubJson(value, (text) => scrubber.text(text)),
  };
  for (const secret of secrets) scrubber.add(secret);
  return scrubber;
}

function scrubJson<T extends Json | undefined>(value: T, text: (text: string) => string): T {
  if (typeof value === 'string') return text(value) as T;
  if (Array.isArray(value)) return value.map((one) => scrubJson(one, text)) as T;
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).map(([key, one]) => [text(key), scrubJson(one, text)]);
  return Object.fromEntries(entries) as T;
}

/** Longest first, so that a form that holds another one goes whole. */
function patternOf(forms: readonly string[]): RegExp | undefined {
  const words = [...new Set(forms)].sort((one, other) => other.length - one.length);
  return words.length === 0 ? undefined : new RegExp(words.map((word) => RegExp.escape(word)).join('|'), 'g');
}

/** As it is, each of its long lines, and the password where it is a URL; each also as URLs, JSON and base64 have it. */
function formsOf(secret: string): string[] {
  const lines = secret.split(/\r?\n/).filter((line) => line.length >= LINE_LENGTH_MIN);
  const plain = [secret, ...lines, ...passwordOf(secret)].filter((form) => form.length >= SECRET_LENGTH_MIN);
  return plain.flatMap((form) => [
    form,
    encodeURIComponent(form.toWellFormed()),
    new URLSearchParams([['', form]]).toString().slice(1),
    JSON.stringify(form).slice(1, -1),
    // A JSON text inside a JSON text.
    JSON.stringify(JSON.stringify(form).slice(1, -1)).slice(1, -1),
    ...base64Of(form),
    Buffer.from(form).toString('hex'),
  ]);
}

function passwordOf(secret: string): string[] {
  if (!URL.canParse(secret)) return [];
  const { password } = new URL(secret);
  if (password === '') return [];
  try {
    return [password, decodeURIComponent(password)];
  } catch {
    return [password];
  }
}

/** The characters that its bytes decide alone, wherever among other bytes it begins: `user:password` is written so. */
function base64Of(form: string): string[] {
  if (Buffer.byteLength(form) < 9) return [];
  return [0, 1, 2].flatMap((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(form)]);
    const from = Math.ceil((before * 8) / 6);
    const to = Math.floor((bytes.byteLength * 8) / 6);
    const text = bytes.toString('base64').slice(from, to);
    return [text, text.replaceAll('+', '-').replaceAll('/', '_')];
  });
}
