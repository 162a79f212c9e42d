/** A socket that reads into one buffer for as long as it lives, where Node would leave a new one behind for each read. */
import { Socket } from 'node:net';

const READ_BYTES = 64 * 1024;

export class LendingSocket extends Socket {
  /** Whether the bytes of a 'data' event are only lent: valid until the listener returns. Otherwise they are its own. */
  lends = false;

  constructor() {
    super({
      onread: {
        buffer: Buffer.allocUnsafeSlow(READ_BYTES),
        callback: (sizeBytes, buffer) => {
          const read = Buffer.from(buffer.buffer, buffer.byteOffset, sizeBytes);
          return this.lends ? this.emit('data', read) : this.push(Buffer.from(read));
        },
      },
    });
  }
}
