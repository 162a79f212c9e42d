/** An approval from a click to the next phase: a real Temporal, a real PostgreSQL, and Slack as a fake server. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { RunDetailWire } from '../../cli/wire.ts';
import { isTerminal } from '../../procedures/states.ts';
import type { Approval } from '../../procedures/plan.ts';
import { verifyChain } from '../../store/chain.ts';
import { type Engine, makeEngine, withDigests } from '../support/engine.ts';
import type { FakeMessage } from '../support/fake-slack.ts';
import { approval, makePlan } from '../support/plans.ts';
import { CHANNEL, type SlackWorld, buttonsOf, makeSlackWorld, textOf, told, until } from './support.ts';

let engine: Engine;
let world: SlackWorld;
beforeAll(async () => {
  engine = await makeEngine();
  world = await makeSlackWorld({ engine });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

const asking = (over: Partial<Approval> = {}, from: Record<string, number> = { sre: 1, owner: 1 }) =>
  withDigests({
    ...makePlan([
      {
        id: 'one',
        phases: [{ name: 'a' }, { name: 'b', effect: 'reversible', approval: approval(from, over) }],
      },
    ]),
    leases: {},
  });

const show = (run: number) => world.api.ok<RunDetailWire>('dana', `/v1/runs/${run}`);

/** A run that asks, and the message that asks for it. */
async function asked(plan = asking()): Promise<{ run: number; message: FakeMessage }> {
  const hash = await world.api.savePlan(plan);
  const { run } = await world.api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan: hash } });
  const message = await until(`the question of run ${run}`, () =>
    told(world.fake, `Approve one? · run ${run} `),
  );
  return { run, message };
}

/** What was whispered since this test began. */
let heard = 0;
beforeEach(() => {
  heard = world.fake.state.ephemerals.length;
});
const newWhispers = (person: string) =>
  world.fake.state.ephemerals.slice(heard).filter(({ user }) => user === person);

const whispered = (user: string, words: string) =>
  until(
    () => `'${words}' to ${user}, who heard ${JSON.stringify(newWhispers(user).map(({ text }) => text))},`,
    () => newWhispers(user).findLast(({ text }) => text.includes(words)),
  );

async function refusedOf(run: number | null, code: string): Promise<number> {
  const rows = await world.refused();
  return rows.filter(({ body }) => body['run'] === run && body['code'] === code).length;
}

