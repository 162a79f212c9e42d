/** The language page shows every key that people can write, in examples that the real compiler takes. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseEnvironment } from '../../procedures/environment.ts';
import type { Plan } from '../../procedures/plan.ts';
import { phase, planText } from '../procedures/support.ts';

type Schema = { [key: string]: unknown };

const ROOT = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');
const schema = (name: string) => JSON.parse(read(`docs/schemas/${name}.schema.json`)) as Schema;
const page = read('docs/runbook-language.md');
const texts = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = '']) => text);
const environments = texts.filter((text) => text.startsWith('environment:'));
const runbooks = texts.filter((text) => text.startsWith('name:'));

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Every path of keys that a schema names; entries of lists and records stand at their owner. */
function keysOf(value: unknown, path: readonly string[] = []): string[] {
  if (!isSchema(value)) return [];
  const own = Object.entries(isSchema(value['properties']) ? value['properties'] : {}).flatMap(
    ([key, one]) => [[...path, key].join('.'), ...keysOf(one, [...path, key])],
  );
  const parts = [value['items'], value['additionalProperties'], value['anyOf'], value['oneOf']].flat();
  return [...new Set([...own, ...parts.flatMap((part) => keysOf(part, path))])];
}

/** The same of what is written: names that people choose are left out by asking only for paths of the schema. */
function writtenIn(value: unknown, path: readonly string[] = []): string[] {
  if (Array.isArray(value)) return value.flatMap((one) => writtenIn(one, path));
  if (!isSchema(value)) return [];
  return Object.entries(value).flatMap(([key, one]) => [
    [...path, key].join('.'),
    ...writtenIn(one, [...path, key]),
    // The key may be a name of a record, which stands in no path.
    ...writtenIn(one, path),
  ]);
}

/** Kinds and targets have pages of their own, the least that is asked has the form of what a step asks, a branch and a follow-up the keys of a step. */
const isOfPage = (key: string) =>
  !/^(targets\.|steps\.with\.|followUp\.(?!after$)|steps\.parallel\.)|^approvals\.least\.\w+\.|\.(env|file)$/.test(
    key,
  );

function unshown(name: string, examples: readonly string[]): string[] {
  const shown = new Set(examples.flatMap((text) => writtenIn(parse(text))));
  return keysOf(schema(name)).filter((key) => isOfPage(key) && !shown.has(key));
}

test('every key of a runbook stands in an example of the page', () => {
  expect(keysOf(schema('runbook'))).toEqual(
    expect.arrayContaining(['steps.when.param', 'params.type', 'steps.approval.from', 'rollback.within']),
  );
  expect(unshown('runbook', runbooks), 'Show it in docs/runbook-language.md.').toEqual([]);
});

test('every key of an environment file stands in an example of the page', () => {
  expect(keysOf(schema('environment'))).toEqual(
    expect.arrayContaining(['approvals.least.costly', 'windows.timezone', 'roles.auditor']),
  );
  expect(unshown('environment', environments), 'Show it in docs/runbook-language.md.').toEqual([]);
});

function planOf(name: string, params = {}): Plan {
  const text = runbooks.find((one) => one.startsWith(`name: ${name}`));
  if (text === undefined) throw new Error(`The page shows no runbook '${name}'.`);
  return planText(text, { params });
}

test('the examples compile to what the page says of them', () => {
  expect(planOf('first')).toMatchObject({ rollback: { withinMs: 1_800_000 }, params: { pause: '5m' } });
  expect(phase(planOf('first', { pause: '90s' }), 'look').run).toEqual({ wait: 'timer', forMs: 90_000 });

  const { approvals } = planOf('ask');
  expect(approvals).toMatchObject({
    hold: { from: { sre: 1, owner: 1 }, expiresMs: 7_200_000, remindEveryMs: 900_000, via: 'api' },
  });
  expect(phase(planOf('ask'), 'hold/set').waitsFor).toEqual({ approval: 'hold' });

  const patient = planOf('patient');
  expect(phase(patient, 'hold/set').limits).toMatchObject({ timeoutMs: 30_000, tries: 5 });
  expect(patient.steps.map(({ onFail }) => onFail)).toEqual(['unwind', 'ask', 'unwind']);

  expect(phase(planOf('tell', { release: '2.0.0' }), 'tell').run).toMatchObject({
    params: { text: '2.0.0 is next; it was $(hold.found), a literal is $$(hold.found).' },
  });

  expect(planOf('hold').leftOut).toMatchObject([{ id: 'look', when: { param: 'kind', is: 'full' } }]);
  expect(planOf('hold', { kind: 'full' }).leftOut).toBeUndefined();
});

test('the environment of the page is read as it stands', () => {
  expect(environments).toHaveLength(1);
  const { approvals, retention } = parseEnvironment(environments[0] ?? '', 'demo.yaml');
  expect(approvals.least.irreversible?.via).toBe('api');
  expect(retention).toEqual({ leastMs: 604_800_000 });
});
