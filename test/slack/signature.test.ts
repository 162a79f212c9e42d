import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { signatureProblem } from '../../slack/signature.ts';
import { type SlackWorld, makeSlackWorld } from './support.ts';

const SECRET = '8f742231b10e8888abcd99yyyzzz85a5';
/** The example of Slack's own documentation. */
const BODY =
  'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c';
const AT = 1_531_420_618;
const SIGNATURE = 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503';

const problem = (over: {
  timestamp?: string;
  signature?: string;
  body?: string;
  secret?: string;
  now?: number;
}) =>
  signatureProblem(
    {
      timestamp: over.timestamp ?? String(AT),
      signature: over.signature ?? SIGNATURE,
      body: Buffer.from(over.body ?? BODY),
    },
    over.secret ?? SECRET,
    new Date((over.now ?? AT) * 1_000),
  );

describe('a signature', () => {
  test('is that of Slack’s own example', () => {
    expect(problem({})).toBeUndefined();
  });

  test('S4: holds for five minutes before and after, and not a second longer', () => {
    expect([AT - 300, AT + 300, AT - 301, AT + 301].map((now) => problem({ now }))).toEqual([
      undefined,
      undefined,
      'stale',
      'stale',
    ]);
  });

  test.each([
    ['none', { signature: '' }, 'malformed'],
    ['one that is short', { signature: SIGNATURE.slice(0, -1) }, 'malformed'],
    ['one in capital letters', { signature: SIGNATURE.toUpperCase() }, 'malformed'],
    ['one of another version', { signature: SIGNATURE.replace('v0', 'v1') }, 'malformed'],
    ['one that is wrong by a digit', { signature: SIGNATURE.replace(/3$/, '4') }, 'forged'],
    ['a time like 1e9', { timestamp: '1e9' }, 'malformed'],
    ['a time with a sign', { timestamp: `+${AT}` }, 'malformed'],
    ['another time than the one that was signed', { timestamp: String(AT + 1) }, 'forged'],
    ['another secret', { secret: 'a'.repeat(32) }, 'forged'],
    ['a body that was encoded anew', { body: BODY.replaceAll('%2F', '/') }, 'forged'],
  ])('S4: is refused with %s', (_, over, expected) => {
    expect(problem(over)).toBe(expected);
  });

  test('S4: is refused for a body that differs in any byte', () => {
    const bytes = Buffer.from(BODY);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const body = Buffer.from(bytes);
        body.writeUInt8(body.readUInt8(at) ^ flip, at);
        const now = new Date(AT * 1_000);
        return (
          signatureProblem({ timestamp: String(AT), signature: SIGNATURE, body }, SECRET, now) === 'forged'
        );
      }),
    );
  });

  test('covers bytes that are no text', () => {
    const body = Buffer.from([0xff, 0x00, 0xfe, 0x3d]);
    const hash = createHmac('sha256', SECRET).update(`v0:${AT}:`).update(body).digest('hex');
    const now = new Date(AT * 1_000);
    expect(
      signatureProblem({ timestamp: String(AT), signature: `v0=${hash}`, body }, SECRET, now),
    ).toBeUndefined();
  });
});

describe('POST /v1/slack', () => {
  let world: SlackWorld;
  beforeAll(async () => {
    world = await makeSlackWorld({ isQuiet: true });
  });
  afterAll(() => world[Symbol.asyncDispose]());

  test('S4: refuses what is not signed before it reads it, ssl_check too, and writes it down once', async () => {
    const { fake } = world;
    const payload = 'payload=%7Bthis is no JSON';
    const now = Math.floor(Date.now() / 1_000);
    const requests = [
      { headers: {}, body: 'ssl_check=1' },
      { headers: {}, body: payload },
      fake.sign(payload, { at: now - 302 }),
      fake.sign(payload, { at: now + 302 }),
      fake.sign(payload, { secret: 'a'.repeat(32) }),
    ];
    for (const request of requests) {
      const { status, body } = await world.send(request);
      expect([status, (JSON.parse(body) as { code: string }).code]).toEqual([401, 'Unauthenticated']);
    }
    const rows = await world.refused();
    expect(rows.map(({ body }) => [body['code'], body['door'], body['person'], body['run']])).toEqual([
      ['SlackSignature', 'slack', null, null],
    ]);
  });

  test('answers what is signed and says nothing with 200 and nothing', async () => {
    const { fake } = world;
    for (const body of [
      'ssl_check=1',
      'payload=%7Bthis is no JSON',
      'payload=%7B%22type%22%3A%22view_closed%22%7D',
      '',
    ]) {
      expect(await world.send(fake.sign(body))).toEqual({ status: 200, body: '' });
    }
  });

  test('refuses a body that is too large', async () => {
    const { status } = await world.send(world.fake.sign('a'.repeat(300_000)));
    expect(status).toBe(413);
  });
});
