/** Writes docs/openapi.json and docs/errors.md from the code; `--check` says whether they are as they should be. */
import { readFile, writeFile } from 'node:fs/promises';
import { type ApiDeps, createApi, openApiDocument } from '../api/index.ts';
import { renderErrorsPage } from '../api/problem-codes.ts';

/** The files that are made of the code, by their path from the project's folder. */
export function generatedDocs(): Record<string, string> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- composing reads no part; only a request would
  const app = createApi({} as ApiDeps);
  return {
    'docs/openapi.json': `${JSON.stringify(openApiDocument(app), null, 2)}\n`,
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
