import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { LendingSocket } from '../../activities/lib/lending-socket.ts';

const SENT = Buffer.from(Array.from({ length: 1_000_000 }, (_, place) => (place * 7_919) % 251));

/** Connects to a server that sends all at once, hands the socket over, and closes both. */
async function withSocket(work: (socket: LendingSocket) => Promise<void>): Promise<void> {
  const server = createServer((peer) => peer.end(SENT)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = new LendingSocket();
  try {
    socket.connect((server.address() as AddressInfo).port, '127.0.0.1');
    await work(socket);
  } finally {
    socket.destroy();
    server.close();
    await once(server, 'close');
  }
}

test('what it does not lend stays as it was read', async () => {
  await withSocket(async (socket) => {
    const kept: Buffer[] = [];
    socket.on('data', (data: Buffer) => kept.push(data));
    await once(socket, 'end');
    expect(kept.length).toBeGreaterThan(1);
    expect(Buffer.concat(kept).equals(SENT)).toBe(true);
  });
});

test('what it lends is one buffer, and stands still while it is paused', async () => {
  await withSocket(async (socket) => {
    socket.lends = true;
    const buffers = new Set<ArrayBufferLike>();
    const copies: Buffer[] = [];
    socket.on('data', (data: Buffer) => {
      buffers.add(data.buffer);
      copies.push(Buffer.from(data));
      socket.pause();
    });
    while (Buffer.concat(copies).length < SENT.length) {
      const before = copies.length;
      await sleep(10);
      expect(copies.length - before).toBeLessThanOrEqual(1);
      socket.resume();
    }
    expect(buffers.size).toBe(1);
    expect(Buffer.concat(copies).equals(SENT)).toBe(true);
  });
});
