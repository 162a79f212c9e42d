import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { isGroupAlive } from '../../scripts/lib/process-group.ts';
import { makeFolder } from '../../scripts/lib/processes.ts';

const PROGRAM = fileURLToPath(new URL('./fixtures/under-npm.ts', import.meta.url));

type Said = { folder: string; own: number; child: number; parent: number };

/** A project whose script is the program, begun by a real npm. Two commands, as in package.json: npm's shell stays. */
async function npmRun(script: string): Promise<{ npm: ChildProcess; said: Said } & AsyncDisposable> {
  const project = await makeFolder('countdown-test-');
  await writeFile(join(project.path, 'package.json'), JSON.stringify({ scripts: { dev: script } }));
  const npm = spawn('npm', ['run', '-s', 'dev'], {
    cwd: project.path,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(createInterface({ input: npm.stdout }), 'line');
  return {
    npm,
    said: JSON.parse(String(line)),
    async [Symbol.asyncDispose]() {
      npm.kill('SIGKILL');
      await project.discard();
    },
  };
}

function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/\) [ZX] /.test(stat);
  } catch {
    return false;
  }
}

async function expectAllGone({ own, child, folder }: Said): Promise<void> {
  await expect
    .poll(() => [isRunning(own), isGroupAlive(child), existsSync(folder)], { timeout: 5_000, interval: 50 })
    .toEqual([false, false, false]);
}

const KEEPS_SHELL = `'${process.execPath}' '${PROGRAM}'; exit $?`;

test.each(['SIGTERM', 'SIGKILL'] as const)(
  'when npm is ended with %s, what it started ends too',
  async (signal) => {
    await using run = await npmRun(KEEPS_SHELL);
    expect([isRunning(run.said.own), isGroupAlive(run.said.child)]).toEqual([true, true]);
    run.npm.kill(signal);
    await expectAllGone(run.said);
  },
);

test('when the shell of npm is killed, what it started ends too', async () => {
  await using run = await npmRun(KEEPS_SHELL);
  process.kill(run.said.parent, 'SIGKILL');
  await expectAllGone(run.said);
});

test('where npm put the program in the place of its shell, it ends with npm too', async () => {
  await using run = await npmRun(`exec '${process.execPath}' '${PROGRAM}'`);
  run.npm.kill('SIGKILL');
  await expectAllGone(run.said);
});

test('without npm a program goes on when its parent is gone', async () => {
  const { npm_lifecycle_event: _, ...env } = process.env;
  const shell = spawn('sh', ['-c', KEEPS_SHELL], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: shell.stdout });
  const [line] = await once(lines, 'line');
  const said: Said = JSON.parse(String(line));
  const exited = once(shell, 'exit');
  shell.kill('SIGKILL');
  await exited;
  // For longer than a look takes it goes on writing.
  for (let count = 0; count < 4; count += 1) expect(await once(lines, 'line')).toEqual(['still here']);
  process.kill(said.own, 'SIGTERM');
  await expectAllGone(said);
});
