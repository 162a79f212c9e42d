import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { digest } from '../../store/digest.ts';
import {
  changed,
  demo,
  launch,
  phase,
  planSteps,
  planText,
  problemOf,
  problemsOf,
  shipped,
} from './support.ts';

describe('the first launch', () => {
  test('compiles to the plan in the golden file, and to its hash', async () => {
    const plan = launch();
    await expect(`${JSON.stringify(plan, null, 2)}\n`).toMatchFileSnapshot('golden/first-launch.plan.golden');
    const golden = JSON.parse(
      readFileSync(new URL('golden/first-launch.plan.golden', import.meta.url), 'utf8'),
    );
    expect(digest(plan)).toBe(digest(golden));
    expect(digest(plan)).toMatchInlineSnapshot(
      `"740601b265356e70ae412ea676a568fd5ec6e05d529e7863d2d12ab6c0552cbd"`,
    );
  });

  test('asks twice: before the first effect of the import, and at the point of no return for what is below', () => {
    const { phases, approvals } = launch();
    const asking = phases.filter(({ waitsFor }) => waitsFor !== undefined);
    expect(asking.map(({ id, waitsFor }) => [id, waitsFor?.approval])).toEqual([
      ['database/hold-writes', 'database'],
      ['keep/pass', 'keep'],
    ]);
    expect(
      Object.entries(approvals)
        .filter(([, { skip }]) => skip === undefined)
        .map(([step, { from, covers, leading }]) => [step, from, covers, leading]),
    ).toEqual([
      ['database', { sre: 1, owner: 1 }, ['database'], ['database/inspect', 'database/backup']],
      ['keep', { sre: 1, owner: 1 }, ['keep'], []],
    ]);
  });

  test('asks for leave to skip what guards it', () => {
    const guards = Object.entries(launch().approvals).filter(([, { skip }]) => skip === true);
    expect(guards.map(([id, { from }]) => [id, from])).toEqual([
      ['ready', { sre: 1, owner: 1 }],
      ['database/verify', { sre: 1, owner: 1 }],
      ['smoke', { sre: 1, owner: 1 }],
      ['watch', { sre: 1, owner: 1 }],
    ]);
  });

  test('has an undo and a probe for every effect above the point of no return, and no undo below', () => {
    const { phases } = launch();
    const line = phases.findIndex(({ id }) => id === 'keep/pass');
    const above = phases.slice(0, line).filter(({ effect }) => effect !== 'none');
    expect(above.map(({ id, undo, probe }) => [id, undo?.activity, probe?.activity])).toEqual([
      ['database/hold-writes', 'database.import/hold-writes/undo', 'database.import/hold-writes/probe'],
      ['database/copy', 'database.import/copy/undo', 'database.import/copy/probe'],
      ['database/switch', 'database.import/switch/undo', 'database.import/switch/probe'],
      [
        'database/release-writes',
        'database.import/release-writes/undo',
        'database.import/release-writes/probe',
      ],
    ]);
    expect(phase(launch(), 'keep/end-capture')).toMatchObject({
      effect: 'irreversible',
      probe: { activity: 'database.import/end-capture/probe' },
    });
    expect(phase(launch(), 'keep/end-capture')).not.toHaveProperty('undo');
  });

  test('holds what it changes and the source alone, and shares what it only asks', () => {
    expect(launch().leases).toEqual({
      app: 'shared',
      'app-database-mode': 'exclusive',
      'app-postgres': 'exclusive',
      'app-sqlite': 'exclusive',
    });
    expect(launch().fingerprints.map(({ call }) => call)).toEqual([
      { activity: 'fingerprint/switch', params: { target: 'app-database-mode' } },
      { activity: 'fingerprint/postgres', params: { target: 'app-postgres' } },
      { activity: 'fingerprint/sqlite', params: { target: 'app-sqlite' } },
    ]);
    expect(launch().unverifiable).toEqual([]);
  });
});

describe('the hash', () => {
  const text = shipped('runbooks/first-launch.yaml');

  test('does not change with the order of keys, comments or style', () => {
    const turned = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(turned);
      if (value === null || typeof value !== 'object') return value;
      return Object.fromEntries(
        Object.entries(value)
          .map(([key, one]) => [key, turned(one)] as const)
          .toReversed(),
      );
    };
    const other = stringify(turned(parse(text)));
    expect(other.indexOf('steps')).toBeLessThan(other.indexOf('name'));
    expect(digest(planText(other))).toBe(digest(launch()));
  });

  test.each([
    ['a time', 'for: 15s', 'for: 16s'],
    ['the objective', 'within: 5m', 'within: 6m'],
    ['a path', '/api/songs', '/api/users'],
    ['a reason', 'the only copy', 'the one copy'],
    ['a vote', 'sre: 1, owner: 1', 'sre: 1, owner: 1, '],
    ['a description', 'Move a live', 'Bring a live'],
  ])('changes with %s', (what, before, after) => {
    const other = planText(text.replace(before, after));
    if (what === 'a vote') expect(digest(other)).toBe(digest(launch()));
    else expect(digest(other)).not.toBe(digest(launch()));
  });

  test('changes with every limit, expectation and address', () => {
    const hashes = new Set<string>([digest(launch())]);
    const environments = [
      changed((file) => void (file['targets']!['app'] = { kind: 'http', url: 'http://127.0.0.1:8081' })),
      changed((file) => void (file['approvals'] = { least: { irreversible: { from: { owner: 1 } } } })),
    ];
    for (const environment of environments) hashes.add(digest(planText(text, { environment })));
    for (const extra of ['timeout: 1h', 'tries: 2', 'onFail: ask']) {
      hashes.add(digest(planText(text.replace('id: smoke', `id: smoke\n    ${extra}`))));
    }
    expect(hashes.size).toBe(6);
  });

  test('does not change with the people, who may come and go', () => {
    const environment = changed((file) => void (file['people']!['zoe'] = {}));
    expect(digest(planText(text, { environment }))).toBe(digest(launch()));
  });
});

