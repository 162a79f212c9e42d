/** One HTTP request with every bound that a launch needs: time, size, no redirects, at once cancelled. */
import { messageOf } from './fail.ts';

/** Milliseconds that one request may take, its body included. */
export const REQUEST_TIMEOUT_MS = 10_000;
/** Bytes of a body that are read where nothing is said; what comes after is cut off. */
export const BODY_BYTES_MAX = 1024 * 1024;

export type HttpRequest = {
  method: string;
  url: string;
  headers?: Record<string, string>;
  body?: string;
  /** Default 10 s. */
  timeoutMs?: number;
  signal: AbortSignal;
  /** Bytes of the answer's body that are read. Default 1 MiB. */
  answerBytesMax?: number;
};

export type HttpAnswer = { status: number; headers: Headers; body: string };

/** No answer came: refused, reset, unknown host, or not within the time. */
export class NoAnswer extends Error {
  override name = 'NoAnswer';
}

/**
 * Sends one request and reads the answer's body up to a bound. Redirects are answers like any other.
 *
 * @throws NoAnswer where none came in time; the signal's reason where the phase was cancelled.
 */
export async function request(input: HttpRequest): Promise<HttpAnswer> {
  const timeoutMs = input.timeoutMs ?? REQUEST_TIMEOUT_MS;
  const timer = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(input.url, {
      method: input.method,
      redirect: 'manual',
      signal: AbortSignal.any([input.signal, timer]),
      headers: input.headers ?? {},
      ...(input.body === undefined ? {} : { body: input.body }),
    });
    return {
      status: response.status,
      headers: response.headers,
      body: await readBody(response, input.answerBytesMax),
    };
  } catch (error) {
    input.signal.throwIfAborted();
    if (timer.aborted) throw new NoAnswer(`no answer within ${timeoutMs} ms`, { cause: error });
    throw new NoAnswer(messageOf(error), { cause: error });
  }
}

async function readBody(response: Response, bytesMax: number = BODY_BYTES_MAX): Promise<string> {
  if (response.body === null) return '';
  const reader = response.body.getReader();
  const parts: Uint8Array[] = [];
  for (let sizeBytes = 0; sizeBytes < bytesMax;) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(parts).toString('utf8');
    const part: Uint8Array = value;
    parts.push(part);
    sizeBytes += part.byteLength;
  }
  await reader.cancel();
  return Buffer.concat(parts).subarray(0, bytesMax).toString('utf8');
}
