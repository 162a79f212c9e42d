import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PlanProblem } from '../../procedures/problem.ts';
import { canonical, digest } from '../../store/digest.ts';
import { loadEnvironments } from '../../store/environments.ts';
import { listRunbooks, readRunbook } from '../../store/runbooks.ts';

let folder: string;

beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'countdown-folders-')), 'runbooks');
  await mkdir(folder);
});
afterEach(() => rm(join(folder, '..'), { recursive: true }));

const put = (file: string, text: string | Uint8Array) => writeFile(join(folder, file), text);
const runbook = (name: string) =>
  `name: ${name}\ndescription: About ${name}\nsteps: [{ id: a, uses: wait, with: { for: 1s } }]\n`;

test('runbooks are listed by name, those that cannot be parsed without a description', async () => {
  await put('b.yaml', runbook('b'));
  await put('a.yaml', 'name: [');
  await put('c.yaml', Uint8Array.from([0xff, 0xfe, 0]));
  await put('Not-a-name.yaml', runbook('x'));
  await put('notes.txt', 'x');
  expect(await listRunbooks(folder)).toEqual([
    { name: 'a', description: null, digest: null },
    { name: 'b', description: 'About b', digest: expect.stringMatching(/^[0-9a-f]{64}$/) },
    { name: 'c', description: null, digest: null },
  ]);
});

test('a runbook is read with the file name that messages use', async () => {
  await put('b.yaml', runbook('b'));
  expect(await readRunbook(folder, 'b')).toEqual({ text: runbook('b'), file: 'runbooks/b.yaml' });
});

test.each(['../b', '/etc/passwd', 'b.yaml', '..', '', 'B', 'b\0', 'a/../b'])(
  "the name '%s' opens nothing",
  async (name) => {
    await writeFile(join(folder, '..', 'b.yaml'), runbook('b'));
    await put('b.yaml', runbook('b'));
    await expect(readRunbook(folder, name)).rejects.toThrow(
      'cannot be a runbook: use small letters, digits and hyphens.',
    );
  },
);

test('a runbook that is no text is a problem of the runbook', async () => {
  await put('c.yaml', Uint8Array.from([0xff, 0xfe, 0]));
  await expect(readRunbook(folder, 'c')).rejects.toBeInstanceOf(PlanProblem);
});

test('environments are loaded by the names of their files, examples left alone', async () => {
  await put('demo.yaml', 'environment: demo\n');
  await put('production.example.yaml', 'environment: [broken');
  await put('README.md', '# x');
  const loaded = await loadEnvironments(folder);
  expect([...loaded].map(([name, { environment, text }]) => [name, environment.environment, text])).toEqual([
    ['demo', 'demo', 'environment: demo\n'],
  ]);
});

test('all files that are wrong are named at once', async () => {
  await put('a.yaml', 'environment: b\n');
  await put('c.yaml', 'environment: c\nwindow: {}\n');
  await put('demo.yaml', 'environment: demo\n');
  const error = await loadEnvironments(folder).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(PlanProblem);
  expect((error as PlanProblem).problems.map(({ file, code, message }) => [file, code, message])).toEqual([
    [
      'a.yaml',
      'EnvironmentInvalid',
      "The file describes environment 'b', expected 'a': an environment has the name of its file.",
    ],
    [
      'c.yaml',
      'EnvironmentInvalid',
      "'window' is not a key, expected environment, protected, worker, targets, people, roles, groups, approvals, retention, slack, windows or changeFreezes.",
    ],
  ]);
});

test('a folder that is not there is named with the variable that sets it', async () => {
  await expect(loadEnvironments(join(folder, 'none'))).rejects.toThrow(
    'set COUNTDOWN_ENVIRONMENTS to a folder of YAML files.',
  );
});

test('the canonical text is that of RFC 8785, and the digest its sha256', () => {
  expect(canonical({ b: [1e21, 0.000001, 1e-7, -0], a: '\u20ac\n"', '\u00f6': null })).toBe(
    '{"a":"€\\n\\"","b":[1e+21,0.000001,1e-7,0],"ö":null}',
  );
  expect(digest({})).toBe('44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');
  expect(digest({ b: 1, a: 2 })).toBe(digest({ a: 2, b: 1 }));
  expect(() => canonical('\ud800')).toThrow('Lone surrogate');
  expect(() => canonical(undefined)).toThrow('A value of type undefined cannot be written as JSON');
});
