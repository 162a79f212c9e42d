/** What Slack is told while it answers badly or not at all: nothing waits for it, and everything is told once. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { digest } from '../../store/digest.ts';
import type { RecordRow } from '../../workflows/messages.ts';
import { approval, makePlan } from '../support/plans.ts';
import {
  CHANNEL,
  ENVIRONMENT,
  type SlackWorld,
  buttonsOf,
  makeSlackWorld,
  textOf,
  told,
  until,
} from './support.ts';

const worlds: SlackWorld[] = [];
afterEach(async () => {
  for (const world of worlds.splice(0)) await world[Symbol.asyncDispose]();
});

async function made(options: Parameters<typeof makeSlackWorld>[0] = {}): Promise<SlackWorld> {
  const world = await makeSlackWorld(options);
  worlds.push(world);
  return world;
}

async function start(world: SlackWorld): Promise<number> {
  const plan = makePlan([
    {
      id: 'one',
      phases: [{ name: 'a' }, { name: 'b', effect: 'reversible', approval: approval({ sre: 1 }) }],
    },
  ]);
  const hash = await world.api.savePlan({ ...plan, leases: {} });
  const { run } = await world.api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan: hash } });
  await world.api.worker.record(run, [{ key: 'start', kind: 'run', state: 'running', body: {} }]);
  return run;
}

const open = (over: { round?: number; key?: string; dueAt?: number } = {}): RecordRow => ({
  key: over.key ?? 'ask',
  kind: 'approval',
  state: 'open',
  body: {
    step: 'one',
    evidence: digest(`seen ${over.round ?? 1}`),
    round: over.round ?? 1,
    from: { sre: 1 },
    openedAt: Date.now(),
    dueAt: over.dueAt ?? Date.now() + 60_000,
  },
});
const said = (key: string, summary: string): RecordRow => ({
  key,
  kind: 'phase',
  phase: 'one/a',
  state: 'waiting',
  body: { waitingFor: `window ${summary}` },
});
const texts = (world: SlackWorld) => world.fake.messages(CHANNEL).map(textOf);
const count = (world: SlackWorld, words: string) =>
  texts(world).filter((text) => text.includes(words)).length;

describe('Slack', () => {
  test('that was out is told everything once: one message of the run, its questions, and the lines together', async () => {
    const world = await made();
    world.fake.down();
    const run = await start(world);
    await world.api.worker.record(run, [
      said('a', 'night-1'),
      said('b', 'night-2'),
      open(),
      said('c', 'night-3'),
    ]);
    expect((await world.api.ok('dana', `/v1/runs/${run}`))['state']).toBe('running');
    await until('a failure', async () => {
      const { rows } = await world.api.owner.query<{ failures: number; problem: string }>(
        'select failures, problem from countdown.slack_runs',
      );
      return rows[0] !== undefined && rows[0].failures > 0 ? rows[0] : undefined;
    });
    expect(world.fake.messages(CHANNEL)).toEqual([]);
    world.fake.up();
    await until('the question', () => told(world.fake, 'Approve one?'));
    await until('the lines', () => (count(world, 'night-3') > 0 ? true : undefined));
    const messages = world.fake.messages(CHANNEL);
    expect(messages).toHaveLength(3);
    expect(messages.filter(({ thread_ts: thread }) => thread === messages[0]?.ts)).toHaveLength(2);
    expect(textOf(messages[2] ?? messages[0]!)).toBe(
      ['night-1', 'night-2', 'night-3'].map((name) => `◷ one/a waits for window ${name}`).join('\n'),
    );
  });

  test.each([
    ['is lost on the way back', 'lose' as const],
    ['never comes', 'refuse' as const],
    ['is a 500', { status: 500 }],
    ['is that Slack has an error inside', { error: 'internal_error' }],
  ])('whose answer %s is asked whether the message is there before it is sent again', async (_, fault) => {
    const world = await made();
    world.fake.fault('chat.postMessage', fault, fault);
    await start(world);
    await until('the message', () => told(world.fake, 'run 1 '));
    await until('the end of telling', async () => {
      const { rows } = await world.api.owner.query('select from countdown.slack_runs where not is_behind');
      return rows.length === 1 ? true : undefined;
    });
    expect(world.fake.messages(CHANNEL)).toHaveLength(1);
    expect(world.fake.calls.some(({ method }) => method === 'conversations.history')).toBe(true);
  });

  test('that was sent a message by a process which then ended shows it once', async () => {
    const world = await made({ isQuiet: true });
    const run = await start(world);
    // As far as a process comes that is killed between the answer and writing it down.
    const held = { run, claim: 'gone' };
    await world.slackStore.claim(held, { channel: CHANNEL, forMs: 1 });
    await world.slackStore.claim(held, { channel: CHANNEL, forMs: 60_000 });
    const body = { text: 'run 1', blocks: [], place: 'channel' as const };
    await world.slackStore.write(held, { seq: 1, messages: [{ key: 'run', about: null, body }] });
    const [message] = await world.slackStore.messages(run);
    if (message === undefined) throw new Error('There is no message.');
    expect(await world.slackStore.attempt(held, message.id)).toBe(true);
    await fetch(`${world.fake.url}chat.postMessage`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${world.fake.botToken}` },
      body: new URLSearchParams({
        channel: CHANNEL,
        text: 'run 1',
        metadata: JSON.stringify({ event_type: 'countdown_message', event_payload: { id: message.id } }),
      }),
    });
    await world.api.owner.query(
      "update countdown.slack_runs set claimed_until = now() - interval '1 second'",
    );
    world.tell();
    await until('the painted message', () => told(world.fake, 'run 1 · test → test · ▸ running'));
    expect(world.fake.messages(CHANNEL)).toHaveLength(1);
    // Who comes back with a claim that is no longer his writes nothing.
    expect(await world.slackStore.attempt(held, message.id)).toBe(false);
    expect(await world.slackStore.write(held, { seq: 99, messages: [] })).toBe(false);
  });

  test('is told once by two processes that look at the same runs', async () => {
    const world = await made({ isQuiet: true });
    const others = [world.another(), world.another(), world.another()];
    try {
      const run = await start(world);
      for (const name of ['first', 'second', 'third', 'fourth']) {
        await world.api.worker.record(run, [said(name, name)]);
        await until(name, () => (count(world, `window ${name}`) > 0 ? true : undefined));
      }
      await world.api.worker.record(run, [open()]);
      await until('the question', () => told(world.fake, 'Approve one?'));
    } finally {
      for (const other of others) await other.stop();
    }
    const ids = world.fake.messages(CHANNEL).map(({ metadata }) => metadata?.event_payload['id']);
    expect(new Set(ids).size).toBe(ids.length);
    for (const name of ['first', 'second', 'third', 'fourth']) expect(count(world, `window ${name}`)).toBe(1);
  });

  test('that wants to be left alone is left alone for as long as it says', async () => {
    const world = await made();
    world.fake.fault('chat.postMessage', { retryAfter: 2 });
    const began = Date.now();
    await start(world);
    await until('the message', () => told(world.fake, 'run 1 '));
    expect(Date.now() - began).toBeGreaterThanOrEqual(1_900);
    expect(world.fake.calls.filter(({ method }) => method === 'conversations.history')).toEqual([]);
  });

  test('gets no more than its limits of new messages, and all of them', async () => {
    const world = await made({ isRateLimited: true, pace: { postEveryMs: 1_000, editEveryMs: 0 } });
    const run = await start(world);
    await world.api.worker.record(run, [open()]);
    await until('the question', () => told(world.fake, 'Approve one?'));
    for (const name of ['first', 'second', 'third']) {
      await world.api.worker.record(run, [said(name, name)]);
      await until(name, () => (count(world, `window ${name}`) > 0 ? true : undefined));
    }
    expect(world.fake.messages(CHANNEL)).toHaveLength(5);
  });

  test('whose message somebody deleted gets another; a question that was deleted too', async () => {
    const world = await made();
    const run = await start(world);
    await world.api.worker.record(run, [open()]);
    await until('the question', () => told(world.fake, 'Approve one?'));
    world.fake.state.messages.length = 0;
    await world.api.worker.record(run, [
      { key: 'stop', kind: 'run', state: 'stopped', body: { because: 'enough' } },
    ]);
    await until('the run anew', () => told(world.fake, 'run 1 · test → test · ■ stopped'));
    await until('the question anew', () => told(world.fake, 'Voided: one'));
  });

  test('that refuses the channel is tried again, and other channels are told meanwhile', async () => {
    const world = await made();
    world.fake.state.channels.delete(CHANNEL);
    await start(world);
    await until('the problem', async () => {
      const { rows } = await world.api.owner.query<{ problem: string }>(
        'select problem from countdown.slack_runs',
      );
      return rows[0]?.problem === 'Slack refuses: not_in_channel' ? true : undefined;
    });
    world.fake.state.channels.add(CHANNEL);
    await until('the message', () => told(world.fake, 'run 1 '));
  });
});

const stuck = (key: string, more: object = {}): RecordRow => ({
  key,
  kind: 'run',
  state: 'stuck',
  body: { because: 'one/b broke', desk: [{ subject: 'one/b', why: 'undo' }], ...more },
});

test('a channel that hangs keeps no other waiting', async () => {
  const world = await made();
  world.fake.state.channels.add('C0OTHER');
  const other = ENVIRONMENT.replace('environment: test', 'environment: lab').replace(CHANNEL, 'C0OTHER');
  await writeFile(join(world.api.environmentFolder, 'lab.yaml'), other);
  world.fake.fault('chat.postMessage', 'hang');
  await start(world);
  await until('the call that hangs', () => (world.fake.waiting() === 1 ? true : undefined));
  const plan = makePlan([{ id: 'one', phases: [{ name: 'a' }] }], { environment: 'lab' });
  const hash = await world.api.savePlan({ ...plan, leases: {} });
  await world.api.ok('dana', '/v1/runs', { body: { plan: hash } });
  await until('the other channel', () => world.fake.messages('C0OTHER')[0]);
  expect(world.fake.waiting()).toBe(1);
  await until('the message', () => told(world.fake, 'run 1 '));
  expect(world.fake.messages(CHANNEL)).toHaveLength(1);
});

describe('a run that is stuck', () => {
  test('is told in the channel, and to each who can do something about it, again and again', async () => {
    const world = await made();
    const run = await start(world);
    await world.api.worker.record(run, [stuck('stuck')]);
    const message = await until('the cry', () => told(world.fake, `✗ run ${run} stuck`));
    expect(message.text).toBe(`✗ run ${run} stuck. one/b broke. On the desk: one/b`);
    expect(message.broadcast).toBe(true);
    expect(textOf(message)).toContain('<@U0DANA> zoe <@U0ANA> <@U0BEN>');
    for (const user of ['DANA', 'ANA', 'BEN'])
      await until(`a message to ${user}`, () => world.fake.messages(`D0${user}`)[0]);
    expect(buttonsOf(world.fake.messages('D0ANA')[0] ?? message)).toEqual([]);
    expect(world.fake.messages('D0OLU')).toEqual([]);

    await world.api.worker.record(run, [stuck('again', { reminder: 1 })]);
    await until('the reminder', () => told(world.fake, `✗ run ${run} stuck, still`));
    await until('a second message', () => world.fake.messages('D0DANA')[1]);
  });
});

describe('a question in Slack', () => {
  test('whose evidence changed is closed, and asked anew in another message', async () => {
    const world = await made();
    const run = await start(world);
    await world.api.worker.record(run, [open()]);
    const first = await until('the question', () => told(world.fake, 'Approve one?'));
    await world.api.worker.record(run, [open({ round: 2, key: 'again' })]);
    await until('the closed one', () => (textOf(first).startsWith('Voided: one') ? true : undefined));
    expect(buttonsOf(first)).toEqual([]);
    const second = await until('the new one', () => told(world.fake, 'Approve one?'));
    expect(second.ts).not.toBe(first.ts);
    expect(buttonsOf(second)).toEqual(['approve', 'reject', 'view']);
  });

  test('reminds who is missing, calls the next group in the channel, and tells of its expiry', async () => {
    const world = await made();
    const run = await start(world);
    await world.api.worker.record(run, [open()]);
    await until('the question', () => told(world.fake, 'Approve one?'));
    const evidence = digest('seen 1');
    const body = { step: 'one', evidence, round: 1 };
    await world.api.worker.record(run, [
      { key: 'r', kind: 'approval', state: 'open', body: { ...body, reminder: 1 } },
    ]);
    const reminder = await until('the reminder', () => told(world.fake, 'one still needs sre 1'));
    expect(reminder.text).toMatch(
      /^one still needs sre 1 \(ana, ben\), expires \d\d:\d\d UTC\. <@U0ANA> <@U0BEN>$/,
    );
    expect(reminder.broadcast).toBe(false);
    await world.api.worker.record(run, [
      { key: 'e', kind: 'approval', state: 'open', body: { ...body, escalatedTo: 'product' } },
    ]);
    const escalation = await until('the escalation', () => told(world.fake, 'one still waits'));
    expect(escalation.text).toContain('Calling product: <!subteam^S0PRODUCT>. Only sre can approve.');
    expect(escalation.broadcast).toBe(true);
    await world.api.worker.record(run, [
      { key: 'x', kind: 'approval', state: 'expired', body: { ...body, votes: [] } },
      { key: 's', kind: 'run', state: 'stopped', body: { because: 'The approval of one expired' } },
    ]);
    const expired = await until('the expiry', () => told(world.fake, 'The approval of one expired at'));
    expect(expired.text).toContain('<@U0ANA> <@U0BEN> <@U0DANA>');
    await until('the closed one', () => told(world.fake, 'Expired: one'));
    await until('the end', () => told(world.fake, `■ run ${run} stopped. The approval of one expired`));
  });
});
