import { expect, test } from 'vitest';
import { groupsOf, parseEnvironment, rolesOf } from '../../procedures/environment.ts';
import { problemOf, problemsOf, shipped } from './support.ts';

const parse = (text: string) => parseEnvironment(text, 'x.yaml');

test('an environment of one line has every default', () => {
  expect(parse('environment: x')).toEqual({
    environment: 'x',
    protected: false,
    targets: {},
    people: {},
    roles: { operator: [], admin: [], auditor: [] },
    groups: {},
    approvals: { least: {} },
  });
});

test('targets have their defaults, and the pool of the file where they name none', () => {
  const { targets } = parse(`environment: x
worker: west
targets:
  db: { kind: postgres, host: h, database: d, user: u }
  file: { kind: sqlite, path: /a.db, worker: host }
`);
  expect(targets).toEqual({
    db: {
      kind: 'postgres',
      host: 'h',
      port: 5432,
      database: 'd',
      user: 'u',
      tls: 'verify-full',
      worker: 'west',
    },
    file: { kind: 'sqlite', path: '/a.db', worker: 'host' },
  });
});

test('Slack is a channel, an id of a person, and groups whose members it keeps', () => {
  const environment = parse(`environment: x
slack: { channel: C04LAUNCH }
people: { ana: { slack: U02ANA } }
groups: { sre: [ana], product: { slackGroup: S05PRODUCT } }
approvals: { least: { costly: { from: { product: 1 }, via: slack } } }
`);
  expect(environment).toMatchObject({
    slack: { channel: 'C04LAUNCH' },
    people: { ana: { slack: 'U02ANA' } },
    groups: { sre: ['ana'] },
    slackGroups: { product: 'S05PRODUCT' },
  });
});

test('the shipped files can be read', () => {
  const demo = parseEnvironment(shipped('environments/demo.yaml'), 'demo.yaml');
  expect(Object.keys(demo.targets)).toEqual([
    'app',
    'app-sqlite',
    'app-postgres',
    'app-migrations',
    'app-database-mode',
  ]);
  expect([
    rolesOf(demo, 'dana'),
    groupsOf(demo, 'dana'),
    groupsOf(demo, 'ana'),
    rolesOf(demo, 'olu'),
  ]).toEqual([['operator'], [], ['sre'], ['admin']]);
  const production = parseEnvironment(
    shipped('environments/production.example.yaml'),
    'production.example.yaml',
  );
  expect([
    production.protected,
    production.targets['app']?.worker,
    production.targets['app-sqlite']?.worker,
  ]).toEqual([true, 'eu-west', 'app-host']);
  expect(production.approvals.least.irreversible).toEqual({ from: { sre: 1, owner: 1 }, via: 'api' });
  expect(production.retention).toEqual({ leastMs: 604_800_000 });
});

const target = (entry: string) => `environment: x\ntargets: { a: ${entry} }`;

