/** Clicks over a websocket that the API opens: the same door, whatever becomes of the connection. */
import { afterEach, expect, test } from 'vitest';
import { digest } from '../../store/digest.ts';
import { approval, makePlan } from '../support/plans.ts';
import { type SlackWorld, makeSlackWorld, told, until } from './support.ts';

let world: SlackWorld | undefined;
afterEach(async () => {
  await world?.[Symbol.asyncDispose]();
  world = undefined;
});

/** A run that asks, and no worker that could answer. */
async function asking(): Promise<{ world: SlackWorld; run: number }> {
  world = await makeSlackWorld({ bySocket: true });
  const plan = makePlan([
    {
      id: 'one',
      phases: [{ name: 'a' }, { name: 'b', effect: 'reversible', approval: approval({ sre: 1 }) }],
    },
  ]);
  const hash = await world.api.savePlan({ ...plan, leases: {} });
  const { run } = await world.api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan: hash } });
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
  return { world, run };
}

const connected = ({ fake }: SlackWorld) =>
  until('the socket', () => (fake.sockets() === 1 ? true : undefined));

test('a click over a socket is acknowledged and becomes a decision; a command is answered', async () => {
  const { world: made, run } = await asking();
  await connected(made);
  const message = await until('the question', () => told(made.fake, 'Approve one?'));
  expect(await made.fake.click('U0ANA', message, 'approve')).toMatchObject({ status: 200 });
  await until('the decision', async () => (await made.api.store.run(run))?.decisions[0]);
  expect((await made.api.store.run(run))?.decisions).toMatchObject([
    { person: 'ana', door: 'slack', kind: 'approve' },
  ]);

  const { body } = await made.fake.command('U0BEN', 'runs');
  expect((JSON.parse(body) as { text: string }).text).toMatch(/^run 1 · test → test · running/);

  await made.fake.click('U0BEN', message, 'reject');
  const view = await until('the window', () => made.fake.lastView());
  const short = await made.fake.submit('U0BEN', view, { reason: 'no' });
  expect(JSON.parse(short.body)).toEqual({
    response_action: 'errors',
    errors: { reason: 'Write at least 10 characters.' },
  });
});

test('an envelope that comes twice is one decision', async () => {
  const { world: made, run } = await asking();
  await connected(made);
  const message = await until('the question', () => told(made.fake, 'Approve one?'));
  const click = made.fake.clickPayload('U0ANA', message, 'approve');
  await Promise.all([made.fake.send('interactive', click), made.fake.send('interactive', click)]);
  await until('the refused row', async () =>
    (await made.refused()).find(({ body }) => body['code'] === 'SlackReplay'),
  );
  // The second one may be refused before the first is stored.
  await until('the decision', async () => (await made.api.store.run(run))?.decisions[0]);
  expect((await made.api.store.run(run))?.decisions).toHaveLength(1);
});

test('a socket that Slack wants anew, or that breaks, is followed by another', async () => {
  const { world: made, run } = await asking();
  await connected(made);
  made.fake.refreshSockets();
  await until('the end of the old one', () =>
    made.fake.calls.length > 0 && made.fake.sockets() === 0 ? true : undefined,
  );
  await connected(made);
  made.fake.down();
  await until('the end of the socket', () => (made.fake.sockets() === 0 ? true : undefined));
  // Without Slack every other door is as it was.
  expect(await made.api.ok('dana', `/v1/runs/${run}`)).toMatchObject({ run, state: 'running' });
  made.fake.up();
  await connected(made);
  const message = await until('the question', () => told(made.fake, 'Approve one?'));
  await made.fake.click('U0ANA', message, 'approve');
  await until('the decision', async () => (await made.api.store.run(run))?.decisions[0]);
});

test('without a signing secret nothing is taken by HTTP', async () => {
  const { world: made } = await asking();
  const { status } = await made.send(made.fake.sign('payload=%7B%7D'));
  expect(status).toBe(404);
});
