/** The checks that need no server: types, lint rules, format. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { watchGroup } from './processes.ts';

export const ROOT: string = fileURLToPath(new URL('../../', import.meta.url));

const CHECKS = [
  { name: 'types', command: 'tsc', args: ['--noEmit', '-p', '.'], mend: 'npx tsc --noEmit -p .' },
  { name: 'lint', command: 'oxlint', args: ['--type-aware'], mend: 'npx oxlint --type-aware' },
  { name: 'format', command: 'oxfmt', args: ['--check', '.'], mend: 'npm run format' },
] as const;

export type CheckResult = { name: string; passed: boolean };

/** Runs each, one after the other, with its output as it comes. */
export async function runChecks(): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const { name, command, args, mend } of CHECKS) {
    const began = Date.now();
    const code = await runProgram({ command: join(ROOT, 'node_modules/.bin', command), args });
    const seconds = `${((Date.now() - began) / 1000).toFixed(1)}s`;
    const passed = code === 0;
    process.stdout.write(passed ? `✓ ${name} ${seconds}\n` : `✗ ${name} ${seconds}; look again: ${mend}\n`);
    results.push({ name, passed });
  }
  return results;
}

export type RunProgram = {
  command: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv;
};

/** Runs a program in a process group of its own, which ends with this process; gives its exit code, 1 for a signal. */
export function runProgram({ command, args, env = process.env }: RunProgram): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit'],
      // The node of node_modules first: the programs are scripts that ask for `node`.
      env: { ...env, PATH: `${join(ROOT, 'node_modules/.bin')}:${env['PATH'] ?? ''}` },
    });
    const forget = watchGroup(child);
    child.once('error', reject);
    child.once('close', (code) => {
      forget();
      resolve(code ?? 1);
    });
  });
}
