/** A wire between a worker and PostgreSQL that is cut where a test wants it. */
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

/** A wire to the server that is cut at the first COMMIT of the migration: after the server got it, or before. */
export async function makeWire(url: string, { delivers }: { delivers: boolean }) {
  const { hostname, port } = new URL(url);
  let isArmed = true;
  let cuts = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    let seen = false;
    client.on('data', (bytes) => {
      const said = bytes.toString('latin1');
      seen ||= said.includes('INSERT INTO countdown.migration');
      if (!isArmed || !seen || !said.includes('COMMIT')) return void upstream.write(bytes);
      isArmed = false;
      cuts += 1;
      if (delivers) upstream.end(bytes);
      else upstream.destroy();
      client.destroy();
    });
    upstream.on('data', (bytes) => client.write(bytes));
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('close', () => other.destroy());
      one.on('error', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address() as AddressInfo;
  return {
    port: address.port,
    cuts: () => cuts,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}
