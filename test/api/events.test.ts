import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventOf } from '../../api/events.ts';
import { parseBlock } from '../../cli/client.ts';
import type { EventWire } from '../../cli/wire.ts';
import { makePlan } from '../support/plans.ts';
import { type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await makeTestApi();
});
afterAll(() => api[Symbol.asyncDispose]());

let targets = 0;
async function startRun(): Promise<number> {
  targets += 1;
  const phase = { name: 'go', effect: 'reversible' as const, target: `events-${targets}` };
  const plan = await api.savePlan(makePlan([{ id: 'one', phases: [phase] }], { environment: 'lab' }));
  return (await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan } })).run;
}

/** Blocks of a stream, as they come; ends with the stream or the signal. */
async function* blocks(
  run: number,
  after: string | null,
  person = 'pia',
): AsyncGenerator<EventWire | string> {
  const headers = after === null ? {} : { 'Last-Event-ID': after };
  const response = await api.request(person, `/v1/runs/${run}/events`, { headers });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const reader = (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += value;
      const parts = buffer.split('\n\n');
      buffer = parts.pop() ?? '';
      for (const part of parts) yield parseBlock(part) ?? part;
    }
  } finally {
    await reader.cancel();
  }
}

async function take(stream: AsyncGenerator<EventWire | string>, count: number): Promise<EventWire[]> {
  const events: EventWire[] = [];
  for await (const block of stream) {
    if (typeof block !== 'string') events.push(block);
    if (events.length === count) break;
  }
  return events;
}

const runRow = (key: string, state: string) => ({ key, kind: 'run' as const, state, body: {} });

describe('the events of a run', () => {
  test('begin with row 1, follow the journal, and end after the terminal row', async () => {
    const run = await startRun();
    const stream = take(blocks(run, null), 9);
    await api.worker.record(run, [runRow('a', 'running')]);
    await api.worker.record(run, [runRow('b', 'stopped')]);
    const events = await stream;
    expect(events.map(({ id, event, data }) => [id, event, data['state']])).toEqual([
      ['1', 'run', 'planned'],
      ['2', 'run', 'running'],
      ['3', 'run', 'stopped'],
    ]);
  });

  test('go on after the last id that was seen, without a gap or a repetition', async () => {
    const run = await startRun();
    await api.worker.record(run, [runRow('a', 'running'), runRow('b', 'waiting'), runRow('c', 'running')]);
    const [first] = await take(blocks(run, '2'), 1);
    expect(first?.id).toBe('3');
    const rest = take(blocks(run, first?.id ?? null), 2);
    await api.worker.record(run, [runRow('d', 'stopped')]);
    expect((await rest).map(({ id }) => id)).toEqual(['4', '5']);
  });

  test('answer 204 at the head of a closed run, and lagged from row 1 for an id above it', async () => {
    const run = await startRun();
    await api.worker.record(run, [runRow('a', 'running'), runRow('b', 'stopped')]);
    const at = (id: string) =>
      api.request('pia', `/v1/runs/${run}/events`, { headers: { 'Last-Event-ID': id } });
    expect((await at('3')).status).toBe(204);
    const events = await take(blocks(run, '99'), 9);
    expect(events.map(({ id, event }) => [id, event])).toEqual([
      [null, 'lagged'],
      ['1', 'run'],
      ['2', 'run'],
      ['3', 'run'],
    ]);
    const bad = api.refusal('pia', `/v1/runs/${run}/events`, { headers: { 'Last-Event-ID': 'x' } });
    expect(await bad).toEqual([400, 'BadHeader']);
  });

  test('tell progress without an id, and only when it has changed', async () => {
    const run = await startRun();
    await api.worker.record(run, [runRow('a', 'running')]);
    const intent = await api.worker.intent({ run, phase: 'one', direction: 'run', try: 1, attempt: 1 });
    expect(intent).toHaveProperty('seq');
    await api.worker.saveProgress({ run, phase: 'one', progress: { done: 3, total: 9, unit: 'rows' } });
    const [phase, progress] = await take(blocks(run, '2'), 2);
    expect(phase).toMatchObject({
      id: '3',
      event: 'phase',
      data: { phase: 'one', state: 'running', direction: 'run' },
    });
    expect(progress).toEqual({
      id: null,
      event: 'progress',
      data: { phase: 'one', done: 3, total: 9, unit: 'rows' },
    });
  });

  test('send a comment while nothing happens', async () => {
    const run = await startRun();
    for await (const block of blocks(run, '1')) {
      if (typeof block === 'string' && block.startsWith(': ')) return;
    }
    throw new Error('The stream ended without a comment.');
  });

  test('are bounded by person; a closed stream gives its place back', async () => {
    const run = await startRun();
    const path = `/v1/runs/${run}/events`;
    const open = await Promise.all(Array.from({ length: 20 }, () => api.request('eva', path)));
    expect(open.map(({ status }) => status)).toEqual(Array(20).fill(200));
    expect(await api.refusal('eva', path)).toEqual([429, 'TooManyStreams']);
    const other = await api.request('pia', path);
    expect(other.status).toBe(200);
    for (const response of [...open, other]) await response.body?.cancel();
    const again = await api.request('eva', path);
    expect(again.status).toBe(200);
    await again.body?.cancel();
  });
});

test('an event tells times as every answer does', () => {
  const row = {
    run: 1,
    seq: 2,
    at: '2026-11-21T09:00:00.000000Z',
    kind: 'approval' as const,
    phase: null,
    direction: null,
    try: null,
    attempt: null,
    actor: 'countdown_worker',
    body: { step: 'one', state: 'open', dueAt: Date.UTC(2026, 10, 21, 13) },
    prev: '',
    hash: '',
  };
  expect(eventOf(row)).toMatchObject({ data: { at: row.at, dueAt: '2026-11-21T13:00:00.000Z' } });
});
