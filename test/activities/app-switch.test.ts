import { expect, test } from 'vitest';
import { appSwitch } from '../../activities/app-switch.ts';
import { failureOf, makePhaseContext } from '../support/phase-context.ts';
import type { TestContextOptions } from '../support/phase-context.ts';
import { startSwitchServer } from '../support/switch-server.ts';
import type { SwitchServer } from '../support/switch-server.ts';

const forward = { switch: 'mode', to: 'new', from: 'old' };
const back = { switch: 'mode', to: 'old', from: 'new' };

function contextOf(server: SwitchServer, more: Partial<TestContextOptions> = {}) {
  return makePhaseContext({
    targets: { mode: server.target },
    secrets: { TEST_SWITCH_TOKEN: server.token },
    ...more,
  });
}

test('read gives the value and binds to it, and changes nothing', async () => {
  await using server = await startSwitchServer(['old', 'new']);
  expect(await appSwitch.read.run({ switch: 'mode', to: 'new' }, contextOf(server))).toEqual({
    verdict: 'pass',
    summary: 'mode says old',
    output: { found: 'old' },
    binds: { found: 'old' },
  });
  expect(server.puts).toEqual([]);
});

test('read refuses a value that the switch does not have', async () => {
  await using server = await startSwitchServer(['old', 'new']);
  expect(await failureOf(appSwitch.read.run({ switch: 'mode', to: 'gone' }, contextOf(server)))).toEqual({
    type: 'PreconditionFailed',
    message: "Switch 'mode' has no value 'gone'; it has 'old' or 'new'.",
  });
});

test('set twice is set once, and undo twice is undone once', async () => {
  await using server = await startSwitchServer(['old', 'new']);
  await appSwitch.set.run(forward, contextOf(server));
  await appSwitch.set.run(forward, contextOf(server));
  expect(server.value).toBe('new');
  await appSwitch.set.undo?.(back, contextOf(server));
  const second = await appSwitch.set.undo?.(back, contextOf(server));
  expect(second?.verdict).toBe('pass');
  expect(server.value).toBe('old');
});

test('undo without run leaves the value and raises the fence', async () => {
  await using server = await startSwitchServer(['old', 'new']);
  await appSwitch.set.undo?.(back, contextOf(server));
  expect({ value: server.value, generation: server.generation }).toEqual({ value: 'old', generation: 2 });
});

test('a probe says yes, no or unknown, and makes a new ETag', async () => {
  await using server = await startSwitchServer(['old', 'new', 'other']);
  expect((await appSwitch.set.probe?.(forward, contextOf(server)))?.answer).toBe('no');
  expect(server.generation).toBe(2);
  server.value = 'new';
  expect((await appSwitch.set.probe?.(forward, contextOf(server)))?.answer).toBe('yes');
  server.value = 'other';
  expect((await appSwitch.set.probe?.(forward, contextOf(server)))?.answer).toBe('unknown');
});

test('a PUT that came too late is refused, and the attempt finds that it is superseded', async () => {
  await using server = await startSwitchServer(['old', 'new']);
  let current = true;
  server.beforePut = () => {
    // A probe of a later attempt sets the value that it read: the same value, another ETag.
    server.generation += 1;
    current = false;
  };
  const late = contextOf(server, { isCurrent: () => current });
  expect((await failureOf(appSwitch.set.run(forward, late))).type).toBe('FenceLost');
  expect(server.value).toBe('old');
});

test('a 412 by somebody who set the same value again is tried again', async () => {
  await using server = await startSwitchServer(['old', 'new']);
  server.beforePut = () => {
    server.generation += 1;
  };
  await appSwitch.set.run(forward, contextOf(server));
  expect(server.value).toBe('new');
});

test('a 412 by somebody who set another value stops with that value named', async () => {
  await using server = await startSwitchServer(['old', 'new', 'other']);
  server.beforePut = () => {
    server.generation += 1;
    server.value = 'other';
  };
  const { type, message } = await failureOf(appSwitch.set.run(forward, contextOf(server)));
  expect(type).toBe('PreconditionFailed');
  expect(message).toContain("says 'other', expected 'old' or 'new'");
  expect(server.value).toBe('other');
});

test('an answer that was lost after the change counts as the change', async () => {
  await using server = await startSwitchServer(['old', 'new']);
  server.loseNextAnswer = true;
  const result = await appSwitch.set.run(forward, contextOf(server));
  expect(result.verdict).toBe('pass');
  expect(server.value).toBe('new');
});

test('undo refuses a value that this run did not set', async () => {
  await using server = await startSwitchServer(['old', 'new', 'other'], 'other');
  const failed = appSwitch.set.undo?.(back, contextOf(server)) ?? Promise.resolve();
  expect((await failureOf(failed)).type).toBe('UndoFailed');
});

test.each([
  [{ status: 401 }, 'PreconditionFailed', 'answered 401 when reading it'],
  [
    { status: 302, headers: { location: 'http://127.0.0.1:1/' } },
    'PreconditionFailed',
    'redirects are not followed',
  ],
  [{ status: 503 }, 'Unreachable', 'answered 503 when reading it'],
  [{ status: 429 }, 'Unreachable', 'answered 429 when reading it'],
  [{ status: 200, body: '{"value":"old"}' }, 'PreconditionFailed', 'without an ETag'],
  [{ status: 200, headers: { etag: '"1"' }, body: 'hello' }, 'PreconditionFailed', 'something other than'],
  [
    { status: 200, headers: { etag: '"1"' }, body: '{"value":"gone"}' },
    'PreconditionFailed',
    "says 'gone', expected 'old' or 'new'",
  ],
])('an answer %o is %s', async (answer, type, part) => {
  await using server = await startSwitchServer(['old', 'new']);
  server.answers.push(answer, answer, answer);
  const failure = await failureOf(appSwitch.read.run({ switch: 'mode', to: 'new' }, contextOf(server)));
  expect(failure.type).toBe(type);
  expect(failure.message).toContain(part);
  if (type === 'Unreachable') expect(failure.message).toContain(` at ${new URL(server.target.url).host} `);
});

test('a switch that is not there is unreachable', async () => {
  const server = await startSwitchServer(['old', 'new']);
  await server[Symbol.asyncDispose]();
  const failure = await failureOf(appSwitch.read.run({ switch: 'mode', to: 'new' }, contextOf(server)));
  expect(failure.type).toBe('Unreachable');
  const { host } = new URL(server.target.url);
  expect(failure.message).toMatch(new RegExp(`^Switch 'mode' at ${host} gave no answer \\(.*ECONNREFUSED`));
});

test('a switch that is busy for a moment is asked again', async () => {
  await using server = await startSwitchServer(['old', 'new']);
  server.answers.push(
    { status: 503 },
    { status: 200, headers: { etag: '"1"' }, body: '{"value":"old"}' },
    { status: 502 },
  );
  await appSwitch.set.run(forward, contextOf(server));
  expect(server.puts).toEqual(['new']);
});

test('a switch that somebody else keeps changing is given up', async () => {
  await using server = await startSwitchServer(['old', 'new']);
  const disturb = (): void => {
    server.generation += 1;
    server.beforePut = disturb;
  };
  server.beforePut = disturb;
  const failure = await failureOf(appSwitch.set.run(forward, contextOf(server)));
  expect(failure.type).toBe('Unreachable');
  expect(failure.message).toContain("did not take the value 'new' in 5 rounds");
  expect(server.value).toBe('old');
});
