import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { isGroupAlive } from '../../scripts/lib/process-group.ts';

const DEV = fileURLToPath(new URL('../../scripts/dev.ts', import.meta.url));
const DEADLINE_MS = 80_000;

test('npm run dev says how to start another worker when its worker has ended, and does so', async () => {
  const child = spawn(process.execPath, [DEV], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => (said += text.toString()));
  const ended = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  const until = async (what: RegExp): Promise<string> => {
    const deadline = Date.now() + DEADLINE_MS;
    while (Date.now() < deadline && child.exitCode === null) {
      const found = what.exec(said)?.[1];
      if (found !== undefined) return found;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${what.source} was not said:\n${said}`);
  };
  try {
    const worker = Number(await until(/to see a run survive it: kill -KILL (\d+)\n/));
    process.kill(worker, 'SIGKILL');
    const again = Number(
      await until(
        /worker ended with SIGKILL; .*\nThe runs wait for a worker\. Start another: {2}kill -USR2 (\d+)\n/,
      ),
    );
    expect(again).toBe(child.pid);
    process.kill(again, 'SIGUSR2');
    const next = Number(await until(/worker-2 runs, as process (\d+)\n/));
    child.kill('SIGTERM');
    expect(await ended).toBe(143);
    expect([worker, next].filter(isGroupAlive)).toEqual([]);
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
}, 180_000);
