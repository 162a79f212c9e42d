import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RUNBOOK, type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await makeTestApi();
});
afterAll(() => api[Symbol.asyncDispose]());

type Item = { name: string; description: string | null; digest: string | null; text: string };

test('a runbook is shown as it is written, and its plans name the digest of its version', async () => {
  const shown = await api.ok<Item>('pia', '/v1/runbooks/hold');
  expect([shown.description, shown.text]).toEqual(['Holds writes for a moment.', RUNBOOK]);
  const made = await api.ok<{ plan: string }>('dana', '/v1/plans', {
    body: { runbook: 'hold', environment: 'lab' },
  });
  const stored = await api.store.plan(made.plan);
  expect(stored?.runbook).toEqual({ name: 'hold', digest: shown.digest });

  const file = join(api.runbooks, 'hold.yaml');
  await writeFile(file, RUNBOOK.replace('for: 1s', 'for: 2s'));
  const changed = await api.ok<{ items: Item[] }>('pia', '/v1/runbooks');
  expect(changed.items.map(({ name, digest }) => [name, digest === shown.digest])).toEqual([['hold', false]]);
  await writeFile(file, RUNBOOK);
});

test('a name that is none opens nothing, and a file that is no text is told as such', async () => {
  for (const name of ['nothing', '..%2fenvironments%2flab', 'HOLD', 'hold.yaml', '%00'])
    expect(await api.refusal('pia', `/v1/runbooks/${name}`), name).toEqual([404, 'RunbookUnknown']);
  await writeFile(join(api.runbooks, 'bytes.yaml'), Uint8Array.from([0xff, 0xfe, 0]));
  expect(await api.refusal('pia', '/v1/runbooks/bytes')).toEqual([422, 'RunbookInvalid']);
  const body = { runbook: 'bytes', environment: 'lab' };
  expect(await api.refusal('dana', '/v1/plans', { body })).toEqual([422, 'RunbookInvalid']);
  expect(await api.refusal('mallory', '/v1/runbooks/hold')).toEqual([403, 'NotAllowed']);
});

test('lint tells every problem, with an environment also what a plan there would find, and stores nothing', async () => {
  const lint = (body: object, person = 'pia') =>
    api.ok<{ problems: { line: number; detail: string; excerpt: string }[] }>(person, '/v1/lint', { body });
  expect(await lint({ runbook: 'hold' })).toEqual({ problems: [] });
  expect(await lint({ runbook: { text: RUNBOOK }, environment: 'vault' })).toEqual({ problems: [] });
  const twice = RUNBOOK.replace('uses: wait', 'uses: weit').replace('sre: 1', 'sre: no');
  const { problems } = await lint({ runbook: { text: twice } });
  expect(problems.map(({ line }) => line)).toEqual([7, 8]);
  expect(problems[1]?.excerpt).toMatch(/weit[\s\S]*\^/);
  const elsewhere = { runbook: { text: RUNBOOK.replace('switch: mode', 'switch: moode') } };
  expect((await lint(elsewhere)).problems).toEqual([]);
  expect((await lint({ ...elsewhere, environment: 'lab' })).problems).toMatchObject([{ line: 6 }]);
  expect((await lint({ runbook: { text: 'a: [' } })).problems.length).toBeGreaterThan(0);

  const refused = (body: object, person = 'pia') => api.refusal(person, '/v1/lint', { body });
  expect(await refused({ runbook: 'nothing' })).toEqual([404, 'RunbookUnknown']);
  expect(await refused({ runbook: 'hold', environment: 'mars' })).toEqual([404, 'EnvironmentUnknown']);
  expect(await refused({ runbook: 'hold' }, 'mallory')).toEqual([403, 'NotAllowed']);
  expect(await refused({ runbook: 'hold', environment: 'lab' }, 'mallory')).toEqual([403, 'NotAllowed']);
  expect((await api.owner.query('select from countdown.plans')).rowCount).toBe(1);
});

test('editors get the schemas without a token', async () => {
  for (const name of ['runbook', 'environment']) {
    const response = await api.request(null, `/v1/schemas/${name}`);
    expect(response.headers.get('content-type')).toBe('application/schema+json');
    const file = new URL(`../../docs/schemas/${name}.schema.json`, import.meta.url);
    expect(await response.json()).toEqual(JSON.parse(await readFile(file, 'utf8')));
  }
  expect(await api.refusal(null, '/v1/schemas/..%2f..%2fpackage')).toEqual([404, 'RouteUnknown']);
});
