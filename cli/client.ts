/** The HTTP client of the command line. */
import { ApiError } from './errors.ts';
import type {
  CheckWire,
  DecisionWire,
  EventWire,
  EvidenceWire,
  PlanWire,
  RunDetailWire,
  RunWire,
  LeaseWire,
  StartedWire,
  TokenMadeWire,
  TokenWire,
} from './wire.ts';

export const USER_AGENT = 'countdown-cli/0.1.0';
/** Milliseconds for one answer; an update of a run waits 5 s for a worker. */
const ANSWER_MS = 30_000;
/** The server sends a comment every 15 s: a stream that is silent for longer is broken. */
const SILENCE_MS = 40_000;

export type Access = { url: string; token: string };

export type PlanBody = {
  runbook: string | { text: string };
  environment: string;
  params: Record<string, unknown>;
};

/** Without a name the change freeze that holds. */
export type EmergencyBody = { reason: string; freeze?: string };

export type StartBody = {
  plan: string;
  failAt?: string;
  at?: string;
  notAfter?: string;
  waitMs?: number;
  readyCheck?: true;
};

export type Client = ReturnType<typeof makeClient>;

export function makeClient(access: Access) {
  const get = <T>(path: string) => call<T>(access, 'GET', path);
  const post = <T>(path: string, body: unknown, headers: Record<string, string> = {}) =>
    call<T>(access, 'POST', path, body, headers);
  return {
    ready: (run: number) => post<StartedWire>(`/v1/runs/${run}/ready`, {}),
    makePlan: (body: PlanBody & { emergency?: EmergencyBody }) => post<PlanWire>('/v1/plans', body),
    plan: (plan: string) => get<PlanWire>(`/v1/plans/${encodeURIComponent(plan)}`),
    check: (body: PlanBody, key: string) =>
      post<CheckWire>('/v1/checks', body, { 'Idempotency-Key': `"${key}"` }),
    start: (body: StartBody, key: string) =>
      post<StartedWire>('/v1/runs', body, { 'Idempotency-Key': `"${key}"` }),
    makeToken: (body: { person: string; expiresMs?: number }) => post<TokenMadeWire>('/v1/tokens', body),
    tokens: (page: { cursor?: string } = {}) =>
      get<{ items: TokenWire[]; next: string | null }>(
        `/v1/tokens?limit=100${page.cursor === undefined ? '' : `&cursor=${page.cursor}`}`,
      ),
    revokeToken: async (id: string) => {
      await send(access, 'DELETE', `/v1/tokens/${encodeURIComponent(id)}`);
    },
    leases: (environment: string | undefined) =>
      get<{ items: LeaseWire[] }>(
        `/v1/leases${environment === undefined ? '' : `?environment=${encodeURIComponent(environment)}`}`,
      ),
    runs: (query: { limit: number; cursor?: string }) =>
      get<{ items: RunWire[]; next: string | null }>(
        `/v1/runs?limit=${query.limit}${query.cursor === undefined ? '' : `&cursor=${encodeURIComponent(query.cursor)}`}`,
      ),
    run: (run: number) => get<RunDetailWire>(`/v1/runs/${run}`),
    evidence: (run: number) => get<EvidenceWire>(`/v1/runs/${run}/evidence`),
    undoSheet: (plan: string) => textOf(access, `/v1/plans/${encodeURIComponent(plan)}/undo-sheet`),
    decide: (run: number, body: object) => post<DecisionWire>(`/v1/runs/${run}/decisions`, body),
    steer: (
      run: number,
      verb: 'abort' | 'pause' | 'resume' | 'retry' | 'skip' | 'done' | 'resolve',
      body: object,
    ) => post<DecisionWire>(`/v1/runs/${run}/${verb}`, body),
    events: (run: number, after: string | null, signal: AbortSignal) => events(access, run, after, signal),
  };
}

/** What the API answers is described by its document, which a test holds against wire.ts. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller names the type of the answer
function trusted<T>(value: unknown): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where an answer gets its type
  return value as T;
}

function headersOf(access: Access): Record<string, string> {
  return { Authorization: `Bearer ${access.token}`, 'User-Agent': USER_AGENT };
}

async function call<T>(
  access: Access,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<T> {
  const response = await send(access, method, path, body, headers);
  return trusted<T>(await response.json());
}

/** Throws ApiError where the API refuses. */
async function send(
  access: Access,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  const response = await reach(access, path, {
    method,
    headers: {
      ...headersOf(access),
      ...headers,
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function textOf(access: Access, path: string): Promise<string> {
  const init = { headers: headersOf(access), signal: AbortSignal.timeout(ANSWER_MS) };
  const response = await reach(access, path, init);
  if (!response.ok) throw await problemOf(response);
  return response.text();
}

async function reach(access: Access, path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(new URL(path, access.url), { ...init, redirect: 'error' });
  } catch (error) {
    if (
      init.signal?.aborted === true &&
      init.signal.reason instanceof Error &&
      init.signal.reason.name === 'AbortError'
    ) {
      throw error;
    }
    throw new ApiError({
      status: 0,
      code: 'Unreachable',
      detail: `The API at ${access.url} did not answer.`,
      cause: error,
    });
  }
}

async function problemOf(response: Response): Promise<ApiError> {
  const body: unknown = await response.json().catch(() => null);
  const problem = typeof body === 'object' && body !== null ? trusted<Record<string, unknown>>(body) : {};
  return new ApiError({
    status: response.status,
    code: typeof problem['code'] === 'string' ? problem['code'] : `Http${response.status}`,
    detail:
      typeof problem['detail'] === 'string' ? problem['detail'] : `The API answered ${response.status}.`,
    errors: Array.isArray(problem['errors']) ? trusted<ApiError['errors']>(problem['errors']) : [],
    requestId: typeof problem['requestId'] === 'string' ? problem['requestId'] : null,
    run: typeof problem['run'] === 'number' ? problem['run'] : null,
    hint: typeof problem['hint'] === 'string' ? problem['hint'] : null,
  });
}

/** One connection's events; ends when the server closes it. Yields nothing where the run has ended and nothing follows. */
async function* events(
  access: Access,
  run: number,
  after: string | null,
  signal: AbortSignal,
): AsyncGenerator<EventWire | 'heartbeat'> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const response = await reach(access, `/v1/runs/${run}/events`, {
      headers: {
        ...headersOf(access),
        Accept: 'text/event-stream',
        ...(after === null ? {} : { 'Last-Event-ID': after }),
      },
      signal: AbortSignal.any([signal, silence.signal]),
    });
    if (response.status === 204) return;
    if (!response.ok) throw await problemOf(response);
    if (response.body === null) return;
    let buffer = '';
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      buffer += text;
      const blocks = buffer.split('\n\n');
      buffer = blocks.pop() ?? '';
      for (const block of blocks) yield parseBlock(block) ?? 'heartbeat';
    }
  } finally {
    clearTimeout(timer);
  }
}

/** One block of the stream; null for a comment or a hint to the client. */
export function parseBlock(block: string): EventWire | null {
  let id: string | null = null;
  let event = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const at = line.indexOf(':');
    if (at < 1) continue;
    const value = line.slice(at + 1).replace(/^ /, '');
    const field = line.slice(0, at);
    if (field === 'id') id = value;
    else if (field === 'event') event = value;
    else if (field === 'data') data.push(value);
  }
  if (data.length === 0) return null;
  return { id, event, data: trusted(JSON.parse(data.join('\n'))) };
}
