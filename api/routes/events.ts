/** The live view of a run as server-sent events. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { isTerminal } from '../../procedures/states.ts';
import { type ApiDeps, type ApiEnv, environmentNamed, grant, runById } from '../context.ts';
import { type SentEvent, encodeEvent } from '../events.ts';
import { ApiProblem } from '../problems.ts';
import { RunId, createRoute, problems, signedIn, z } from './define.ts';

const HEADERS = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-store',
  'X-Accel-Buffering': 'no',
};

export function addEvents(app: OpenAPIHono<ApiEnv>, deps: ApiDeps): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/runs/{id}/events',
      summary: 'The live view of a run: an event a row of its journal, and progress',
      security: signedIn,
      request: {
        params: RunId,
        headers: z.object({
          'last-event-id': z
            .string()
            .optional()
            .openapi({ description: 'The last id seen; rows after it follow' }),
        }),
      },
      responses: {
        200: { description: 'Events', content: { 'text/event-stream': { schema: z.string() } } },
        204: { description: 'The run has ended and there is nothing after the given id' },
        ...problems(400, 401, 403, 404),
      },
    }),
    async (c) => {
      const run = await runById(deps, c.req.valid('param').id);
      await grant(c, deps, await environmentNamed(deps, run.environment), run);
      const given = lastEventId(c.req.header('last-event-id'));
      const isAhead = given > run.head.seq;
      if (isTerminal(run.state) && given === run.head.seq) return c.body(null, 204);
      const place = deps.events.open(c.get('person'));
      if (place === undefined) {
        throw new ApiProblem(
          'TooManyStreams',
          'Too many event streams are open: close one, or try again later.',
          {
            headers: { 'Retry-After': '10' },
          },
        );
      }
      const left = new AbortController();
      const signal = AbortSignal.any([left.signal, c.req.raw.signal]);
      const events = withLag(isAhead, deps.events.follow(run.run, isAhead ? 0 : given, signal));
      return c.body(
        streamOf(events, left, () => place.close(), deps),
        200,
        HEADERS,
      );
    },
  );
}

/** Throws BadHeader for what is no number of a row. */
function lastEventId(header: string | undefined): number {
  if (header === undefined || header === '') return 0;
  if (/^\d{1,9}$/.test(header)) return Number(header);
  throw new ApiProblem(
    'BadHeader',
    'Last-Event-ID is no number of a row: send the last id that was seen, or none.',
  );
}

async function* withLag(isAhead: boolean, events: AsyncGenerator<SentEvent>): AsyncGenerator<SentEvent> {
  if (isAhead) yield { event: 'lagged', data: {} };
  yield* events;
}

/** Pulls one event at a time, so a slow client slows nothing but its own stream. */
function streamOf(
  events: AsyncGenerator<SentEvent>,
  left: AbortController,
  close: () => void,
  deps: Pick<ApiDeps, 'log'>,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      controller.enqueue(encoder.encode('retry: 1000\n\n'));
    },
    async pull(controller) {
      try {
        const next = await events.next();
        if (next.done !== true) return controller.enqueue(encoder.encode(encodeEvent(next.value)));
      } catch (error) {
        // The client comes back with the last id it saw; what went wrong stays here.
        deps.log.warn({ err: error }, 'events: stream ended');
      }
      close();
      controller.close();
    },
    async cancel() {
      left.abort();
      close();
      await events.return(undefined);
    },
  });
}
