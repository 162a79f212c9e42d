import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestApi, makeTestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await makeTestApi();
});
afterAll(() => api[Symbol.asyncDispose]());

type PlanBody = {
  plan: string;
  runbook: string;
  steps: { id: string; approval: { from: object } | null }[];
  followUps: { id: string; afterMs: number; plan: string }[];
};
const request = (text: string) => ({ runbook: { text }, environment: 'lab' });
const outer = (name: string, more = '') =>
  `name: outer\nsteps:\n  - { id: go, uses: runbook, with: { runbook: ${name} } }\n${more}`;

test('a runbook that uses a shipped one is planned with its steps', async () => {
  const made = await api.ok<PlanBody>('dana', '/v1/plans', { body: request(outer('hold')) });
  expect(made.steps.map(({ id }) => id)).toEqual(['go.hold', 'go.look', 'go.release']);
  expect(made.steps[0]?.approval?.from).toEqual({ owner: 1, sre: 1 });
});

test('what is wrong in the runbook that is used is shown in its own file', async () => {
  await writeFile(
    join(api.runbooks, 'bad.yaml'),
    'name: bad\nsteps:\n  - { id: a, uses: app.switch, with: { switch: moode, to: on } }\n',
  );
  const response = await api.request('dana', '/v1/plans', { body: request(outer('bad')) });
  const problem = (await response.json()) as { code: string; errors: Record<string, unknown>[] };
  expect([response.status, problem.code]).toEqual([422, 'TargetUnknown']);
  expect(problem.errors[0]).toMatchObject({ file: 'runbooks/bad.yaml', line: 3 });
  expect(problem.errors[0]?.['excerpt']).toMatch(/switch: moode[\s\S]*\^/);
  expect(await api.refusal('dana', '/v1/plans', { body: request(outer('nowhere')) })).toEqual([
    422,
    'RunbookInvalid',
  ]);
});

test('plans of follow-ups are stored with the plan that names them', async () => {
  const later = 'followUp:\n  - { id: settle, after: 30d, uses: wait, with: { for: 1s } }\n';
  const made = await api.ok<PlanBody>('dana', '/v1/plans', { body: request(outer('hold', later)) });
  expect(made.followUps).toMatchObject([{ id: 'settle', afterMs: 2_592_000_000 }]);
  const own = await api.ok<PlanBody>('dana', `/v1/plans/${made.followUps[0]?.plan}`);
  expect([own.runbook, own.steps.map(({ id }) => id)]).toEqual(['outer.settle', ['settle']]);
  expect(own.followUps).toEqual([]);
});

test('the plan shows work by hand with its instructions, and who takes it back', async () => {
  const text =
    'name: paper\nsteps:\n  - { id: sign, uses: manual, with: { instructions: Sign it., undo: Tear it up. } }\n';
  const made = await api.ok<{ steps: { wait: object; phases: { undo: string }[] }[] }>('dana', '/v1/plans', {
    body: request(text),
  });
  expect(made.steps[0]?.wait).toMatchObject({ wait: 'person', instructions: 'Sign it.' });
  expect(made.steps[0]?.phases.map(({ undo }) => undo)).toEqual(['A person takes it back']);
});

test('the plan shows what a block of parallel steps asks once, and which steps are its branches', async () => {
  const text = `name: wide
steps:
  - id: data
    approval: { from: { sre: 1 } }
    parallel:
      - { id: hold, uses: app.switch, with: { switch: mode, to: held } }
      - { id: look, uses: wait, with: { for: 1s } }
`;
  const made = await api.ok<{
    steps: { id: string; block: string | null; approval: object | null }[];
    blocks: { id: string; approval: object }[];
  }>('dana', '/v1/plans', { body: request(text) });
  expect(made.steps.map(({ id, block, approval }) => [id, block, approval])).toEqual([
    ['hold', 'data', null],
    ['look', 'data', null],
  ]);
  expect(made.blocks).toMatchObject([{ id: 'data', approval: { from: { sre: 1 } } }]);
});