describe('limits', () => {
  test('are the kind’s own, or the step’s', () => {
    const own = planSteps([`{ id: a, uses: http.check, with: { target: app, requests: [{ get: / }] } }`]);
    expect(phase(own, 'a').limits).toEqual({
      heartbeatMs: 2_000,
      tries: 3,
      attempts: 1,
      undoAttempts: 5,
      resumable: false,
      timeoutMs: 60_000,
    });
    const set = planSteps([
      `{ id: a, uses: http.check, timeout: 90s, tries: 2, with: { target: app, requests: [{ get: / }] } }`,
    ]);
    expect(phase(set, 'a').limits).toMatchObject({ timeoutMs: 90_000, tries: 2 });
  });

  test('let only what is idempotent or has checkpoints be repeated by Temporal', () => {
    const attempts = launch().phases.flatMap(({ id, limits, run }) =>
      'wait' in run ? [] : [[id, limits.attempts, limits.resumable]],
    );
    expect(Object.fromEntries(attempts.map(([id, ...rest]) => [id, rest]))).toEqual({
      ready: [1, false],
      'database/inspect': [3, false],
      'database/backup': [3, false],
      'database/hold-writes': [1, false],
      'database/copy': [3, true],
      'database/verify': [3, false],
      'database/switch': [1, false],
      'database/release-writes': [1, false],
      smoke: [1, false],
      watch: [1, false],
      'keep/end-capture': [3, true],
    });
  });
});

const withWorkers = (source: string, target: string) =>
  changed((file) => {
    Object.assign(file['targets']!['app-sqlite'] as object, { worker: source });
    Object.assign(file['targets']!['app-postgres'] as object, { worker: target });
  });

describe('pools', () => {
  test('are that of the file where a phase reaches one, else that of its first target', () => {
    const plan = planText(shipped('runbooks/first-launch.yaml'), {
      environment: withWorkers('app-host', 'west'),
    });
    expect(Object.fromEntries(plan.phases.map(({ id, pool }) => [id, pool]))).toEqual({
      ready: 'default',
      'database/inspect': 'app-host',
      'database/backup': 'app-host',
      'database/hold-writes': 'app-host',
      'database/copy': 'app-host',
      'database/verify': 'app-host',
      'database/switch': 'app-host',
      'database/release-writes': 'app-host',
      smoke: 'default',
      watch: 'default',
      'keep/pass': 'default',
      'keep/end-capture': 'west',
    });
    expect(plan.fingerprints.map(({ target, pool }) => [target, pool])).toEqual([
      ['app-database-mode', 'default'],
      ['app-postgres', 'west'],
      ['app-sqlite', 'app-host'],
    ]);
    expect(plan.targets['app-sqlite']).toMatchObject({ kind: 'sqlite', pool: 'app-host' });
  });
});

describe('targets', () => {
  test('are named by the digest of their entry, defaults included', () => {
    const environment = demo();
    expect(launch().targets['app-postgres']?.digest).toBe(digest(environment.targets['app-postgres']));
    const spelled = changed((file) =>
      Object.assign(file['targets']!['app-sqlite'] as object, { worker: 'default' }),
    );
    expect(
      planText(shipped('runbooks/first-launch.yaml'), { environment: spelled }).targets['app-sqlite']?.digest,
    ).not.toBe(launch().targets['app-sqlite']?.digest);
  });

  test.each(['app-postgress', 'constructor', 'tostring'])("'%s' is unknown", (name) => {
    const step = `{ id: a, uses: http.check, with: { target: ${name}, requests: [{ get: / }] } }`;
    expect(problemOf(() => planSteps([step]))).toMatchObject({
      code: 'TargetUnknown',
      pointer: '/steps/0/with/target',
      message: `Environment demo has no target '${name}', expected app.`,
    });
  });

  test('of another kind are refused with those that would do', () => {
    const step =
      '{ id: a, uses: database.import, with: { source: app, target: app-sqlite, switch: app-database-mode } }';
    expect(problemsOf(() => planSteps([step])).map(({ message }) => message)).toEqual([
      "Target 'app' is of kind http, expected one of kind sqlite: app-sqlite.",
      "Target 'app-sqlite' is of kind sqlite, expected one of kind postgres: app-postgres.",
    ]);
  });

  test('of an import need a switch with four values', () => {
    const environment = changed((file) =>
      Object.assign(file['targets']!['app-database-mode'] as object, { values: ['a', 'b', 'c'] }),
    );
    const step =
      '{ id: a, uses: database.import, with: { source: app-sqlite, target: app-postgres, switch: app-database-mode } }';
    expect(problemOf(() => planSteps([step], { environment })).message).toBe(
      "Switch 'app-database-mode' has 3 values, expected four: source, source held, target held, target.",
    );
  });
});

test('problems of several steps are found at once, each at its place', () => {
  const steps = [
    '{ id: a, uses: http.check, with: { target: ap, requests: [{ get: / }] } }',
    '{ id: b, uses: app.switch, with: { switch: app-database-mode, to: postgres } }',
    '{ id: c, uses: wait, with: { for: soon } }',
  ];
  expect(problemsOf(() => planSteps(steps)).map(({ code, line }) => [code, line])).toEqual([
    ['TargetUnknown', 3],
    ['PointOfNoReturn', 4],
    ['RunbookInvalid', 5],
  ]);
});
