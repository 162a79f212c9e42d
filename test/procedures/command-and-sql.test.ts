import { describe, expect, test } from 'vitest';
import { parseEnvironment } from '../../procedures/environment.ts';
import { changed, keep, phase, planSteps, planText, problemOf } from './support.ts';

const target = (entry: string) => `environment: x\ntargets: { a: ${entry} }`;
const parse = (entry: string) => parseEnvironment(target(entry), 'x.yaml').targets['a'];

/** The demo environment with a command of this entry. */
const withCommand = (entry: object) =>
  changed((file) => {
    file['targets'] = { ...file['targets'], tool: { kind: 'command', argv: ['/bin/tool'], ...entry } };
  });

const both = { undo: ['/bin/tool', 'undo'], probe: ['/bin/tool', 'probe'] };
const step = (args = '') => `{ id: a, uses: command, with: { run: tool${args} } }`;

describe('a target of kind command', () => {
  test('has its defaults', () => {
    expect(parse('{ kind: command, argv: [/bin/tool, -x] }')).toEqual({
      kind: 'command',
      argv: ['/bin/tool', '-x'],
      env: {},
      exits: {},
      effect: 'irreversible',
      timeoutMs: 600_000,
    });
  });

  test('is costly with undo and probe, where it says nothing else', () => {
    const entry = 'kind: command, argv: [/bin/a], undo: [/bin/b], probe: [/bin/c]';
    expect(parse(`{ ${entry} }`)).toMatchObject({ effect: 'costly' });
    expect(parse(`{ ${entry}, effect: reversible, exits: { 3: warn }, timeout: 5s }`)).toMatchObject({
      effect: 'reversible',
      exits: { '3': 'warn' },
      timeoutMs: 5_000,
    });
  });

  test.each([
    [
      'a line for a shell',
      '{ kind: command, argv: rm -rf / }',
      "targets.a.argv is 'rm -rf /', expected a list of the program and its arguments, as in [/usr/bin/systemctl, restart, app].",
    ],
    ['no program', '{ kind: command, argv: [] }', 'targets.a.argv is a list, expected at least the program.'],
    [
      'a program without a place',
      '{ kind: command, argv: [tool] }',
      "Program 'tool' has no absolute path, and the command gets no PATH but that of its own env.",
    ],
    [
      'a relative program',
      '{ kind: command, argv: [./tool], env: { PATH: /bin } }',
      "Program './tool' has no absolute path, and the command gets no PATH but that of its own env.",
    ],
    [
      'a number as an argument',
      '{ kind: command, argv: [/bin/tool, 5] }',
      'targets.a.argv[1] is 5, expected text, in quotes where it could be read as a number.',
    ],
    [
      'an undo without a probe',
      '{ kind: command, argv: [/a], undo: [/b] }',
      'The command has an undo and no probe, expected both: what may have happened is looked at first.',
    ],
    [
      'an effect that nothing takes back',
      '{ kind: command, argv: [/a], effect: reversible }',
      'The effect is reversible and there is no undo, expected undo and probe.',
    ],
    [
      'a probe of nothing',
      '{ kind: command, argv: [/a], probe: [/b], effect: none }',
      'The effect is none, so there is nothing to probe.',
    ],
    [
      'an undo of what is for good',
      '{ kind: command, argv: [/a], undo: [/b], probe: [/c], effect: irreversible }',
      'The effect is irreversible, so there is nothing to undo.',
    ],
    [
      'a meaning of exit 0',
      '{ kind: command, argv: [/a], exits: { 0: fail } }',
      "'0' cannot be a name, expected an exit code from 1 to 255; 0 is always pass.",
    ],
    [
      'a variable that is no text',
      '{ kind: command, argv: [/a], env: { PORT: 8080 } }',
      'The value of a variable is no text, expected text or a reference to a secret.',
    ],
    [
      'a secret from two places',
      '{ kind: command, argv: [/a], env: { KEY: { env: A, file: /b } } }',
      'A secret is read from one place, expected either env or file.',
    ],
    [
      'a variable that cannot be one',
      "{ kind: command, argv: [/a], env: { 'A=B': x } }",
      "'A=B' cannot be a name, expected the name of an environment variable.",
    ],
  ])('is refused with %s', (_, entry, message) => {
    expect(problemOf(() => parse(entry)).message).toBe(message);
  });
});

