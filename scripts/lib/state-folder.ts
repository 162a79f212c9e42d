import { access, constants, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './checks.ts';

/** What stays: small, and worth a look afterwards. */
const KEPT = ['logs', 'environments', 'ledger.jsonl', 'missing.json'];

/**
 * A folder of its own for one start of the stack, below `.countdown/` of the work tree, or below the temporary folder
 * where that cannot be written. `dropData` removes databases and backups and leaves logs, ledger and evidence.
 */
export async function makeStateFolder(name: string): Promise<{ path: string; dropData(): Promise<void> }> {
  const parent = await writableParent();
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-');
  const path = await mkdtemp(join(parent, `${name}-${stamp}-`));
  return {
    path,
    async dropData() {
      for (const entry of await readdir(path)) {
        if (KEPT.includes(entry) || entry.startsWith('evidence-')) continue;
        await rm(join(path, entry), { recursive: true, force: true });
      }
      for (const entry of await readdir(join(path, 'logs')).catch(() => [])) {
        if (!entry.endsWith('.log')) await rm(join(path, 'logs', entry), { recursive: true, force: true });
      }
    },
  };
}

async function writableParent(): Promise<string> {
  const own = join(ROOT, '.countdown');
  try {
    await mkdir(own, { recursive: true });
    await access(own, constants.W_OK);
    return own;
  } catch {
    return tmpdir();
  }
}
