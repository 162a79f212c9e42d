/** Clicks that must not count, with the real store; no worker runs, so nothing here is ever decided by accident. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digest } from '../../store/digest.ts';
import { withDigests } from '../support/engine.ts';
import type { FakeMessage } from '../support/fake-slack.ts';
import { approval, makePlan } from '../support/plans.ts';
import { type SlackWorld, buttonsOf, makeSlackWorld, textOf, told, until } from './support.ts';

let world: SlackWorld;
let run: number;
let message: FakeMessage;

/** A run that asks, as a worker would have told of it. */
beforeAll(async () => {
  world = await makeSlackWorld();
  const plan = makePlan([
    {
      id: 'one',
      phases: [{ name: 'a' }, { name: 'b', effect: 'reversible', approval: approval({ sre: 1 }) }],
    },
  ]);
  const hash = await world.api.savePlan({ ...plan, leases: {} });
  run = (await world.api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan: hash } })).run;
  const now = Date.now();
  await world.api.worker.record(run, [
    { key: 'start', kind: 'run', state: 'running', body: {} },
    {
      key: 'ask',
      kind: 'approval',
      state: 'open',
      body: {
        step: 'one',
        evidence: digest('seen'),
        round: 1,
        from: { sre: 1 },
        openedAt: now,
        dueAt: now + 60_000,
      },
    },
  ]);
  message = await until('the question', () => told(world.fake, 'Approve one?'));
});
afterAll(() => world[Symbol.asyncDispose]());

const decisions = async () => (await world.api.store.run(run))?.decisions ?? [];
async function codes(): Promise<unknown[]> {
  return (await world.refused()).map(({ body }) => body['code']);
}

describe('a click', () => {
  test('S5: that comes twice, by the same or another signature, is one decision', async () => {
    const payload = world.fake.clickPayload('U0ANA', message, 'approve');
    const body = world.fake.bodyOf('interactive', payload);
    const now = Math.floor(Date.now() / 1_000);
    const same = world.fake.sign(body, { at: now });
    const answers = await Promise.all([
      world.send(same),
      world.send(same),
      world.send(world.fake.sign(body, { at: now - 1 })),
    ]);
    expect(answers).toEqual(Array.from({ length: 3 }, () => ({ status: 200, body: '' })));
    await until('the decision', async () => ((await decisions()).length > 0 ? true : undefined));
    await until('the refused rows', async () => ((await codes()).includes('SlackReplay') ? true : undefined));
    expect((await decisions()).map(({ person, kind, door }) => [person, kind, door])).toEqual([
      ['ana', 'approve', 'slack'],
    ]);
  });

  test('S5: of another workspace or another app is refused, and so is one of a guest of a shared channel', async () => {
    const before = (await decisions()).length;
    const payload = world.fake.clickPayload('U0ANA', message, 'approve');
    const changed = [
      { ...payload, team: { id: 'T0OTHER' } },
      { ...payload, api_app_id: 'A0OTHER' },
      { ...payload, user: { id: 'U0ANA', team_id: 'T0OTHER' } },
    ];
    for (const one of changed) {
      const { status } = await world.send(world.fake.sign(world.fake.bodyOf('interactive', one)));
      expect(status).toBe(401);
    }
    expect(await codes()).toContain('SlackOtherTeam');
    expect((await decisions()).length).toBe(before);
  });

  test('on a message that Countdown did not send is refused, also with the id of one that it sent', async () => {
    const before = (await decisions()).length;
    const payload = world.fake.clickPayload('U0ANA', message, 'approve');
    const [action] = payload['actions'] as Record<string, unknown>[];
    const changed = [
      {
        ...payload,
        trigger_id: 'a',
        actions: [{ ...action, value: 'f47ac10b-58cc-4372-a567-0e02b2c3d479' }],
      },
      { ...payload, trigger_id: 'b', actions: [{ ...action, value: "' or true --" }] },
      {
        ...payload,
        trigger_id: 'c',
        container: { type: 'message', message_ts: '1.2', channel_id: message.channel },
      },
      { ...payload, trigger_id: 'd', channel: { id: 'C0OTHER' } },
    ];
    for (const one of changed) {
      expect(await world.send(world.fake.sign(world.fake.bodyOf('interactive', one)))).toEqual({
        status: 200,
        body: '',
      });
    }
    await until('the refused row', async () =>
      (await codes()).includes('SlackMessageUnknown') ? true : undefined,
    );
    expect((await decisions()).length).toBe(before);
  });

  test('that no worker answers is stored, and its person is told that it is sent again', async () => {
    const before = (await decisions()).length;
    await world.fake.click('U0BEN', message, 'approve');
    const { text } = await until('the answer', () => world.fake.ephemerals('U0BEN').at(-1));
    expect(text).toMatch(
      /^run \d+ did not answer in time\. Decision [0-9a-f-]{36} is stored and is sent again/,
    );
    expect((await decisions()).length).toBe(before + 1);
    expect(buttonsOf(message)).toContain('approve');
  });

  test('S27: whose person nobody can tell counts for nothing, and says so', async () => {
    const before = (await decisions()).length;
    world.fake.fault('users.info', { status: 503 });
    await world.fake.click('U0PIA', message, 'approve');
    const { text } = await until('the answer', () => world.fake.ephemerals('U0PIA').at(-1));
    expect(text).toBe('Slack does not say who you are. Nothing was counted: try again.');
    expect((await decisions()).length).toBe(before);
  });

  test('S28: reaches no other method and no other server, whatever its texts say', async () => {
    const payload = world.fake.clickPayload('U0ANA', message, 'approve');
    const [action] = payload['actions'] as Record<string, unknown>[];
    const evil = {
      ...payload,
      trigger_id: 'e',
      actions: [{ ...action, action_id: 'https://evil.example/api' }],
    };
    await world.send(world.fake.sign(world.fake.bodyOf('interactive', evil)));
    const known = [
      'chat.postMessage',
      'chat.update',
      'chat.postEphemeral',
      'users.info',
      'users.lookupByEmail',
      'usergroups.users.list',
    ];
    expect(world.fake.calls.map(({ method }) => method).filter((method) => !known.includes(method))).toEqual(
      [],
    );
  });
});

