/** Writes docs/openapi.json, docs/api.md and docs/errors.md from the code; `--check` says whether they are as they should be. */
import { readFile, writeFile } from 'node:fs/promises';
import { type ApiDocument, openApiDocument, renderReference } from '../api/document.ts';
import { type ApiDeps, createApi } from '../api/index.ts';
import { renderErrorsPage } from '../api/problem-codes.ts';

/** The files that are made of the code, by their path from the project's folder. */
export function generatedDocs(): Record<string, string> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- composing reads no part; only a request would
  const app = createApi({} as ApiDeps);
  const document = openApiDocument(app);
  return {
    'docs/openapi.json': `${JSON.stringify(document, null, 2)}\n`,
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the generator's type allows references that it never makes
    'docs/api.md': renderReference(document as unknown as ApiDocument),
    'docs/errors.md': renderErrorsPage(),
  };
}

if (import.meta.main) {
  const root = new URL('../', import.meta.url);
  for (const [path, text] of Object.entries(generatedDocs())) {
    const file = new URL(path, root);
    if (!process.argv.includes('--check')) await writeFile(file, text);
    else if ((await readFile(file, 'utf8')) !== text) {
      process.stderr.write(`${path} is not what the code says: run node scripts/openapi.ts\n`);
      process.exitCode = 1;
    }
  }
}
