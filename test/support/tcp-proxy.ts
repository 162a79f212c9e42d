/**
 * A wire between two parts that a test can hold, slow down or cut. It passes bytes on and knows nothing of what they mean, so it
 * stands in front of Temporal, PostgreSQL and the application alike.
 */
import { type Socket, connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

/** `up` is from the client to the server, `down` the way back. */
export type Way = 'up' | 'down' | 'both';

export type TcpProxy = AsyncDisposable & {
  /** Where clients connect instead of the server. */
  port: number;
  /** `127.0.0.1:PORT`. */
  address: string;
  /** Passes nothing on until `flow`; connections stay open, and bytes wait. */
  hold(way?: Way): void;
  /** Passes on everything that waited. */
  flow(): void;
  /** Ends every connection and refuses new ones until `mend`. */
  cut(): void;
  mend(): void;
  /** Open connections. */
  count(): number;
};

type Pair = { client: Socket; server: Socket };

/** Listens on a free port of 127.0.0.1 and passes connections on to `target` (`host:port`). */
export async function makeTcpProxy(target: string): Promise<TcpProxy> {
  const [host = '127.0.0.1', port = '0'] = target.split(':');
  const pairs = new Set<Pair>();
  const held = { up: false, down: false };
  let isCut = false;

  /** A paused socket reads nothing more, so the bytes wait where they are. */
  const settle = ({ client, server }: Pair): void => {
    if (held.up) client.pause();
    else client.resume();
    if (held.down) server.pause();
    else server.resume();
  };

  const listener = createServer((client) => {
    if (isCut) return void client.destroy();
    const server = connect({ host, port: Number(port) });
    const pair = { client, server };
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', end);
      socket.on('close', end);
    }
    client.on('data', (bytes) => server.write(bytes));
    server.on('data', (bytes) => client.write(bytes));
    settle(pair);
  });
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(0, '127.0.0.1', resolve);
  });
  const { port: own } = listener.address() as AddressInfo;

  return {
    port: own,
    address: `127.0.0.1:${own}`,
    hold(way = 'both') {
      held.up ||= way !== 'down';
      held.down ||= way !== 'up';
      for (const pair of pairs) settle(pair);
    },
    flow() {
      held.up = false;
      held.down = false;
      for (const pair of pairs) settle(pair);
    },
    cut() {
      isCut = true;
      for (const { client, server } of pairs) {
        client.destroy();
        server.destroy();
      }
    },
    mend() {
      isCut = false;
    },
    count: () => pairs.size,
    async [Symbol.asyncDispose]() {
      for (const { client, server } of pairs) {
        client.destroy();
        server.destroy();
      }
      await new Promise<void>((resolve) => {
        listener.close(() => resolve());
      });
    },
  };
}
