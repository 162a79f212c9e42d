import { expect, test } from 'vitest';
import { readConfig } from '../../api/config.ts';

const BASE = {
  COUNTDOWN_DATABASE_URL: 'postgres://countdown_api@127.0.0.1/countdown',
  TEMPORAL_ADDRESS: '127.0.0.1:7233',
  COUNTDOWN_ENVIRONMENTS: '/etc/countdown/environments',
  COUNTDOWN_RUNBOOKS: '/etc/countdown/runbooks',
};
const SLACK = {
  COUNTDOWN_SLACK_BOT_TOKEN: 'xoxb-2461357-2461357-Jm8sW2kQpR4vNzXy',
  COUNTDOWN_SLACK_TEAM: 'T0PIANO',
  COUNTDOWN_SLACK_APP: 'A0COUNTDOWN',
  COUNTDOWN_SLACK_SIGNING_SECRET: '8f742231b10e8888abcd99badbad85a5',
};

const problem = (variables: Record<string, string | undefined>): string => {
  try {
    readConfig({ ...BASE, ...variables });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return '';
};

test('without any of its variables no Slack is connected; with them it is', () => {
  expect(readConfig(BASE).slack).toBeUndefined();
  expect(readConfig({ ...BASE, ...SLACK }).slack).toEqual({
    url: 'https://slack.com/api/',
    botToken: SLACK.COUNTDOWN_SLACK_BOT_TOKEN,
    appToken: undefined,
    signingSecret: SLACK.COUNTDOWN_SLACK_SIGNING_SECRET,
    team: 'T0PIANO',
    app: 'A0COUNTDOWN',
  });
});

test('secrets of Slack are among those that are never to be read anywhere', () => {
  const { secrets } = readConfig({ ...BASE, ...SLACK });
  expect(secrets).toEqual(
    expect.arrayContaining([SLACK.COUNTDOWN_SLACK_BOT_TOKEN, SLACK.COUNTDOWN_SLACK_SIGNING_SECRET]),
  );
});

test.each([
  ['half of it', { ...SLACK, COUNTDOWN_SLACK_APP: undefined }, 'COUNTDOWN_SLACK_APP is not set'],
  [
    'no way for clicks to come',
    { ...SLACK, COUNTDOWN_SLACK_SIGNING_SECRET: undefined },
    'COUNTDOWN_SLACK_APP_TOKEN or COUNTDOWN_SLACK_SIGNING_SECRET is not set',
  ],
  [
    'S23: a signing secret that is short',
    { ...SLACK, COUNTDOWN_SLACK_SIGNING_SECRET: 'abc123' },
    'COUNTDOWN_SLACK_SIGNING_SECRET: expected at least 32 hex digits',
  ],
  [
    'S23: a signing secret that anybody can guess',
    { ...SLACK, COUNTDOWN_SLACK_SIGNING_SECRET: '0'.repeat(32) },
    'COUNTDOWN_SLACK_SIGNING_SECRET',
  ],
  [
    'S4: a signing secret that is empty and no other way',
    { ...SLACK, COUNTDOWN_SLACK_SIGNING_SECRET: '' },
    'COUNTDOWN_SLACK_APP_TOKEN or COUNTDOWN_SLACK_SIGNING_SECRET is not set',
  ],
  [
    'a token of a person',
    { ...SLACK, COUNTDOWN_SLACK_BOT_TOKEN: 'xoxp-1234567890123456' },
    'expected a bot token, xoxb-…',
  ],
  [
    'an address with a password',
    { ...SLACK, COUNTDOWN_SLACK_URL: 'https://u:p@h/api/' },
    'COUNTDOWN_SLACK_URL',
  ],
])('%s stops the start and is named, without its value', (_, variables, words) => {
  const said = problem(variables);
  expect(said).toContain(words);
  expect(said).not.toContain(SLACK.COUNTDOWN_SLACK_BOT_TOKEN);
});
