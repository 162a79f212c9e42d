/**
 * notify: tells somebody outside what the run does. It changes nothing that a run could take back.
 *
 *   send   a POST of JSON; 2xx is taken. What may pass (no answer, 5xx, 429) is sent again, with the same body and the
 *          same Idempotency-Key; any other answer is final. The key stays the same over tries and attempts.
 */
import type { Json } from '../procedures/plan.ts';
import { fail } from './lib/fail.ts';
import { type HttpAnswer, NoAnswer, request } from './lib/http.ts';
import { pause } from './lib/wait.ts';
import type { PhaseActivities, PhaseContext, PhaseResult } from './phase.ts';

type Message = {
  target: string;
  step: string;
  text: Json;
  say: Record<string, Json>;
  /** How often it is sent before it is given up. */
  sendings: number;
};

/** Milliseconds before the second sending; doubled before each further one. */
const PAUSE_MS = 500;
const TEXT_LENGTH_MAX = 4_000;
/** Of the whole message, outputs filled in. */
const BODY_BYTES_MAX = 64 * 1024;
/** Bytes that are read of the answer, and characters of its first line that are shown. */
const ANSWER_BYTES = 16 * 1024;
const SHOWN_LENGTH = 200;

const send: PhaseActivities<Message> = {
  async run(params, context) {
    const receiver = await receiverOf(params.target, context);
    const body = bodyOf(params, context);
    let trouble = '';
    for (let sending = 1; sending <= params.sendings; sending += 1) {
      if (sending > 1) await pause(PAUSE_MS * 2 ** (sending - 2), context.signal);
      await context.assertCurrent();
      const sent = await post(receiver, body, context);
      if ('answer' in sent && sent.answer.status >= 200 && sent.answer.status < 300) {
        return taken(params, sent.answer.status, sending);
      }
      trouble = receiver.hide('answer' in sent ? refusal(sent.answer) : sent.trouble);
      if ('answer' in sent && !mayPass(sent.answer)) {
        return failed(`${params.target} ${trouble}`, sent.answer.status, sending);
      }
    }
    return failed(`${params.target} ${trouble} (${params.sendings} sendings)`, null, params.sendings);
  },
};

export const notify = { send };

type Receiver = { url: string; headers: Record<string, string>; hide: (text: string) => string };

/** Where it goes. Secrets of the entry stand in address and headers, and nowhere else. */
async function receiverOf(name: string, context: PhaseContext): Promise<Receiver> {
  context.signal.throwIfAborted();
  const target = context.target(name, 'http');
  const token = target.token === undefined ? undefined : await context.secret(target.token);
  const path = target.secretPath === undefined ? undefined : await context.secret(target.secretPath);
  if (path !== undefined && !/^\/[\x21-\x7e]{0,1999}$/.test(path)) {
    throw fail(
      'PreconditionFailed',
      `The secretPath of '${name}' is no path, expected one that begins with '/' and has no spaces; correct the secret.`,
    );
  }
  const secrets = [token, path].filter((secret) => secret !== undefined && secret.length > 1);
  return {
    url: path === undefined ? target.url : target.url.replace(/\/+$/, '') + path,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      accept: 'application/json, text/plain',
      'idempotency-key': keyOf(context),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    hide: (text) =>
      secrets.reduce<string>((shown, secret) => shown.replaceAll(secret ?? '', '[hidden]'), text),
  };
}

/** One for a phase of a run, whatever the try; quoted, as a structured field is. */
function keyOf({ environment, run, phase }: PhaseContext): string {
  return `"countdown/${environment.environment}/${run}/${phase}"`;
}

function bodyOf({ step, text, say }: Message, context: PhaseContext): string {
  const words = typeof text === 'string' ? text : JSON.stringify(text);
  const body = JSON.stringify({
    run: context.run,
    environment: context.environment.environment,
    runbook: context.runbook,
    step,
    text: words.length > TEXT_LENGTH_MAX ? `${words.slice(0, TEXT_LENGTH_MAX - 1)}…` : words,
    ...(Object.keys(say).length === 0 ? {} : { say }),
    at: new Date().toISOString(),
  });
  const sizeBytes = Buffer.byteLength(body);
  if (sizeBytes <= BODY_BYTES_MAX) return body;
  throw fail(
    'PreconditionFailed',
    `The message of '${step}' has ${sizeBytes} bytes, expected at most ${BODY_BYTES_MAX}; say less.`,
  );
}

type Sent = { answer: HttpAnswer } | { trouble: string };

async function post({ url, headers }: Receiver, body: string, { signal }: PhaseContext): Promise<Sent> {
  try {
    return {
      answer: await request({ method: 'POST', url, headers, body, signal, answerBytesMax: ANSWER_BYTES }),
    };
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    return { trouble: `gave no answer (${error.message}), expected 2xx` };
  }
}

/** Trouble of the receiver, or of a proxy before it, that may be over in a moment. */
function mayPass({ status }: HttpAnswer): boolean {
  return status >= 500 || status === 429;
}

function refusal({ status, body }: HttpAnswer): string {
  if (status >= 300 && status < 400)
    return `answered ${status}, expected 2xx: redirects are not followed, so write its final address`;
  // Control characters too: the line goes to terminals.
  const [line = ''] = body.trim().split(/[\r\n]/);
  const shown = line.replaceAll(/\p{Cc}/gu, ' ').slice(0, SHOWN_LENGTH);
  return `answered ${status}, expected 2xx${shown === '' ? '' : `: ${shown}`}`;
}

function taken({ target }: Message, status: number, sendings: number): PhaseResult {
  const again = sendings === 1 ? '' : ` (sending ${sendings})`;
  return { verdict: 'pass', summary: `${target} was told${again}`, output: { status, sendings } };
}

function failed(summary: string, status: number | null, sendings: number): PhaseResult {
  return { verdict: 'fail', summary, output: { ...(status === null ? {} : { status }), sendings } };
}