test.each([
  [
    'a kind that there is not',
    target('{ kind: postgre }'),
    "targets.a.kind is 'postgre', expected http, sqlite, postgres, switch, command or migrations.",
  ],
  [
    'a target without a kind',
    target('{ url: x }'),
    'targets.a.kind is missing, expected http, sqlite, postgres, switch, command or migrations.',
  ],
  [
    'a key that the kind has not',
    target('{ kind: sqlite, path: /a, pth: /b }'),
    "'pth' is not a key in targets.a, expected kind, path or worker.",
  ],
  [
    'a relative path',
    target('{ kind: sqlite, path: a.db }'),
    "targets.a.path is 'a.db', expected an absolute path, the same for everybody who reads this file.",
  ],
  [
    'an address without http',
    target('{ kind: http, url: localhost:80 }'),
    "targets.a.url is 'localhost:80', expected an address that begins with http:// or https://.",
  ],
  [
    'a password in an address',
    target("{ kind: http, url: 'http://u:p@h' }"),
    'The address holds a user or a password, expected neither: secrets are references.',
  ],
  [
    'a secret itself',
    target('{ kind: postgres, host: h, database: d, user: u, password: hunter2 }'),
    'A secret cannot stand here itself, expected a reference to it.',
  ],
  [
    'a secret from two places',
    target('{ kind: postgres, host: h, database: d, user: u, password: { env: A, file: /b } }'),
    'A secret is read from one place, expected either env or file.',
  ],
  [
    'one value of a switch',
    target("{ kind: switch, url: 'http://h', values: [a] }"),
    'targets.a.values is a list, expected at least 2 values.',
  ],
  [
    'one value twice',
    target("{ kind: switch, url: 'http://h', values: [a, a] }"),
    'A value stands in values twice, expected once.',
  ],
  [
    'a port out of range',
    target('{ kind: postgres, host: h, port: 99999, database: d, user: u }'),
    'targets.a.port is 99999, expected at most 65535.',
  ],
  [
    'an unknown member',
    'environment: x\npeople: { ana: {} }\ngroups: { sre: [anna] }',
    "'anna' is no person of this file, expected ana.",
  ],
  [
    'an unknown operator',
    'environment: x\npeople: { ana: {} }\nroles: { operator: [bob] }',
    "'bob' is no person of this file, expected ana.",
  ],
  [
    'a member twice',
    'environment: x\npeople: { ana: {} }\ngroups: { sre: [ana, ana] }',
    "'ana' stands in groups.sre twice, expected once.",
  ],
  [
    'an unknown group',
    'environment: x\napprovals: { least: { costly: { from: { boss: 1 } } } }',
    "'boss' is no group of this file, expected nothing.",
  ],
  [
    'a call of an unknown group',
    'environment: x\napprovals: { escalate: [{ after: 1h, to: boss }] }',
    "'boss' is no group of this file, expected nothing.",
  ],
  [
    'a call before the one above it',
    'environment: x\ngroups: { sre: [] }\napprovals: { escalate: [{ after: 1h, to: sre }, { after: 60m, to: sre }] }',
    'The group is called after 1h, expected more than the 1h of the one above.',
  ],
  [
    'a sixth call',
    `environment: x\napprovals: { escalate: [${'{ after: 1h, to: sre }, '.repeat(6)}] }`,
    'approvals.escalate is a list, expected at most 5 groups.',
  ],
  [
    'an escalation without a call',
    'environment: x\napprovals: { escalate: [] }',
    'approvals.escalate is a list, expected at least 1 group.',
  ],
  [
    'an emergency path of an unknown group',
    "environment: x\nchangeFreezes: [{ name: a, from: '2026-12-18T00:00Z', to: '2027-01-04T00:00Z', emergency: { from: { boss: 1 } } }]",
    "'boss' is no group of this file, expected nothing.",
  ],
  [
    'an effect that there is not',
    'environment: x\napprovals: { least: { dear: { from: { sre: 1 } } } }',
    "'dear' is not a key in approvals.least, expected reversible, costly or irreversible.",
  ],
  [
    'a group that is neither a list nor kept by Slack',
    'environment: x\ngroups: { product: ana }',
    "groups.product is 'ana', expected a list of people, as in [ana, ben], or a group that Slack keeps, as in { slackGroup: S05PRODUCT }.",
  ],
  [
    'a channel by its name',
    "environment: x\nslack: { channel: '#launch' }",
    "slack.channel is '#launch', expected the id of a channel, such as 'C04LAUNCH': it stands at the end of the channel's details.",
  ],
  [
    'one Slack id for two people',
    'environment: x\npeople: { ana: { slack: U02ANA }, ben: { slack: U02ANA } }',
    "'U02ANA' is the Slack id of ana and of ben, expected one person.",
  ],
  [
    'a door of Slack without a channel',
    'environment: x\npeople: { ana: {} }\ngroups: { sre: [ana] }\napprovals: { least: { costly: { from: { sre: 1 }, via: slack } } }',
    'approvals.least.costly is asked via slack, and this file names no channel of Slack.',
  ],
])('%s is refused in one sentence', (_, text, message) => {
  expect(problemOf(() => parse(text))).toMatchObject({ code: 'EnvironmentInvalid', message });
});

test.each([
  [
    "targets: { a: { kind: http, url: 'http://h', metrics: m } }",
    'metrics comes with a later version of the http target.',
  ],
  [
    'targets: { a: { kind: s3, bucket: b } }',
    "Targets of kind 's3' come with a later version, expected http, sqlite, postgres, switch, command or migrations.",
  ],
])('%s is refused as not supported yet', (line, message) => {
  expect(problemOf(() => parse(`environment: x\n${line}`))).toMatchObject({ code: 'NotSupported', message });
});

test.each(['hunter2', '{ env: hunter 2 }', '{ value: hunter2 }', '[hunter2]'])(
  'a secret that stands there as %s is never shown',
  (secret) => {
    const text = target(`{ kind: postgres, host: h, database: d, user: u, password: ${secret} }`);
    const problem = problemOf(() => parse(text));
    expect(JSON.stringify(problem)).not.toContain('hunter');
    expect(problem.pointer).toBe('/targets/a/password');
  },
);

test('every problem is found at once, each at its place', () => {
  const text = 'environment: x\npeople: { ana: {} }\ngroups:\n  sre: [ana, bob]\nroles: { admin: [eve] }\n';
  expect(problemsOf(() => parse(text)).map(({ line, column, pointer }) => [line, column, pointer])).toEqual([
    [4, 14, '/groups/sre/1'],
    [5, 18, '/roles/admin/0'],
  ]);
});
