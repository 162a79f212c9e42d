/** A real HTTP server that is a switch: GET, and PUT with If-Match; every PUT makes a new ETag, also of an equal value. */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SwitchTarget } from '../../procedures/environment.ts';

export type SwitchServer = AsyncDisposable & {
  value: string;
  generation: number;
  /** Every value that was PUT with success, in order. */
  puts: string[];
  /** Runs before the next PUT is looked at, once. */
  beforePut: (() => void) | undefined;
  /** The next PUT is carried out, and its connection cut without an answer. */
  loseNextAnswer: boolean;
  /** Answers of another kind for the next requests, first one first. */
  answers: { status: number; headers?: Record<string, string>; body?: string }[];
  target: SwitchTarget;
  token: string;
};

export async function startSwitchServer(values: string[], start = values[0] ?? ''): Promise<SwitchServer> {
  const state = { value: start, generation: 1, puts: [] as string[], answers: [] as SwitchServer['answers'] };
  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new Error('The switch server has no port.');
  const switchServer: SwitchServer = Object.assign(state, {
    beforePut: undefined,
    loseNextAnswer: false,
    token: 'switch-token',
    target: {
      kind: 'switch' as const,
      url: `http://127.0.0.1:${address.port}/mode`,
      token: { env: 'TEST_SWITCH_TOKEN' },
      values,
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await readBody(request);
    const forced = switchServer.answers.shift();
    if (forced !== undefined)
      return void response.writeHead(forced.status, forced.headers).end(forced.body ?? '');
    if (request.headers.authorization !== `Bearer ${switchServer.token}`)
      return void response.writeHead(401).end();
    if (request.method === 'PUT') {
      const before = switchServer.beforePut;
      switchServer.beforePut = undefined;
      before?.();
      const match = request.headers['if-match'];
      if (match === undefined) return void response.writeHead(428).end();
      if (match !== `"${switchServer.generation}"`) return void response.writeHead(412).end();
      const parsed: { value: string } = JSON.parse(body);
      switchServer.value = parsed.value;
      switchServer.generation += 1;
      switchServer.puts.push(parsed.value);
      if (switchServer.loseNextAnswer) {
        switchServer.loseNextAnswer = false;
        return void response.destroy();
      }
    }
    response
      .writeHead(200, { 'content-type': 'application/json', etag: `"${switchServer.generation}"` })
      .end(JSON.stringify({ value: switchServer.value }));
  };
  return switchServer;
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString('utf8');
}
