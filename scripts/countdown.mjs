#!/usr/bin/env node
/**
 * The command `countdown` as npm installs it (`npx countdown`, `npm link`). Plain JavaScript for Node 18 and later: it
 * installs what is missing and hands over to the Node that comes with the packages.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureInstall } from './ensure-install.mjs';

/** The first Node that runs the sources as they are. */
const NODE_OWN = 24;
const NODE_LEAST = 18;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const program = join(root, 'cli/countdown.ts');
const [major = 0] = process.versions.node.split('.').map(Number);

if (major >= NODE_OWN && existsSync(join(root, 'node_modules/yaml'))) await import('../cli/countdown.ts');
else process.exitCode = await handOver().catch(explain);

/** Resolves with the exit code of the command. */
async function handOver() {
  if (major < NODE_LEAST) {
    throw new Error(
      `Node ${process.versions.node} is too old to install Countdown; install Node ${NODE_LEAST} or later.`,
    );
  }
  await ensureInstall({ root, log: (line) => process.stderr.write(`${line}\n`) });
  const node = join(root, 'node_modules/.bin/node');
  const child = spawn(node, [program, ...process.argv.slice(2)], { stdio: 'inherit' });
  // The terminal sends Ctrl-C to both: the command leaves, and this process with it. Other signals are passed on.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGTERM']));
  });
}

function explain(error) {
  process.stderr.write(`error ${error instanceof Error ? error.message : String(error)}\n`);
  return 1;
}
