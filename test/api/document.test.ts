import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { ROUTES, routeNamed } from '../../api/permissions.ts';
import { generatedDocs } from '../../scripts/openapi.ts';

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