async function ask(user: string, text: string): Promise<string> {
  const { status, body } = await world.fake.command(user, text);
  expect(status).toBe(200);
  const answer: { response_type: string; text: string } = JSON.parse(body);
  expect(answer.response_type).toBe('ephemeral');
  return answer.text;
}

describe('/countdown', () => {
  test('says what is open, and leads to the message that asks', async () => {
    const text = await ask('U0PIA', '');
    expect(text).toContain(`run ${run} · test → test · running`);
    expect(text).toContain(
      `<https://piano.slack.com/archives/C0LAUNCH/p${message.ts.replace('.', '')}|run ${run}, one> waits for an approval, expires `,
    );
  });

  test('lists runs, shows one, and says what it can do', async () => {
    expect(await ask('U0ANA', 'runs')).toMatch(new RegExp(`^run ${run} · test → test · running`));
    expect(await ask('U0ANA', `show ${run}`)).toContain('one/a  pending');
    expect(await ask('U0ANA', 'show 999')).toBe('There is no run 999.');
    expect(await ask('U0ANA', 'approve 1; drop table runs')).toContain('`/countdown runs`: the last runs');
  });

  test('says nothing of runs to whom no environment names', async () => {
    expect(await ask('U0MALLORY', 'runs')).toBe(
      'Your account of Slack is no person of an environment: ask its owner to add it.',
    );
  });
});

describe('a run that waits to hear who is there', () => {
  test('has a button for it, and says who was heard and who is still needed', async () => {
    const plan = makePlan([
      {
        id: 'one',
        phases: [{ name: 'a' }, { name: 'b', effect: 'reversible', approval: approval({ sre: 2 }) }],
      },
    ]);
    const hash = await world.api.savePlan(withDigests(plan));
    const started = await world.api.ok<{ run: number }>('dana', '/v1/runs', {
      body: { plan: hash, readyCheck: true, waitMs: 600_000 },
    });
    const parent = await until('the run', () =>
      told(world.fake, `run ${started.run} · test → test · planned`),
    );
    expect(buttonsOf(parent)).toEqual(['ready', 'view', 'abort']);
    expect(textOf(parent)).toContain('still needed: sre 2 (ana, ben)');
    for (const [user, words] of [
      ['U0ANA', `Counted. You are there to approve run ${started.run}.`],
      ['U0OLU', `run ${started.run} asks sre; you are in none of them.`],
      ['U0PIA', `run ${started.run} asks sre; you are in none of them.`],
    ] as const) {
      await world.fake.click(user, parent, 'ready');
      await until(words, () => world.fake.ephemerals(user).find(({ text }) => text === words));
    }
    await until('who is still needed', () =>
      textOf(parent).includes('still needed: sre 1 (ben)') ? true : undefined,
    );
    await until('the line', () => told(world.fake, '<@U0ANA> is there (slack, '));
  });
});
