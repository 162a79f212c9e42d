import { readFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv, type ValidateFunction } from 'ajv';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseEnvironment } from '../../procedures/environment.ts';
import { PROCEDURE_NAMES } from '../../procedures/index.ts';
import { PlanProblem } from '../../procedures/problem.ts';
import { generatedSchemas } from '../../scripts/schemas.ts';
import { planText } from '../procedures/support.ts';

const ROOT = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');

// Strict: a keyword that it does not know, or that cannot do anything where it stands, is an error.
const validator = (name: string): ValidateFunction =>
  new Ajv({ strict: true, strictTypes: false, strictRequired: false, allErrors: true }).compile(
    JSON.parse(read(`docs/schemas/${name}.schema.json`)) as object,
  );
const runbook = validator('runbook');
const environment = validator('environment');

function errorsOf(validate: ValidateFunction, value: unknown): string[] {
  validate(value);
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

test('the schemas for editors are what the code says', async () => {
  for (const [path, text] of Object.entries(generatedSchemas())) {
    const file = await readFile(fileURLToPath(new URL(path, ROOT)), 'utf8');
    expect(file === text, `${path} is old: run node scripts/schemas.ts`).toBe(true);
  }
});

test('the shipped files are valid for a reader of JSON Schema that knows nothing of ours', () => {
  expect(errorsOf(runbook, parse(read('runbooks/first-launch.yaml')))).toEqual([]);
  expect(errorsOf(runbook, parse(read('runbooks/song-genres.yaml')))).toEqual([]);
  expect(errorsOf(environment, parse(read('environments/demo.yaml')))).toEqual([]);
  expect(errorsOf(environment, parse(read('environments/production.example.yaml')))).toEqual([]);
});

const pages = ['runbook-language', ...PROCEDURE_NAMES.map((kind) => `procedures/${kind.replace('.', '-')}`)];
const examples = pages.flatMap((page) =>
  [...read(`docs/${page}.md`).matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = ''], index) => ({
    page,
    index: index + 1,
    value: parse(text) as object,
  })),
);

test.each(examples)('example $index of $page is valid', ({ value }) => {
  if (Array.isArray(value)) expect(errorsOf(runbook, { name: 'x', steps: value })).toEqual([]);
  else expect(errorsOf('environment' in value ? environment : runbook, value)).toEqual([]);
});

const step = (text: string) => `name: x\nsteps: [{ id: a, ${text} }]`;
const bad: [string, string][] = [
  ['an unknown key', `${step('uses: wait, with: { for: 1s }')}\nstps: []`],
  ['no steps', 'name: x\nsteps: []'],
  ['a kind that there is not', step('uses: weit')],
  ['a kind of a later version', step('uses: load.test')],
  ['a key of a step that there is not', step('uses: wait, with: { for: 1s }, aproval: {}')],
  ['a key of a later version', step('uses: wait, with: { for: 1s }, parallel: []')],
  ['a param that the kind has not', step('uses: wait, with: { for: 1s, until: 2s }')],
  ['a param that the kind needs', step('uses: wait')],
  ['no duration', step('uses: wait, with: { for: soon }')],
  ['an empty duration', step("uses: wait, with: { for: '' }")],
  ['two methods', step('uses: http.check, with: { target: app, requests: [{ get: /, head: / }] }')],
  [
    'a method that changes something',
    step('uses: http.check, with: { target: app, requests: [{ post: / }] }'),
  ],
  ['votes of nobody', step('uses: wait, with: { for: 1s }, approval: { from: {} }')],
  ['a secret as a param', `params: { p: { type: secret } }\n${step('uses: wait, with: { for: 1s }')}`],
  ['a choice without options', `params: { p: { type: choice } }\n${step('uses: wait, with: { for: 1s }')}`],
];
const target = (entry: string) => `environment: x\ntargets: { a: ${entry} }`;
const badEnvironments: [string, string][] = [
  ['an unknown key', 'environment: x\ntarget: {}'],
  ['a kind of target that there is not', target('{ kind: postgre }')],
  ['a kind of target of a later version', target('{ kind: s3, bucket: b }')],
  ['a relative path', target('{ kind: sqlite, path: a.db }')],
  ['a password in an address', target("{ kind: http, url: 'http://u:p@h' }")],
  ['a secret itself', target('{ kind: postgres, host: h, database: d, user: u, password: hunter2 }')],
  [
    'a secret from two places',
    target("{ kind: switch, url: 'http://h', values: [a, b], token: { env: A, file: /b } }"),
  ],
  ['one value of a switch', target("{ kind: switch, url: 'http://h', values: [a] }")],
  ['a value twice', target("{ kind: switch, url: 'http://h', values: [a, a] }")],
  ['a key of a later version', 'environment: x\nslack: { channel: C0 }'],
];

describe('what an editor marks, the parser refuses:', () => {
  test.each(bad)('%s in a runbook', (_, text) => {
    expect(errorsOf(runbook, parse(text))).not.toEqual([]);
    expect(() => planText(text)).toThrow(PlanProblem);
  });

  test.each(badEnvironments)('%s in an environment file', (_, text) => {
    expect(errorsOf(environment, parse(text))).not.toEqual([]);
    expect(() => parseEnvironment(text, 'x.yaml')).toThrow(PlanProblem);
  });
});

test('references may stand where another form is asked for, as in the language', () => {
  for (const with_ of ['{ for: $(params.pause) }', '{ for: 1h30m }']) {
    expect(errorsOf(runbook, parse(step(`uses: wait, with: ${with_}`)))).toEqual([]);
  }
  const request = '{ get: /$(hold.found), status: $(params.status) }';
  expect(
    errorsOf(
      runbook,
      parse(step(`uses: http.check, with: { target: $(params.app), requests: [${request}] }`)),
    ),
  ).toEqual([]);
});

test('every key that a person can write says what it is for', () => {
  const silent = (schema: Record<string, unknown>, path: string): string[] => {
    const properties = (schema['properties'] ?? {}) as Record<string, Record<string, unknown>>;
    return Object.entries(properties).flatMap(([key, one]) => [
      ...(one['description'] === undefined ? [`${path}${key}`] : []),
      ...silent(one, `${path}${key}.`),
    ]);
  };
  const steps = (
    JSON.parse(read('docs/schemas/runbook.schema.json')) as { properties: { steps: { items: object } } }
  ).properties.steps.items;
  expect(silent(JSON.parse(read('docs/schemas/runbook.schema.json')), '')).toEqual([]);
  expect(silent(steps as Record<string, unknown>, '')).toEqual([]);
  expect(silent(JSON.parse(read('docs/schemas/environment.schema.json')), '')).toEqual([]);
});
