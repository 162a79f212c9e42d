/** The workflows, bundled once a suite: bundling takes longer than most tests. */
import { mkdir, readFile, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { createHash, randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/**
 * Keyed by the sources it is made of, so that two suites at once share it and an edit makes a new one. `interceptors` are files of
 * test/support that the bundle takes in beside the product's workflows.
 */
export async function workflowBundle(interceptors: readonly string[] = []): Promise<{ codePath: string }> {
  const folder = join(tmpdir(), `countdown-bundles-${process.getuid?.() ?? 0}`);
  await mkdir(folder, { recursive: true });
  const modules = interceptors.map((file) => join(ROOT, 'test/support', file));
  const codePath = join(folder, `${await sourcesDigest(modules)}.js`);
  if (
    await stat(codePath).then(
      () => true,
      () => false,
    )
  )
    return { codePath };
  const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, log() {} };
  const { code } = await bundleWorkflowCode({
    workflowsPath: join(ROOT, 'workflows/index.ts'),
    workflowInterceptorModules: modules,
    logger: quiet,
  });
  const part = `${codePath}.${randomUUID()}`;
  await writeFile(part, code);
  await rename(part, codePath);
  return { codePath };
}

async function sourcesDigest(modules: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const folder of ['workflows', 'procedures']) {
    for (const file of (await readdir(join(ROOT, folder))).toSorted()) {
      if (file.endsWith('.ts')) hash.update(file).update(await readFile(join(ROOT, folder, file)));
    }
  }
  for (const path of [...modules, join(ROOT, 'package-lock.json')]) hash.update(await readFile(path));
  return hash.digest('hex').slice(0, 20);
}
