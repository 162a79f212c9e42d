/** Names of data: sha256 over the one text that RFC 8785 gives a JSON value, whatever the order of its keys. */
import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';

/** The RFC 8785 text. Members that are `undefined` are left out. Throws for NaN, infinities, lone surrogates and non-values. */
export function canonical(json: unknown): string {
  const text = canonicalize(json);
  if (text === undefined)
    throw new TypeError(`A value of type ${typeof json} cannot be written as JSON: give a JSON value.`);
  return text;
}

/** 64 hex digits: the sha256 of the canonical text in UTF-8. */
export function digest(json: unknown): string {
  return textDigest(canonical(json));
}

/** 64 hex digits: the sha256 of a text as it stands, in UTF-8; what `sha256sum` says of a file that holds it. */
export function textDigest(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}
