/**
 * A switch: a target whose value can be read and set over HTTP. `GET` gives `{ "value" }` and an ETag; `PUT` with
 * `If-Match` gives the new ETag, or 412 where somebody was faster. The ETag is the fence: every change, and every probe
 * (which PUTs the value that it read), makes a new one, so a PUT that was decided on before it can do nothing.
 */
import type { PhaseContext } from '../phase.ts';
import { fail } from './fail.ts';
import { NoAnswer, request } from './http.ts';
import type { HttpAnswer } from './http.ts';
import { pause } from './wait.ts';

/** Milliseconds for a read. */
const READ_TIMEOUT_MS = 10_000;
/** Milliseconds for a change: it answers only after the last write in flight. */
const PUT_TIMEOUT_MS = 30_000;
/** Rounds of read, decide, put before a switch that others keep changing is given up. */
const ROUNDS = 5;
/** Attempts of one read, and milliseconds between attempts of anything. */
const READ_TRIES = 3;
const PAUSE_MS = 200;

export type SwitchReading = { value: string; etag: string };

export type SwitchChange = {
  /** The value that is wanted. */
  to: string;
  /** Values from which it may be set; any other is somebody else's. */
  from: string[];
  /** The error for another value. Default PreconditionFailed. */
  otherwise?: 'PreconditionFailed' | 'UndoFailed';
};

export type Switch = {
  name: string;
  values: string[];
  /** Throws Unreachable where there is no answer, PreconditionFailed where the answer is not a switch's. */
  read(): Promise<SwitchReading>;
  /**
   * Sets the value, whoever else is at it, and reads it back. A value that stands already is set again: that raises the
   * fence. Gives the value found first. Throws FenceLost where a later attempt has begun.
   */
  set(change: SwitchChange): Promise<{ found: string }>;
  /** Raises the fence by setting the value that it read, and gives it. */
  probe(): Promise<string>;
};

/** The switch that the environment names. */
export async function openSwitch(name: string, context: PhaseContext): Promise<Switch> {
  const target = context.target(name, 'switch');
  const token = target.token === undefined ? undefined : await context.secret(target.token);
  const headers: Record<string, string> = { accept: 'application/json' };
  // Without user, path and query, which may be secret.
  const address = new URL(target.url).host;
  if (token !== undefined) headers['authorization'] = `Bearer ${token}`;

  const read = async (): Promise<SwitchReading> => {
    const answer = await readPatiently({ name, address }, { url: target.url, headers }, context);
    return parseReading({ name, address }, target.values, answer);
  };

  const put = async (value: string, etag: string): Promise<'set' | 'changed' | 'unknown'> => {
    await context.assertCurrent();
    try {
      const answer = await request({
        method: 'PUT',
        url: target.url,
        headers: { ...headers, 'content-type': 'application/json', 'if-match': etag },
        body: JSON.stringify({ value }),
        timeoutMs: PUT_TIMEOUT_MS,
        signal: context.signal,
      });
      if (answer.status === 412) return 'changed';
      if (answer.status === 200 || answer.status === 204) return 'set';
      if (mayPass(answer)) return 'unknown';
      throw refusal({ name, address }, answer, `setting it to '${value}'`);
    } catch (error) {
      // The change may have happened: only reading can tell. A request that is still under way carries the old ETag.
      if (error instanceof NoAnswer) return 'unknown';
      throw error;
    }
  };

  const set = async ({ to, from, otherwise }: SwitchChange): Promise<{ found: string }> => {
    if (!target.values.includes(to)) {
      throw fail(
        'PreconditionFailed',
        `Switch '${name}' has no value '${to}'; it has ${list(target.values)}.`,
      );
    }
    let first: string | undefined;
    for (let round = 0; round < ROUNDS; round += 1) {
      const reading = await read();
      first ??= reading.value;
      if (reading.value !== to && !from.includes(reading.value)) {
        throw fail(
          otherwise ?? 'PreconditionFailed',
          `Switch '${name}' says '${reading.value}', expected ${list([...new Set([...from, to])])}: somebody else has changed it; ` +
            `set it back, or decide by hand.`,
        );
      }
      const result = await put(to, reading.etag);
      if (result === 'unknown') await pause(PAUSE_MS, context.signal);
      if (result !== 'set') continue;
      const after = await read();
      if (after.value === to) return { found: first };
    }
    throw fail(
      'Unreachable',
      `Switch '${name}' at ${address} did not take the value '${to}' in ${ROUNDS} rounds; something else keeps changing it, or it answers too late.`,
    );
  };

  const probe = async (): Promise<string> => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const reading = await read();
      const result = await put(reading.value, reading.etag);
      if (result === 'set') return reading.value;
      if (result === 'unknown') await pause(PAUSE_MS, context.signal);
    }
    throw fail(
      'Unreachable',
      `Switch '${name}' at ${address} could not be probed in ${ROUNDS} rounds; something else keeps changing it.`,
    );
  };

  return { name, values: target.values, read, set, probe };
}

