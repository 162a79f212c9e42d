import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { type ApiDocument, openApiDocument, operationsOf } from '../../api/document.ts';
import { EXAMPLES, PROBLEM_EXAMPLE } from '../../api/examples.ts';
import { type ApiDeps, createApi } from '../../api/index.ts';
import { ROUTES, routeNamed } from '../../api/permissions.ts';
import { generatedDocs } from '../../scripts/openapi.ts';
import { misfits } from './support.ts';

test('docs/openapi.json and docs/errors.md are what the code says', async () => {
  for (const [path, text] of Object.entries(generatedDocs())) {
    const file = await readFile(new URL(`../../${path}`, import.meta.url), 'utf8');
    expect(file === text, `${path} is old: run node scripts/openapi.ts`).toBe(true);
  }
});

test('the document describes each route of the table and asks for a token where one is needed', () => {
  const document = JSON.parse(generatedDocs()['docs/openapi.json'] ?? '') as {
    paths: Record<string, Record<string, { security?: object[]; responses: Record<string, object> }>>;
  };
  const described = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({
      route: `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`,
      operation,
    })),
  );
  const all = ROUTES.map(({ method, path }) => `${method} ${path}`);
  const routes = all.filter((route) => route !== 'GET /openapi.json');
  expect(described.map(({ route }) => route).sort()).toEqual(routes.sort());
  for (const { route, operation } of described) {
    const isPublic = routeNamed(route)?.permission === 'public';
    expect(operation.security, route).toEqual(isPublic ? undefined : [{ bearer: [] }]);
    if (!isPublic) expect(Object.keys(operation.responses), route).toContain('401');
  }
});

test('each body of the document has an example, and all examples fit their schemas', () => {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- composing reads no part
  const document = openApiDocument(createApi({} as ApiDeps));
  const operations = operationsOf(document as unknown as ApiDocument);
  const bodies = operations.filter(({ operation }) => operation.requestBody?.content['application/json']);
  expect(bodies.length).toBeGreaterThan(10);
  for (const { name, operation } of bodies) {
    const { schema, example } = operation.requestBody?.content['application/json'] ?? {};
    expect(example, name).toBeDefined();
    expect(misfits(document, schema, example), name).toEqual([]);
  }
  const names = operations.map(({ name }) => name);
  for (const [name, { answer }] of Object.entries(EXAMPLES)) {
    expect(names).toContain(name);
    const responses = operations.find((one) => one.name === name)?.operation.responses ?? {};
    const good = Object.keys(responses).find((status) => status.startsWith('2')) ?? '';
    const content = responses[good]?.content?.['application/json'];
    if (answer !== undefined) expect(misfits(document, content?.schema, answer), name).toEqual([]);
  }
  const problem = document.components?.schemas?.['Problem'];
  expect(misfits(document, problem, PROBLEM_EXAMPLE)).toEqual([]);
});
