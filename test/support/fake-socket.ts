/** The server side of one websocket (RFC 6455), as far as Socket Mode needs it: text, ping, close; no extensions. */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const [TEXT, CLOSE, PING, PONG] = [1, 8, 9, 10];

export type FakeSocket = {
  send(text: string): void;
  /** Says goodbye and ends the connection. */
  close(): void;
  /** Cuts the connection without a word. */
  cut(): void;
};

/** Takes an upgrade; `onText` gets each message, `onEnd` is called once. */
export function takeSocket(
  request: IncomingMessage,
  stream: Duplex,
  on: { text: (text: string) => void; end: () => void },
): FakeSocket {
  const key = request.headers['sec-websocket-key'] ?? '';
  const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64');
  stream.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  const write = (opcode: number, payload: Buffer) => {
    if (!stream.destroyed) stream.write(frameOf(opcode, payload));
  };
  let rest: Buffer = Buffer.alloc(0);
  stream.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    for (let frame = readFrame(rest); frame !== undefined; frame = readFrame(rest)) {
      rest = rest.subarray(frame.sizeBytes);
      if (frame.opcode === TEXT) on.text(frame.payload.toString('utf8'));
      else if (frame.opcode === PING) write(PONG, frame.payload);
      else if (frame.opcode === CLOSE) {
        write(CLOSE, frame.payload);
        stream.end();
      }
    }
  });
  stream.on('error', () => stream.destroy());
  stream.once('close', on.end);
  return {
    send: (text) => write(TEXT, Buffer.from(text, 'utf8')),
    close: () => write(CLOSE, Buffer.from([0x03, 0xe8])),
    cut: () => stream.destroy(),
  };
}

function frameOf(opcode: number, payload: Buffer): Buffer {
  const head =
    payload.length < 126
      ? Buffer.from([0x80 | opcode, payload.length])
      : payload.length < 65_536
        ? Buffer.from([0x80 | opcode, 126, payload.length >> 8, payload.length & 0xff])
        : longHead(opcode, payload.length);
  return Buffer.concat([head, payload]);
}

function longHead(opcode: number, sizeBytes: number): Buffer {
  const head = Buffer.alloc(10);
  head[0] = 0x80 | opcode;
  head[1] = 127;
  head.writeBigUInt64BE(BigInt(sizeBytes), 2);
  return head;
}

/** One whole frame of a client, unmasked; undefined until all of it is there. */
function readFrame(bytes: Buffer): { opcode: number; payload: Buffer; sizeBytes: number } | undefined {
  if (bytes.length < 6) return undefined;
  const opcode = bytes.readUInt8(0) & 0x0f;
  let length = bytes.readUInt8(1) & 0x7f;
  let at = 2;
  if (length === 126) {
    length = bytes.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (bytes.length < 14) return undefined;
    length = Number(bytes.readBigUInt64BE(2));
    at = 10;
  }
  const end = at + 4 + length;
  if (bytes.length < end) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, end));
  for (let index = 0; index < payload.length; index += 1)
    payload.writeUInt8(payload.readUInt8(index) ^ (mask[index % 4] ?? 0), index);
  return { opcode, payload, sizeBytes: end };
}