type Place = { name: string; address: string };

/** Reading changes nothing, so it may be tried again: a connection that idled away is no reason to unwind a launch. */
async function readPatiently(
  { name, address }: Place,
  input: { url: string; headers: Record<string, string> },
  context: PhaseContext,
): Promise<HttpAnswer> {
  for (let turn = 1; ; turn += 1) {
    try {
      const answer = await request({
        method: 'GET',
        ...input,
        timeoutMs: READ_TIMEOUT_MS,
        signal: context.signal,
      });
      if (!mayPass(answer) || turn === READ_TRIES) return answer;
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      if (turn === READ_TRIES) {
        throw fail(
          'Unreachable',
          `Switch '${name}' at ${address} gave no answer (${error.message}); check that it runs and that this worker can reach it.`,
          error,
        );
      }
    }
    await pause(PAUSE_MS, context.signal);
  }
}

/** Trouble of the server, or of a proxy before it, that may be over in a moment. */
function mayPass(answer: HttpAnswer): boolean {
  return answer.status >= 500 || answer.status === 429;
}

function parseReading(place: Place, values: string[], answer: HttpAnswer): SwitchReading {
  const { name } = place;
  if (answer.status !== 200) throw refusal(place, answer, 'reading it');
  const etag = answer.headers.get('etag');
  if (etag === null) {
    throw fail(
      'PreconditionFailed',
      `Switch '${name}' answered without an ETag, expected one: without it a late change could not be refused.`,
    );
  }
  const value = valueOf(answer.body);
  if (value === undefined) {
    throw fail(
      'PreconditionFailed',
      `Switch '${name}' answered something other than { "value": "…" }; see that its url is right.`,
    );
  }
  if (!values.includes(value)) {
    throw fail(
      'PreconditionFailed',
      `Switch '${name}' says '${value}', expected ${list(values)}; correct 'values' in the environment file.`,
    );
  }
  return { value, etag };
}

function valueOf(body: string): string | undefined {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed !== 'object' || parsed === null || !('value' in parsed)) return undefined;
    return typeof parsed.value === 'string' ? parsed.value : undefined;
  } catch {
    return undefined;
  }
}

function refusal({ name, address }: Place, answer: HttpAnswer, doing: string): never {
  if (mayPass(answer)) {
    throw fail(
      'Unreachable',
      `Switch '${name}' at ${address} answered ${answer.status} when ${doing}, expected 200; see its log.`,
    );
  }
  const hint =
    answer.status === 401 || answer.status === 403
      ? 'see that its token in the environment file is the right one'
      : answer.status >= 300 && answer.status < 400
        ? 'redirects are not followed, so write its final url'
        : 'see that its url is right';
  throw fail(
    'PreconditionFailed',
    `Switch '${name}' answered ${answer.status} when ${doing}, expected 200; ${hint}.`,
  );
}

/** `'a'`, `'a' or 'b'`, `'a', 'b' or 'c'`. */
export function list(values: string[]): string {
  const quoted = values.map((value) => `'${value}'`);
  return quoted.length < 2 ? quoted.join('') : `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`;
}
