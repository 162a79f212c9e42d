import { createServer } from 'node:net';
import type { Server } from 'node:net';

/** A port on 127.0.0.1 that was free a moment ago. Somebody else may take it first, so whoever starts on it tries again. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listenLocally(server);
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}

/** Listens on 127.0.0.1, on a free port unless one is given, and gives the port. */
export function listenLocally(server: Server, port: number = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve(portOf(server));
    });
  });
}

/** The port of a server that listens. Throws where it does not. */
export function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string')
    throw new Error('The server does not listen on a port.');
  return address.port;
}
