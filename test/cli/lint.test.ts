import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { main } from '../../cli/main.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countdown-lint-'));
  await Promise.all([mkdir(join(folder, 'runbooks')), mkdir(join(folder, 'environments'))]);
  await writeFile(
    join(folder, 'environments/demo.yaml'),
    await readFile(join(ROOT, 'environments/demo.yaml')),
  );
});
afterAll(() => rm(folder, { recursive: true }));

async function lint(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const code = await main(['lint', ...args], {
    out: { write: (text) => (said.out += text) },
    err: { write: (text) => (said.err += text) },
    ask: undefined,
    // Neither address nor token: nothing is asked of the API.
    variables: {
      COUNTDOWN_RUNBOOKS: join(folder, 'runbooks'),
      COUNTDOWN_ENVIRONMENTS: join(folder, 'environments'),
    },
    signal: new AbortController().signal,
  });
  // The folder has another name each time.
  return { code, out: said.out.replaceAll(`${folder}/`, ''), err: said.err.replaceAll(`${folder}/`, '') };
}

const put = (name: string, text: string) => writeFile(join(folder, name), text);
const waits = (name: string, more = '') =>
  `name: ${name}\n${more}steps:\n  - { id: a, uses: wait, with: { for: 1s } }\n`;

test('the shipped files are good, each with a line that says what it holds', async () => {
  const files = [
    'runbooks/first-launch.yaml',
    'runbooks/song-genres.yaml',
    'environments/demo.yaml',
    'environments/production.example.yaml',
  ];
  const { code, out, err } = await lint(...files.map((file) => join(ROOT, file)));
  expect([code, err]).toEqual([0, '']);
  expect(out.replaceAll(ROOT, '')).toBe(
    [
      'ok    runbooks/first-launch.yaml  5 steps',
      'ok    runbooks/song-genres.yaml  3 steps',
      'ok    environments/demo.yaml  5 targets, 3 people',
      'ok    environments/production.example.yaml  4 targets, 6 people',
      '',
    ].join('\n'),
  );
});

test('a name stands for a file of the folder, and with an environment the plan is made', async () => {
  await writeFile(
    join(folder, 'runbooks/first-launch.yaml'),
    await readFile(join(ROOT, 'runbooks/first-launch.yaml')),
  );
  expect(await lint('first-launch', '--env', 'demo')).toEqual({
    code: 0,
    out: 'ok    runbooks/first-launch.yaml  5 steps, 12 phases in demo\n',
    err: '',
  });
});

test('every problem of every file is shown with its line, and good files beside them', async () => {
  await put('runbooks/good.yaml', waits('good'));
  await put('runbooks/bad.yaml', 'name: bad\nsteps:\n  - { id: a, uses: weit }\n  - { id: B, uses: wait }\n');
  const { code, out } = await lint('bad', 'good');
  expect(code).toBe(2);
  expect(out).toBe(
    [
      'error RunbookInvalid  runbooks/bad.yaml:3:20',
      '    3 |   - { id: a, uses: weit }',
      '      |                    ^^^^',
      "      | There is no kind 'weit', expected app.switch, approval, command, database.import, database.migrate, http.check, manual, notify, point-of-no-return, runbook, sql.check or wait.",
      'do    write wait',
      'error RunbookInvalid  runbooks/bad.yaml:4:11',
      '    4 |   - { id: B, uses: wait }',
      '      |           ^',
      "      | steps[1].id is 'B', expected a name of small letters, digits and hyphens that begins with a letter, at most 40 long.",
      'ok    runbooks/good.yaml  1 step',
      '2 problems in 1 of 2 files.',
      '',
    ].join('\n'),
  );
});

test('what only an environment shows is found with one, and not without', async () => {
  const text = waits('reach').replace(
    'uses: wait, with: { for: 1s }',
    'uses: app.switch, with: { switch: mode, to: x }',
  );
  await put('runbooks/reach.yaml', text);
  expect((await lint('reach')).code).toBe(0);
  const { code, out } = await lint('reach', '--env', 'demo');
  expect(code).toBe(2);
  expect(out).toContain("Environment demo has no target 'mode', expected app-database-mode.");
});

