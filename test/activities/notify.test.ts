import { createServer } from 'node:http';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { notify } from '../../activities/notify.ts';
import type { HttpTarget } from '../../procedures/environment.ts';
import { planSteps, problemOf } from '../procedures/support.ts';
import { type TestContextOptions, failureOf, makePhaseContext } from '../support/phase-context.ts';

type Received = { method: string; url: string; headers: IncomingHttpHeaders; body: string };

/** A receiver that keeps what came, and answers as the test says: the turn counts from 1. */
async function receive(answer: (response: ServerResponse, turn: number) => void) {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      received.push({ method, url, headers, body: Buffer.concat(parts).toString('utf8') });
      answer(response, received.length);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port.');
  return {
    received,
    url: `http://127.0.0.1:${address.port}/hook`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const ok = (response: ServerResponse) => response.writeHead(204).end();
const message = (more: object = {}) => ({
  target: 'ops-hook',
  step: 'tell',
  text: 'run starts on 1.4.0',
  say: {},
  sendings: 2,
  ...more,
});

function contextOf(url: string, more: Partial<HttpTarget> = {}, options: Partial<TestContextOptions> = {}) {
  const targets = { 'ops-hook': { kind: 'http' as const, url, ...more } };
  return makePhaseContext({ targets, run: 41, phase: 'tell', ...options });
}

test('a message is JSON that says who speaks, from where and when', async () => {
  await using receiver = await receive(ok);
  const before = Date.now();
  const params = message({ say: { rows: 7, isLive: true } });
  expect(await notify.send.run(params, contextOf(receiver.url))).toEqual({
    verdict: 'pass',
    summary: 'ops-hook was told',
    output: { status: 204, sendings: 1 },
  });
  const [sent] = receiver.received;
  expect(sent).toMatchObject({ method: 'POST', url: '/hook' });
  expect(sent?.headers['content-type']).toBe('application/json; charset=utf-8');
  expect(sent?.headers.authorization).toBeUndefined();
  const { at, ...body } = JSON.parse(sent?.body ?? '') as { at: string };
  expect(body).toEqual({
    run: 41,
    environment: 'test',
    runbook: 'test',
    step: 'tell',
    text: 'run starts on 1.4.0',
    say: { rows: 7, isLive: true },
  });
  expect(Date.parse(at)).toBeGreaterThanOrEqual(before);
});

test('the key stays the same over sendings, tries and attempts, and the body over sendings', async () => {
  await using receiver = await receive((response, turn) => response.writeHead(turn < 3 ? 502 : 200).end());
  expect(await notify.send.run(message(), contextOf(receiver.url))).toMatchObject({
    verdict: 'fail',
    summary: 'ops-hook answered 502, expected 2xx (2 sendings)',
    output: { sendings: 2 },
  });
  expect(await notify.send.run(message(), contextOf(receiver.url))).toMatchObject({ verdict: 'pass' });
  const keys = receiver.received.map(({ headers }) => headers['idempotency-key']);
  expect(keys).toEqual(Array.from({ length: 3 }, () => '"countdown/test/41/tell"'));
  expect(receiver.received[0]?.body).toBe(receiver.received[1]?.body);
  await notify.send.run(message(), contextOf(receiver.url, {}, { run: 42 }));
  expect(receiver.received.at(-1)?.headers['idempotency-key']).toBe('"countdown/test/42/tell"');
});

test('an answer of 4xx is final, and its first line is shown without what a terminal would obey', async () => {
  await using receiver = await receive((response) =>
    response.writeHead(404).end('no_service\u001b[2J\nsecond line'),
  );
  expect(await notify.send.run(message(), contextOf(receiver.url))).toEqual({
    verdict: 'fail',
    summary: 'ops-hook answered 404, expected 2xx: no_service [2J',
    output: { status: 404, sendings: 1 },
  });
  expect(receiver.received).toHaveLength(1);
});

test('429 and a connection that breaks are tried again', async () => {
  await using receiver = await receive((response, turn) => {
    if (turn === 1) response.writeHead(429).end();
    else if (turn === 2) response.destroy();
    else ok(response);
  });
  expect(await notify.send.run(message({ sendings: 3 }), contextOf(receiver.url))).toEqual({
    verdict: 'pass',
    summary: 'ops-hook was told (sending 3)',
    output: { status: 204, sendings: 3 },
  });
});

test('a receiver that is away is said so after the last sending', async () => {
  const url = await receive(ok).then(async (receiver) => {
    await receiver[Symbol.asyncDispose]();
    return receiver.url;
  });
  const { verdict, summary } = await notify.send.run(message(), contextOf(url));
  expect(verdict).toBe('fail');
  expect(summary).toMatch(/^ops-hook gave no answer \(.*ECONNREFUSED.*\), expected 2xx \(2 sendings\)$/);
});

test('a redirect is not followed, so no token goes to another place', async () => {
  await using other = await receive(ok);
  await using receiver = await receive((response) => response.writeHead(307, { location: other.url }).end());
  expect(await notify.send.run(message(), contextOf(receiver.url))).toMatchObject({
    verdict: 'fail',
    summary: 'ops-hook answered 307, expected 2xx: redirects are not followed, so write its final address',
  });
  expect(other.received).toEqual([]);
});

test('token and secret path go to the receiver, and nowhere else', async () => {
  await using receiver = await receive((response) =>
    response.writeHead(403).end('bad token hunter2hunter2 for /services/T0/B0/xyzzy'),
  );
  const entry = { token: { env: 'HOOK_TOKEN' }, secretPath: { env: 'HOOK_PATH' } };
  const secrets = { HOOK_TOKEN: 'hunter2hunter2', HOOK_PATH: '/services/T0/B0/xyzzy' };
  const found = await notify.send.run(message(), contextOf(receiver.url, entry, { secrets }));
  expect(receiver.received[0]).toMatchObject({
    url: '/hook/services/T0/B0/xyzzy',
    headers: { authorization: 'Bearer hunter2hunter2' },
  });
  expect(found.summary).toBe('ops-hook answered 403, expected 2xx: bad token [hidden] for [hidden]');
  expect(receiver.received[0]?.body).not.toMatch(/hunter2|xyzzy/);
  const wrong = notify.send.run(
    message(),
    contextOf(receiver.url, entry, { secrets: { ...secrets, HOOK_PATH: 'https://chat.example/xyzzy' } }),
  );
  expect(await failureOf(wrong)).toEqual({
    type: 'PreconditionFailed',
    message:
      "The secretPath of 'ops-hook' is no path, expected one that begins with '/' and has no spaces; correct the secret.",
  });
});

test('an answer without end is read as far as its first line can be', async () => {
  await using receiver = await receive((response) => {
    response.writeHead(400);
    const more = () => {
      if (!response.destroyed) response.write('x'.repeat(64 * 1024), more);
    };
    more();
  });
  const { summary } = await notify.send.run(message(), contextOf(receiver.url));
  expect(summary).toBe(`ops-hook answered 400, expected 2xx: ${'x'.repeat(200)}`);
});

test('a text that outputs made too long is cut, and values that are too many bytes are refused', async () => {
  await using receiver = await receive(ok);
  await notify.send.run(message({ text: 'ä'.repeat(5_000) }), contextOf(receiver.url));
  const { text } = JSON.parse(receiver.received[0]?.body ?? '') as { text: string };
  expect([text.length, text.endsWith('ä…')]).toEqual([4_000, true]);
  const tooMuch = notify.send.run(message({ say: { all: 'x'.repeat(70_000) } }), contextOf(receiver.url));
  expect((await failureOf(tooMuch)).message).toMatch(
    /^The message of 'tell' has \d+ bytes, expected at most 65536; say less\.$/,
  );
  expect(receiver.received).toHaveLength(1);
});

test('an attempt that was cancelled or superseded says nothing', async () => {
  await using receiver = await receive(ok);
  const cancelled = contextOf(receiver.url);
  cancelled.abort();
  await expect(notify.send.run(message(), cancelled)).rejects.toThrow('The test cancelled the phase.');
  const late = contextOf(receiver.url, {}, { isCurrent: () => false });
  await expect(notify.send.run(message(), late)).rejects.toMatchObject({ type: 'FenceLost' });
  expect(receiver.received).toEqual([]);
});

test('a plan fills in params, keeps references to outputs, and marks the phase as one that tells', () => {
  const plan = planSteps(
    [
      '{ id: hold, uses: app.switch, with: { switch: app-database-mode, to: sqlite-held } }',
      '{ id: tell, uses: notify, with: { target: app, text: "$(params.who): $(hold.found)", say: { found: $(hold.found) } } }',
    ],
    { head: 'params: { who: { type: string } }\n', params: { who: 'dana' } },
  );
  expect(plan.phases.at(-1)).toMatchObject({
    id: 'tell',
    effect: 'none',
    tells: true,
    run: { params: { text: 'dana: $(hold.found)', say: { found: '$(hold.found)' } } },
  });
  expect(plan.leases['app']).toBe('shared');
});

const tell = (rest: string) => problemOf(() => planSteps(`{ id: tell, uses: notify, with: { ${rest} } }`));

test('a target of another kind and a value that no message carries are refused', () => {
  expect(tell('target: app-sqlite, text: x').message).toBe(
    "Target 'app-sqlite' is of kind sqlite, expected one of kind http: app.",
  );
  expect(tell('target: app, text: x, say: { a: [1] }').message).toBe(
    'steps[0].with.say.a is a list, expected text, a number, true or false.',
  );
  expect(tell('target: app, text: ""').message).toBe("steps[0].with.text is '', expected some text.");
});
