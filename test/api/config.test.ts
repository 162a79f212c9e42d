import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigError, readConfig } from '../../api/config.ts';

const good = {
  COUNTDOWN_DATABASE_URL: 'postgres://api:kq8Zr2vXw9LmT4bN@127.0.0.1/countdown',
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
    quotas: { read: 600, write: 120, decide: 120, abort: 60, signIn: 10 },
    isProxy: expect.any(Function),
    secrets: ['kq8Zr2vXw9LmT4bN'],
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

const problemOf = (variables: Record<string, string>) => {
  try {
    readConfig(variables);
    return 'taken';
  } catch (error) {
    return error instanceof ConfigError ? error.message : String(error);
  }
};

test('budgets and proxies are taken, and what is none of either is told', () => {
  const config = readConfig({
    ...good,
    COUNTDOWN_LIMITS: 'read=5000, sign-in=3',
    COUNTDOWN_TRUSTED_PROXIES: '10.0.0.0/8',
  });
  expect(config.quotas).toEqual({ read: 5000, write: 120, decide: 120, abort: 60, signIn: 3 });
  expect([config.isProxy('10.1.1.1'), config.isProxy('11.1.1.1')]).toEqual([true, false]);
  const wrong = { ...good, COUNTDOWN_LIMITS: 'read=0', COUNTDOWN_TRUSTED_PROXIES: 'proxy' };
  expect(problemOf(wrong)).toBe(
    "The API cannot start: COUNTDOWN_LIMITS: expected requests a minute, as 'read=600,write=120'; COUNTDOWN_TRUSTED_PROXIES: expected addresses and ranges, as '10.0.0.0/8,192.0.2.7'. Set them and start again.",
  );
});

const url = (password: string) => `postgres://api:${password}@127.0.0.1/countdown`;

describe('a secret', () => {
  test.each([
    ['postgres', 'its password is one that everybody knows'],
    ['Change_Me_1234567890', 'its password is one that everybody knows'],
    ['aaaaaaaaaaaaaaaaaaaaaaaaa', 'its password is one that everybody knows'],
    ['x7Kq9', 'its password is shorter than 16 characters'],
  ])('%s stops the start and is named', (password, why) => {
    const wrong = { ...good, COUNTDOWN_MIGRATE_URL: url(password) };
    expect(problemOf(wrong)).toBe(
      `The API cannot start: COUNTDOWN_MIGRATE_URL: ${why}, expected a long random one. Set them and start again.`,
    );
  });

  test('that is an API key is held to the same', () => {
    expect(problemOf({ ...good, TEMPORAL_API_KEY: 'short' })).toContain(
      'TEMPORAL_API_KEY: it is shorter than',
    );
  });

  test('may be left out of a URL, where the server knows the process otherwise', () => {
    expect(readConfig({ ...good, COUNTDOWN_DATABASE_URL: 'postgres:///countdown' }).secrets).toEqual([]);
  });

  test('comes from a file that its owner alone can read', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'countdown-config-'));
    const file = join(folder, 'url');
    await writeFile(file, `${url('kq8Zr2vXw9LmT4bN')}\n`, { mode: 0o600 });
    const { COUNTDOWN_DATABASE_URL: _, ...rest } = good;
    const fromFile = { ...rest, COUNTDOWN_DATABASE_URL_FILE: file };
    expect(readConfig(fromFile).databaseUrl).toBe(good.COUNTDOWN_DATABASE_URL);
    expect(problemOf({ ...good, ...fromFile })).toContain(
      'COUNTDOWN_DATABASE_URL and COUNTDOWN_DATABASE_URL_FILE are both set, expected one of them',
    );
    await chmod(file, 0o644);
    expect(problemOf(fromFile)).toBe(
      `The API cannot start: COUNTDOWN_DATABASE_URL_FILE: ${file} can be read by everybody, expected its owner alone (chmod 600). Set them and start again.`,
    );
    expect(problemOf({ ...rest, COUNTDOWN_DATABASE_URL_FILE: `${file}-gone` })).toContain(
      'cannot be read (ENOENT)',
    );
    // What is no secret may be read by everybody.
    const queue = join(folder, 'queue');
    await writeFile(queue, 'launches\n', { mode: 0o644 });
    expect(readConfig({ ...good, COUNTDOWN_TASK_QUEUE_FILE: queue }).taskQueue).toBe('launches');
    await rm(folder, { recursive: true });
  });
});

test('the file of identity providers is read at the start, and what is wrong in it is said with the rest', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'countdown-config-'));
  const file = join(folder, 'oidc.yaml');
  const issuer = 'https://token.actions.githubusercontent.com';
  const provider = `- issuer: ${issuer}\n  audience: countdown\n  jwks: ${issuer}/keys\n  algorithms: [RS256]\n  people: [{ person: bot, claims: { ref: main } }]\n`;
  await writeFile(file, provider);
  expect(readConfig({ ...good, COUNTDOWN_OIDC: file }).oidc).toMatchObject([{ issuer, typ: 'at+jwt' }]);
  await writeFile(
    file,
    provider.replace('RS256', 'HS256').replace(`${issuer}/keys`, 'http://elsewhere.example/keys'),
  );
  expect(problemOf({ ...good, COUNTDOWN_OIDC: file, COUNTDOWN_LIMITS: 'none' })).toMatch(
    /COUNTDOWN_LIMITS: .*; COUNTDOWN_OIDC: .*oidc\.yaml cannot be used: 0\.jwks: expected https, or a loopback address, 0\.algorithms\.0: /,
  );
  expect(problemOf({ ...good, COUNTDOWN_OIDC: `${file}-gone` })).toMatch(
    /COUNTDOWN_OIDC: .* cannot be read: ENOENT/,
  );
  await rm(folder, { recursive: true });
});
