/** The workflows, bundled once a suite: bundling takes longer than most tests. */
import { mkdir, readFile, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Keyed by the sources it is made of, so that two suites at once share it and an edit makes a new one. */
export async function workflowBundle(): Promise<{ codePath: string }> {
  const folder = join(tmpdir(), `countdown-bundles-${process.getuid?.() ?? 0}`);
  await mkdir(folder, { recursive: true });
  const codePath = join(folder, `${await sourcesDigest()}.js`);
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
    logger: quiet,
  });
  const part = `${codePath}.${process.pid}`;
  await writeFile(part, code);
  await rename(part, codePath);
  return { codePath };
}

async function sourcesDigest(): Promise<string> {
  const hash = createHash('sha256');
  for (const folder of ['workflows', 'procedures']) {
    for (const file of (await readdir(join(ROOT, folder))).toSorted()) {
      if (file.endsWith('.ts')) hash.update(file).update(await readFile(join(ROOT, folder, file)));
    }
  }
  hash.update(await readFile(join(ROOT, 'package-lock.json')));
  return hash.digest('hex').slice(0, 20);
}
