import { expect, test } from 'vitest';
import { ConfigError, readConfig } from '../../api/config.ts';

const good = {
  COUNTDOWN_DATABASE_URL: 'postgres://api:secret@127.0.0.1/countdown',
  TEMPORAL_ADDRESS: '127.0.0.1:7233',
  COUNTDOWN_ENVIRONMENTS: '/srv/environments',
  COUNTDOWN_RUNBOOKS: '/srv/runbooks',
};

test('defaults are filled in', () => {
  expect(readConfig(good)).toEqual({
    databaseUrl: good.COUNTDOWN_DATABASE_URL,
    migrateUrl: undefined,
    temporal: { address: '127.0.0.1:7233', namespace: 'default', tls: false, apiKey: undefined },
    taskQueue: 'countdown',
    environments: '/srv/environments',
    runbooks: '/srv/runbooks',
    listen: { host: '127.0.0.1', port: 8080 },
    logLevel: 'info',
  });
});

test('an address of IPv6 and port 0 are taken', () => {
  expect(readConfig({ ...good, COUNTDOWN_LISTEN: '[::1]:0' }).listen).toEqual({ host: '::1', port: 0 });
});

const read = () =>
  readConfig({
    COUNTDOWN_DATABASE_URL: 'mysql://root:hunter2@db',
    COUNTDOWN_LISTEN: 'here',
    TEMPORAL_ADDRESS: '',
  });

test('everything that is wrong is said at once, and no value is repeated', () => {
  expect(read).toThrow(ConfigError);
  expect(read).toThrow(
    /COUNTDOWN_DATABASE_URL: .*TEMPORAL_ADDRESS is not set.*COUNTDOWN_ENVIRONMENTS is not set.*COUNTDOWN_RUNBOOKS is not set.*COUNTDOWN_LISTEN: /,
  );
  expect(read).not.toThrow(/hunter2/);
});
