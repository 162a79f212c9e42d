/**
 * Every operation of the document is asked with what fits its schemas and with what nearly does, by people with and without
 * rights. No answer is a 500, each has a status that the document names for it, and fits its schema (the helper looks).
 */
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiDocument, operationsOf } from '../../api/document.ts';
import type { RunDetailWire } from '../../cli/wire.ts';
import { isTerminal } from '../../procedures/states.ts';
import { makeEngine, withDigests } from '../support/engine.ts';
import { approval, makePlan } from '../support/plans.ts';
import { type Schema, fromSchema, nearly } from '../support/from-schema.ts';
import { RUNBOOK, type TestApi, makeTestApi } from './support.ts';

const DEEP = process.env['COUNTDOWN_TEST_DEEP'] === '1';
/** Requests to each operation. */
const REQUESTS = DEEP ? 2_000 : 25;
const TEST_MS = DEEP ? 3_600_000 : 120_000;

let api: TestApi;
let words: Record<string, readonly unknown[]>;
beforeAll(async () => {
  api = await makeTestApi();
  const made = await api.ok<{ plan: string }>('dana', '/v1/plans', {
    body: { runbook: 'hold', environment: 'lab' },
  });
  const other = await api.savePlan(
    makePlan([{ id: 'one', phases: [{ name: 'go' }] }], { environment: 'vault' }),
  );
  const runs = [];
  for (const plan of [made.plan, other]) {
    runs.push((await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan } })).run);
  }
  words = {
    id: [...runs, 0, 'x'],
    plan: [made.plan, other],
    step: ['hold', 'one'],
    phase: ['hold/set', 'one/go'],
    failAt: ['hold'],
    environment: ['lab', 'vault', 'test'],
    runbook: ['hold', { text: RUNBOOK }, { text: RUNBOOK.replace('wait', 'weit') }],
    name: ['hold', 'runbook', 'environment'],
    person: ['pia', 'mallory'],
    params: [{}, { x: 1 }],
    cursor: ['', Buffer.from('before:2').toString('base64url')],
    limit: ['1', '100', '1e3', 'NaN', '-0'],
    at: ['2026-11-22T01:00Z', '0000-00-00T00:00Z', '2026-13-01T00:00Z', '9'.repeat(30)],
    notAfter: ['2126-11-22T01:00Z', 'soon'],
    'last-event-id': ['0', '1', '999', '-1', 'x'],
    'idempotency-key': ['"a"', 'b', '"', ''],
  };
});
afterAll(() => api[Symbol.asyncDispose]());

type Operation = ReturnType<typeof operationsOf>[number]['operation'] & {
  parameters?: { name: string; in: string; schema?: Schema }[];
};

const PEOPLE = [
  'dana',
  'dana',
  'dana',
  'ana',
  'olu',
  'eva',
  'pia',
  'mallory',
  'cd_nobody-has-this-token',
  null,
];
const part = (one: unknown) => encodeURIComponent(String(one).toWellFormed()) || '-';

type Asked = {
  person: string | null;
  path: string;
  text: string | undefined;
  headers: Record<string, string>;
};

type World = { api: TestApi; words: Record<string, readonly unknown[]>; people: readonly (string | null)[] };

