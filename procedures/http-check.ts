/**
 * http.check: asks a target and looks at status and headers, once or for a while. It changes nothing. Once: each request
 * has three tries. For a while: all requests every so often; two bad readings of the last three are a breach, and no
 * reading at all is inconclusive.
 */
import { z } from 'zod';
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from './limits.ts';
import type { Json } from './plan.ts';
import { type DraftPhase, type Procedure, callOf, targetOf } from './procedure.ts';
import { durationSchema, exact, later, nameSchema } from './schema.ts';
import { writeDuration } from './units.ts';

/** Tries of one request where it is asked once, and the time that one may take. */
const TRIES = 3;
const REQUEST_MS = 10 * SECOND_MS;
const BREACH = { count: 2, of: 3 };

/** Keys that are a method; those that change something are refused by name. */
const METHODS = ['get', 'head', 'options', 'post', 'put', 'patch', 'delete'];

const path = z.string().regex(/^\/[\x21-\x7e]{0,1999}$/, "a path that begins with '/' and has no spaces");
const header = z.string().regex(/^[A-Za-z0-9-]{1,100}$/, 'the name of a header');
const changes = (method: string) =>
  later(
    `${method} comes with a later version: a check changes nothing, expected get, head or options.`,
    'ask with get',
  );

const request = exact({
  get: path.exactOptional(),
  head: path.exactOptional(),
  options: path.exactOptional(),
  status: z
    .int('a status such as 200')
    .min(100)
    .max(599)
    .default(200)
    .describe('The status that is expected.'),
  headers: z.array(header).max(50).default([]).describe('Headers that the answer must have.'),
  post: changes('post'),
  put: changes('put'),
  patch: changes('patch'),
  delete: changes('delete'),
  allows: later('allows comes with a later version.', 'take it away'),
  instances: later('instances comes with a later version.', 'take it away'),
  expect: later(
    'expect comes with a later version: write status and headers beside the path.',
    'take it away',
  ),
  as: later('as comes with a later version.', 'take it away'),
})
  .refine((one) => Object.keys(one).filter((key) => METHODS.includes(key)).length === 1, {
    error: 'A request has one method, expected exactly one of get, head or options with its path.',
    params: { hint: 'write  { get: /health/ready }' },
  })
  .meta({ oneOf: [{ required: ['get'] }, { required: ['head'] }, { required: ['options'] }] });

const params = exact({
  target: nameSchema.describe('Target of kind http.'),
  requests: z
    .array(request, 'a list of requests, as in [{ get: /health/ready }]')
    .min(1, 'at least 1 request')
    .max(50)
    .describe('What is asked, one after the other.'),
  for: durationSchema({ ms: SECOND_MS }, { ms: 7 * DAY_MS })
    .exactOptional()
    .describe('How long to watch. Default: ask once.'),
  every: durationSchema({ ms: 100 }, { ms: HOUR_MS })
    .exactOptional()
    .describe('Time between two readings. Default 1s.'),
}).superRefine((one, context) => {
  if (one.every !== undefined && (one.for === undefined || one.every > one.for)) {
    const message =
      one.for === undefined
        ? 'every stands without for, expected both or neither.'
        : 'every is longer than for, expected time for at least one reading.';
    context.addIssue({
      code: 'custom',
      path: ['every'],
      message,
      params: { hint: 'write  for: 15s, every: 1s' },
    });
  }
});

const output = z.object({ requests: z.int(), readings: z.int() });

export const httpCheck: Procedure<typeof params> = {
  kind: 'http.check',
  summary: 'asks a target and looks at status and headers, once or for a while',
  params,
  output,
  plan(input) {
    const { target, requests, for: forMs, every: everyMs } = input.params;
    if (targetOf(input, ['target'], target, 'http') === undefined) return [];
    const asked = requests.map(({ get, head, options, status, headers }) => {
      const [method, at] =
        get !== undefined ? ['GET', get] : head !== undefined ? ['HEAD', head] : ['OPTIONS', options ?? ''];
      return { method, path: at, status, headers: headers.map((name) => name.toLowerCase()) };
    });
    const onceMs = requests.length * TRIES * REQUEST_MS;
    const check: Json = {
      target,
      requests: asked,
      forMs: forMs ?? null,
      everyMs: everyMs ?? SECOND_MS,
      breach: BREACH,
      tries: TRIES,
    };
    const phase: DraftPhase = {
      name: 'check',
      title: forMs === undefined ? `Ask ${target}` : `Watch ${target} for ${writeDuration(forMs)}`,
      effect: 'none',
      targets: [target],
      guards: true,
      run: callOf('http.check', 'check', 'run', check),
      expected: { runMs: forMs ?? requests.length * 200, undoMs: 0 },
      limits: { timeoutMs: forMs === undefined ? onceMs + 30 * SECOND_MS : forMs + onceMs + MINUTE_MS },
    };
    return [phase];
  },
};
