/** Texts that PostgreSQL stores as they are. */
import type { Json } from '../procedures/plan.ts';
import { canonical } from './digest.ts';

/** The text that is hashed and stored: RFC 8785, lone surrogates replaced because UTF-8 has no form for them. */
export function bodyText(body: { [key: string]: unknown }): string {
  return canonical(wellFormed(body));
}

/** The value with lone surrogates replaced, at any depth: neither UTF-8 nor RFC 8785 has a form for them. */
export function wellFormed(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed();
  if (Array.isArray(value)) return value.map(wellFormed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key.toWellFormed(), wellFormed(one)]));
}

/** What a person wrote, for a text column: NUL is shown as its symbol, because PostgreSQL cannot hold it. */
export function readable(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\u2400');
}

/** The same for every text of a value. */
export function readableJson<T extends Json>(value: T): T {
  const text = JSON.stringify(value, (_, one: unknown) => (typeof one === 'string' ? readable(one) : one));
  return JSON.parse(text) as T;
}