function requestOf(world: World, name: string, operation: Operation): fc.Arbitrary<Asked> {
  const [, template = ''] = name.split(' ');
  const schemas = (world.api.document.components?.schemas ?? {}) as Record<string, Schema>;
  const known = { schemas, words: world.words };
  const value = (one: { name: string; schema?: Schema }) =>
    fc.oneof(
      { weight: 4, arbitrary: fromSchema(one.schema ?? {}, known, one.name) },
      { weight: 1, arbitrary: fc.string({ maxLength: 80, unit: 'binary' }) },
    );
  const of = (where: string) => {
    const listed = (operation.parameters ?? []).filter((one) => one.in === where);
    return fc.record(Object.fromEntries(listed.map((one) => [one.name, value(one)])), {
      requiredKeys: where === 'path' ? listed.map((one) => one.name) : [],
    });
  };
  const schema = operation.requestBody?.content['application/json']?.schema as Schema | undefined;
  const good = schema === undefined ? undefined : fromSchema(schema, known);
  const body =
    good === undefined
      ? fc.constant(undefined)
      : fc.oneof(
          { weight: 5, arbitrary: good.map((one) => JSON.stringify(one)) },
          { weight: 5, arbitrary: nearly(good).map((one) => JSON.stringify(one)) },
          { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
        );
  const strangeQuery = fc.oneof(
    { weight: 9, arbitrary: fc.constant('') },
    { weight: 1, arbitrary: fc.webQueryParameters() },
  );
  return fc
    .tuple(fc.constantFrom(...world.people), of('path'), of('query'), of('header'), strangeQuery, body)
    .map(([person, path, query, header, more, text]) => {
      const filled = template.replaceAll(/\{(\w+)\}/g, (_, key: string) => part(path[key]));
      const pairs = Object.entries(query).map(([key, one]) => `${key}=${part(one)}`);
      const asked = [...pairs, ...(more === '' ? [] : [more])].join('&');
      const headers = Object.entries(header).map(([key, one]) => [
        key,
        String(one).replaceAll(/[^\x20-\x7e]/g, ''),
      ]);
      return {
        person,
        path: asked === '' ? filled : `${filled}?${asked}`,
        text,
        headers: Object.fromEntries(headers) as Record<string, string>,
      };
    });
}

const SEED = Number(process.env['COUNTDOWN_TEST_SEED'] ?? NaN);

/** Asks one operation so many times; the statuses that came. */
async function ask(
  world: World,
  { name, operation }: { name: string; operation: object },
  requests: number,
): Promise<Set<number>> {
  const [method = '', template = ''] = name.split(' ');
  const statuses = new Set<number>();
  const request = requestOf(world, name, operation as Operation);
  const property = fc.asyncProperty(request, async ({ person, path, text, headers }) => {
    const response = await world.api.request(person, path, {
      method,
      headers,
      ...(text === undefined ? {} : { text }),
    });
    statuses.add(response.status);
    expect(response.status, `${name} ${path} ${text ?? ''}`).not.toBe(500);
    if (response.status >= 400 && path.startsWith(template.split('{')[0] ?? '/')) {
      expect(response.headers.get('content-type')).toBe('application/problem+json');
    }
    if (response.headers.get('content-type') === 'text/event-stream') await response.body?.cancel();
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
  // A seed of its own for each operation: with one for all, one unlucky seed asks nothing that is allowed anywhere.
  const seed = Number.isSafeInteger(SEED)
    ? { seed: SEED + name.length * 7_919 + (name.codePointAt(20) ?? 0) }
    : {};
  await fc.assert(property, { numRuns: requests, ...seed });
  return statuses;
}

test(
  `${REQUESTS} requests to each operation are answered as the document says`,
  { timeout: TEST_MS },
  async () => {
    const seen = new Map<string, Set<number>>();
    for (const one of operationsOf(api.document as unknown as ApiDocument)) {
      seen.set(one.name, await ask({ api, words, people: PEOPLE }, one, REQUESTS));
    }
    // What is asked is not refused at the door alone: most operations are also done.
    const done = [...seen].filter(([, statuses]) => [...statuses].some((status) => status < 300));
    expect(done.length, JSON.stringify([...seen].map(([name, all]) => [name, [...all]]))).toBeGreaterThan(12);
  },
);

test('so are those to runs that a worker has in hand', { timeout: TEST_MS }, async () => {
  await using engine = await makeEngine();
  await using own = await makeTestApi({ engine });
  const plan = withDigests(
    makePlan([
      { id: 'one', phases: [{ name: 'b', effect: 'reversible', approval: approval({ sre: 1, owner: 1 }) }] },
    ]),
  );
  const hash = await own.savePlan(plan);
  const ofRuns = operationsOf(own.document as unknown as ApiDocument).filter(({ name }) =>
    name.startsWith('POST /v1/runs/{id}/'),
  );
  const seen = new Set<number>();
  for (const one of ofRuns) {
    // A run of its own for each: what ends it ends nothing for the others.
    const { run } = await own.ok<{ run: number }>('dana', '/v1/runs', { body: { plan: hash } });
    const { approvals } = await until(own, run, (now) => now.approvals.length > 0);
    const known = {
      id: [run],
      plan: [hash],
      evidence: approvals.map(({ evidence }) => evidence),
      step: ['one'],
      phase: ['one/b', 'one'],
      reason: ['because it must be so'],
    };
    const people = ['ana', 'ben', 'olu', 'dana', 'zoe'];
    for (const status of await ask({ api: own, words: known, people }, one, DEEP ? 300 : 24))
      seen.add(status);
    // Its target is free for the next one.
    await own.request('dana', `/v1/runs/${run}/abort`, { body: {} });
    await until(own, run, ({ state }) => isTerminal(state));
  }
  expect([...seen]).toContain(200);
  expect([...seen]).toContain(409);
});

async function until(
  own: TestApi,
  run: number,
  what: (detail: RunDetailWire) => boolean,
): Promise<RunDetailWire> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const detail = await own.ok<RunDetailWire>('dana', `/v1/runs/${run}`);
    if (what(detail)) return detail;
    if (Date.now() > deadline) throw new Error(`The run stays as it is: ${detail.state}`);
  }
}