describe('command', () => {
  test('holds names, arguments and its time in the plan, and nothing of the command line', () => {
    const plan = planText(
      `name: x\nparams: { release: { type: version, default: 1.4.0 } }\nsteps:\n  - ${step(", args: [--to, '$(params.release)']")}`,
      { environment: withCommand({ ...both, timeout: '1m' }) },
    );
    const params = { run: 'tool', args: ['--to', '1.4.0'], timeoutMs: 60_000 };
    expect(phase(plan, 'a')).toMatchObject({
      effect: 'costly',
      targets: ['tool'],
      run: { activity: 'command/run/run', params },
      undo: { activity: 'command/run/undo', params },
      probe: { activity: 'command/run/probe', params: { ...params, canUndo: true } },
      limits: { timeoutMs: 75_000, attempts: 1 },
    });
    expect(plan.leases).toEqual({ tool: 'exclusive' });
    expect(plan.unverifiable).toEqual(['tool']);
    expect(JSON.stringify(plan)).not.toContain('/bin/tool');
  });

  test('ends before its phase does, also where the step has little time', () => {
    const text = '{ id: a, uses: command, with: { run: tool }, timeout: 4s }';
    const [short] = planSteps([text], { environment: withCommand(both) }).phases;
    expect(short).toMatchObject({ limits: { timeoutMs: 4_000 }, run: { params: { timeoutMs: 2_000 } } });
  });

  test('without undo stands below a point of no return, and partly is not answered by another run', () => {
    const environment = withCommand({});
    expect(problemOf(() => planSteps([step()], { environment }))).toMatchObject({
      code: 'PointOfNoReturn',
      message: 'a/run cannot be undone, expected a point of no return above it.',
    });
    const below = phase(planSteps([keep, step()], { environment: withCommand(both) }), 'a');
    expect(below.undo).toBeUndefined();
    expect(below.probe).toMatchObject({ params: { canUndo: false } });
  });

  test('that changes nothing asks nobody and holds its target with others', () => {
    const plan = planSteps([step()], { environment: withCommand({ effect: 'none' }) });
    expect(plan.leases).toEqual({ tool: 'shared' });
    expect(phase(plan, 'a').waitsFor).toBeUndefined();
  });

  test.each([
    [
      ', args: --x',
      "steps[0].with.args is '--x', expected a list of arguments, as in ['--dry-run', $(params.release)].",
    ],
    [
      ', args: [5]',
      'steps[0].with.args[0] is 5, expected text, in quotes where it could be read as a number.',
    ],
    [`, args: ['${'x'.repeat(4_001)}']`, /expected at most 4000 characters\.$/],
    [`, args: [${'x, '.repeat(101)}]`, 'steps[0].with.args is a list, expected at most 100 of them.'],
    [
      `, args: [${`${'x'.repeat(3_900)}, `.repeat(9)}]`,
      'The arguments have more than 32000 characters, expected fewer.',
    ],
    [', argv: [x]', "'argv' is not a key in steps[0].with, expected run or args."],
  ])('is refused with %#', (args, message) => {
    expect(problemOf(() => planSteps([step(args)], { environment: withCommand(both) })).message).toMatch(
      message,
    );
  });

  test('runs targets of its kind alone', () => {
    const { message } = problemOf(() =>
      planSteps(['{ id: a, uses: command, with: { run: app } }'], { environment: withCommand({}) }),
    );
    expect(message).toBe("Target 'app' is of kind http, expected one of kind command: tool.");
  });
});

const sql = (rest: string) => `{ id: a, uses: sql.check, with: { target: app-postgres, ${rest} } }`;

describe('sql.check', () => {
  test('has its expectation parsed in the plan', () => {
    const plan = planSteps([sql(`query: 'select $1', values: [5, x], expect: at least 95`)]);
    expect(phase(plan, 'a')).toMatchObject({
      effect: 'none',
      run: {
        activity: 'sql.check/check/run',
        params: {
          target: 'app-postgres',
          query: 'select $1',
          values: [5, 'x'],
          of: 'value',
          expect: { words: 'at least 95', is: 'at least', amount: '95', unit: 'none' },
          timeoutMs: 45_000,
        },
      },
      limits: { timeoutMs: 60_000, attempts: 3 },
    });
    expect(plan.leases).toEqual({ 'app-postgres': 'shared' });
  });

  test('keeps words in which an output stands until it is there', () => {
    const plan = planSteps([
      sql('query: select 1, expect: 1'),
      sql('query: select 2, expect: at least $(a.value)').replace('id: a', 'id: b'),
    ]);
    expect(phase(plan, 'b').run).toMatchObject({ params: { expect: { words: 'at least $(a.value)' } } });
  });

  test('counts rows', () => {
    expect(phase(planSteps([sql('query: select 1, expect: { rows: at most 2 }')]), 'a').run).toMatchObject({
      params: { of: 'rows', expect: { words: 'at most 2', is: 'at most', amount: '2', unit: 'none' } },
    });
  });

  test.each([
    [
      'query: delete from x, expect: 1',
      'The query is no select, expected one that begins with select, with, values or table: a check changes nothing.',
    ],
    ['query: select 1', /^steps\[0\]\.with\.expect is missing, expected 'at least 95'/],
    ["query: select 1, expect: '> 5'", /^steps\[0\]\.with\.expect is '> 5', expected 'at least 95'/],
    [
      'query: select 1, expect: { rows: many more than 5, max: 1 }',
      /^steps\[0\]\.with\.expect is entries of key and value/,
    ],
    ['query: select 1, expect: { rows: more than 5 }', /^steps\[0\]\.with\.expect\.rows is 'more than 5'/],
    [
      `query: "select '$(params.x)'", expect: 1`,
      '$( stands in query, expected a text in which nothing is filled in.',
    ],
  ])('is refused with %s', (rest, message) => {
    const head = 'params: { x: { type: string, default: y } }\n';
    expect(problemOf(() => planSteps([sql(rest)], { head })).message).toMatch(message);
  });
});
