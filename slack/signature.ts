/** Whether a request comes from Slack: version v0 of its signature, over the bytes as they came, before anything reads them. */
import { createHmac, timingSafeEqual } from 'node:crypto';

/** How far its time may lie from ours, either way; seconds. */
export const SIGNATURE_AGE_SECONDS_MAX = 300;

export type Signed = {
  /** `X-Slack-Request-Timestamp`: whole seconds since 1970. */
  timestamp: string | undefined;
  /** `X-Slack-Signature`: `v0=` and 64 hex digits. */
  signature: string | undefined;
  body: Uint8Array;
};

/** Why the request is not believed; undefined where it is. */
export type SignatureProblem = 'missing' | 'malformed' | 'stale' | 'forged';

export function signatureProblem(
  { timestamp, signature, body }: Signed,
  secret: string,
  now: Date,
): SignatureProblem | undefined {
  if (timestamp === undefined || signature === undefined) return 'missing';
  if (!/^\d{10}$/.test(timestamp) || !/^v0=[0-9a-f]{64}$/.test(signature)) return 'malformed';
  const awaySeconds = Math.abs(now.getTime() / 1_000 - Number(timestamp));
  // The hash is looked at in any case, so that time says nothing of why.
  const hash = createHmac('sha256', secret).update(`v0:${timestamp}:`).update(body).digest();
  const isEqual = timingSafeEqual(hash, Buffer.from(signature.slice(3), 'hex'));
  if (!isEqual) return 'forged';
  return awaySeconds > SIGNATURE_AGE_SECONDS_MAX ? 'stale' : undefined;
}