describe('an approval in Slack', () => {
  test('travels from two signed clicks to the next phase, and the message keeps the names', async () => {
    const { run, message } = await asked();
    expect(textOf(message)).toContain('<@U0OLU> <@U0ANA> <@U0BEN> b.');
    expect(textOf(message)).toContain('*Needs*\nowner 1 (olu), sre 1 (ana, ben)');
    expect(textOf(message)).toContain('<@U0DANA> asked for the run and cannot approve');
    expect(buttonsOf(message)).toEqual(['approve', 'reject', 'view']);
    expect(message.broadcast).toBe(true);

    expect(await world.fake.click('U0ANA', message, 'approve')).toEqual({ status: 200, body: '' });
    await whispered('U0ANA', 'Counted. one still needs owner 1 (olu).');
    await until('the vote', () => (textOf(message).includes('*Votes*\nana ') ? true : undefined));
    expect(isTerminal((await show(run)).state)).toBe(false);

    await world.fake.click('U0OLU', message, 'approve');
    await until('the end', async () => (isTerminal((await show(run)).state) ? true : undefined));
    const ended = await show(run);
    expect([ended.state, ended.verdict]).toEqual(['succeeded', 'pass']);
    expect(ended.decisions.map(({ person, door, counted }) => [person, door, counted])).toEqual([
      ['ana', 'slack', true],
      ['olu', 'slack', true],
    ]);
    expect(engine.world.told).toContain('one/b/run');

    await until('the edited message', () => (buttonsOf(message).length === 0 ? true : undefined));
    expect(textOf(message)).toMatch(
      /Approved: one · run \d+ · test[\s\S]*Approved by <@U0ANA> \(sre\) \d\d:\d\d, <@U0OLU> \(owner\) \d\d:\d\d UTC · plan [0-9a-f]{12} · evidence [0-9a-f]{12}/,
    );
    await until('the end in the channel', () => told(world.fake, `✓ run ${run} succeeded pass`));
    const parent = await until('the run’s message', () =>
      told(world.fake, `run ${run} · test → test · ✓ succeeded`),
    );
    expect(
      world.fake
        .messages(CHANNEL)
        .filter(({ thread_ts: thread, text }) => thread === undefined && text.startsWith(`run ${run} `)),
    ).toHaveLength(1);
    expect(buttonsOf(parent)).toEqual(['view']);
    const rows = await world.api.store.journal(run, { after: 0, limit: 500 });
    expect(verifyChain(rows)).toMatchObject({ intact: true });
  });

  test('counts one vote a person, through Slack and through the API', async () => {
    const { run, message } = await asked();
    await world.fake.click('U0ANA', message, 'approve');
    await whispered('U0ANA', 'one still needs owner 1 (olu)');
    const detail = await show(run);
    const evidence = detail.approvals[0]?.evidence;
    const answer = await world.api.ok('ana', `/v1/runs/${run}/decisions`, {
      body: { step: 'one', decision: 'approve', plan: detail.plan, evidence },
    });
    expect(answer['result']).toBe('AlreadyCounted');
    expect((await show(run)).approvals[0]).toMatchObject({ needed: { owner: 1 } });
  });

  test('is rejected with a reason, which is required and stands in the message', async () => {
    const { run, message } = await asked();
    await world.fake.click('U0BEN', message, 'reject');
    const view = await until('the window', () => {
      const last = world.fake.lastView();
      return last?.user === 'U0BEN' ? last : undefined;
    });
    expect(JSON.stringify(view.view)).toContain(`run ${run} in test stops. Nothing has been changed so far.`);
    const short = await world.fake.submit('U0BEN', view, { reason: 'no' });
    expect(JSON.parse(short.body)).toEqual({
      response_action: 'errors',
      errors: { reason: 'Write at least 10 characters.' },
    });
    const taken = await world.fake.submit('U0BEN', view, {
      reason: 'Holiday traffic <!channel> is *still* high.',
    });
    expect(taken).toEqual({ status: 200, body: '' });
    await until('the end', async () => ((await show(run)).state === 'stopped' ? true : undefined));
    await until('the edited message', () => (buttonsOf(message).length === 0 ? true : undefined));
    expect(textOf(message)).toContain('Rejected by <@U0BEN>');
    expect(textOf(message)).toContain('"Holiday traffic &lt;!channel&gt; is ∗still∗ high."');
  });

  test('S6: is refused to the requester, to his second account and to whoever is in no group that is asked', async () => {
    const { run, message } = await asked();
    await world.fake.click('U0DANA', message, 'approve');
    await whispered('U0DANA', `You asked for run ${run}, so you cannot approve it.`);
    expect(await refusedOf(run, 'RequesterCannotApprove')).toBe(1);
    await world.fake.click('U0PIA', message, 'approve');
    await whispered('U0PIA', 'one asks owner and sre; you are in neither.');
    expect(await refusedOf(run, 'NotInGroup')).toBe(1);
    // Another account with ana's e-mail: the file names hers.
    for (const user of ['U0ANA2', 'U0MALLORY', 'U0BOT', 'U0GUEST']) {
      await world.fake.click(user, message, 'approve');
      await whispered(user, 'Your account of Slack is no person of environment test');
    }
    expect(await refusedOf(run, 'SlackPersonUnknown')).toBe(4);
    expect((await show(run)).approvals[0]).toMatchObject({ state: 'open', votes: [] });
    expect((await show(run)).decisions.filter(({ counted }) => counted)).toEqual([]);
  });

  test('S6: of a group that Slack keeps goes by who is in it at that moment', async () => {
    const { run, message } = await asked(asking({}, { product: 1 }));
    expect(textOf(message)).toContain('<!subteam^S0PRODUCT>');
    world.fake.state.userGroups.set('S0PRODUCT', []);
    await world.fake.click('U0PIA', message, 'approve');
    await whispered('U0PIA', 'you are in no such group');
    expect(await refusedOf(run, 'NotInGroup')).toBe(1);
    world.fake.state.userGroups.set('S0PRODUCT', ['U0PIA']);
    await world.fake.click('U0PIA', message, 'approve');
    await until('the end', async () => ((await show(run)).state === 'succeeded' ? true : undefined));
  });

  test('S27: of a group that Slack keeps cannot be given while Slack does not say who is in it', async () => {
    const { run } = await asked(asking({}, { product: 1 }));
    const detail = await show(run);
    const body = {
      step: 'one',
      decision: 'approve',
      plan: detail.plan,
      evidence: detail.approvals[0]?.evidence,
    };
    world.fake.fault('usergroups.users.list', { error: 'missing_scope' });
    expect(await world.api.refusal('pia', `/v1/runs/${run}/decisions`, { body })).toEqual([
      503,
      'GroupsUnknown',
    ]);
    expect(await world.api.ok('pia', `/v1/runs/${run}/decisions`, { body })).toMatchObject({
      result: 'Counted',
    });
  });

  test('that asks for a comment opens a window; one that is not given in Slack has no button', async () => {
    const commented = await asked(asking({ comment: 'required' }, { sre: 1 }));
    await world.fake.click('U0ANA', commented.message, 'approve');
    const view = await until('the window', () => {
      const last = world.fake.lastView();
      return last?.view['callback_id'] === 'approve' ? last : undefined;
    });
    await world.fake.submit('U0ANA', view, { reason: 'Rehearsed twice this week.' });
    await until('the end', async () =>
      (await show(commented.run)).state === 'succeeded' ? true : undefined,
    );

    const elsewhere = await asked(asking({ via: 'api' }));
    expect(buttonsOf(elsewhere.message)).toEqual(['view']);
    expect(textOf(elsewhere.message)).toContain(`Sign in to decide: countdown approve ${elsewhere.run} one`);
  });

  test('that is given in Slack alone is refused to the API', async () => {
    const { run, message } = await asked(asking({ via: 'slack' }, { sre: 1 }));
    const detail = await show(run);
    const body = {
      step: 'one',
      decision: 'approve',
      plan: detail.plan,
      evidence: detail.approvals[0]?.evidence,
    };
    expect((await world.api.refusal('ana', `/v1/runs/${run}/decisions`, { body }))[1]).toBe('DoorNotAllowed');
    await world.fake.click('U0ANA', message, 'approve');
    await until('the end', async () => ((await show(run)).state === 'succeeded' ? true : undefined));
  });

  test('S7: of before is refused once the run has gone on', async () => {
    const { run, message } = await asked(asking({}, { sre: 1 }));
    const click = world.fake.clickPayload('U0BEN', message, 'approve');
    await world.fake.click('U0ANA', message, 'approve');
    await until('the end', async () => (isTerminal((await show(run)).state) ? true : undefined));
    await world.fake.send('interactive', click);
    await whispered('U0BEN', `run ${run} has ended: it is succeeded. Your answer was not counted.`);
    expect(await refusedOf(run, 'AlreadyEnded')).toBe(1);
  });
});

describe('a run in Slack', () => {
  test('is paused, let go on and aborted by who may, and refused to who may not', async () => {
    const { run } = await asked();
    const parent = await until('the run’s message', () =>
      told(world.fake, `run ${run} · test → test · ◷ waiting`),
    );
    await world.fake.click('U0OLU', parent, 'pause');
    const denied = await until('the window', () => {
      const last = world.fake.lastView();
      return last?.user === 'U0OLU' ? last : undefined;
    });
    await world.fake.submit('U0OLU', denied, { reason: 'I would like to look.' });
    await whispered('U0OLU', 'to steer a run takes operator');
    expect(await refusedOf(run, 'NotAllowed')).toBe(1);

    await world.fake.click('U0DANA', parent, 'abort');
    const view = await until('the window of abort', () => {
      const last = world.fake.lastView();
      return last?.user === 'U0DANA' ? last : undefined;
    });
    await world.fake.submit('U0DANA', view, { reason: 'The window is nearly over.' });
    await until('the end', async () => ((await show(run)).state === 'stopped' ? true : undefined));
    const message = await until('the question that is closed', () =>
      told(world.fake, `Voided: one · run ${run} `),
    );
    expect(buttonsOf(message)).toEqual([]);
  });
});
