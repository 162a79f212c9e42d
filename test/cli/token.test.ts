/** Tokens from the command line. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { main } from '../../cli/main.ts';
import { makeTestApi, type TestApi } from '../api/support.ts';

let api: TestApi;
let server: Server;
let url: string;
beforeAll(async () => {
  api = await makeTestApi();
  const listener = getRequestListener(api.app.fetch);
  server = createServer((request, response) => void listener(request, response));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await api[Symbol.asyncDispose]();
});

async function say(person: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const code = await main(args, {
    out: { write: (text) => (said.out += text) },
    err: { write: (text) => (said.err += text) },
    ask: undefined,
    variables: { COUNTDOWN_URL: url, COUNTDOWN_TOKEN: api.tokens.get(person) ?? person },
    signal: new AbortController().signal,
  });
  return { code, ...said };
}

test('an admin makes, lists and revokes a token; the secret stands alone on stdout', async () => {
  const made = await say('olu', 'token', 'create', 'pia', '--expires', '7d');
  expect(made.code).toBe(0);
  expect(made.out).toMatch(/^cd_[\w-]{43}\n$/);
  expect(made.err).toMatch(/^Token [0-9a-f-]{36} of pia, good until \d+ \w{3}\. It is not shown again\.\n$/);
  const [id = ''] = /[0-9a-f-]{36}/.exec(made.err) ?? [];
  expect((await say(made.out.trim(), 'runs')).code).toBe(0);
  const listed = (await say('olu', 'token', 'list')).out.split('\n');
  expect(listed[0]).toMatch(/^ID +PERSON +SINCE +UNTIL$/);
  expect(listed.find((line) => line.startsWith(id))).toMatch(/ {2}pia +\d+ \w{3} \d{4} {2}\d+ \w{3} \d{4}$/);
  expect(listed.join('\n')).not.toContain(made.out.trim());
  expect(await say('olu', 'token', 'revoke', id)).toEqual({
    code: 0,
    out: `Token ${id} is revoked.\n`,
    err: '',
  });
  expect((await say(made.out.trim(), 'runs')).code).toBe(4);
  expect((await say('olu', 'token', 'revoke', id)).code).toBe(1);
});

test('who is no admin is told so, and what cannot be written is a usage error', async () => {
  expect(await say('dana', 'token', 'create', 'dana')).toEqual({
    code: 4,
    out: '',
    err: 'error NotAllowed  dana is viewer, operator in lab; to give and take tokens takes admin.\n',
  });
  for (const args of [['create'], ['list', 'x'], ['revoke'], ['list', '--expires', '1d'], ['steal', 'ana']]) {
    expect((await say('olu', 'token', ...args)).code, args.join(' ')).toBe(2);
  }
});
