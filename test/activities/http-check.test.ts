import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { expect, test } from 'vitest';
import { httpCheck } from '../../activities/http-check.ts';
import { makePhaseContext } from '../support/phase-context.ts';

async function serve(listener: RequestListener): Promise<AsyncDisposable & { url: string }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port.');
  return {
    url: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function paramsOf(more: object = {}) {
  return {
    target: 'app',
    requests: [{ method: 'GET', path: '/ready', status: 200, headers: ['x-release'] }],
    forMs: null,
    everyMs: 10,
    breach: { count: 2, of: 3 },
    tries: 3,
    ...more,
  };
}

function contextOf(url: string) {
  return makePhaseContext({ targets: { app: { kind: 'http', url } } });
}

test('an answer with the expected status and headers passes', async () => {
  const seen: string[] = [];
  await using server = await serve((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    response.writeHead(200, { 'X-Release': '1' }).end('ok');
  });
  expect(await httpCheck.check.run(paramsOf(), contextOf(`${server.url}/base/`))).toEqual({
    verdict: 'pass',
    summary: 'app: 1 request answered as expected',
    output: { requests: 1, readings: 1 },
  });
  expect(seen).toEqual(['GET /base/ready']);
});

test('a failing request is tried again and then named with what was found and expected', async () => {
  let asked = 0;
  await using server = await serve((_, response) => {
    asked += 1;
    response.writeHead(503).end();
  });
  expect(await httpCheck.check.run(paramsOf(), contextOf(server.url))).toMatchObject({
    verdict: 'fail',
    summary: 'app GET /ready: found status 503, expected 200 (3 tries)',
  });
  expect(asked).toBe(3);
});

test('a later try that answers passes', async () => {
  let asked = 0;
  await using server = await serve((_, response) => {
    asked += 1;
    response.writeHead(asked < 2 ? 500 : 200, { 'x-release': '1' }).end();
  });
  expect((await httpCheck.check.run(paramsOf(), contextOf(server.url))).verdict).toBe('pass');
});

test('a missing header is named', async () => {
  await using server = await serve((_, response) => void response.end());
  const result = await httpCheck.check.run(paramsOf({ tries: 1 }), contextOf(server.url));
  expect(result.summary).toBe("app GET /ready: found no header 'x-release', expected one (1 try)");
});

test('a redirect is an answer, and nobody follows it', async () => {
  const seen: (string | undefined)[] = [];
  await using server = await serve((request, response) => {
    seen.push(request.url);
    response.writeHead(302, { location: '/elsewhere' }).end();
  });
  const result = await httpCheck.check.run(paramsOf({ tries: 1 }), contextOf(server.url));
  expect(result.summary).toContain('found status 302, expected 200');
  expect(seen).toEqual(['/ready']);
});

test('an endless body is cut off', async () => {
  await using server = await serve((_, response) => {
    response.writeHead(200, { 'x-release': '1' });
    const pour = (): void => {
      while (!response.destroyed && response.write('x'.repeat(65_536)));
      if (!response.destroyed) response.once('drain', pour);
    };
    pour();
  });
  expect((await httpCheck.check.run(paramsOf({ tries: 1 }), contextOf(server.url))).verdict).toBe('pass');
});

test('a target that is not there fails and says so', async () => {
  const server = await serve((_, response) => void response.end());
  await server[Symbol.asyncDispose]();
  const result = await httpCheck.check.run(paramsOf({ tries: 1 }), contextOf(server.url));
  expect(result.verdict).toBe('fail');
  expect(result.summary).toContain('ECONNREFUSED');
});

test('a watch without bad readings passes and reports progress', async () => {
  await using server = await serve((_, response) => void response.writeHead(200, { 'x-release': '1' }).end());
  const context = contextOf(server.url);
  const result = await httpCheck.check.run(paramsOf({ forMs: 200, everyMs: 20 }), context);
  expect(result.verdict).toBe('pass');
  expect(result.output?.['readings']).toBeGreaterThan(1);
  expect(context.told.at(-1)).toMatchObject({ total: 200, unit: 'ms' });
});

test('two bad readings of three are a breach that names the request', async () => {
  let asked = 0;
  await using server = await serve((_, response) => {
    asked += 1;
    response.writeHead([200, 500, 200, 500][asked - 1] ?? 200, { 'x-release': '1' }).end();
  });
  const result = await httpCheck.check.run(paramsOf({ forMs: 20_000, everyMs: 5 }), contextOf(server.url));
  expect(result).toEqual({
    verdict: 'fail',
    summary: 'app GET /ready: found status 500, expected 200 (2 of the last 3 readings)',
    output: { requests: 4, readings: 4 },
  });
});

test('one bad reading of three is no breach, but a warning', async () => {
  let asked = 0;
  await using server = await serve((_, response) => {
    asked += 1;
    response.writeHead(asked === 2 ? 500 : 200, { 'x-release': '1' }).end();
  });
  const result = await httpCheck.check.run(paramsOf({ forMs: 150, everyMs: 10 }), contextOf(server.url));
  expect(result.verdict).toBe('warn');
});

test('no reading is inconclusive', async () => {
  await using server = await serve((_, response) => void response.end());
  expect(await httpCheck.check.run(paramsOf({ forMs: 0 }), contextOf(server.url))).toEqual({
    verdict: 'inconclusive',
    summary: 'app: no reading was taken in 0 ms',
    output: { requests: 0, readings: 0 },
  });
});

test('no request is inconclusive', async () => {
  const result = await httpCheck.check.run(paramsOf({ requests: [] }), contextOf('http://127.0.0.1:1'));
  expect(result.verdict).toBe('inconclusive');
});

test('a watch ends at once when it is cancelled, even while a request hangs', async () => {
  const asked = Promise.withResolvers<void>();
  await using server = await serve(() => asked.resolve());
  const context = contextOf(server.url);
  const watching = httpCheck.check.run(paramsOf({ forMs: 600_000, everyMs: 10 }), context);
  await asked.promise;
  context.abort();
  await expect(watching).rejects.toThrow('The test cancelled the phase.');
});
