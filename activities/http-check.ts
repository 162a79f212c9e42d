/**
 * http.check: asks a target and looks at status and headers, once or for a while. It changes nothing.
 *
 *   once        each request has `tries`; the last answer counts
 *   watch       every `everyMs` for `forMs` all requests once are a reading; a breach is `count` bad ones of the last `of`
 */
import type { PhaseActivities, PhaseContext, PhaseResult } from './phase.ts';
import { NoAnswer, REQUEST_TIMEOUT_MS, request } from './lib/http.ts';
import { pause } from './lib/wait.ts';

type CheckRequest = { method: string; path: string; status: number; headers: string[] };

type CheckParams = {
  target: string;
  requests: CheckRequest[];
  /** Milliseconds to watch; null asks once. */
  forMs: number | null;
  everyMs: number;
  breach: { count: number; of: number };
  /** Attempts of one request where it is asked once. */
  tries: number;
};

/** Milliseconds between two tries of one request. */
const RETRY_MS = 500;

const check: PhaseActivities<CheckParams> = {
  async run(params, context) {
    if (params.requests.length === 0) {
      return inconclusive(params, 0, 'no request was given, so nothing was looked at');
    }
    return params.forMs === null
      ? await askOnce(params, context)
      : await watch(params, params.forMs, context);
  },
};

export const httpCheck = { check };

async function askOnce(params: CheckParams, context: PhaseContext): Promise<PhaseResult> {
  for (const wanted of params.requests) {
    const tries = Math.max(1, params.tries);
    let trouble: string | undefined;
    for (let turn = 1; turn <= tries; turn += 1) {
      if (turn > 1) await pause(RETRY_MS, context.signal);
      trouble = await ask(wanted, params.target, context);
      if (trouble === undefined) break;
    }
    if (trouble !== undefined)
      return failed(params, 1, `${trouble} (${tries} ${tries === 1 ? 'try' : 'tries'})`);
  }
  const count = params.requests.length;
  return {
    verdict: 'pass',
    summary: `${params.target}: ${count} ${count === 1 ? 'request' : 'requests'} answered as expected`,
    output: { requests: count, readings: 1 },
  };
}

async function watch(params: CheckParams, forMs: number, context: PhaseContext): Promise<PhaseResult> {
  const startedAt = performance.now();
  const recent: boolean[] = [];
  let readings = 0;
  let bad = 0;
  for (let tick = 0; performance.now() - startedAt < forMs; tick += 1) {
    const dueMs = tick * params.everyMs - (performance.now() - startedAt);
    if (dueMs > 0) await pause(Math.min(dueMs, forMs - (performance.now() - startedAt)), context.signal);
    if (performance.now() - startedAt >= forMs) break;
    const trouble = await reading(params, context);
    readings += 1;
    if (trouble !== undefined) bad += 1;
    recent.push(trouble !== undefined);
    if (recent.length > params.breach.of) recent.shift();
    const badOfLast = recent.filter(Boolean).length;
    if (trouble !== undefined && badOfLast >= params.breach.count) {
      return failed(params, readings, `${trouble} (${badOfLast} of the last ${recent.length} readings)`);
    }
    report(context, { startedAt, forMs, readings, bad });
    // A reading that took longer than the pace skips the ticks that it missed.
    tick = Math.max(tick, Math.floor((performance.now() - startedAt) / Math.max(1, params.everyMs)) - 1);
  }
  if (readings === 0) return inconclusive(params, 0, `no reading was taken in ${forMs} ms`);
  return {
    verdict: bad === 0 ? 'pass' : 'warn',
    summary: `${params.target}: ${readings - bad} of ${readings} readings good, no breach`,
    output: { requests: readings * params.requests.length, readings },
  };
}

/** All requests once; what was wrong with the first that was. */
async function reading(params: CheckParams, context: PhaseContext): Promise<string | undefined> {
  for (const wanted of params.requests) {
    const trouble = await ask(wanted, params.target, context);
    if (trouble !== undefined) return trouble;
  }
  return undefined;
}

/** What is wrong with the answer, in words; undefined where it is as expected. */
async function ask(
  wanted: CheckRequest,
  targetName: string,
  context: PhaseContext,
): Promise<string | undefined> {
  const target = context.target(targetName, 'http');
  const what = `${targetName} ${wanted.method} ${wanted.path}`;
  try {
    const answer = await request({
      method: wanted.method,
      url: target.url.replace(/\/+$/, '') + wanted.path,
      timeoutMs: REQUEST_TIMEOUT_MS,
      signal: context.signal,
    });
    if (answer.status !== wanted.status)
      return `${what}: found status ${answer.status}, expected ${wanted.status}`;
    const missing = wanted.headers.find((header) => !answer.headers.has(header));
    return missing === undefined ? undefined : `${what}: found no header '${missing}', expected one`;
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    return `${what}: ${error.message}, expected status ${wanted.status}`;
  }
}

function report(
  context: PhaseContext,
  at: { startedAt: number; forMs: number; readings: number; bad: number },
): void {
  context.progress({
    done: Math.min(at.forMs, Math.round(performance.now() - at.startedAt)),
    total: at.forMs,
    unit: 'ms',
    detail: `${at.readings} readings, ${at.bad} bad`,
  });
}

function failed(params: CheckParams, readings: number, trouble: string): PhaseResult {
  const requests = Math.max(1, readings) * params.requests.length;
  return { verdict: 'fail', summary: trouble, output: { requests, readings } };
}

function inconclusive(params: CheckParams, readings: number, why: string): PhaseResult {
  return { verdict: 'inconclusive', summary: `${params.target}: ${why}`, output: { requests: 0, readings } };
}
