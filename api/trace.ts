/** What names a request in every place that it reaches: answers, logs, and Temporal. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import type { WorkflowClientInterceptor } from '@temporalio/client';
import { type Headers, defaultPayloadConverter } from '@temporalio/common';

export type Trace = {
  requestId: string;
  /** W3C Trace Context, as it came; undefined where none came. */
  traceparent?: string;
};

const current = new AsyncLocalStorage<Trace>();

/** Takes what the caller names, and makes an id where that cannot be used. */
export function traceOf(requestId: string | undefined, traceparent: string | undefined): Trace {
  // A token that somebody sends here by mistake is to be kept nowhere.
  const isId = requestId !== undefined && /^(?!cd_|eyJ)[\w-]{8,64}$/.test(requestId);
  const isParent =
    traceparent !== undefined &&
    /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(traceparent) &&
    !/-0{32}-|-0{16}-/.test(traceparent);
  return { requestId: isId ? requestId : `req-${randomUUID()}`, ...(isParent ? { traceparent } : {}) };
}

/** Whatever `work` calls can ask `trace()`. */
export function traced<T>(names: Trace, work: () => T): T {
  return current.run(names, work);
}

/** The request that this is done for; undefined in a loop of the process. */
export function trace(): Trace | undefined {
  return current.getStore();
}

/** Writes the request's names into the headers of starts and updates, where Temporal keeps them with the history. */
export const traceInterceptor: WorkflowClientInterceptor = {
  start: (input, next) => next({ ...input, headers: { ...input.headers, ...headers() } }),
  startUpdate: (input, next) => next({ ...input, headers: { ...input.headers, ...headers() } }),
};

function headers(): Headers {
  return Object.fromEntries(
    Object.entries(trace() ?? {}).map(([name, value]) => [name, defaultPayloadConverter.toPayload(value)]),
  );
}
