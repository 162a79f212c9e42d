/** The tests that a page names: `- \`FILE\` · NAME`, held against the names that stand in the files. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export type NamedTest = { file: string; name: string };

export function testsNamedIn(text: string): NamedTest[] {
  return [...text.matchAll(/^- `([^`]+)` · (.+)$/gm)].map(([, file = '', name = '']) => ({ file, name }));
}

/** The names of a file's tests, as they stand in its source: `%s` of a table and `${…}` of a template included. */
export function namesIn(source: string): Set<string> {
  const calls = source.matchAll(/\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1\s*,\s*(?:\{|async|\()/g);
  return new Set([...calls].map(([, , name = '']) => name.replaceAll(/\\(.)/g, '$1')));
}

/** Those of the tests that there are not. */
export function missingTests(root: string, tests: readonly NamedTest[]): NamedTest[] {
  return tests.filter(({ file, name }) => {
    const path = join(root, file);
    return !existsSync(path) || !namesIn(readFileSync(path, 'utf8')).has(name);
  });
}
