import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { SCRUBBED, makeScrubber } from '../../store/scrub.ts';
import type { Json } from '../../procedures/plan.ts';

const SECRET = 'p"ä/ss+wörd?9 x';
const scrubber = makeScrubber([SECRET]);

test.each([
  ['as it is', SECRET],
  ['in a URL', encodeURIComponent(SECRET)],
  ['in a form', new URLSearchParams({ a: SECRET }).toString().slice(2)],
  ['in JSON', JSON.stringify(SECRET).slice(1, -1)],
  ['in base64', Buffer.from(SECRET).toString('base64')],
  ['in base64 of URLs', Buffer.from(SECRET).toString('base64url')],
  ['in hex', Buffer.from(SECRET).toString('hex')],
])('a secret %s is taken out', (_, form) => {
  const found = scrubber.text(`before ${form} after`);
  expect(found).toMatch(/^before .*\[secret\].* after$/);
  expect(found).not.toContain(form);
});

test('basic credentials give it away no more than the characters that they share with their neighbours', () => {
  for (const user of ['a', 'ab', 'abc', 'abcd']) {
    const text = scrubber.text(`Basic ${Buffer.from(`${user}:${SECRET}:tail`).toString('base64')}`);
    expect(text).toContain(SCRUBBED);
    const left = Buffer.from(text.replaceAll(SCRUBBED, '').slice(6), 'base64').toString('latin1');
    expect(left).not.toContain(SECRET.slice(2, 12));
  }
});

test('the password of a URL is a secret by itself, and so is each long line of a key', () => {
  const url = makeScrubber(['postgres://app:s%2Fecret-word@db/app']);
  expect(url.text('s/ecret-word and s%2Fecret-word')).toBe('[secret] and [secret]');
  const key = makeScrubber(['-----BEGIN KEY-----\nMIIBVQIBADANBg\nkqhkiG9w0B\n-----END KEY-----']);
  expect(key.text('it said MIIBVQIBADANBg')).toBe('it said [secret]');
});

test('what is too short to be told from ordinary words stays', () => {
  expect(makeScrubber(['', 'on', 'abcde']).text('on and abcde')).toBe('on and abcde');
});

test('a value keeps its shape, and no text in it holds the secret, keys and depths alike', () => {
  const json = fc.letrec<{ value: Json }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constant(SECRET),
      fc.string().map((text) => text + SECRET + text),
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(fc.oneof(fc.string(), fc.constant(SECRET)), tie('value'), { maxKeys: 4 }),
    ),
  }));
  fc.assert(
    fc.property(json.value, (value) => {
      const text = JSON.stringify(scrubber.json(value));
      expect(text).not.toContain(JSON.stringify(SECRET).slice(1, -1));
      if (!JSON.stringify(value).includes('p\\"ä')) expect(scrubber.json(value)).toEqual(value);
    }),
  );
});