test('problems of the environment itself are shown, and the runbooks are still read', async () => {
  await put('environments/broken.yaml', 'environment: broken\ntarget: {}\n');
  await put('runbooks/fine.yaml', waits('fine'));
  const { code, out } = await lint('fine', '-e', 'broken');
  expect(code).toBe(2);
  expect(out).toContain('error EnvironmentInvalid  environments/broken.yaml:2:1');
  expect(out).toContain('do    write targets');
  expect(out).toContain('ok    runbooks/fine.yaml  1 step\n');
});

test('an environment that has not the name of its file is refused, as the API would', async () => {
  await put('environments/other.yaml', '# ours\nenvironment: demo\n');
  const { code, out } = await lint(join(folder, 'environments/other.yaml'));
  expect(code).toBe(2);
  expect(out).toContain('error EnvironmentInvalid  environments/other.yaml:2:14');
  expect(out).toContain("The file describes environment 'demo', expected 'other'");
});

test('each runbook gets the params that it declares, and a param of none is an error', async () => {
  await put(
    'runbooks/one.yaml',
    waits('one', 'params: { pause: { type: duration } }\n').replace('1s', '$(params.pause)'),
  );
  await put('runbooks/two.yaml', waits('two'));
  const without = await lint('one', '--env', 'demo');
  expect([without.code, without.out]).toEqual([2, expect.stringContaining("Param 'pause' is missing")]);
  expect((await lint('one', 'two', '--env', 'demo', '--param', 'pause=5m')).code).toBe(0);
  const { code, err } = await lint('two', '--env', 'demo', '--param', 'pause=5m');
  expect([code, err]).toEqual([2, "error Usage  No runbook here has a param 'pause': leave --param out.\n"]);
});

test('as JSON the places are data', async () => {
  await put('runbooks/json.yaml', 'name: json\nsteps: []\n');
  const { code, out } = await lint('json', '-o', 'json');
  expect(code).toBe(2);
  expect(JSON.parse(out)).toEqual({
    problems: 1,
    files: [
      {
        file: 'runbooks/json.yaml',
        kind: 'runbook',
        problems: [
          {
            code: 'RunbookInvalid',
            file: 'runbooks/json.yaml',
            line: 2,
            column: 8,
            length: 2,
            pointer: '/steps',
            message: 'steps is a list, expected at least 1 step.',
          },
        ],
      },
    ],
  });
});

test('a text that is no UTF-8, or no YAML, is a problem of that file alone', async () => {
  await writeFile(join(folder, 'runbooks/bytes.yaml'), Uint8Array.from([0xff, 0xfe, 0]));
  await put('runbooks/tabs.yaml', 'name: tabs\nsteps:\n\t- a\n');
  await put('runbooks/fine.yaml', waits('fine'));
  const { code, out } = await lint('bytes', 'tabs', 'fine');
  expect(code).toBe(2);
  expect(out).toContain('The file is not UTF-8 text');
  expect(out).toContain('The line is indented with a tab, expected spaces.');
  expect(out).toContain('ok    runbooks/fine.yaml');
});

test('a file that is not there, and params without an environment, are errors of usage', async () => {
  const { code, err } = await lint('nothing');
  expect(code).toBe(2);
  expect(err).toBe(
    'error Usage  runbooks/nothing.yaml cannot be read: give the path of a file, or the name of one runbook of runbooks.\n',
  );
  expect((await lint('fine', '--param', 'a=1')).err).toContain('--param stands without --env');
});

test('text of the file cannot move the cursor', async () => {
  await put('runbooks/escape.yaml', 'name: escape\nsteps: "\u001b[2J"\n');
  const { out } = await lint('escape');
  expect(out).not.toContain('\u001b');
});

test('a runbook that uses another is planned with it, and what is wrong there is shown in its own file', async () => {
  await put(
    'runbooks/outer.yaml',
    'name: outer\nsteps:\n  - { id: go, uses: runbook, with: { runbook: inner } }\n',
  );
  await put('runbooks/inner.yaml', waits('inner'));
  expect((await lint('outer', '--env', 'demo')).out).toBe(
    'ok    runbooks/outer.yaml  1 step, 1 phase in demo\n',
  );
  await put('runbooks/inner.yaml', waits('inner').replace('1s', 'soon'));
  const { code, out } = await lint('outer', '--env', 'demo');
  expect(code).toBe(2);
  expect(out).toContain('runbooks/inner.yaml:3:39\n');
  expect(out).toContain('with: { for: soon } }\n');
  await rm(join(folder, 'runbooks/inner.yaml'));
  expect((await lint('outer', '--env', 'demo')).out).toContain("There is no runbook 'inner'");
});
