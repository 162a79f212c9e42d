/** Signed requests over HTTP: the bytes are believed before anything reads them, then they go to the door. */
import { ApiProblem } from '../api/problems.ts';
import type { Door } from './door.ts';
import { type Deed, commandOf, deedOf } from './payload.ts';
import type { Refusals } from './refusals.ts';
import { signatureProblem } from './signature.ts';

const BODY_SIZE_BYTES_MAX = 256 * 1024;

const SENTENCES = {
  missing: 'The request has no signature of Slack.',
  malformed: 'The signature of the request has not the form of Slack.',
  stale: 'The request was signed more than five minutes ago, or in the future.',
  forged: 'The signature of the request is not that of Slack.',
} as const;

/** Throws ApiProblem where the request is refused. */
export function makeReceiver(deps: {
  door: Pick<Door, 'take'>;
  refusals: Refusals;
  signingSecret: string;
  now: () => Date;
}): (request: Request) => Promise<Response> {
  return async (request) => {
    const body = await readBounded(request);
    const problem = signatureProblem(
      {
        timestamp: request.headers.get('x-slack-request-timestamp') ?? undefined,
        signature: request.headers.get('x-slack-signature') ?? undefined,
        body,
      },
      deps.signingSecret,
      deps.now(),
    );
    if (problem !== undefined) {
      await deps.refusals.tell({ code: 'SlackSignature', detail: SENTENCES[problem], user: null });
      throw new ApiProblem('Unauthenticated', `${SENTENCES[problem]} Send what Slack sends.`);
    }
    const form = Object.fromEntries(new URLSearchParams(new TextDecoder().decode(body)));
    // Slack asks now and then whether the certificate is in order.
    if (form['ssl_check'] === '1') return new Response('');
    const deed = readDeed(form);
    if (deed === undefined) return new Response('');
    const ack = await deps.door.take(deed);
    if ('refused' in ack) throw new ApiProblem('Unauthenticated', ack.refused);
    return ack.body === undefined ? new Response('') : Response.json(ack.body);
  };
}

function readDeed(form: Record<string, string>): Deed | undefined {
  const { payload } = form;
  if (payload === undefined) return commandOf(form);
  try {
    return deedOf(JSON.parse(payload));
  } catch {
    return undefined;
  }
}

async function readBounded(request: Request): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of request.body ?? []) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > BODY_SIZE_BYTES_MAX)
      throw new ApiProblem(
        'TooLarge',
        `The body is larger than ${BODY_SIZE_BYTES_MAX / 1024} KiB: send a smaller one.`,
      );
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
